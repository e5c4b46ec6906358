"""Tests of emotion_tf.predict: any recording in, one line of JSON out, and a sentence for what is no utterance."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from test_video import grey, write_video

from emotion_tf.predict import main
from emotion_tf.serving.predictor import Answer, Predictor, enrol, find_version
from emotion_tf.serving.predictor import predict as predict_one
from pipelines import audio
from pipelines.clips import read_clip
from pipelines.command import InputError, run_command
from pipelines.video import read_frames, to_array


@pytest.fixture(scope="module")
def model(early_export):
    return Predictor(early_export)


@pytest.fixture
def predict(early_export, capsys, model, monkeypatch):
    """Runs the command in this process; the model is loaded once for all."""
    monkeypatch.setattr("emotion_tf.predict.Predictor", lambda path: model)

    def run(*arguments):
        status = run_command(main, ["--model", str(early_export), *map(str, arguments)])
        output = capsys.readouterr()
        return status, [json.loads(line) for line in output.out.splitlines()], output.err.splitlines()

    return run


def tone(path, sample_rate=16000, seconds=1.5, channels=1, **settings):
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    samples = 0.3 * np.sin(2 * np.pi * 220 * times) * (1 + 0.5 * np.sin(2 * np.pi * 4 * times))
    soundfile.write(path, np.tile(samples[:, None], channels), sample_rate, **settings)
    return path


@pytest.mark.parametrize(
    ("name", "sample_rate", "channels"),
    [("a.wav", 16000, 1), ("b.wav", 44100, 2), ("c.flac", 48000, 1), ("d.mp3", 44100, 1), ("e.wav", 8000, 2)],
)
def test_any_format_and_rate_gives_one_line_of_json(predict, tmp_path, name, sample_rate, channels):
    path = tone(tmp_path / name, sample_rate, channels=channels)
    status, [answer], errors = predict(path, "--transcript", "oh no")
    assert (status, errors) == (0, [])
    keys = ["file", "transcript", "emotion", "probabilities", "changes_without", "seconds", "warnings"]
    assert list(answer) == keys
    assert answer["emotion"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["seconds"] == pytest.approx(1.5, abs=0.1)
    assert (answer["file"], answer["transcript"]) == (str(path), "oh no")
    assert answer["warnings"] == ["the model carries the mark 'synthetic'"]


def test_the_rate_of_a_recording_changes_little(predict, tmp_path):
    paths = [tone(tmp_path / f"{rate}.wav", rate) for rate in (16000, 48000)]
    _, (one, other), _ = predict(*paths)
    for emotion, probability in one["probabilities"].items():
        assert other["probabilities"][emotion] == pytest.approx(probability, abs=0.02)


def test_a_bad_file_is_named_and_the_others_are_told(predict, tmp_path):
    good = tone(tmp_path / "good.wav")
    (tmp_path / "bad.wav").write_text("no sound")
    status, answers, errors = predict(good, tmp_path / "bad.wav", good, tmp_path / "none.wav")
    assert status == 1
    assert [answer["file"] for answer in answers] == [str(good)] * 2
    assert len(errors) == 3
    assert "bad.wav cannot be read as audio" in errors[0]
    assert "none.wav does not exist" in errors[1]
    assert errors[2] == "error: 2 of 4 inputs could not be used, as said above."


def test_files_that_are_no_utterance_get_one_sentence_each(predict, tmp_path):
    tone(tmp_path / "empty.wav", seconds=0)
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 16000, subtype="FLOAT")
    tone(tmp_path / "long.flac", seconds=20 * 60)
    for name, sentence in (
        ("empty.wav", "holds no samples"),
        ("nan.wav", "holds NaN or infinite samples"),
        ("long.flac", "is 1200 s long, and an utterance has at most 60 s: cut it up"),
    ):
        status, answers, errors = predict(tmp_path / name)
        assert (status, answers, len(errors)) == (1, [], 2)
        assert sentence in errors[0]


def test_a_transcript_of_ten_thousand_words_gets_a_sentence(predict):
    status, answers, errors = predict("--transcript", "word " * 10_000)
    assert (status, answers) == (1, [])
    assert "the transcript of 10000 words is no utterance (at most 1000)" in errors[0]


def test_words_alone_are_enough(predict):
    status, [answer], _ = predict("--transcript", "Größe, 好, 😀")
    assert status == 0
    assert (answer["file"], answer["seconds"], answer["transcript"]) == (None, 0, "Größe, 好, 😀")
    assert "audio is missing: the answer rests on text alone" in answer["warnings"]


def test_bytes_that_are_no_text_do_not_stop_it(predict):
    status, [answer], _ = predict("--transcript", "oh \udcff no")
    assert (status, answer["transcript"]) == (0, "oh \ufffd no")


def warnings_of(model, *arguments):
    return " | ".join(predict_one(model, *arguments)["warnings"])


def test_warnings_say_what_a_reader_should_know(model, tmp_path):
    sound = tone(tmp_path / "a.wav")
    assert "text is missing: the answer rests on audio alone" in warnings_of(model, sound, "")
    assert "the answer is the training prior" in warnings_of(model, None, " ")
    assert "much longer than the clips" in warnings_of(model, tone(tmp_path / "long.wav", seconds=30), "oh no")
    assert "the transcript is long" in warnings_of(model, sound, "word " * 100)
    soundfile.write(tmp_path / "faint.wav", np.full(16000, 2 / 32768), 16000)
    assert "almost silent" in warnings_of(model, tmp_path / "faint.wav", "oh no")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    assert "audio is missing" in warnings_of(model, tmp_path / "silent.wav", "oh no")


def test_what_a_model_does_not_use_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(model.metadata, "modalities", ["text"])
    assert "this model does not use audio: it was ignored" in warnings_of(model, tone(tmp_path / "a.wav"), "oh no")


def test_everything_absent_is_the_training_prior(model, early_run):
    found = predict_one(model, None, "")["probabilities"]
    prior = dict(zip(early_run.metadata().emotions, early_run.metadata().prior, strict=True))
    assert found == pytest.approx(prior, abs=1e-5)


def test_a_stored_recording_gets_the_calibrated_probabilities_of_predictions_csv(model, early_run, three_speakers):
    row = early_run.predictions().iloc[0]
    utterance = next(one for one in three_speakers.utterances if one.utterance_id == row["utterance_id"])
    found = predict_one(model, utterance.audio, utterance.transcript)["probabilities"]
    assert found == pytest.approx({emotion: row[f"probability_{emotion}"] for emotion in found}, abs=1e-4)


def test_a_model_of_several_modalities_tells_what_each_contributes(model, tmp_path):
    file = tone(tmp_path / "a.wav")
    whole, silent, mute = (predict_one(model, *given) for given in ((file, "oh no"), (None, "oh no"), (file, "")))
    chosen = whole["emotion"]
    for modality, rest in (("audio", silent), ("text", mute)):
        change = np.log(rest["probabilities"][chosen]) - np.log(whole["probabilities"][chosen])
        assert whole["changes_without"][modality] == pytest.approx(change, abs=1e-4)
    assert "shares" not in whole  # Of a concatenation.


def test_a_model_that_weighs_its_modalities_tells_their_shares(late_export, tmp_path):
    model, file = Predictor(late_export), tone(tmp_path / "a.wav")
    assert predict_one(model, file, "oh no")["shares"] == {"audio": 0.5, "text": 0.5}
    assert predict_one(model, file, "")["shares"] == {"audio": 1, "text": 0}
    assert predict_one(model, file, "")["changes_without"]["text"] == 0
    assert predict_one(model, None, "")["shares"] == {"audio": 0, "text": 0}


def test_one_transcript_serves_all_files_or_each_has_its_own(predict, tmp_path):
    one, other = tone(tmp_path / "a.wav"), tone(tmp_path / "b.wav")
    _, answers, _ = predict(one, other, "--transcript", "oh no")
    assert [answer["transcript"] for answer in answers] == ["oh no", "oh no"]
    _, answers, _ = predict(one, other, "--transcript", "oh no", "--transcript", "hello")
    assert [answer["transcript"] for answer in answers] == ["oh no", "hello"]
    status, _, [error] = predict(one, "--transcript", "oh no", "--transcript", "hello")
    assert (status, error) == (1, "error: 2 transcripts for 1 recordings: give one for all of them, or one for each.")


def test_nothing_to_predict_gets_a_sentence(predict):
    status, answers, [error] = predict()
    assert (status, answers) == (1, [])
    assert "there is nothing to predict" in error


def test_a_run_an_export_and_a_version_are_found(early_export, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"has no export: make it with python -m emotion_tf.export --run"):
        find_version(run)
    (run / "export").symlink_to(early_export)
    assert find_version(run) == find_version(early_export) == find_version(early_export / "1") == early_export / "1"


def test_the_newest_version_is_taken(tmp_path):
    for version in ("2", "10"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    assert find_version(tmp_path).name == "10"


def test_a_folder_that_is_no_model_gets_a_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no exported model: name a run"):
            Predictor(folder)


def test_a_corrupt_export_gets_a_sentence(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"metadata\.json is missing or corrupt"):
        Predictor(tmp_path)
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(InputError, match="does not load"):
        Predictor(tmp_path)


def test_whisper_hears_the_words_where_it_is_asked_to(predict, tmp_path, whisper_checkpoint):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    flags = ("--transcribe", "--whisper-model", whisper_checkpoint, "--device", "cpu")
    status, (heard, silent), errors = predict(tone(tmp_path / "a.wav"), tmp_path / "silent.wav", *flags)
    assert (status, errors[-1:]) == (0, [])
    assert (heard["transcript"], silent["transcript"]) == ("Kids are talking by the door.", "")
    assert heard["warnings"] == ["transcribed by whisper tiny.pt", "the model carries the mark 'synthetic'"]
    _, [told], _ = predict(tmp_path / "a.wav", "--transcript", "Kids are talking by the door.")
    assert heard["probabilities"] == told["probabilities"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--transcribe", "--transcript", "oh"), "--transcript gives the words and --transcribe hears them"),
        (("--whisper-model", "tiny"), "--whisper-model belongs to --transcribe: add that, or leave this out"),
        (("--language", "de"), "--language belongs to --transcribe"),
    ],
)
def test_flags_of_whisper_that_do_not_fit_get_a_sentence(predict, tmp_path, flags, sentence):
    status, answers, [error] = predict(tone(tmp_path / "a.wav"), *flags)
    assert (status, answers) == (1, [])
    assert sentence in error


def test_nothing_to_transcribe_gets_a_sentence(predict):
    status, _, [error] = predict("--transcribe")
    assert status == 1
    assert "there is nothing to predict" in error


def test_several_emotions_are_told_the_most_probable_first():
    metadata = {"emotions": ["anger", "fear", "joy"], "is_multi_label": True, "modalities": ["text"], "marks": []}
    metadata |= {"longest_seconds": 0.0, "max_tokens": 64}
    answer = Answer(np.array([[0.2, 0.9, 0.6]], np.float32), np.array([[True, False, True]]), None)
    model = SimpleNamespace(metadata=metadata, answer=lambda waveform, transcripts: answer, seen=None)
    found = predict_one(model, None, "oh no")
    assert found["emotion"] == "fear"  # The most probable, though its threshold lies higher.
    assert found["emotions"] == ["joy", "anger"]


def test_one_emotion_has_no_list(model):
    assert "emotions" not in predict_one(model, None, "oh no")


def test_an_export_that_needs_states_of_an_encoder_says_which(tmp_path, capsys):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    encoder = {"kind": "whisper", "model": "base", "layer": 6}
    (tmp_path / "metadata.json").write_text(json.dumps({"encoder": encoder}))
    assert run_command(main, ["--model", str(tmp_path), str(tone(tmp_path / "a.wav"))]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "needs encoder states of whisper base, layer 6, which predict does not compute: give them to its" in line


def test_an_export_of_before_is_to_be_made_again(early_export, monkeypatch):
    before = SimpleNamespace(structured_outputs={"probabilities": None, "emotions": None})
    loaded = SimpleNamespace(signatures={"serving_default": before})
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loaded)
    with pytest.raises(InputError, match="was made by an older version"):
        Predictor(early_export)


@pytest.fixture(scope="module")
def enrolling(enrolled_export):
    return Predictor(enrolled_export)


@pytest.fixture(scope="module")
def recordings(three_speakers):
    """Four recordings of one speaker."""
    return [one.audio for one in three_speakers.utterances if one.speaker == "02"][:4]


def frames_of(path):
    log_mel, num_frames = audio.log_mel(audio.to_float(audio.decode(path))[None], audio.FrontEnd())
    return log_mel.numpy()[0, : int(num_frames[0])].astype(np.float64)


def test_enrolled_recordings_normalise_the_clip_as_numpy_says(enrolling, recordings):
    file, *others = recordings
    found = predict_one(enrolling, file, "", enrolled=enrol(enrolling, others))
    frames = np.concatenate([frames_of(other) for other in others])
    statistics = frames.mean(axis=0)[None], frames.std(axis=0)[None]
    expected = enrolling(audio.pad_together([audio.decode(file)]), [""], *statistics)[0]
    assert list(found["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert "the model carries the mark 'enrolled speaker'" in found["warnings"]
    strange = predict_one(enrolling, file, "")
    assert strange["probabilities"] != found["probabilities"]
    assert "no speaker is enrolled (--enrol): the statistics of training stand in" in strange["warnings"]


def test_the_recording_itself_is_not_enrolled_whatever_its_name(enrolling, recordings, tmp_path):
    file, *others = recordings
    copy = tmp_path / "copy.wav"
    shutil.copy(file, copy)
    expected = predict_one(enrolling, file, "", enrolled=enrol(enrolling, others))
    for same in (file, copy):
        found = predict_one(enrolling, file, "", enrolled=enrol(enrolling, [same, *others]))
        assert found["probabilities"] == expected["probabilities"]
        assert f"{same}: this recording itself, so not enrolled for it" in found["warnings"]
    alone = predict_one(enrolling, file, "", enrolled=enrol(enrolling, [copy]))
    assert "no sound of the speaker beside this is enrolled: the statistics of training stand in" in alone["warnings"]
    assert alone["probabilities"] == predict_one(enrolling, file, "")["probabilities"]


def test_silent_recordings_enrol_nobody(enrolling, recordings, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    found = predict_one(enrolling, recordings[0], "", enrolled=enrol(enrolling, [tmp_path / "silent.wav"]))
    assert found["probabilities"] == predict_one(enrolling, recordings[0], "")["probabilities"]


def test_the_command_enrols_and_refuses_where_a_run_does_not_ask_for_it(enrolled_export, predict, recordings, capsys):
    file, *others = map(str, recordings)
    status, answers, [error] = predict(file, "--enrol", *others)
    assert (status, answers) == (1, [])
    assert "--enrol is for runs of --normalise enrolled, and this one is of clip: leave it out" in error


@pytest.mark.parametrize("words", [[], ["--transcript", "oh no"]])
def test_a_recording_that_enrol_swallowed_gets_a_sentence(predict, recordings, words):
    status, answers, [error] = predict(*words, "--enrol", *map(str, recordings))
    assert (status, answers) == (1, [])
    assert "--enrol takes every file behind it, and none is left to predict: name that one before it" in error


def test_the_command_line_hands_enrolled_recordings_on(enrolling, enrolled_export, recordings, capsys, monkeypatch):
    monkeypatch.setattr("emotion_tf.predict.Predictor", lambda path: enrolling)
    file, *others = recordings
    main(["--model", str(enrolled_export), str(file), "--enrol", *map(str, others)])
    found = json.loads(capsys.readouterr().out)
    assert (
        found["probabilities"] == predict_one(enrolling, file, "", enrolled=enrol(enrolling, others))["probabilities"]
    )


def test_a_bad_recording_to_enrol_gets_a_sentence(enrolling, tmp_path):
    with pytest.raises(InputError, match=r"none\.wav does not exist"):
        enrol(enrolling, [tmp_path / "none.wav"])
    with pytest.raises(InputError, match="is 70 s long, and an utterance has at most 60 s"):
        enrol(enrolling, [tone(tmp_path / "long.wav", seconds=70)])


@pytest.fixture(scope="module")
def seeing(seen_export):
    return Predictor(seen_export)


@pytest.fixture
def filmed(tmp_path):
    """A video of grey pictures, two seconds long, with a tone."""
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(96000) / 48000)
    return write_video(tmp_path / "filmed.mp4", [grey(10 * number + 20) for number in range(20)], sound=sound)


def test_a_video_is_heard_and_seen(seeing, filmed):
    found = predict_one(seeing, filmed, "oh no")
    clip = read_clip(filmed, filmed, seeing.seen)
    waveform, frames = audio.pad_together([clip.waveform]), to_array(clip.frames.images, seeing.seen)[np.newaxis]
    [expected] = seeing(waveform, ["oh no"], video_frames=frames)
    assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
    assert found["seconds"] == pytest.approx(2, abs=0.1)
    assert "no face was found in 4 of the 4 frames" in " | ".join(found["warnings"])
    [blind] = seeing(waveform, ["oh no"])
    change = np.log(blind[expected.argmax()]) - np.log(expected.max())
    assert found["changes_without"]["video"] == pytest.approx(change, abs=1e-4)
    assert set(found["changes_without"]) == set(found["shares"]) == {"audio", "text", "video"}


def test_a_drawn_face_alone_is_seen_as_predictions_csv_says(seeing, seen_run, seen_speakers):
    row = seen_run.predictions().iloc[0]
    utterance = next(one for one in seen_speakers.utterances if one.utterance_id == row["utterance_id"])
    found = predict_one(seeing, utterance.video, utterance.transcript)
    assert "audio is missing: the answer rests on text and video alone" in found["warnings"]
    # Without sound the frames are spread over the whole clip, not over its spoken part.
    frames = to_array(read_frames(utterance.video, seeing.seen).images, seeing.seen)[np.newaxis]
    [expected] = seeing(np.zeros((1, 1)), [utterance.transcript], video_frames=frames)
    assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_a_model_without_sight_hears_a_video_and_one_with_it_copes_without(model, seeing, filmed, tmp_path):
    found = predict_one(model, filmed, "oh no")
    [expected] = model(audio.pad_together([audio.decode(filmed)]), ["oh no"])
    assert list(found["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
    assert "video is missing: the answer rests on audio and text alone" in warnings_of(
        seeing, tone(tmp_path / "a.wav"), "oh no"
    )
    assert "text and video are missing: the answer rests on audio alone" in warnings_of(seeing, tmp_path / "a.wav", "")


def test_a_video_of_one_picture_says_that_nothing_moves(seeing, tmp_path):
    path = write_video(tmp_path / "still.mp4", [grey(90)])
    assert "the video holds a single picture: nothing moves in it" in warnings_of(seeing, path, "oh no")


def test_videos_that_cannot_be_used_get_one_sentence_each(seeing, model, tmp_path):
    def refused(path, sentence, by=seeing):
        with pytest.raises(InputError, match=sentence):
            predict_one(by, path, "")

    long = write_video(tmp_path / "long.mp4", [grey(9)] * 3, [0, 30000, 61000])
    refused(long, "long.mp4 is 61 s long, and an utterance has at most 60 s: cut it up")
    refused(write_video(tmp_path / "mute.mp4", [grey(9)] * 3), "mute.mp4 holds pictures alone, and no sound", model)
    (tmp_path / "text.mp4").write_text("no video")
    refused(tmp_path / "text.mp4", "text.mp4 cannot be read as a video")
    refused(tmp_path / "none.mp4", "none.mp4 does not exist")
    refused(write_video(tmp_path / "sound.mp4", [], sound=np.zeros(48000)), "sound.mp4 holds no pictures, only sound")
