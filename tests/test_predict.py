"""Tests of emotion_tf.predict: any recording in, one line of JSON out, and a sentence for what is no utterance."""

import json

import numpy as np
import pytest
import soundfile
from test_predictor import tone

from emotion_tf.predict import main
from emotion_tf.serving import Predictor
from pipelines.command import run_command


@pytest.fixture(scope="module")
def predictor(early_export):
    return Predictor(early_export)


@pytest.fixture
def predict(early_export, capsys, predictor, monkeypatch):
    """Runs the command in this process; the model is loaded once for all."""
    monkeypatch.setattr("emotion_tf.predict.Predictor", lambda *_: predictor)

    def run(*arguments):
        status = run_command(main, ["--model", str(early_export), *map(str, arguments)])
        output = capsys.readouterr()
        return status, [json.loads(line) for line in output.out.splitlines()], output.err.splitlines()

    return run


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels"),
    [("a.wav", 16000, 1), ("b.wav", 44100, 2), ("c.flac", 48000, 1), ("d.mp3", 44100, 1), ("e.wav", 8000, 2)],
)
def test_any_format_and_rate_gives_one_line_of_json(predict, tmp_path, name, sample_rate, channels):
    path = tone(tmp_path / name, sample_rate, channels=channels)
    status, [line], errors = predict(path, "--transcript", "oh no")
    assert (status, errors) == (0, [])
    keys = ["file", "transcript", "emotion", "probabilities", "changes_without", "seconds", "warnings"]
    assert list(line) == keys
    assert line["emotion"] == max(line["probabilities"], key=line["probabilities"].get)
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert line["seconds"] == pytest.approx(1.5, abs=0.1)
    assert (line["file"], line["transcript"]) == (str(path), "oh no")
    narrow = ["nothing above 4 kHz, unlike the recordings that the model was trained on"]
    assert line["warnings"] == [*(narrow if sample_rate == 8000 else []), "the model carries the mark 'synthetic'"]


def test_the_rate_of_a_recording_changes_little(predict, tmp_path):
    paths = [tone(tmp_path / f"{rate}.wav", rate) for rate in (16000, 48000)]
    _, (one, other), _ = predict(*paths)
    for emotion, probability in one["probabilities"].items():
        assert other["probabilities"][emotion] == pytest.approx(probability, abs=0.02)


def test_a_bad_file_is_named_and_the_others_are_predicted(predict, tmp_path):
    good = tone(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_text("no sound")
    status, lines, errors = predict(good, tmp_path / "bad.wav", good, tmp_path / "none.wav")
    assert status == 1
    assert [line["file"] for line in lines] == [str(good)] * 2
    assert len(errors) == 3
    assert "bad.wav cannot be read as audio" in errors[0]
    assert "none.wav does not exist" in errors[1]
    assert errors[2] == "error: 2 of 4 inputs could not be used, as said above."


def test_a_single_bad_file_gets_a_single_sentence(predict, tmp_path):
    status, lines, errors = predict(tmp_path / "none.wav")
    assert (status, lines) == (1, [])
    assert errors == [f"error: {tmp_path / 'none.wav'} does not exist: correct the path."]


def test_files_that_are_no_utterance_get_one_sentence_each(predict, tmp_path):
    tone(tmp_path / "empty.wav", seconds=0)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "long.flac", np.zeros(20 * 60 * 16000), 16000)
    for name, sentence in (
        ("empty.wav", "holds no samples"),
        ("nan.wav", "holds NaN or infinite samples"),
        (
            "long.flac",
            "is 1200 s long, and an utterance has at most 30 s: predict it over time with --timeline, or cut it up",
        ),
    ):
        status, lines, errors = predict(tmp_path / name)
        assert (status, lines, len(errors)) == (1, [], 1)
        assert sentence in errors[0]


def test_a_transcript_of_ten_thousand_words_gets_a_sentence(predict):
    status, lines, errors = predict("--transcript", "word " * 10_000)
    assert (status, lines) == (1, [])
    assert "the transcript of 10000 words is no utterance (at most 1000)" in errors[0]


def test_a_transcript_of_one_endless_word_gets_a_sentence(predict):
    status, lines, errors = predict("--transcript", "a" * 10_001)
    assert (status, lines) == (1, [])
    assert "the transcript of 10001 characters is no utterance (at most 10000)" in errors[0]


def test_a_transcript_alone_is_enough(predict):
    status, [line], _ = predict("--transcript", "Größe, 好, 😀")
    assert status == 0
    assert (line["file"], line["seconds"], line["transcript"]) == (None, 0, "Größe, 好, 😀")
    assert "audio is missing: the prediction rests on text alone" in line["warnings"]


def test_bytes_that_are_no_text_do_not_stop_it(predict):
    status, [line], _ = predict("--transcript", "oh \udcff no")
    assert (status, line["transcript"]) == (0, "oh \ufffd no")


def test_one_transcript_serves_all_files_or_each_has_its_own(predict, tmp_path):
    one, other = tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav")
    _, lines, _ = predict(one, other, "--transcript", "oh no")
    assert [line["transcript"] for line in lines] == ["oh no", "oh no"]
    _, lines, _ = predict(one, other, "--transcript", "oh no", "--transcript", "hello")
    assert [line["transcript"] for line in lines] == ["oh no", "hello"]
    status, _, [error] = predict(one, "--transcript", "oh no", "--transcript", "hello")
    assert (status, error) == (1, "error: 2 transcripts for 1 recordings: give one for all of them, or one for each.")


def test_nothing_to_predict_gets_a_sentence(predict):
    status, lines, [error] = predict()
    assert (status, lines) == (1, [])
    assert "there is nothing to predict" in error


def test_whisper_transcribes_where_it_is_asked_to(predict, tmp_path, whisper_checkpoint):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    flags = ("--transcribe", "--whisper-model", whisper_checkpoint, "--device", "cpu")
    status, (spoken, silent), errors = predict(tone(tmp_path / "a.wav"), tmp_path / "silent.wav", *flags)
    assert (status, errors[-1:]) == (0, [])
    assert (spoken["transcript"], silent["transcript"]) == ("Kids are talking by the door.", "")
    assert spoken["warnings"] == ["transcribed by whisper tiny.pt", "the model carries the mark 'synthetic'"]
    _, [given], _ = predict(tmp_path / "a.wav", "--transcript", "Kids are talking by the door.")
    assert spoken["probabilities"] == given["probabilities"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--transcribe", "--transcript", "oh"), "--transcript gives the words and --transcribe finds them"),
        (("--whisper-model", "tiny"), "--whisper-model belongs to --transcribe: add that, or leave this out"),
        (("--language", "de"), "--language belongs to --transcribe"),
    ],
)
def test_flags_of_whisper_that_do_not_fit_get_a_sentence(predict, tmp_path, flags, sentence):
    status, lines, [error] = predict(tone(tmp_path / "a.wav"), *flags)
    assert (status, lines) == (1, [])
    assert sentence in error


def test_nothing_to_transcribe_gets_a_sentence(predict):
    status, _, [error] = predict("--transcribe")
    assert status == 1
    assert "there is nothing to predict" in error


def test_an_export_that_takes_no_waveforms_is_to_be_made_again(early_export, tmp_path, capsys):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    metadata = json.loads((early_export / "1" / "metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps(metadata | {"signatures": ["features"]}))
    assert run_command(main, ["--model", str(tmp_path), str(tone(tmp_path / "a.wav"))]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("takes no waveforms: export the run again.")


@pytest.fixture(scope="module")
def recordings(three_speakers):
    """Four recordings of one speaker."""
    return [one.audio for one in three_speakers.utterances if one.speaker == "02"][:4]


def test_enrolling_is_refused_where_a_run_does_not_ask_for_it(predict, recordings):
    file, *others = recordings
    status, lines, [error] = predict(file, "--enrol", *others)
    assert (status, lines) == (1, [])
    assert "--enrol is for runs of --normalise enrolled, and this one is of clip: leave it out" in error


@pytest.mark.parametrize("flags", [[], ["--transcript", "oh no"]])
def test_a_recording_that_enrol_swallowed_gets_a_sentence(predict, recordings, flags):
    status, lines, [error] = predict(*flags, "--enrol", *recordings)
    assert (status, lines) == (1, [])
    assert "--enrol takes every file behind it, and none is left to predict: name that one before it" in error


def test_the_command_line_hands_enrolled_recordings_on(enrolled_export, recordings, capsys):
    file, *others = recordings
    main(["--model", str(enrolled_export), str(file), "--enrol", *map(str, others)])
    found, predictor = json.loads(capsys.readouterr().out), Predictor(enrolled_export)
    assert found == predictor.predict(file, enrolled=predictor.enrol(others)).to_json()


def test_explanations_go_to_a_folder_and_names_that_repeat_get_numbers(predict, tmp_path, recordings):
    (tmp_path / "other").mkdir()
    other = tone(tmp_path / "other" / recordings[0].name)
    folder = tmp_path / "deep" / "why"
    status, lines, errors = predict(recordings[0], other, "--transcript", "oh no", "--explain", folder)
    stem = recordings[0].stem
    assert (status, errors) == (0, [])
    assert [line["explanation"] for line in lines] == [str(folder / f"{stem}.png"), str(folder / f"{stem}-2.png")]
    assert {path.name for path in folder.iterdir()} == {
        f"{stem}{n}.{kind}" for n in ("", "-2") for kind in ("png", "json")
    }
    stored = json.loads((folder / f"{stem}.json").read_text())
    assert {name: stored[name] for name in ("emotion", "probabilities")} == {
        name: lines[0][name] for name in ("emotion", "probabilities")
    }


def test_a_folder_that_cannot_be_made_gets_a_sentence(predict, tmp_path, recordings):
    (tmp_path / "file").touch()
    status, lines, [error] = predict(recordings[0], "--explain", tmp_path / "file" / "why")
    assert (status, lines) == (1, [])
    assert "give another folder to --explain" in error


def speech_like(path, seconds=4):
    """Writes a sound for which a voice gate that takes all sound for speech is enough."""
    rng = np.random.default_rng(0)
    soundfile.write(path, 0.1 * rng.standard_normal(seconds * 16000), 16000)
    return path


@pytest.fixture
def all_sound_is_speech(monkeypatch):
    def read(path):
        waveform, _ = soundfile.read(path, dtype="float32")
        yield waveform, np.ones(len(waveform) // 512, np.float32), ()

    monkeypatch.setattr("emotion_tf.serving.timeline.isolation.iterate_file", lambda _, path, **options: read(path))


@pytest.mark.usefixtures("all_sound_is_speech")
def test_a_timeline_is_printed_stretch_by_stretch_and_then_on_the_whole(predict, tmp_path):
    clip = speech_like(tmp_path / "talk.wav")
    status, lines, _ = predict(clip, "--timeline", "--hop", "1", "--window", "2")
    assert status == 0
    *segments, whole = lines
    assert segments[0]["start"] == 0
    assert segments[-1]["end"] == whole["seconds"] == 4
    assert whole["speech_seconds"] == sum(whole["emotion_seconds"].values()) == 4
    assert "text of the model is taken for absent" in whole["warnings"]


@pytest.mark.usefixtures("all_sound_is_speech")
def test_a_timeline_goes_to_files_by_suffix_and_meets_its_reference(predict, tmp_path):
    clip = speech_like(tmp_path / "talk.wav")
    outputs = [tmp_path / f"talk{suffix}" for suffix in (".rttm", ".TextGrid", ".vtt")]
    # The recording may stand behind the files to write, too.
    status, [whole], _ = predict("--timeline", "--output", *outputs, clip)
    assert status == 0
    assert all(path.exists() for path in outputs)
    status, [again], _ = predict(clip, "--timeline", "--output", outputs[2], "--reference", outputs[0])
    assert again["diarisation"]["error_rate"] == pytest.approx(0, abs=1e-3)
    assert {name: value for name, value in again.items() if name != "diarisation"} == whole


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.wav", "--hop", "1"], "--hop belongs to --timeline"),
        (["a.wav", "--reference", "a.rttm"], "--reference belongs to --timeline"),
        (["--timeline"], "--timeline takes one recording, and 0 are given"),
        (["a.wav", "b.wav", "--timeline"], "--timeline takes one recording, and 2 are given"),
        (["a.wav", "--timeline", "--transcript", "oh"], "leave --transcript out"),
        (["a.wav", "--timeline", "--reject-below", "0.5"], "leave --reject-below out"),
        (["a.wav", "--timeline", "--output", "a.doc"], "takes one recording, and 2 are given"),
        (["a.csv", "--timeline", "--output", "a.csv"], "a.csv is what is to be predicted"),
    ],
)
def test_flags_of_timelines_that_do_not_fit_are_refused(predict, arguments, sentence):
    status, lines, errors = predict(*arguments)
    assert (status, lines) == (1, [])
    assert sentence in errors[-1]


@pytest.mark.slow
def test_lines_of_context_go_before_one_utterance(context_run, exported, capsys):
    def run(*arguments):
        status = run_command(main, ["--model", str(exported(context_run)), *arguments])
        output = capsys.readouterr()
        return status, [json.loads(line) for line in output.out.splitlines()], output.err

    _, [alone], _ = run("--transcript", "line 5")
    status, [line], errors = run("--transcript", "line 5", "--context", "train 1 line 3", "train 1 line 4")
    assert (status, errors, line["context"]) == (0, "", ["train 1 line 3", "train 1 line 4"])
    assert line["probabilities"] != alone["probabilities"]
    assert "context" not in alone
    status, _, errors = run("--transcript", "line 5", "--context", "a", "b", "c")
    assert status == 1
    assert errors == "error: 3 lines of context are given, and this model reads 2 at most: give no more.\n"
    status, _, errors = run("a.wav", "b.wav", "--context", "a")
    assert (status, "--context stands before one utterance, and 2 are given: name one file" in errors) == (1, True)
    status, _, errors = run("a.wav", "--output", "b.csv", "--context", "a")
    assert (status, "--context stands before one utterance: leave it or --output out" in errors) == (1, True)


def test_a_model_without_context_refuses_lines_of_it(predict):
    status, lines, errors = predict("--transcript", "oh no", "--context", "hi")
    assert (status, lines) == (1, [])
    assert errors == ["error: 1 lines of context are given, and this model reads none: give no more."]
