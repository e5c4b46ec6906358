"""Tests of the page without a browser: what is shown of what is given, and that it survives odd situations."""

import importlib.util
import io
import json
import shutil
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

pytest.importorskip("streamlit")

from streamlit.testing.v1 import AppTest

from emotion_tf.serving import Predictor, demo_page, demo_recording
from emotion_tf.serving.demo_page import USUAL_LEAST
from pipelines.command import InputError

TIMEOUT = 120


def page(root, chosen, whisper):
    """What AppTest runs: a script of its own, without this module around it."""
    from pathlib import Path

    from emotion_tf.serving import demo_page

    demo_page.main(Path(root), Path(chosen) if chosen else None, whisper)


@pytest.fixture
def open_page(tmp_path, monkeypatch):
    """From an export, or None, to the page."""
    # Streamlit puts its page into the place of __main__ and leaves it there: processes of later tests would run it.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def start(export=None, root=tmp_path / "none", whisper=None):
        kwargs = {"root": str(root), "chosen": str(export) if export else None, "whisper": whisper}
        return checked(AppTest.from_function(page, kwargs=kwargs, default_timeout=TIMEOUT).run())

    return start


def checked(app):
    assert not app.exception, app.exception
    return app


def wav(samples, rate=22050):
    written = io.BytesIO()
    soundfile.write(written, samples, rate, format="WAV")
    return written.getvalue()


def noise(seconds=1.0, rate=22050):
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))


def upload(app, name, content, kind="audio/wav"):
    app = checked(app.segmented_control(key="source").set_value("File").run())
    return checked(app.file_uploader[0].set_value((name, content, kind)).run())


def words(app):
    return " ".join(one.value for one in app.markdown)


def bars(app):
    return " ".join(one.proto.body for one in app.get("html"))


def test_without_a_model_it_says_how_to_make_one(open_page):
    [error] = open_page().error
    assert "make demo" in error.value


def test_it_is_made_ready_for_a_first_clip_which_may_fail(open_page, loud_export, monkeypatch):
    read, threads = [], []

    def refuse(content, *_, **__):
        read.append(soundfile.info(io.BytesIO(content)).samplerate)
        threads.append(threading.current_thread())
        raise InputError("no memory")

    monkeypatch.setattr(demo_recording, "read_upload", refuse)
    demo_page._load.clear()
    open_page(loud_export)
    for _ in range(100):
        if read:
            break
        time.sleep(0.1)
    assert read == [48000]
    assert threads[0] is not threading.main_thread()


def test_it_waits_for_a_clip_and_answers_as_predict_does(open_page, loud_export):
    app = open_page(loud_export)
    assert "Record yourself" in app.info[0].value
    assert "write what is said" in app.info[0].value, "the model reads words"
    content = wav(noise())
    app = upload(app, "a.wav", content)
    expected = Predictor(loud_export).predict(content)
    assert f"### {expected.emotion}, {max(expected.probabilities.values()):.2f}" in words(app)
    assert not app.error


def test_the_recorder_is_answered_like_a_file(open_page, loud_export):
    content = wav(noise(rate=48000), 48000)
    app = checked(open_page(loud_export).audio_input[0].set_value(("r.wav", content, "audio/wav")).run())
    expected = Predictor(loud_export).predict(content)
    assert f"### {expected.emotion}, {max(expected.probabilities.values()):.2f}" in words(app)


def test_below_the_threshold_the_answer_is_not_sure(open_page, loud_export):
    app = upload(open_page(loud_export), "a.wav", wav(noise()))
    assert app.slider(key="least").value == USUAL_LEAST
    assert "### not sure" not in words(app)
    assert "### not sure" in words(checked(app.slider(key="least").set_value(1.0).run()))


def test_words_alone_are_answered_and_change_the_answer(open_page, loud_export):
    app = open_page(loud_export)
    app = checked(app.text_input[0].set_value("A sentence of some words").run())
    assert "### calm" in words(app)
    assert max(column.weight for column in app.columns) <= 0.5, "pictures would be larger than the screen"


def test_an_example_brings_its_sentence(open_page, loud_export):
    app = checked(open_page(loud_export).segmented_control(key="source").set_value("Example").run())
    app = checked(app.pills(key="example").set_value("sad").run())
    assert len(app.text_input[0].value.split()) > 3
    assert [table.value for table in app.table], "what each modality says"


@pytest.mark.parametrize("content", [b"", b"no sound at all", wav(noise())[:60]])
def test_what_cannot_be_read_gets_a_sentence_and_the_next_file_an_answer(open_page, loud_export, content):
    app = upload(open_page(loud_export), "broken.mp3", content)
    [error] = app.error
    assert error.value.startswith("broken.mp3 cannot be used")
    assert "### " in words(upload(app, "a.wav", wav(noise())))


def test_silence_gets_no_emotion(open_page, loud_export):
    app = upload(open_page(loud_export), "silence.wav", wav(np.zeros(16000)))
    assert "nothing here that this model reads" in app.warning[0].value
    assert "### " not in words(app)
    assert "class=most" not in bars(app)
    assert not any("nothing that this model reads" in one.value for one in app.caption), "said once more"


def test_a_clip_longer_than_five_seconds_gets_a_timeline(open_page, loud_export):
    app = upload(open_page(loud_export), "long.wav", wav(noise(6)))
    assert "Timeline" in [one.value for one in app.subheader]
    assert "### " in words(app)


def test_what_is_longer_than_an_utterance_gets_a_timeline_alone(open_page, loud_export):
    app = upload(open_page(loud_export), "long.wav", wav(noise(31, 16000), 16000))
    assert "longer than 30 s" in app.info[0].value
    assert "Timeline" in [one.value for one in app.subheader]
    assert "### " not in words(app)


def test_a_model_of_whisper_comes_first_and_may_be_a_file(open_page, loud_export, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    given = tmp_path / "own.pt"
    given.touch()
    app = upload(open_page(loud_export, whisper=str(given)), "a.wav", wav(noise()))
    app = checked(app.toggle(key="transcribe").set_value(True).run())
    assert app.selectbox(key="whisper").options[:2] == ["own.pt", "tiny.en"]
    assert app.error[0].value.startswith("whisper own.pt cannot be used")


def test_exports_of_one_name_are_told_apart(open_page, loud_export, tmp_path):
    for name in "ab":
        folder = tmp_path / "saved" / name
        shutil.copytree(loud_export, folder)
        for path in folder.rglob("metadata.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "one"}))
    titles = open_page(root=tmp_path / "saved").selectbox(key="model").options
    assert len(set(titles)) == 2
    assert all(title.startswith("one (") for title in titles)


def test_two_models_answer_side_by_side(open_page, loud_export, tmp_path):
    for name in "ab":
        shutil.copytree(loud_export, tmp_path / "saved" / name)
    app = open_page(root=tmp_path / "saved")
    app = checked(app.selectbox(key="other").set_value(app.selectbox(key="other").options[1]).run())
    app = upload(app, "a.wav", wav(noise()))
    assert [one.value for one in app.markdown if one.value in ("**a**", "**b**")] == ["**a**", "**b**"]


def test_a_model_that_went_is_named_and_another_one_answers(open_page, loud_export, tmp_path):
    for name in "ab":
        shutil.copytree(loud_export, tmp_path / "saved" / name)
    app = upload(open_page(root=tmp_path / "saved"), "a.wav", wav(noise()))
    shutil.rmtree(tmp_path / "saved" / "a")
    app = checked(app.run())
    assert "The model a is no longer" in app.warning[0].value
    assert "**b**" in words(app)
    shutil.rmtree(tmp_path / "saved" / "b")
    [error] = checked(app.run()).error
    assert "No exported model" in error.value


def test_the_card_says_that_there_are_no_scores(open_page, loud_export):
    app = open_page(loud_export)
    app.session_state["tab"] = "Models and scores"
    app = checked(app.run())
    assert "holds no scores" in " ".join(one.value for one in app.caption)
    assert "Acted speech is not everyday speech" in words(app)
