"""Tests of emotion_tf.export: what is written, what is replaced, what never is, and what it lists."""

import json

import pytest

from emotion_tf import export as export_module
from emotion_tf.export import export, list_formats, main
from emotion_tf.exporting.formats import FORMATS
from emotion_tf.serving.loading import find_version
from pipelines.command import InputError

FILES = {"MODEL_CARD.md", "calibration.json", "metadata.json", "saved_model.pb", "variables"}


@pytest.fixture
def agreeing(monkeypatch):
    """Exports are neither computed nor compared: what is written where is in question."""

    def write(model, encoder, metadata, run, folder):
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").touch()
        return {"serving_default": {"inputs": {}}}

    monkeypatch.setattr(export_module, "write_saved_model", write)
    monkeypatch.setattr(export_module, "verify_export", lambda *arguments: (0.0, "clips"))


def test_the_calibration_is_that_of_the_run(early_export, early_run):
    assert (early_export / "1" / "calibration.json").read_bytes() == early_run.calibration_path.read_bytes()
    assert early_run.temperature() != 1


def test_exports_count_up_and_overwrite_leaves_the_new_one_alone(text_run, tmp_path, agreeing, capsys):
    output = tmp_path / "some" / "export"
    for number in (1, 2):
        main(["--run", str(text_run.folder), "--output", str(output)])
        assert capsys.readouterr().out.startswith(f"{output / str(number)}: text -> neutral, calm")
        assert {path.name for path in (output / str(number)).iterdir()} >= FILES
    assert sorted(path.name for path in output.iterdir()) == ["1", "2"]
    assert find_version(output) == output / "2"
    (output / "metadata.json").write_text("of an older layout")
    main(["--run", str(text_run.folder), "--output", str(output), "--overwrite"])
    assert [path.name for path in output.iterdir()] == ["3"]
    assert [path.name for path in output.parent.iterdir()] == ["export"]
    assert not text_run.export.exists()


def test_a_run_records_and_other_folders_are_never_replaced(text_run, three_speaker_records, tmp_path, agreeing):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x.txt").write_text("x")
    for folder in (text_run.folder, three_speaker_records, tmp_path / "notes", tmp_path / "notes" / "x.txt"):
        with pytest.raises(InputError, match="holds something that is no export: give --output another folder"):
            export(text_run, folder)
        assert folder.exists()
    assert text_run.is_finished


def test_a_run_that_is_none_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        main(["--run", str(tmp_path)])


def test_formats_lists_each_with_why_not(text_run, monkeypatch, capsys):
    def write(name, *arguments):
        if name == "onnx":
            raise InputError("tf2onnx ended with: no such op.")
        found = {"difference": 4e-7, "agreement": 1.0, "num_examples": 9}
        return {"files": {f"{name}/model": found}}

    monkeypatch.setattr(export_module, "write_format", write)
    list_formats(text_run)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FORMATS)
    assert [line.split()[1] for line in lines] == ["yes:", "yes:", "yes:", "no:", "yes:"]
    assert lines[2].endswith("litert/model agrees with the run to 4.0e-07 on 9 examples")
    assert lines[3].endswith("tf2onnx ended with: no such op.")
    assert not text_run.export.exists()


def test_ops_lists_those_of_tensorflow_text(early_run, early_export, capsys):
    main(["--run", str(early_run.folder), "--output", str(early_export), "--ops"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("Conv2D") for line in lines)
    assert any(line.endswith("FastWordpieceTokenizeWithOffsets  (TensorFlow Text)") for line in lines)
    assert lines[-1].endswith(
        "needs TensorFlow Text: CaseFoldUTF8, FastWordpieceTokenizeWithOffsets, RegexSplitWithOffsets"
    )


def test_ops_of_no_export_get_a_sentence(text_run, tmp_path):
    with pytest.raises(InputError, match="holds no export whose ops could be listed: make it without --ops first"):
        main(["--run", str(text_run.folder), "--output", str(tmp_path), "--ops"])


def test_metadata_describes_every_input_and_output(early_export):
    import tensorflow as tf

    metadata = json.loads((early_export / "1" / "metadata.json").read_text())
    loaded = tf.saved_model.load(str(early_export / "1"))
    assert set(metadata["interface"]) == set(metadata["signatures"])
    for name, interface in metadata["interface"].items():
        _, given = loaded.signatures[name].structured_input_signature
        outputs = loaded.signatures[name].structured_outputs
        for described, specs in ((interface["inputs"], given), (interface["outputs"], outputs)):
            assert set(described) == set(specs)
            for key, one in described.items():
                assert one["dtype"] == specs[key].dtype.name
                sizes = [None if isinstance(size, str) else size for size in one["shape"]]
                assert len(sizes) == len(specs[key].shape)
                assert all(a == b for a, b in zip(sizes, specs[key].shape.as_list(), strict=True) if b is not None)
                assert one["unit"]
                assert one["meaning"]
    assert metadata["interface"]["serving_default"]["outputs"]["probabilities"]["columns"] == metadata["emotions"]
    assert metadata["formats"] == {}
