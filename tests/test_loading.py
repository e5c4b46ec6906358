"""Tests of emotion_tf.serving.loading: which export is found, which is refused, and which are one model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_tf.serving.loading import find_model, find_version, model_sha256, read_metadata, saved_model_files
from emotion_tf.serving.predictor import Predictor
from pipelines.command import InputError


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


def test_the_newest_version_of_a_format_is_taken(tmp_path):
    for version, mark in (("1", "litert/model.tflite"), ("2", "litert/model.tflite"), ("3", "saved_model.pb")):
        (tmp_path / version / mark).parent.mkdir(parents=True)
        (tmp_path / version / mark).touch()
    older = tmp_path / "2"
    assert find_model(tmp_path, "litert") == (older, older / "litert" / "model.tflite")
    assert find_model(tmp_path, "savedmodel") == find_model(tmp_path) == (tmp_path / "3", None)
    with pytest.raises(InputError, match=r"3 holds no litert/model\.tflite: export the run again with --format litert"):
        find_model(tmp_path / "3", "litert")


def test_a_folder_that_is_no_model_gets_a_sentence(tmp_path):
    for folder in (tmp_path, str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match="holds no exported model: name a run"):
            Predictor(folder)


def test_the_front_end_is_no_model():
    with pytest.raises(InputError, match=r"makes what a model reads, and is none: name litert/model\.tflite"):
        find_model(Path("litert/front_end.tflite"))


def test_a_corrupt_export_gets_a_sentence(early_export, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"metadata\.json is missing or corrupt"):
        Predictor(tmp_path)
    for content in ("{", "[]", "null"):
        (tmp_path / "metadata.json").write_text(content)
        with pytest.raises(InputError, match=r"metadata\.json is missing or corrupt .*: export the run again"):
            Predictor(tmp_path)
    metadata = json.loads((early_export / "1" / "metadata.json").read_text())
    lacking = {name: value for name, value in metadata.items() if name not in ("marks", "video")}
    (tmp_path / "metadata.json").write_text(json.dumps(lacking))
    with pytest.raises(InputError, match=r"metadata\.json lacks marks, video: export the run again"):
        Predictor(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="does not load"):
        Predictor(tmp_path)


def test_metadata_of_a_version_of_its_own_comes_first(early_export, tmp_path):
    (tmp_path / "1").mkdir()
    metadata = json.loads((early_export / "1" / "metadata.json").read_text())
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    assert read_metadata(tmp_path / "1") == metadata
    (tmp_path / "1" / "metadata.json").write_text(json.dumps(metadata | {"marks": ["own"]}))
    assert read_metadata(tmp_path / "1")["marks"] == ["own"]


def test_a_copy_is_the_same_model_and_another_weight_is_another(early_export, tmp_path):
    shutil.copytree(early_export, tmp_path / "copy")
    version = find_version(tmp_path / "copy")
    before = model_sha256(version, saved_model_files(version))
    original = find_version(early_export)
    assert before == model_sha256(original, saved_model_files(original))
    [weights] = (version / "variables").glob("*.data*")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert model_sha256(version, saved_model_files(version)) != before


def test_an_export_is_loaded_and_called_without_keras(early_export):
    code = (
        "import sys; from emotion_tf.serving import Predictor; p = Predictor(sys.argv[1]); p.predict()\n"
        "assert 'keras' not in sys.modules and 'tensorflow_text' not in sys.modules\n"
        "import tensorflow as tf, keras_nlp, tensorflow_text; tf.keras.layers.Dense(1)(tf.ones([1, 1]))\n"
        "from tensorflow.keras import layers; p.predict(None, 'oh no'); Predictor(sys.argv[1]).predict(None, 'oh')"
    )
    command = [sys.executable, "-c", code, str(early_export)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)
