"""Tests of pipelines.prepare: flags that reach the records, and a sentence for bad input."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf
from test_container import encode

from pipelines import audio, prepare, records
from pipelines.audio.recording import OPEN
from pipelines.command import InputError, run_command
from pipelines.corpora import goemotions, ravdess
from pipelines.records import writer

ROOT = Path(prepare.__file__).parents[1]


def noise(seconds, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16000))


def run(*arguments):
    """Runs the command in this process and raises what it would complain about."""
    prepare.main([*map(str, arguments), "--workers", "1"])


def status(*arguments):
    return run_command(prepare.main, [*map(str, arguments), "--workers", "1"])


def start(*arguments, **environment):
    """Starts the command as a terminal does: a process group of its own, Ctrl-C not ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.prepare", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def manifest_of(folder, rows, header="path,emotion,speaker"):
    (folder / "mine.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "mine.csv"


def faulty_manifest(folder):
    """Writes recordings with a fault each, and two without: noise in syllables, for steady noise is a fault."""
    clock = np.arange(32000) / 16000
    voice = noise(2) * (np.sin(2 * np.pi * 2.5 * clock) > 0) + 0.01 * noise(2, 1)
    hum = 0.02 * np.sin(2 * np.pi * 50 * clock)
    made = {
        "good": voice,
        "better": voice[::-1],
        "hums": voice + hum,
        "hiss": noise(2),
        "clipped": np.clip(10 * voice, -0.1, 0.1),
        "telephone": soxr.resample(voice, 16000, 8000),
        "syllable": noise(0.1),
    }
    words = {"good": "日本", "better": "", "hums": "日本 日本"}
    for name, waveform in made.items():
        soundfile.write(folder / f"{name}.wav", waveform, 8000 if name == "telephone" else 16000)
    rows = [f"{name}.wav,happy,a,{words.get(name, 'kids are talking')}" for name in made]
    return manifest_of(folder, rows, "path,emotion,speaker,transcript")


def place_videos(folder, names, pictures=6):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for name in names:
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
        for _ in range(pictures):
            writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
        writer.release()


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_back(folder):
    """Reads every record: utterance_id -> fields as numpy."""
    metadata = records.read_metadata(folder)
    absent = ["waveform"] * (not metadata.has_waveform) + ["acoustic"] * (not metadata.acoustic)
    absent += ["encoder"] * (metadata.encoder is None) + ["context"] * (not metadata.context)
    absent += ["video_frames", "face_boxes", "video_sha256"] * (metadata.video is None)
    fields = [name for name in records.SCHEMA if name not in absent]
    found = {}
    for name in metadata.shards:
        for serialised in tf.data.TFRecordDataset(str(folder / name)):
            parsed = records.parse(serialised, fields, metadata.columns)
            found[parsed["utterance_id"].numpy().decode()] = {name: value.numpy() for name, value in parsed.items()}
    return found


def test_table_says_what_is_wrong_with_recordings_and_words(tmp_path, in_process, capsys):
    run("--corpus", "manifest", "--source", faulty_manifest(tmp_path), "--records", tmp_path / "r")
    lines = " ".join(capsys.readouterr().out.split())
    assert "words script; 1 without words, 2 of unknown words alone" in lines
    assert "quality 1 short, 1 narrow, 1 clipped, 1 noisy, 1 hum; recordings reach 8 kHz" in lines


def test_settings_of_the_command_line_reach_the_front_end(noise_clips, tmp_path, in_process):
    settings = "--frame-seconds 0.032 --hop-seconds 0.016 --mel-bins 40 --min-hz 100 --max-hz 7000 --trim-db off"
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path, *settings.split())
    front_end = records.read_metadata(tmp_path).settings
    assert front_end == audio.FrontEnd(0.032, 0.016, 512, 40, 100.0, 7000.0, trim_db=None)
    for record in read_back(tmp_path).values():
        assert record["log_mel"].shape[1] == 40


@pytest.mark.parametrize("flag", ["--encoder-model", "--encoder-blocks", "--encoder-save"])
def test_flags_of_an_encoder_need_one(tmp_path, flag):
    source = manifest_of(tmp_path, ["a.wav,happy,1"])
    with pytest.raises(InputError, match=f"{flag} belongs to --encoder whisper: add that, or leave this out"):
        run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r", flag, "1")


def test_the_device_belongs_to_whisper_in_either_place(tmp_path):
    source = manifest_of(tmp_path, ["a.wav,happy,1"])
    with pytest.raises(InputError, match="--device belongs to --transcripts whisper, not script"):
        run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r", "--device", "cpu")


def test_a_label_map_relabels_drops_and_counts(noise_clips, tmp_path, in_process):
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path, "--label-map", "ravdess-seven")
    metadata = records.read_metadata(tmp_path)
    assert metadata.num_utterances == 35
    assert metadata.label_map == "ravdess-seven"
    assert metadata.emotions[2] == "fear"
    assert metadata.ignored == {"calm (dropped by ravdess-seven)": 5}


def test_a_manifest_maps_the_labels_of_another_corpus(tmp_path, in_process):
    soundfile.write(tmp_path / "1001_ANG.wav", np.stack([noise(0.5)] * 2, axis=1), 24400)
    soundfile.write(tmp_path / "b.aiff", noise(0.5), 24400)
    (tmp_path / "b.aiff").rename(tmp_path / "Änne 2.wav")
    source = manifest_of(tmp_path, ["1001_ANG.wav,ANG,1001", f"{tmp_path}/Änne 2.wav,FEA,Änne"])
    run("--corpus", "manifest", "--source", source, "--label-map", "crema-d-ravdess", "--records", tmp_path / "r")
    labels = {name: record["label"].tolist() for name, record in read_back(tmp_path / "r").items()}
    assert labels == {"1001_ANG": [0], f"{tmp_path}/Änne 2": [1]}
    metadata = records.read_metadata(tmp_path / "r")
    assert metadata.emotions == ["angry", "fearful"]
    assert metadata.absent_emotions == ["neutral", "calm", "happy", "sad", "disgust", "surprised"]


def test_a_manifest_of_one_speaker_with_declared_labels_and_words(tmp_path, in_process, capsys):
    soundfile.write(tmp_path / "a.wav", noise(0.5), 16000)
    source = manifest_of(tmp_path, ['a.wav,keen,me,"Well, yes",train'], "path,emotion,speaker,transcript,split")
    run("--corpus", "manifest", "--source", source, "--emotions", "bored, keen", "--records", tmp_path / "r")
    (record,) = read_back(tmp_path / "r").values()
    assert (record["label"], record["transcript"], record["published_split"]) == ([0], b"Well, yes", b"train")
    assert len(records.read_metadata(tmp_path / "r").shards) == 1
    printed = capsys.readouterr().out
    assert "emotions  keen 1; not in the label set, for no utterance has them: bored" in printed
    assert "1: me" in printed


def test_segments_of_a_recording_are_records_of_their_own(tmp_path, in_process, capsys):
    soundfile.write(tmp_path / "long.wav", noise(4), 16000)
    rows = ["long.wav,happy,x,0.5,1.25", "long.wav,sad,y,2,", "long.wav,happy,x,0.5,1.25"]
    source = manifest_of(tmp_path, rows, "path,emotion,speaker,start,end")
    flags = ("--corpus", "manifest", "--source", source, "--store-waveform", "--records", tmp_path / "r")
    run(*flags)
    waveforms = {name: record["waveform"] for name, record in read_back(tmp_path / "r").items()}
    assert list(waveforms) == ["long@0.5-1.25", "long@2-end"]
    for found, span in zip(waveforms.values(), [(0.5, 1.25), (2, 4)], strict=True):
        np.testing.assert_array_equal(found, audio.read_recording(tmp_path / "long.wav", span=span).waveform)
    metadata = records.read_metadata(tmp_path / "r")
    assert metadata.hours == pytest.approx(2.75 / 3600, abs=1e-4)
    assert metadata.ignored == {"rows that repeat another one": 1}
    assert "ignored   1 rows that repeat another one" in capsys.readouterr().out
    manifest_of(tmp_path, [rows[1], rows[0]], "path,emotion,speaker,start,end")
    run(*flags)
    assert "holds these records already" in capsys.readouterr().err
    manifest_of(tmp_path, [rows[0], "long.wav,sad,y,2.1,"], "path,emotion,speaker,start,end")
    with pytest.raises(InputError, match="holds other records"):
        run(*flags)


def test_a_segment_outside_of_its_file_is_named_with_its_line(tmp_path, in_process):
    soundfile.write(tmp_path / "a.wav", noise(1), 16000)
    rows = ["a.wav,happy,x,0,0.5", "a.wav,sad,x,500,1500", "b.wav,sad,y,,"]
    source = manifest_of(tmp_path, rows, "path,emotion,speaker,start,end")
    with pytest.raises(InputError, match="2 recordings cannot be read") as caught:
        run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    _, outside, absent = str(caught.value).splitlines()
    assert f"{source}, line 3: the segment 500-1500 of {tmp_path / 'a.wav'} lies outside of the file" in outside
    assert f"{source}, line 4: {tmp_path / 'b.wav'} does not exist" in absent


@pytest.mark.parametrize(("one", "other"), [("01", "1"), ("Anna", "anna"), ("1", "1.0")])
def test_a_speaker_in_two_spellings_stops_before_a_recording_is_read(tmp_path, one, other):
    source = manifest_of(tmp_path, [f"a.wav,happy,{one}", f"b.wav,sad,{other}", "c.wav,sad,bo"])
    with pytest.raises(InputError, match=f"mine.csv: the speakers '{one}' and '{other}' differ in zeros, case, blanks"):
        run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_copies_are_named_and_those_with_two_labels_counted(tmp_path, in_process, capsys):
    for name in ("a.wav", "b.flac"):
        soundfile.write(tmp_path / name, (32768 * noise(0.5)).astype(np.int16), 16000)
    soundfile.write(tmp_path / "c.wav", noise(0.5, seed=1), 16000)
    soundfile.write(tmp_path / "d.wav", 2 * noise(0.5, seed=1), 16000, subtype="FLOAT")
    rows = ["a.wav,happy,x", "b.flac,sad,y", "c.wav,sad,x", "d.wav,sad,y"]
    run("--corpus", "manifest", "--source", manifest_of(tmp_path, rows), "--records", tmp_path / "r")
    assert records.read_metadata(tmp_path / "r").copies == [
        {"utterances": ["a", "b"], "emotions": ["happy", "sad"], "is_identical": True},
        {"utterances": ["c", "d"], "emotions": ["sad"], "is_identical": False},
    ]
    printed = " ".join(capsys.readouterr().out.split())
    assert "copies 1 groups of identical recordings, 1 of near copies, 1 of them with two labels or more;" in printed
    assert "a = b (happy or sad); c = d (sad)" in printed


def goemotions_of(folder, *rows):
    """Writes rows (comment, label ids, id) as the training split, and one row each as the others."""
    folder.mkdir()
    for name, split in {
        "train.tsv": rows,
        "dev.tsv": [("Hm", "1", "y")],
        "test.tsv": [("Have Fun", "17", "z")],
    }.items():
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in split), encoding="utf-8")
    return folder


def test_sentences_are_prepared_without_processes_or_a_front_end(goemotions_like, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writer, "decoding", lambda *arguments: pytest.fail("started processes"))
    monkeypatch.setattr(audio, "mel_matrix", lambda *arguments: pytest.fail("made a front end"))
    command = ("--corpus", "goemotions", "--source", goemotions_like, "--records", tmp_path / "r")
    run(*command, "--label-map", "goemotions-ekman")
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("sentences 240, ")
    assert printed[1].endswith(" with two or more labels")
    assert "speakers  -" in printed
    assert "words     script; 0 without words" in printed
    assert not [line for line in printed if line.startswith(("clips", "hours", "silent", "skipped"))]
    assert records.read_metadata(tmp_path / "r").emotions[0] == "anger"


def test_front_end_flags_make_no_other_records_of_sentences(goemotions_like, tmp_path, capsys):
    command = ("--corpus", "goemotions", "--source", goemotions_like, "--records", tmp_path / "r")
    run(*command)
    before = tree(tmp_path / "r")
    run(*command, "--mel-bins", "40")
    assert "holds these records already" in capsys.readouterr().err
    assert tree(tmp_path / "r") == before
    with pytest.raises(InputError, match="GoEmotions has no recordings, so no waveforms: leave --store-waveform out"):
        run(*command, "--store-waveform")
    with pytest.raises(InputError, match="has no recordings, so no states of an encoder: leave --encoder out"):
        run(*command, "--encoder", "whisper")
    with pytest.raises(InputError, match="has no recordings, so no acoustic features: leave --acoustic out"):
        run(*command, "--acoustic")


def test_meld_is_prepared_with_its_dialogues(tmp_path):
    header = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode\n"
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}_sent_emo.csv").write_text(header + "Hi!,Joey,joy,positive,0,1,8,21\n")
    run("--corpus", "meld", "--source", tmp_path, "--records", tmp_path / "r", "--label-map", "meld-seven")
    found = read_back(tmp_path / "r")
    dialogues = {json.loads(record["attributes"])["dialogue"] for record in found.values()}
    assert dialogues == {"train-0000", "validation-0000", "test-0000"}
    assert {record["label"].tolist()[0] for record in found.values()} == {0}
    metadata = records.read_metadata(tmp_path / "r")
    assert (metadata.emotions, metadata.is_multi_label) == (["happy"], False)


def meld_of(folder, *lines):
    """Writes MELD whose splits hold one dialogue of the same lines each, words and emotion."""
    folder.mkdir()
    header = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode\n"
    rows = [f"{words},Joey,{emotion},positive,0,{number},8,21\n" for number, (words, emotion) in enumerate(lines)]
    for split in ("train", "dev", "test"):
        (folder / f"{split}_sent_emo.csv").write_text(header + "".join(rows))
    return folder


DIALOGUE = (("Hi!", "joy"), ("Go away.", "anger"), ("Why?", "sadness"))


def test_context_adds_a_field_and_changes_no_other(tmp_path, capsys):
    command = ("--corpus", "meld", "--source", meld_of(tmp_path / "meld", *DIALOGUE), "--records")
    run(*command, tmp_path / "plain")
    run(*command, tmp_path / "none", "--context", "0")
    run(*command, tmp_path / "r", "--context", "2")
    assert "script; 0 without words; the 2 lines before in the dialogue as context" in capsys.readouterr().out
    assert tree(tmp_path / "none") == tree(tmp_path / "plain")
    found, plain = read_back(tmp_path / "r"), read_back(tmp_path / "plain")
    for name, record in found.items():
        before = [words for words, _ in DIALOGUE[: int(name[-2:])]]
        assert record.pop("context").decode() == "\n".join(before)
        for field, value in plain[name].items():
            np.testing.assert_array_equal(record.pop(field), value)
        assert not record
    metadata = records.read_metadata(tmp_path / "r")
    assert (metadata.context, records.marks_of(metadata)) == (2, ["context 2"])


def test_sentences_that_are_left_out_stand_in_no_context(tmp_path):
    source = meld_of(tmp_path / "meld", ("have  FUN", "joy"), *DIALOGUE)
    run("--corpus", "goemotions", "--source", goemotions_of(tmp_path / "tested"), "--records", tmp_path / "tested-r")
    command = ("--corpus", "meld", "--source", source, "--context", "2", "--records")
    run(*command, tmp_path / "r", "--exclude-sentences", tmp_path / "tested-r")
    found = {name[-2:]: record["context"].decode() for name, record in read_back(tmp_path / "r").items()}
    assert found == {"01": "", "02": "Hi!", "03": "Hi!\nGo away."}


@pytest.mark.parametrize("number", ["-1", "two", "1.5"])
def test_a_corpus_without_dialogues_or_no_number_of_lines_is_refused(goemotions_like, tmp_path, number, capsys):
    command = ("--corpus", "goemotions", "--source", goemotions_like, "--records", tmp_path / "r", "--context")
    with pytest.raises(InputError, match="GoEmotions has no dialogues, so no lines stand before an utterance"):
        run(*command, "2")
    with pytest.raises(SystemExit):
        run(*command, number)
    assert f"{number} is no number of lines: give 0 or more" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_sentences_that_other_records_test_are_left_out_and_counted(tmp_path):
    tested = goemotions_of(tmp_path / "tested", ("Oh no", "2", "a"))
    run("--corpus", "goemotions", "--source", tested, "--records", tmp_path / "r")
    rows = [("have  fun", "0", "b"), ("HAVE FUN", "1", "c"), ("Have fun!", "2", "d"), ("oh no", "3", "e")]
    command = ("--corpus", "goemotions", "--source", goemotions_of(tmp_path / "more", *rows), "--records")
    run(*command, tmp_path / "less", "--exclude-sentences", tmp_path / "r")
    assert set(read_back(tmp_path / "less")) == {"d", "e", "y"}
    assert records.read_metadata(tmp_path / "less").ignored == {f"sentences that {tmp_path / 'r'} tests": 3}
    with pytest.raises(InputError, match="other settings, words or recordings"):
        run(*command, tmp_path / "less")


def test_blank_sentences_are_never_excluded_and_all_are_where_no_split_is_published(tmp_path, in_process):
    soundfile.write(tmp_path / "a.wav", noise(0.1), 16000)
    rows = ["a.wav,happy,a,oh no"]
    source = manifest_of(tmp_path, rows, "path,emotion,speaker,transcript")
    run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    corpus = goemotions.read(goemotions_of(tmp_path / "more", ("Oh no", "2", "a"), ("…", "2", "b")))
    blank = dataclasses.replace(corpus.utterances[1], transcript=" ")
    corpus = dataclasses.replace(corpus, utterances=(corpus.utterances[0], blank))
    kept = prepare._without_sentences(corpus, tmp_path / "r")
    assert [one.utterance_id for one in kept.utterances] == ["b"]


def test_excluding_every_sentence_or_reading_incomplete_records_is_refused(tmp_path):
    source = goemotions_of(tmp_path / "tested", ("Have fun", "2", "a"))
    command = ("--corpus", "goemotions", "--source", source, "--records", tmp_path / "r")
    with pytest.raises(InputError, match="holds no complete records"):
        run(*command, "--exclude-sentences", tmp_path)
    nothing = dataclasses.replace(goemotions.read(source), utterances=(), ignored={"song": 3})
    with pytest.raises(InputError, match=r"tested: no utterance is left to write \(3 song\)"):
        writer.prepare(writer.Preparation(nothing, tmp_path / "r", audio.FrontEnd()))


def test_the_chosen_source_of_words_reaches_records_and_table(noise_clips, tmp_path, in_process, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path / "r", "--transcripts", "simulated")
    metadata = records.read_metadata(tmp_path / "r")
    assert metadata.transcript_source == "simulated"
    assert records.marks_of(metadata) == ["label-leaking"]
    assert {record["transcript"].decode() for record in read_back(tmp_path / "r").values()}.isdisjoint(
        ravdess.STATEMENTS.values()
    )
    assert "words     simulated; 0 without words" in capsys.readouterr().out


def test_clips_with_sound_alone_pictures_alone_and_both_live_in_one_corpus(tmp_path, in_process, capsys):
    for name in ("03-01-01-01-01-01-01", "03-01-01-01-02-01-01"):
        soundfile.write(tmp_path / f"{name}.wav", noise(0.6), 16000)
    place_videos(tmp_path, ["02-01-01-01-02-01-01.mp4", "02-01-01-01-01-02-01.mp4"])
    shared = ("--corpus", "ravdess", "--source", tmp_path)
    run(*shared, "--records", tmp_path / "with-video", "--video-frames", "3", "--video-size", "32", "--colour")
    found = read_back(tmp_path / "with-video")
    held = {name: (len(one["log_mel"]) > 0, len(one["video_frames"])) for name, one in found.items()}
    assert held == {
        "03-01-01-01-01-01-01": (True, 0),
        "03-01-01-01-02-01-01": (True, 3),
        "02-01-01-01-01-02-01": (False, 3),
    }
    assert found["02-01-01-01-01-02-01"]["audio_sha256"] == b""
    metadata = records.read_metadata(tmp_path / "with-video")
    assert (metadata.num_videos, metadata.num_videos_without_audio, metadata.num_frames_without_face) == (2, 1, 6)
    assert metadata.without_face == ["02-01-01-01-01-02-01", "03-01-01-01-02-01-01"]
    table = " ".join(capsys.readouterr().out.split())
    assert "3 frames of 32x32, colour, of 2 clips; 1 of them without audio; 6 frames without a face; 2 clips" in table
    run(*shared, "--records", tmp_path / "audio")
    metadata = records.read_metadata(tmp_path / "audio")
    assert (metadata.num_utterances, metadata.video, metadata.num_videos) == (2, None, 0)
    assert metadata.ignored == {"video without audio (--video-frames reads it)": 1}


def test_videos_alone_are_a_corpus_without_sound(tmp_path, in_process, capsys):
    place_videos(tmp_path, [f"02-01-01-01-01-01-{actor:02}.mp4" for actor in range(1, 4)])
    run("--corpus", "ravdess", "--source", tmp_path, "--records", tmp_path / "r", "--video-frames", "2")
    metadata = records.read_metadata(tmp_path / "r")
    assert not metadata.has_audio
    assert metadata.num_videos == 3
    assert "clips     3" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no utterance is left to write \(3 video without audio"):
        run("--corpus", "ravdess", "--source", tmp_path, "--records", tmp_path / "none")


def test_a_manifest_may_name_videos_and_damaged_ones_are_all_named(tmp_path, in_process, capsys):
    place_videos(tmp_path, ["a.mp4", "cut.mp4"], 40)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "cut.mp4").read_bytes()[:3000])
    (tmp_path / "text.mp4").write_text("no video")
    source = manifest_of(tmp_path, [f"{name}.mp4,happy,{name}" for name in ("a", "cut", "text")])
    command = ("--corpus", "manifest", "--source", source, "--records", tmp_path / "r", "--video-frames", "2")
    assert status(*command) == 1
    errors = capsys.readouterr().err
    assert "error: 2 recordings cannot be read" in errors
    assert "cut.mp4 is cut off: it ends before the length that it states" in errors
    assert "text.mp4 cannot be read as audio or video" in errors
    assert status(*command, "--skip-bad") == 0
    assert len(read_back(tmp_path / "r")["a"]["video_frames"]) == 2


def test_the_content_of_a_file_decides_whether_it_is_a_video(tmp_path, in_process, capsys):
    encode(tmp_path / "film.wav", "matroska", pictures=50)
    encode(tmp_path / "sound.mp4", "webm")
    source = manifest_of(tmp_path, ["film.wav,happy,a", "sound.mp4,happy,b"])
    command = ("--corpus", "manifest", "--source", source, "--records", tmp_path / "r", "--video-frames", "2")
    assert status(*command) == 0
    metadata, found = records.read_metadata(tmp_path / "r"), read_back(tmp_path / "r")
    assert (metadata.num_videos, metadata.num_videos_without_audio) == (1, 0)
    assert [len(found[name]["video_frames"]) for name in ("film", "sound")] == [2, 0]
    assert found["sound"]["audio_sha256"]
    manifest_of(tmp_path, ["sound.mp4,happy,b"])
    assert status(*command, "--overwrite") == 1
    assert "holds no video: leave --video-frames out, or add them" in capsys.readouterr().err


def test_what_was_noticed_of_recordings_is_counted(tmp_path, in_process, capsys):
    for name in ("a", "b"):
        encode(tmp_path / f"{name}.aac", "adts")
    soundfile.write(tmp_path / "c.wav", np.zeros(1600), 16000)
    source = manifest_of(tmp_path, ["a.aac,happy,a", "b.aac,happy,b", "c.wav,happy,c"])
    run("--corpus", "manifest", "--source", source, "--records", tmp_path / "r")
    assert records.read_metadata(tmp_path / "r").notes == {OPEN: ["a", "b"]}
    assert f"noticed   2 clips: {OPEN}"[:60] in capsys.readouterr().out


def test_without_opencv_a_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    place_videos(tmp_path, ["02-01-01-01-01-01-01.mp4"])
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"video needs OpenCV: install it with pip install .*\.\[video\]"):
        run("--corpus", "ravdess", "--source", tmp_path, "--records", tmp_path / "r", "--video-frames", "2")


@pytest.mark.real_data
def test_the_real_video_becomes_a_record_with_a_face_in_nearly_every_frame(real_data, tmp_path, in_process):
    run("--corpus", "ravdess", "--source", real_data / "ravdess_video", "--records", tmp_path, "--video-frames", "16")
    metadata, [record] = records.read_metadata(tmp_path), read_back(tmp_path).values()
    assert record["utterance_id"] == b"01-01-07-02-02-01-01"
    assert metadata.num_frames_without_face <= 1
    assert len(record["log_mel"]) > 200
    assert len(record["video_frames"]) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "ravdess", "--source", "empty"], "holds no RAVDESS speech"),
        (["--corpus", "ravdess", "--source", "absent"], "is not a folder"),
        (["--corpus", "manifest"], r"needs --source FILE\.csv"),
        (["--corpus", "manifest", "--source", "absent.csv"], "is not a file"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad,angry"], "line 2: the emotion 'happy'"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad"], "must name two or more"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad,sad"], "must name two or more"),
        (["--corpus", "manifest", "--source", "mine.csv", "--label-map", "emodb-ravdess"], "line 2: the emotion"),
        (["--corpus", "manifest", "--source", "mine.csv", "--emotions", "sad|glad,happy"], "must not hold |"),
        (["--corpus", "ravdess", "--emotions", "sad,happy"], "ravdess has its own"),
        (["--corpus", "manifest", "--source", "mine.csv", "--video-frames", "4"], "mine in mine.csv holds no video"),
        (["--corpus", "manifest", "--source", "mine.csv", "--video-frames", "0"], "--video-frames 0 cannot work"),
        (["--corpus", "manifest", "--source", "mine.csv", "--colour"], "belong to --video-frames: add that"),
        (["--corpus", "manifest", "--source", "mine.csv", "--video-size", "64"], "belong to --video-frames: add that"),
        (["--corpus", "ravdess", "--with-video"], "ravdess has its own or none"),
        (["--corpus", "goemotions", "--source", "empty"], r"cannot read empty.train\.tsv"),
        (["--corpus", "meld"], "data.meld is not a folder"),
        (["--corpus", "manifest", "--source", "mine.csv", "--exclude-sentences", "empty"], "mine has recordings"),
        (["--corpus", "synthetic", "--source", "wrong"], "holds something other than a synthetic corpus"),
        (
            ["--corpus", "manifest", "--source", "mine.csv", "--transcripts", "simulated", "--mel-bins", "200"],
            "mel bands would be empty",
        ),
        (["--corpus", "synthetic", "--context", "1"], "synthetic has no dialogues"),
        (["--corpus", "synthetic", "--exclude-sentences", "empty"], "synthetic has recordings"),
        (["--corpus", "synthetic", "--label-map", "emodb-ravdess"], "does not know the label"),
        (["--corpus", "synthetic", "--video-frames", "2"], "holds 0 of 600 videos: --with-video makes them"),
        (["--corpus", "synthetic", "--mel-bins", "200"], "mel bands would be empty"),
        (["--corpus", "synthetic", "--encoder-blocks", "1"], "--encoder-blocks belongs to --encoder whisper"),
        (["--corpus", "synthetic", "--encoder", "whisper", "--encoder-model", "no"], "is neither a checkpoint file"),
        (["--corpus", "manifest", "--source", "mine.csv", "--mel-bins", "200"], "mel bands would be empty"),
        (
            ["--corpus", "manifest", "--source", "mine.csv", "--acoustic", "--mel-bins", "32"],
            "32 are too few for the 40",
        ),
        (["--corpus", "manifest", "--source", "mine.csv", "--hop-seconds", "0"], "--hop-seconds 0.0 must be"),
        (["--corpus", "manifest", "--source", "mine.csv", "--fft-length", "100"], "is shorter than the window"),
        (["--corpus", "manifest", "--source", "mine.csv", "--max-hz", "9000"], "above the Nyquist"),
        (["--corpus", "manifest", "--source", "mine.csv", "--trim-db", "-1"], "is no threshold"),
        (["--corpus", "manifest", "--source", "mine.csv", "--records", "wrong/file"], "cannot be made"),
        (["--corpus", "manifest", "--source", "mine.csv", "--records", "wrong/file/below"], "cannot be made"),
    ],
)
def test_bad_input_ends_in_one_sentence_and_no_records(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "file").touch()
    manifest_of(tmp_path, ["a.wav,happy,a"])
    before = sorted(tmp_path.rglob("*"))
    assert status(*arguments) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    with pytest.raises(InputError, match=message):
        run(*arguments)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--corpus", "no-such-corpus"],
        ["--corpus", "ravdess", "--workers", "0"],
        ["--corpus", "ravdess", "--workers", "two"],
        ["--corpus", "ravdess", "--trim-db", "loud"],
        ["--corpus", "ravdess", "--mel-bins", "6.4"],
        ["--corpus", "ravdess", "--transcripts", "guess"],
        ["--corpus", "ravdess", "--label-map", "ekman"],
        [],
    ],
)
def test_arguments_that_mean_nothing_are_refused_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        prepare.main(arguments)
    assert "usage: python -m pipelines.prepare" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(noise_clips, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be"):
        run("--corpus", "ravdess", "--source", noise_clips, "--records", tmp_path)


@pytest.mark.real_data
def test_the_original_recordings_are_all_read(real_data, tmp_path, in_process):
    run("--corpus", "ravdess", "--source", real_data / "ravdess_original_wav", "--records", tmp_path)
    metadata = records.read_metadata(tmp_path)
    assert (metadata.num_utterances, metadata.skipped, metadata.silent) == (8, [], [])
    assert len(metadata.shards) == 4
    found = read_back(tmp_path)
    twins = [found[f"03-01-03-01-02-0{repetition}-07"]["audio_sha256"] for repetition in (1, 2)]
    assert twins[0] == twins[1]
    assert len({record["audio_sha256"] for record in found.values()}) == 7


def test_synthetic_videos_whose_making_was_broken_off_are_not_taken_for_all(seen_speakers):
    first, *others = seen_speakers.utterances
    few = dataclasses.replace(seen_speakers, utterances=(dataclasses.replace(first, video=None), *others))
    with pytest.raises(InputError, match="holds 89 of 90 videos: --with-video makes them"):
        prepare._stop_without_video(few, "synthetic")
    prepare._stop_without_video(seen_speakers, "synthetic")
