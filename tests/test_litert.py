"""Tests of emotion_tf.serving.litert: the answers of the SavedModel, without TensorFlow."""

import concurrent.futures
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from test_app import wav
from test_predictor import tone

from emotion_tf.exporting import litert as converter
from emotion_tf.exporting import portable
from emotion_tf.predict import main
from emotion_tf.serving import Predictor, litert
from emotion_tf.serving.app import create_app
from emotion_tf.serving.litert import LiteRT
from emotion_tf.serving.loading import model_sha256
from emotion_tf.serving.server_settings import ServerSettings
from pipelines.command import InputError, run_command
from pipelines.text import vocabulary_sha256


@pytest.fixture(scope="module")
def export(early_run, early_export, tmp_path_factory):
    """The export of early fusion, with files of LiteRT beside the SavedModel."""
    pytest.importorskip("ai_edge_litert")
    folder = tmp_path_factory.mktemp("litert") / "export"
    shutil.copytree(early_export, folder)
    metadata = json.loads((folder / "1" / "metadata.json").read_text())
    sources, target = (tmp_path_factory.mktemp(name) for name in ("model", "front_end")), folder / "1" / "litert"
    target.mkdir()
    model, front_end = sources
    portable.write_source(early_run.model(), metadata, model / "1", 1)
    portable.write_front_end(early_run, metadata, front_end / "1")
    converter.convert(str(model / "1"), str(target), converter.FLOAT)
    converter.convert(str(front_end / "1"), str(target), converter.FRONT_END)
    return folder


@pytest.fixture(scope="module")
def saved_model(export):
    return Predictor(export)


@pytest.fixture(scope="module")
def predictor(export):
    return Predictor(export, "litert")


@pytest.fixture(scope="module")
def utterances(three_speakers, tmp_path_factory):
    """Recordings of one to many syllables with their words, one without words, words alone, and nothing."""
    chosen = three_speakers.utterances[:12:2]
    files, words = [one.audio for one in chosen], [one.transcript for one in chosen]
    buzz = tone(tmp_path_factory.mktemp("tone") / "a.wav", 44100, channels=2)
    return [*files, buzz, None, None], [*words, "", "oh no", ""]


def test_answers_are_those_of_the_saved_model(predictor, saved_model, utterances):
    assert (predictor.model_format, saved_model.model_format) == ("litert", "savedmodel")
    options = {"with_embedding": True, "with_changes": True}
    expected = saved_model.predict_many(*utterances, **options)
    for found, other in zip(predictor.predict_many(*utterances, **options), expected, strict=True):
        assert (found.file, found.seconds, found.warnings) == (other.file, other.seconds, other.warnings)
        assert found.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert found.changes_without == pytest.approx(other.changes_without, abs=1e-4)
        np.testing.assert_allclose(found.embedding, other.embedding, atol=1e-4)
        assert found.shares is None


def test_a_clip_is_answered_without_importing_tensorflow_or_keras(export, saved_model, tmp_path):
    code = (
        "import sys; from emotion_tf.predict import main; main(sys.argv[1:])\n"
        "assert not {'tensorflow', 'keras', 'tensorflow_text'} & set(sys.modules)"
    )
    file = tone(tmp_path / "a.wav")
    flags = ["--model", export / "1" / "litert", file, "--transcript", "They met a crowd", "--reject-below", "0.1"]
    command = [sys.executable, "-c", code, *map(str, flags)]
    finished = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stderr == ""
    expected = saved_model.predict(file, "They met a crowd").to_json()
    found = json.loads(finished.stdout)
    assert found.keys() == expected.keys()
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)


def test_threads_share_it(predictor, utterances):
    expected = predictor.predict_many(*utterances)

    def ask(number):
        file, transcript = (values[number % len(values)] for values in utterances)
        return predictor.predict(file, transcript)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for number, answer in enumerate(pool.map(ask, range(4 * len(expected)))):
            assert answer.probabilities == expected[number % len(expected)].probabilities


def test_a_server_answers_with_it_and_stays_with_its_format(export, predictor, tmp_path, caplog):
    folder = tmp_path / "export"
    shutil.copytree(export, folder)
    app = create_app({"default": Predictor(folder, "litert")}, ServerSettings(poll_seconds=0.05))
    with TestClient(app) as client, caplog.at_level("INFO"):
        found = client.post("/v1/classify", files={"file": wav(2.0)}, data={"transcript": "oh no"}).json()
        expected = predictor.predict(wav(2.0), "oh no").probabilities
        assert found["probabilities"] == pytest.approx(expected, abs=2e-6)
        assert client.post("/v1/timeline", files={"file": wav(4.0)}).status_code == 200
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_bytes(bytes(16000))
            assert socket.receive_json()["end"] == 0.5
        refused = client.post("/v1/models/default:predict", json={"instances": [{"transcript": "oh no"}]})
        assert refused.status_code == 400
        assert "send recordings and words to /v1/classify" in refused.json()["error"]
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
        assert client.get("/v1/models/default/metadata").status_code == 422
        # One version lacks this format, the next one has it.
        shutil.copytree(folder / "1", folder / "2", ignore=shutil.ignore_patterns("litert"))
        while "version refused" not in caplog.text:
            time.sleep(0.05)
        assert "holds no litert/model.tflite" in caplog.text
        shutil.copytree(folder / "1", folder / "3")
        while "version served" not in caplog.text:
            time.sleep(0.05)
        assert client.post("/v1/classify", files={"file": wav()}).status_code == 200


def test_a_batch_of_no_utterances_gets_a_sentence(predictor, saved_model):
    for one in (predictor, saved_model):
        with pytest.raises(InputError, match="a batch of no utterances has no answer"):
            one.predict_batch(np.zeros((0, 16000), np.float32), [])


@pytest.mark.parametrize("scale", [np.nan, 32768])
def test_what_the_saved_model_refuses_is_refused_in_the_same_words(predictor, saved_model, scale):
    waveforms = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 9000)) * scale
    with pytest.raises(InputError) as expected:
        saved_model.predict_batch(waveforms, [""])
    with pytest.raises(InputError) as found:
        predictor.predict_batch(waveforms, [""])
    assert str(found.value) == str(expected.value)


def test_what_is_named_decides_what_answers(export, tmp_path):
    version = export / "1"
    for path, name in (
        (export, None), (version, "savedmodel"), (version, "litert"), (version / "litert", None),
        (version / "litert" / "model.tflite", None),
    ):  # fmt: skip
        found = Predictor(path, name)
        assert found.folder == version
        is_litert = "litert" in (name, path.name, path.parent.name)
        assert found.model_format == ("litert" if is_litert else "savedmodel")
    for path, name, sentence in (
        (
            version / "litert",
            "savedmodel",
            "litert is of LiteRT, and the SavedModel is asked for: name its version folder",
        ),
        (version / "litert" / "model_int8.tflite", None, "does not exist: export the run with --format litert"),
        (tmp_path, "litert", "holds no exported model"),
    ):
        with pytest.raises(InputError, match=sentence):
            Predictor(path, name)


def test_a_copy_without_the_saved_model_answers(export, tmp_path):
    shutil.copytree(export / "1" / "litert", tmp_path / "1" / "litert")
    shutil.copy(export / "1" / "metadata.json", tmp_path / "1")
    assert Predictor(tmp_path).model_format == "litert"
    shutil.move(tmp_path / "1" / "metadata.json", tmp_path / "1" / "litert")
    assert Predictor(tmp_path / "1" / "litert").folder == tmp_path / "1" / "litert"
    (tmp_path / "1" / "litert" / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(InputError, match=r"model\.tflite does not load .*: export the run again with --format litert"):
        Predictor(tmp_path / "1" / "litert")


def test_an_export_without_the_format_gets_a_sentence(early_export):
    with pytest.raises(InputError, match=r"holds no litert/model\.tflite: export the run again with --format litert"):
        Predictor(early_export, "litert")


def test_rows_of_both_formats_are_of_two_models(predictor, saved_model):
    both = {model_sha256(one.folder, one.files) for one in (predictor, saved_model)}
    assert len(both) == 2


def test_what_needs_tensorflow_gets_a_sentence(export, predictor, tmp_path, capsys):
    flags = ["--model", str(export), "--format", "litert", "--explain", str(tmp_path), str(tone(tmp_path / "a.wav"))]
    assert run_command(main, flags) == 1
    assert "--explain takes gradients, which LiteRT has none of" in capsys.readouterr().err
    for call in (lambda: predictor.signature("features"), lambda: predictor.features_of({})):
        with pytest.raises(InputError, match=r"model\.tflite has no signature .*: predict with the SavedModel"):
            call()


FACTS = {"video": None, "normalise": "clip", "tokenizer": {"preset": "", "sha256": vocabulary_sha256()}}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """From the inputs of a model and facts of its export to a model that is not there."""

    def make(*inputs, **facts):
        runner = SimpleNamespace(get_input_details=lambda: dict.fromkeys(inputs))
        monkeypatch.setattr(litert, "_runner", lambda file: runner)
        return LiteRT(tmp_path / "model.tflite", FACTS | facts)

    return make


def test_inputs_that_the_saved_model_alone_makes_get_a_sentence(load, tmp_path):
    left_out = {"litert": {"front_end": {"left_out": "no built-in op for RFFT"}}}
    for inputs, facts, sentence in (
        (("encoder", "num_steps"), {}, "reads states of an encoder, which no .tflite file makes"),
        (("log_mel", "num_frames"), {"normalise": "enrolled"}, "normalises by recordings of the speaker"),
        (
            ("log_mel", "num_frames"),
            {"formats": left_out},
            r"front_end.tflite does not exist \(no built-in op for RFFT",
        ),
        (("token_ids",), {"tokenizer": {"preset": "bert"}}, "reads words as the tokenizer of bert cuts them"),
        (("token_ids",), {"tokenizer": {"preset": "", "sha256": "x"}}, "by another vocabulary than this program's"),
    ):
        with pytest.raises(InputError, match=f"{sentence}.*: predict with the SavedModel, without --format litert"):
            load(*inputs, **facts)
    assert load("token_ids").files == (tmp_path / "model.tflite",)


def test_several_emotions_are_decided_as_the_saved_model_does(load):
    import tensorflow as tf

    from emotion_tf.exporting.saved_model import _decide

    facts = {"emotions": ["anger", "fear", "joy"], "thresholds": {"anger": 0.4, "fear": 0.2, "joy": 0.85}}
    rows = np.random.default_rng(0).uniform(0, 1, (50, 3)).astype(np.float32)
    for given in (facts, facts | {"thresholds": None}):
        found = load("token_ids", **given)._decide(rows)
        np.testing.assert_array_equal(found, _decide(tf.constant(rows), given).numpy())


def test_a_package_that_is_missing_gets_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(
        InputError, match=r"run by ai-edge-litert, which is not installed: pip install 'emotion_tf\[lit"
    ):
        litert._runner(tmp_path / "model.tflite")
