"""Tests of pipelines.corpora.tables: one table in the formats of many programs."""

import json

import pytest

from pipelines.command import InputError
from pipelines.corpora.recordings import Refusals
from pipelines.corpora.tables import parse_columns, rows_of_table

ROWS = [{"path": "a.wav", "emotion": "happy", "speaker": "01"}, {"path": "b.wav", "emotion": "sad", "speaker": ""}]


def read(path, columns=None, required=("path", "emotion"), numbers=()):
    refusals = Refusals(f"rows of {path}")
    found = list(rows_of_table(path, columns or {}, required, refusals, "name both", numbers))
    refusals.stop()
    return found


def write(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_separator_and_byte_order_mark_is_read(tmp_path, delimiter, encoding, end):
    lines = [("path", " emotion ", "speaker"), ("a.wav", "happy", "01"), ("b.wav", " sad", "")]
    content = "".join(delimiter.join(line) + end for line in lines).encode(encoding)
    assert read(write(tmp_path, "mine.csv", content)) == [("line 2", ROWS[0]), ("line 3", ROWS[1])]


def test_json_lines_and_a_json_list_are_read_and_numbers_become_text(tmp_path):
    lines = "\n".join(json.dumps(row) for row in ROWS)
    assert read(write(tmp_path, "a.jsonl", lines + "\n\n")) == [("line 1", ROWS[0]), ("line 2", ROWS[1])]
    assert read(write(tmp_path, "a.json", json.dumps(ROWS)))[1] == ("entry 2", ROWS[1])
    row = '{"path": "a.wav", "emotion": "sad", "speaker": 7, "start": 1.5, "end": null}'
    [(_, found)] = read(write(tmp_path, "b.jsonl", row))
    assert found == {"path": "a.wav", "emotion": "sad", "speaker": "7", "start": "1.5", "end": ""}


def test_parquet_is_read(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist([ROWS[0], {**ROWS[1], "speaker": None}]), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [("row 1", ROWS[0]), ("row 2", ROWS[1])]
    with pytest.raises(InputError, match=r"b\.parquet is no Parquet file, or cut off"):
        read(write(tmp_path, "b.parquet", b"PAR1"))


def test_the_first_sheet_of_a_workbook_is_read_with_its_lines(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in ([], [" path", "emotion", "speaker", None], ["a.wav", "happy", "01"], [], ["b.wav", "sad", None, "x"]):
        book.active.append(cells)
    book.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx") == [("line 3", ROWS[0]), ("line 5", ROWS[1])]
    with pytest.raises(InputError, match=r"b\.xlsx is no Excel workbook"):
        read(write(tmp_path, "b.xlsx", b"PK"))


def test_columns_of_other_names_hide_those_that_they_replace(tmp_path):
    path = write(tmp_path, "a.csv", "File name,label,emotion\na.wav,happy,0.7\n")
    assert read(path, {"path": "File name", "emotion": "label"}) == [("line 2", {"path": "a.wav", "emotion": "happy"})]


def test_numbers_have_a_decimal_comma_where_semicolons_separate_alone(tmp_path):
    [(_, row)] = read(write(tmp_path, "a.csv", "path;emotion;start\na.wav;sad, I think;1,5\n"), numbers=("start",))
    assert row == {"path": "a.wav", "emotion": "sad, I think", "start": "1.5"}
    [(_, row)] = read(write(tmp_path, "b.csv", 'path,emotion,start\na.wav,sad,"1,5"\n'), numbers=("start",))
    assert row["start"] == "1,5"


@pytest.mark.parametrize(
    ("text", "message"),
    [("path", "'path' is not NAME=COLUMN"), ("file=path", "a NAME of path, emotion"), ("path=", "not NAME=COLUMN")],
)
def test_columns_that_say_nothing_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_columns(text, ("path", "emotion"))
    assert parse_columns(" path = File name ,emotion=label", ("path", "emotion")) == {
        "path": "File name",
        "emotion": "label",
    }
    assert parse_columns(None, ("path",)) == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"path": "a.wav"}\n', r"a\.jsonl has no column emotion \(found: path\): name both"),
        ("a.jsonl", '{"path"\n[1]\n', r"2 rows of .*\n.*line 1 is no JSON .*\n.*line 2 is no object"),
        ("a.json", "[1,", "is no JSON"),
        ("a.csv", "path,emotion\na,b,c\nd,e,f\n", r"2 rows of .*\n.*line 2 has more cells .*\n.*line 3 has more"),
        ("a.tsv", "path\temotion\na\tb\tc\n", "put cells that hold a tab in double quotes"),
        ("a.csv", "\xff".encode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_with_all_lines(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, name, content))
