"""Tests of emotion_tf.runs.prediction_files: a folder stands for its predictions, and names tell files apart."""

from pathlib import Path

from emotion_tf.runs.prediction_files import file_of, first_repeated, unique_names


def test_a_folder_stands_for_its_predictions(tmp_path):
    assert file_of(tmp_path) == tmp_path / "predictions.csv"
    assert file_of(tmp_path / "svm.csv") == tmp_path / "svm.csv"


def test_the_same_file_under_another_name_is_a_repetition(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert first_repeated([Path("a.csv"), Path("b.csv")]) == 0
    assert first_repeated([Path("a.csv"), Path("b.csv"), tmp_path / "a.csv"]) == 2


def test_files_of_the_same_name_are_called_by_their_paths():
    paths = [Path("one/audio"), Path("two/audio"), Path("text")]
    assert unique_names(paths, ["audio", "audio", "text"]) == ["one/audio", "two/audio", "text"]
