"""Tests of emotion_tf.runs.prediction_files: a folder stands for its predictions, and names tell files apart."""

from pathlib import Path

import pytest

from emotion_tf.runs.prediction_files import file_of, first_repeated, same_by_name, unique_names


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


@pytest.mark.parametrize(
    ("files", "others", "expected"),
    [
        (["a.csv", "b.csv"], ["a_val.csv", "b_val.csv"], [0, 1]),
        (["a.csv", "b.csv"], ["b_val.csv", "a_val.csv"], [1, 0]),
        (["Audio/test.csv", "text/test.csv"], ["val/text.csv", "val/audio.csv"], [1, 0]),
        (["a.csv", "b.csv", "c.csv"], ["b-1.csv", "c-1.csv", "a-1.csv"], [1, 2, 0]),
        (["a.csv", "b.csv"], ["one.csv", "two.csv"], None),
        (["a.csv", "b.csv"], ["b_val.csv", "one.csv"], None),
        (["a_02.csv", "b_03.csv"], ["a_03.csv", "b_04.csv"], None),
    ],
)
def test_words_of_names_and_folders_tell_which_files_are_of_the_same_model(
    tmp_path, monkeypatch, files, others, expected
):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")  # Words of where one is tell nothing.
    assert same_by_name([*map(Path, files)], [*map(Path, others)]) == expected
