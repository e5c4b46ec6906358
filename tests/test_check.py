"""Tests of emotion_tf.check: each fault that is planted in a corpus is found, and named with its recordings."""

import json
import re

import numpy as np
import pytest
import soundfile

from emotion_tf.check import main
from pipelines.command import InputError

RATE = 16000


def speech(rng, seconds=0.8, rate=RATE):
    """Noise of the spectrum and the pace of speech, in stillness."""
    samples = rng.standard_normal(round(seconds * rate))
    samples = np.convolve(samples, np.ones(3) / 3, "same")
    syllables = np.sin(np.pi * np.linspace(0, rng.uniform(3, 6), len(samples))) ** 2 + rng.uniform(0.01, 0.02)
    samples *= syllables * rng.uniform(0.05, 0.08)
    around = np.round(2e-4 * rng.standard_normal((2, rate // 10)) * 32768) / 32768
    return np.concatenate([around[0], samples, around[1]])


class Tree:
    """A corpus of four speakers, three emotions, and four clips of each."""

    def __init__(self, folder):
        self.folder, self.rows, self.rng = folder, {}, np.random.default_rng(0)
        for speaker in ("anna", "bo", "cy", "dee"):
            for emotion in ("happy", "sad", "angry"):
                for take in range(4):
                    self.add(f"{speaker}-{emotion}-{take}", speaker, emotion)

    def add(self, name, speaker, emotion, samples=None, rate=RATE, split="", **options):
        samples = speech(self.rng, rate=rate) if samples is None else samples
        soundfile.write(self.folder / f"{name}.wav", samples, rate, **options)
        self.rows[name] = [f"{name}.wav", emotion, speaker, split]

    def write(self):
        lines = [",".join(row) for row in (["path", "emotion", "speaker", "split"], *self.rows.values())]
        (self.folder / "mine.csv").write_text("\n".join(lines))
        return self.folder / "mine.csv"


def plant(tree):
    """Puts every fault in, each in clips of its own."""
    rng, rows = tree.rng, tree.rows
    tree.add("silent", "anna", "sad", np.zeros(RATE))
    tree.add("short", "anna", "sad", speech(rng)[:2000])
    tree.add("long", "anna", "sad", np.concatenate([speech(rng) for _ in range(8)]))
    tree.add("clipped", "bo", "sad", np.clip(20 * speech(rng), -0.9, 0.9))
    tree.add("offset", "bo", "sad", speech(rng) + 0.1)
    tree.add("noisy", "bo", "sad", 0.1 * rng.standard_normal(RATE) + speech(rng, 0.8))
    tree.add("fast", "bo", "sad", rate=44100)
    tree.add("fine", "bo", "sad", subtype="PCM_24")
    tree.add("dead", "cy", "happy", np.stack([speech(rng), np.zeros(speech(rng).size)], axis=1))
    tree.add("cancelled", "cy", "happy", (one := speech(rng))[:, None] * np.array([[1.0, -1.0]]))
    tree.add("still", "cy", "happy", np.pad(speech(rng), 4 * RATE))
    tree.add("first", "cy", "happy", one := speech(rng))
    tree.add("same", "dee", "angry", one)
    tree.add("louder", "cy", "happy", two := speech(rng, 2.0))
    tree.add("softer", "cy", "happy", 0.5 * two)
    tree.add("only-1", "dee", "disgust")
    tree.add("only-2", "dee", "disgust")
    tree.add("split-1", "cy", "happy", split="train")
    tree.add("split-2", "cy", "happy", split="test")
    (tree.folder / "broken.wav").write_bytes(b"RIFF....WAVE")
    rows["broken"] = ["broken.wav", "sad", "anna", ""]
    tree.add("unnamed", "eve", "happy")


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """From whether faults are planted to the content of check.json, of one reading each."""
    from concurrent.futures import ThreadPoolExecutor

    from pipelines.records import decode_workers

    class Pool(ThreadPoolExecutor):
        def __init__(self, *arguments):
            super().__init__(1)

    results = {}
    for is_faulty in (False, True):
        tree = Tree(tmp_path_factory.mktemp("tree"))
        if is_faulty:
            plant(tree)
        output = tree.folder / "out"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode_workers.concurrent.futures, "ProcessPoolExecutor", Pool)
            main(["--corpus", "manifest", "--source", str(tree.write()), "--output", str(output)])
        results[is_faulty] = json.loads((output / "check.json").read_text()) | {
            "page": (output / "check.html").read_text()
        }
    return results


FAULTS = {
    "unreadable": ("error", {"broken"}),
    "silent": ("error", {"silent"}),
    "short": ("warning", {"short"}),
    "long": ("warning", {"long", "still"}),
    "clipped": ("warning", {"clipped"}),
    "offset": ("note", {"offset"}),
    "noisy": ("warning", {"noisy"}),
    "mixed_sample_rates": ("note", {"fast"}),
    "mixed_encodings": ("note", {"fine"}),
    "mixed_num_channels": ("note", {"dead", "cancelled"}),
    "dead_channel": ("warning", {"dead"}),
    "cancelled_channels": ("warning", {"cancelled"}),
    "mostly_silence": ("note", {"still"}),
    "identical": ("error", {"first", "same"}),
    "nearly_identical": ("warning", {"louder", "softer"}),
    "label_of_one_speaker": ("error", {"only-1", "only-2"}),
    "rare_label": ("warning", set()),
    "speaker_of_one_label": ("warning", set()),
    "split_shares_speakers": ("error", set()),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_found_and_named(checked, kind):
    severity, utterances = FAULTS[kind]
    found = [one for one in checked[True]["findings"] if one["kind"] == kind]
    assert len(found) == 1
    assert found[0]["severity"] == severity
    assert set(found[0]["utterances"]) == utterances
    assert kind not in {one["kind"] for one in checked[False]["findings"]}


def test_a_clean_corpus_has_nothing_but_labels_that_nobody_has(checked):
    assert {one["kind"] for one in checked[False]["findings"]} <= {"absent_label"}
    assert checked[False]["counts"]["anna"] == {"angry": 4, "happy": 4, "sad": 4}
    assert not any(one["beats_chance"] for one in checked[False]["cues"])


def test_the_page_loads_nothing_and_describes_its_pictures(checked):
    page = checked[True]["page"]
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    pictures = re.findall(r"<svg[^>]*>", page)
    assert len(pictures) == 5
    assert all(re.search(r'role="img" aria-label="[^"]{30,}"', picture) for picture in pictures)
    for one in checked[True]["findings"]:
        assert one["sentence"].split("'")[0].split('"')[0].split("&")[0] in page


def test_records_are_checked_too(noise_records, tmp_path, capsys):
    main(["--records", str(noise_records), "--output", str(tmp_path / "out")])
    output = capsys.readouterr().out
    assert "40 clips of 5 speakers in 8 emotions" in output
    found = json.loads((tmp_path / "out" / "check.json").read_text())
    assert found["is_of_records"]
    assert found["formats"] == []
    assert "level_db" not in found["by_emotion"]["sad"]
    assert "Records keep neither level" in (tmp_path / "out" / "check.html").read_text()


def test_sentences_alone_are_counted(goemotions_like, capsys):
    main(["--corpus", "goemotions", "--source", str(goemotions_like)])
    output = capsys.readouterr().out
    assert "without a speaker" in output
    assert "kinds of files" not in output


@pytest.mark.parametrize("flags", [[], ["--corpus", "ravdess", "--records", "there"]])
def test_a_corpus_or_records_are_asked_for(flags):
    with pytest.raises(InputError, match="either --corpus NAME, with --source, or --records DIR"):
        main(flags)


def test_what_is_wrong_with_the_output_is_said_before_reading(noise_clips, tmp_path):
    (tmp_path / "out").write_text("")
    flags = ["--corpus", "ravdess", "--source", str(noise_clips), "--output", str(tmp_path / "out")]
    with pytest.raises(InputError, match="out is a file: give --output a folder"):
        main(flags)


def test_a_corpus_that_cannot_be_read_leaves_no_folder(tmp_path):
    flags = ["--corpus", "manifest", "--source", str(tmp_path / "none.csv"), "--output", str(tmp_path / "new" / "out")]
    with pytest.raises(InputError, match=r"none\.csv"):
        main(flags)
    assert not (tmp_path / "new").exists()


@pytest.mark.real_data
def test_real_ravdess_has_one_identical_pair_and_louder_anger(real_data, tmp_path, capsys, monkeypatch):
    chosen = tmp_path / "some"
    for actor in ("07", "08", "10"):
        (chosen / f"Actor_{actor}").mkdir(parents=True)
        for path in (real_data / "ravdess").rglob(f"03-01-0[1358]-01-*-{actor}.flac"):
            (chosen / f"Actor_{actor}" / path.name).symlink_to(path)
    main(["--corpus", "ravdess", "--source", str(chosen)])
    output = capsys.readouterr().out
    assert "identical recordings, of which one should stay: 03-01-03-01-02-01-07, 03-01-03-01-02-02-07." in output
    assert "FLAC PCM_16     48000 Hz" in output
