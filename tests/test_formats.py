"""Tests of emotion_tf.exporting.formats: every format answers like the run, in a process without this package."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotion_tf.export import export
from emotion_tf.exporting import formats, litert, reload
from emotion_tf.exporting.formats import FORMATS, Examples, sentence, write_format
from emotion_tf.runs.folder import Run
from pipelines.command import InputError


@pytest.fixture
def decided(monkeypatch):
    """Models of runs of two epochs, whose answers differ little, with the weights of their head made large."""
    load = Run.model

    def model(self):
        found = load(self)
        for layer in found.layers:
            if layer.name.endswith("emotions"):
                layer.set_weights([30 * layer.get_weights()[0], *layer.get_weights()[1:]])
        return found

    monkeypatch.setattr(Run, "model", model)


def exported(run, folder, *names):
    said = export(run, folder, formats=names).splitlines()
    return said, folder / "1", json.loads((folder / "1" / "metadata.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audio_run", "text_run", "early_run", "encoder_run"])
def test_every_format_answers_like_the_run(name, decided, request, tmp_path):
    for package in ("ai_edge_litert", "onnx", "onnxruntime", "tf2onnx", "openvino"):
        pytest.importorskip(package)
    said, version, metadata = exported(request.getfixturevalue(name), tmp_path / "export", *FORMATS)
    assert [line.partition(":")[0] for line in said[1:]] == list(FORMATS[1:])
    files = {file: one for found in metadata["formats"].values() for file, one in found["files"].items()}
    assert set(files) | set(metadata["formats"]["litert"].get("left_out", {})) == {
        "features/1", "litert/model.tflite", "litert/model_int8.tflite", "onnx/model.onnx", "openvino/model.xml"
    }  # fmt: skip
    for file, found in files.items():
        assert (version / file).exists()
        assert found["num_examples"] >= 20
        assert found["difference"] < (0.05 if file.endswith("int8.tflite") else 1e-5)
        assert found["agreement"] >= 0.98
    onnx = metadata["formats"]["onnx"]
    assert onnx["inputs"].keys() == metadata["formats"]["litert"]["inputs"].keys()
    assert all(one["shape"][0] == "batch" for one in onnx["inputs"].values())
    assert all(one["shape"][0] == 1 for one in metadata["formats"]["litert"]["inputs"].values())
    assert onnx["outputs"]["probabilities"]["columns"] == metadata["emotions"]


@pytest.mark.slow
def test_features_load_in_tensorflow_alone_and_front_end_gives_their_inputs(audio_run, tmp_path):
    import tensorflow as tf

    said, version, metadata = exported(audio_run, tmp_path / "export", "features")
    assert said[1].startswith("features: features/1 agrees with the run to ")
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "given = loaded.signatures['front_end'](waveform=tf.constant(np.load(sys.argv[2])))\n"
        "assert 'tensorflow_text' not in sys.modules and 'emotion_tf' not in sys.modules\n"
        "np.save(sys.argv[2], loaded.signatures['serving_default'](**given)['probabilities'])"
    )
    waveform = 0.1 * np.random.default_rng(0).standard_normal((3, 9000)).astype(np.float32)
    np.save(tmp_path / "clips.npy", waveform)
    command = [sys.executable, "-I", "-c", code, version / "features" / "1", tmp_path / "clips.npy"]
    subprocess.run(command, check=True)
    loaded = tf.saved_model.load(str(version))
    raw = {"waveform": tf.constant(waveform), "transcript": tf.constant(["", "", ""])}
    expected = loaded.signatures["serving_default"](**raw)["probabilities"]
    np.testing.assert_allclose(np.load(tmp_path / "clips.npy"), expected, atol=1e-6)
    described = metadata["formats"]["features"]["signatures"]
    assert described["front_end"]["outputs"].keys() == described["serving_default"]["inputs"].keys()


def rows(count=4):
    given = [{"x": np.full((1, 1 + number), number, np.float32)} for number in range(count)]
    return [(one, np.eye(2, dtype=np.float32)[[number % 2]]) for number, one in enumerate(given)]


def test_examples_keep_their_own_lengths_and_are_compared_one_by_one(tmp_path):
    examples = Examples(tmp_path / "examples.npz", rows(), "made")
    lengths = []

    def call(inputs):
        lengths.append(inputs["x"].shape[1])
        return np.array([[0.75, 0.25]], np.float32)

    found = reload.compare(call, str(examples.path))
    assert lengths == [1, 2, 3, 4]
    assert found == {"difference": 0.75, "agreement": 0.5, "num_examples": 4}


def test_what_runs_formats_knows_nothing_of_this_package():
    tree = ast.parse(Path(reload.__file__).read_text(encoding="utf-8"))
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in modules if name.startswith(("emotion_tf", "pipelines", "tensorflow_text", "keras"))]


def test_int8_that_names_other_emotions_is_left_out_and_told(tmp_path):
    (tmp_path / "litert").mkdir()
    names = [f"litert/{name}" for name in (litert.FLOAT, litert.INT8)]
    for name in names:
        (tmp_path / name).touch()
    compared = {name: {"difference": 0.01, "agreement": 0.9, "num_examples": 40} for name in names}
    left_out = formats._drop_unlike(compared, tmp_path)
    assert list(compared) == names[:1]
    assert [path.name for path in (tmp_path / "litert").iterdir()] == [litert.FLOAT]
    said = sentence({"files": compared, "left_out": left_out})
    assert (
        "model_int8.tflite was left out: it names another emotion for 10.0% of 40 examples, and 2% are allowed" in said
    )


def written(monkeypatch, tmp_path, name, printed):
    """What write_format says where the process of a converter, or the one that loads the file, printed this."""
    monkeypatch.setattr(formats.portable, "write_source", lambda *arguments: {"inputs": {}, "outputs": {}})
    monkeypatch.setattr(formats.onnx, "finish", lambda *arguments: None)
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda package: package)

    class Finished:
        returncode, stdout, stderr = printed

    monkeypatch.setattr(formats.subprocess, "run", lambda *arguments, **settings: Finished)
    shutil.rmtree(tmp_path / "version", ignore_errors=True)
    (tmp_path / "version").mkdir()
    examples = Examples(tmp_path / "examples.npz", rows(), "made")
    return write_format(name, None, None, {}, tmp_path / "version", examples)


def test_a_format_that_differs_is_refused(monkeypatch, tmp_path):
    printed = json.dumps({"difference": 0.3, "agreement": 1.0, "num_examples": 4})
    with pytest.raises(InputError, match=r"model\.onnx differs from the run by 3\.0e-01, more than 1e-05: it was not"):
        written(monkeypatch, tmp_path, "onnx", (0, printed, ""))


def test_a_converter_that_ends_gets_a_sentence(monkeypatch, tmp_path):
    said = "loc(x): error\nTF Select ops: StridedSlice, Foo\nDetails:"
    with pytest.raises(
        InputError, match=r"LiteRT has no built-in op for StridedSlice, Foo of this model at any length"
    ):
        written(monkeypatch, tmp_path, "litert", (1, "", said))
    with pytest.raises(InputError, match="the converter of LiteRT ended with: nothing said"):
        written(monkeypatch, tmp_path, "litert", (-11, "", ""))
    with pytest.raises(InputError, match="OpenVINO ended with: no such op"):
        written(monkeypatch, tmp_path, "openvino", (1, "", "Traceback\nno such op"))


def graph_of(tmp_path, op):
    """A file of one op from x to y, as tf2onnx would write it: known to ONNX or not."""
    onnx = pytest.importorskip("onnx")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", 3]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"])], "graph", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))
    return path


INTERFACE = {"inputs": {"x": {"shape": ["batch", 3]}}, "outputs": {"y": {"shape": ["batch", 3]}}}


def test_erfc_of_gelu_is_written_as_one_minus_erf_and_axes_get_names(tmp_path):
    onnxruntime, special = pytest.importorskip("onnxruntime"), pytest.importorskip("scipy.special")
    path = graph_of(tmp_path, "Erfc")
    formats.onnx.finish(path, INTERFACE)
    session = onnxruntime.InferenceSession(str(path))
    assert session.get_inputs()[0].shape == ["batch", 3]
    given = np.array([[-1.0, 0.0, 2.0]], np.float32)
    np.testing.assert_allclose(session.run(None, {"x": given})[0], special.erfc(given), atol=1e-6)


def test_an_op_that_onnx_lacks_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match="ONNX does not take this model: No Op registered for NoSuchOp"):
        formats.onnx.finish(graph_of(tmp_path, "NoSuchOp"), INTERFACE)


def test_a_package_that_is_missing_gets_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"--format litert needs ai-edge-litert: run .* -e '\.\[litert\]'"):
        write_format("litert", None, None, {}, tmp_path, None)
