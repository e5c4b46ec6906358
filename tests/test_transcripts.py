"""Tests of pipelines.transcripts: which flags choose which words, and what prepare makes of them."""

import argparse
import csv
import dataclasses
import json

import numpy as np
import pytest
import soundfile

from pipelines import prepare, records
from pipelines.command import InputError, run_command
from pipelines.corpora import ravdess
from pipelines.transcripts import WordSource, add_arguments
from pipelines.transcripts.simulated import SENTENCES
from pipelines.utterance import Corpus, Utterance


def source(*flags):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return WordSource.of(parser.parse_args([str(flag) for flag in flags]))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three actors of RAVDESS, each with both statements in two emotions, as noise."""
    folder = tmp_path_factory.mktemp("ravdess")
    rng = np.random.default_rng(0)
    for actor in (1, 2, 3):
        for emotion in (3, 4):
            for statement in (1, 2):
                name = f"03-01-{emotion:02}-01-{statement:02}-01-{actor:02}.wav"
                soundfile.write(folder / name, 0.1 * rng.standard_normal(3200), 16000)
    return folder


def prepared(clips, folder, *flags):
    """Prepares in this process and returns the index of the records and their metadata."""
    arguments = ["--corpus", "ravdess", "--source", clips, "--records", folder, "--workers", 1, *flags]
    prepare.main([str(argument) for argument in arguments])
    return records.read_index(folder), records.read_metadata(folder)


def read_table(folder):
    [path] = folder.glob("*.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return path.name, list(csv.DictReader(file))


def test_the_script_is_the_default_and_changes_nothing(clips):
    corpus = ravdess.read(clips)
    assert source().fill(corpus) is corpus
    assert (source().name, source().identity) == ("script", {"source": "script"})


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--sentences", "x"), "--sentences belongs to --transcripts paired, not script: leave it out"),
        (("--transcripts", "whisper", "--transcript-seed", "1"), "--transcript-seed belongs to .* simulated or paired"),
        (("--transcripts", "simulated", "--language", "de"), "--language belongs to --transcripts whisper, not simul"),
        (("--transcripts", "paired", "--sentences", "x", "--device", "cpu"), "--device belongs to --transcripts whis"),
        (("--whisper-model", "tiny"), "--whisper-model belongs to --transcripts whisper, not script"),
        (("--transcript-cache", "x"), "--transcript-cache belongs to --transcripts simulated or paired or whisper"),
        (("--transcripts", "paired"), "--transcripts paired needs --sentences DIR, the folder of GoEmotions"),
    ],
)
def test_flags_that_do_not_belong_together_get_a_sentence(flags, sentence):
    with pytest.raises(InputError, match=sentence):
        source(*flags)


def test_a_name_and_an_identity_tell_all_that_the_words_depend_on(whisper_checkpoint):
    assert source("--transcripts", "simulated", "--transcript-seed", 3).identity == {"source": "simulated", "seed": 3}
    transcribed = source("--transcripts", "whisper", "--whisper-model", whisper_checkpoint, "--language", "DE")
    assert transcribed.name == "whisper tiny.pt"
    assert (transcribed.identity["language"], len(transcribed.identity["model_sha256"])) == ("de", 64)
    assert json.loads(json.dumps(transcribed.identity)) == transcribed.identity
    assert source("--transcripts", "whisper").name == "whisper base"
    on_gpu = source("--transcripts", "whisper", "--device", "cuda")
    assert on_gpu.identity == source("--transcripts", "whisper").identity


@pytest.mark.parametrize("kind", ["simulated", "whisper", "paired"])
def test_a_corpus_of_words_alone_keeps_its_own(kind, tmp_path):
    corpus = Corpus("letters", tmp_path, "", ("happy", "sad"), (Utterance("a", "", "happy", transcript="dear me"),))
    flags = ("--sentences", tmp_path) if kind == "paired" else ()
    with pytest.raises(InputError, match=f"letters has no recordings, .* leave --transcripts {kind} out"):
        source("--transcripts", kind, *flags).fill(corpus)


def test_simulated_words_are_prepared_marked_and_kept_as_a_table(clips, tmp_path):
    flags = ("--transcripts", "simulated", "--transcript-cache", tmp_path / "words")
    index, metadata = prepared(clips, tmp_path / "records", *flags)
    assert (metadata.transcript_source, records.marks_of(metadata)) == ("simulated", ["label-leaking"])
    emotions = [metadata.emotions[label] for label in index["label"]]
    pairs = list(zip(index["transcript"], emotions, strict=True))
    assert all(transcript in SENTENCES[emotion] for transcript, emotion in pairs)
    name, rows = read_table(tmp_path / "words")
    assert name == f"simulated-{clips.name}-0.csv"
    assert {row["utterance_id"]: row["transcript"] for row in rows} == dict(
        zip(index["utterance_id"], index["transcript"], strict=True)
    )


@pytest.fixture
def few_sentences(tmp_path):
    """A folder in GoEmotions' format with one happy and nine sad sentences to draw from."""
    (tmp_path / "go").mkdir()
    for split, lines in {
        "train": ["it rains\t27\tt0"],
        "dev": ["what a day\t17\td0"],
        "test": [f"so sad {number}\t25\te{number}" for number in range(9)],
    }.items():
        (tmp_path / "go" / f"{split}.tsv").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path / "go"


def test_paired_words_are_prepared_marked_and_counted(clips, few_sentences, tmp_path):
    flags = ("--transcripts", "paired", "--sentences", few_sentences, "--transcript-cache", tmp_path / "words")
    index, metadata = prepared(clips, tmp_path / "records", *flags)
    assert (metadata.transcript_source, records.marks_of(metadata)) == ("paired", ["paired"])
    assert metadata.ignored == {"happy without a sentence (paired)": 5}
    assert sorted(index["transcript"])[-1] == "what a day"
    assert index["transcript"].nunique() == len(index) == 7
    assert read_table(tmp_path / "words")[1][0]["speaker"] in {"01", "02", "03"}


def test_sentences_that_were_drawn_are_read_back_until_something_changes(
    clips, few_sentences, tmp_path, monkeypatch, capsys
):
    def fill(*flags):
        flags = (
            "--transcripts",
            "paired",
            "--sentences",
            few_sentences,
            "--transcript-cache",
            tmp_path / "words",
            *flags,
        )
        return source("--transcripts", "paired", *flags).fill(ravdess.read(clips))

    assigned = fill()
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.transcripts.paired", lambda *_: pytest.fail("drawn anew"))
        assert fill() == assigned
    assert "sentences as drawn before" in capsys.readouterr().err
    fill("--transcript-seed", "1")
    (few_sentences / "dev.tsv").write_text("what a night\t17\td0\n")
    assert "what a night" in {utterance.transcript for utterance in fill().utterances}
    assert len(list((tmp_path / "words").iterdir())) == 3


def test_transcribed_words_are_prepared_and_compared_with_the_script(clips, tmp_path, whisper_checkpoint, capsys):
    flags = ("--transcripts", "whisper", "--whisper-model", whisper_checkpoint, "--device", "cpu")
    index, metadata = prepared(clips, tmp_path / "records", *flags, "--transcript-cache", tmp_path / "words")
    assert set(index["transcript"]) == {"Kids are talking by the door."}
    assert (metadata.transcript_source, records.marks_of(metadata)) == ("whisper tiny.pt", [])
    # "Dogs are sitting by the door" is two words off, in half of the clips.
    summary = "whisper tiny.pt: word error rate 16.7% against the script (12 of 72 words); 0 of 12 clips without words"
    assert summary in capsys.readouterr().err
    assert len(read_table(tmp_path / "words")[1]) == 12
    prepared(clips, tmp_path / "records", *flags, "--transcript-cache", tmp_path / "words")
    errors = capsys.readouterr().err
    assert summary in errors
    assert "transcribing" not in errors
    assert "holds these records already" in errors


def test_a_recording_that_whisper_cannot_read_is_named_by_prepare(clips, tmp_path, whisper_checkpoint, capsys):
    for path in sorted(clips.iterdir())[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "03-01-05-01-01-01-01.wav").write_text("no sound")
    flags = ["--transcripts", "whisper", "--whisper-model", whisper_checkpoint, "--device", "cpu"]
    flags += ["--transcript-cache", tmp_path / "words", "--workers", 1, "--records", tmp_path / "records"]
    arguments = [str(one) for one in ("--corpus", "ravdess", "--source", tmp_path, *flags)]
    assert run_command(prepare.main, arguments) == 1
    errors = capsys.readouterr().err
    assert "1 recordings cannot be read" in errors
    assert "03-01-05-01-01-01-01.wav cannot be read as audio" in errors
    assert run_command(prepare.main, [*arguments, "--skip-bad"]) == 0
    assert "1 unreadable" in capsys.readouterr().out


def test_other_words_are_other_records(clips, tmp_path):
    folder, cache = tmp_path / "records", ("--transcript-cache", tmp_path / "words")
    prepared(clips, folder, "--transcripts", "simulated", *cache)
    with pytest.raises(InputError, match="holds other records"):
        prepared(clips, folder)
    with pytest.raises(InputError, match="holds other records"):
        prepared(clips, folder, "--transcripts", "simulated", "--transcript-seed", 1, *cache)


@pytest.mark.parametrize("flags", [("--transcripts", "simulated"), ("--store-waveform",)])
def test_a_map_that_drops_every_clip_is_what_the_sentence_names(clips, tmp_path, flags):
    (tmp_path / "03-01-02-01-01-01-01.wav").write_bytes(next(clips.iterdir()).read_bytes())
    with pytest.raises(InputError, match=r"no utterance is left to write \(1 calm \(dropped by ravdess-seven\)\)"):
        prepared(tmp_path, tmp_path / "records", "--label-map", "ravdess-seven", *flags)


def test_words_of_another_label_map_are_kept_apart(clips, tmp_path):
    words = dataclasses.replace(source("--transcripts", "simulated"), cache=tmp_path)
    corpus = ravdess.read(clips)
    words.fill(corpus)
    words.fill(corpus.relabelled("ravdess-seven"), "ravdess-seven")
    names = sorted(path.name.removeprefix(f"simulated-{clips.name}-") for path in tmp_path.glob("*.csv"))
    assert names == ["0.csv", "ravdess-seven-0.csv"]
