"""Tests of emotion_tf.export: what is written, what is replaced, and what never is."""

import pytest

from emotion_tf import export as export_module
from emotion_tf.export import export, main
from pipelines.command import InputError

FILES = ["1", "MODEL_CARD.md", "calibration.json", "metadata.json"]


@pytest.fixture
def agreeing(monkeypatch):
    monkeypatch.setattr(export_module, "verify_export", lambda *arguments: (0.0, "clips"))


def test_the_calibration_is_that_of_the_run(early_export, early_run):
    assert (early_export / "calibration.json").read_bytes() == early_run.calibration_path.read_bytes()
    assert early_run.temperature() != 1


def test_an_export_replaces_an_older_one_where_output_says(text_run, tmp_path, agreeing, capsys):
    output = tmp_path / "some" / "export"
    for _ in range(2):
        main(["--run", str(text_run.folder), "--output", str(output)])
        assert capsys.readouterr().out.startswith(f"{output}: text -> neutral, calm")
        assert sorted(path.name for path in output.iterdir()) == FILES
        (output / "1" / "old").write_text("x")
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
