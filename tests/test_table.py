"""Tests of emotion_tf.serving.table: rows that are written stay, half of one goes, those of another model are kept."""

import contextlib
import csv
import json

import pytest

from emotion_tf.serving import table
from emotion_tf.serving.prediction import Prediction
from emotion_tf.serving.table import NOT_SURE, SUFFIXES, Settings, open_table, row_of
from pipelines.command import InputError

SETTINGS = Settings("f00", ("calm", "sad"))
COLUMNS = ["file", "emotion", "probability_calm", "probability_sad", "seconds", "warnings", "error"]


def prediction(**values):
    facts = {"file": None, "transcript": "", "emotion": "sad", "emotions": None, "shares": None}
    facts |= {"probabilities": {"calm": 0.25, "sad": 0.75}, "changes_without": None, "seconds": 1.5}
    return Prediction(**facts | {"warnings": ("soft, and short", "noisy")} | values)


def rows_in(path):
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(path).to_pylist()


def write(path, *names, settings=SETTINGS, ends=None):
    with open_table(path, settings) as table:
        table.append([row_of(path.parent / name, prediction(), settings) for name in names])
        if ends is not None:
            raise ends
        return table


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"out{request.param}"


def test_a_row_holds_what_was_predicted_and_another_the_reason(path):
    with open_table(path, SETTINGS) as table:
        table.append([row_of(path, prediction(), SETTINGS), row_of(path, InputError("it is cut off, too"), SETTINGS)])
    found, bad = rows_in(path)
    assert list(found) == list(bad) == COLUMNS
    assert (found["file"], found["emotion"], float(found["probability_sad"])) == (str(path), "sad", 0.75)
    assert float(found["seconds"]) == 1.5
    assert found["warnings"] in (["soft, and short", "noisy"], "soft, and short; noisy")
    assert not found["error"]
    assert bad["error"] == "it is cut off, too"
    assert not bad["emotion"]
    assert not bad["probability_sad"]


def test_a_table_that_was_begun_goes_on_behind_its_rows(path):
    write(path, "a.wav", 'b "\n".wav')
    table = write(path, "c.wav")
    assert [row["file"] for row in rows_in(path)] == [
        str(path.parent / name) for name in ("a.wav", 'b "\n".wav', "c.wav")
    ]
    assert table.done == {str(path.parent / name) for name in ("a.wav", 'b "\n".wav', "c.wav")}


class Killed(BaseException):
    """Ends a context as no error does."""


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_half_a_row_is_cut_off_wherever_it_ends(path, share):
    with pytest.raises(Killed):
        write(path, "a.wav", 'b\n".wav', ends=Killed)
    journal = path.with_name(f"{path.name}.rows") if path.suffix == ".parquet" else path
    content = journal.read_bytes()
    last = content.index(b"b\\n" if path.suffix != ".csv" else b'"' + str(path.parent / "b").encode())
    journal.write_bytes(content[: last + round(share * (len(content) - last))])
    assert write(path).done == {str(path.parent / "a.wav")}
    write(path, 'b\n".wav')
    assert [row["file"] for row in rows_in(path)] == [str(path.parent / name) for name in ("a.wav", 'b\n".wav')]


def test_half_a_header_is_written_anew(tmp_path):
    write(tmp_path / "out.csv")
    (tmp_path / "out.csv").write_text("file,emo")
    write(tmp_path / "out.csv", "a.wav")
    assert [list(row) for row in rows_in(tmp_path / "out.csv")] == [COLUMNS]


def test_rows_of_another_model_or_setting_are_refused_and_kept(path):
    write(path, "a.wav")
    before = path.read_bytes()
    for change, sentence in (
        ({"model": "bad"}, "holds predictions of another model"),
        ({"reject_below": 0.5}, "was begun with another --reject-below"),
        ({"has_embeddings": True}, "was begun with another --embeddings"),
    ):
        with pytest.raises(InputError, match=sentence):
            write(path, "b.wav", settings=SETTINGS._replace(**change))
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_refused_and_kept(path):
    path.write_text("mine")
    with pytest.raises(InputError, match="nothing says that it holds predictions"):
        write(path, "a.wav")
    assert path.read_text() == "mine"


def test_a_table_that_someone_changed_gets_a_sentence(tmp_path):
    for name, content in (("out.csv", "file,happy\na.wav,1\n"), ("out.jsonl", "[1]\n"), ("more.jsonl", "no\n")):
        write(tmp_path / name)
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match="was changed"):
            write(tmp_path / name, "a.wav")


def test_two_processes_cannot_write_one_table(path):
    with open_table(path, SETTINGS), pytest.raises(InputError, match="another process is writing to"):
        write(path, "a.wav")


@pytest.mark.parametrize("is_finished", [True, False])
def test_of_two_processes_that_begin_one_table_the_first_says_what_it_holds(path, monkeypatch, is_finished):
    lock = table.lock_file

    def lock_late(*arguments):
        """Lets another process begin the table before this one has the lock."""
        monkeypatch.setattr(table, "lock_file", lock)
        with contextlib.nullcontext() if is_finished else pytest.raises(Killed):
            write(path, "a.wav", ends=None if is_finished else Killed)
        lock(*arguments)

    monkeypatch.setattr(table, "lock_file", lock_late)
    with pytest.raises(InputError, match="holds predictions of another model"):
        write(path, "b.wav", settings=SETTINGS._replace(model="bad"))
    assert json.loads(path.with_name(f"{path.name}.model.json").read_text())["model"] == SETTINGS.model
    write(path, "b.wav")
    assert [row["file"] for row in rows_in(path)] == [str(path.parent / name) for name in ("a.wav", "b.wav")]


def test_a_table_that_another_process_writes_keeps_what_is_said_of_it(path):
    with open_table(path, SETTINGS), pytest.raises(InputError, match="another process is writing to"):
        write(path, settings=SETTINGS._replace(model="bad"))
    write(path, "a.wav")


def test_a_refused_parquet_is_left_alone(tmp_path):
    pytest.importorskip("pyarrow")
    write(tmp_path / "out.parquet", "a.wav")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="another model"):
        write(tmp_path / "out.parquet", settings=SETTINGS._replace(model="bad"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_names_that_cannot_be_written_get_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    for name, sentence in (
        ("out.xlsx", r"no suffix that is known: give --output a name that ends in \.csv, \.jsonl, \.parquet"),
        ("file/out.csv", "cannot be made"),
        ("folder.csv", "is a folder"),
    ):
        with pytest.raises(InputError, match=sentence):
            write(tmp_path / name, "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


def test_a_folder_that_is_missing_is_made(tmp_path):
    write(tmp_path / "new" / "out.csv", "a.wav")
    assert len(rows_in(tmp_path / "new" / "out.csv")) == 1


def test_an_emotion_that_is_less_probable_than_asked_for_is_not_sure():
    for least, emotion in ((0.7, "sad"), (0.75, "sad"), (0.76, NOT_SURE)):
        row = row_of("a.wav", prediction(), SETTINGS._replace(reject_below=least))
        assert (row["emotion"], row["probability_sad"]) == (emotion, 0.75)


def test_several_emotions_are_joined_by_a_bar():
    assert row_of("a.wav", prediction(emotions=("sad", "calm")), SETTINGS)["emotion"] == "sad|calm"


def test_bytes_of_a_name_that_are_no_text_do_not_stop_it(path):
    write(path, "a\udcff.wav")
    assert rows_in(path)[0]["file"] == str(path.parent / "a\ufffd.wav")
