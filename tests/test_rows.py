"""Tests of pipelines.corpora.rows: cells under their columns, whatever program wrote them, and lines have numbers."""

from pathlib import Path

import pytest

from pipelines.command import InputError
from pipelines.corpora.rows import ignored, rows_of, without_repeats
from pipelines.utterance import Utterance

SOURCE = Path("mine.csv")


def rows(content, **options):
    return list(rows_of(content, SOURCE, ("a", "b"), "name both", **options))


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\n",
        "a,b\r\n1,2\r\n",
        "a,b\r1,2\r",
        "a,b\n1,2",
        "a , b\n1,2\n",
        "\u00a0a,b\ufeff\u00a0\n1,2\n".replace("\ufeff", ""),
        "a,b,,\n1,2,,\n",
        "a,b\n1,2,,\n",
        '"a","b"\n"1","2"\n',
        "a,b\n1,2\n,,\n , \n\n",
    ],
)
def test_cells_stand_under_their_columns(content):
    assert rows(content) == [(2, {"a": "1", "b": "2"})]


def test_columns_without_a_name_are_left_out():
    assert rows(",a,b\n0,1,2\n1,3,4\n") == [(2, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]


def test_a_row_is_called_by_the_line_at_which_it_begins():
    content = 'a,b\n"1\n1",2\n\n,,\n3,4\n'
    assert rows(content) == [(2, {"a": "1\n1", "b": "2"}), (6, {"a": "3", "b": "4"})]


def test_a_row_that_ends_early_has_no_cell_there():
    assert rows("a,b,c\n1,2\n") == [(2, {"a": "1", "b": "2", "c": None})]


def test_blanks_before_a_cell_belong_to_it_unless_they_are_skipped():
    assert rows("a,b\n1, 2\n") == [(2, {"a": "1", "b": " 2"})]
    assert rows('a,b\n1, "2, 3"\n', skips_blanks=True) == [(2, {"a": "1", "b": "2, 3"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"^mine\.csv has no column a, b \(found: nothing\): name both\.$"),
        ("a;b\n", r"has no column a, b \(found: a;b\)"),
        (",a,\n", r"has no column b \(found: a\)"),
        ("a,b,b\n", "has the column b twice: keep one of them"),
        ("a,b, a \n", "has the column a twice"),
        ("a,b\n1,2,3\n", "line 2 has more cells than the header: .* double quotes"),
        ('a,b\n1,2\n1,"no" he said\n', r"line 3 is no row of a CSV \(.*\): a double quote is stray or missing there"),
        ('a,b\n1,2\n1,"no\n3,4\n5,"6"\n', "line 3 is no row of a CSV"),
        ('a,b\n1,2\n1,"no\n3,4\n', "line 3 is no row of a CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_line(content, message):
    with pytest.raises(InputError, match=message):
        rows(content)


def utterance(name="x", speaker="anna", emotion="happy", audio="x.wav", line=9, **values):
    return Utterance(name, speaker, emotion, Path(audio), place=f"mine.csv, line {line}", **values)


def test_a_row_twice_counts_once_and_utterances_are_sorted():
    named = [
        ("line 2", utterance("b")),
        ("line 3", utterance("a")),
        ("line 4", utterance("b", attributes={"rater": "2"})),
    ]
    kept, num_repeats = without_repeats(named)
    assert [one.utterance_id for one in kept] == ["a", "b"]
    assert (num_repeats, kept[1].attributes) == (1, {})
    assert (ignored(1), ignored(0)) == ({"rows that repeat another one": 1}, {})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"emotion": "sad"}, r"^mine\.csv, line 9 repeats line 2 with another emotion \('happy' there, 'sad' here\)"),
        ({"speaker": "bo"}, "another speaker"),
        ({"published_split": "test"}, "another split"),
        ({"trial": "t"}, "another trial"),
        ({"transcript": "oh"}, "another transcript"),
        ({"audio": "x.mp3"}, r"^mine\.csv, line 9: x\.mp3 has the name of line 2: names must differ by more than"),
    ],
)
def test_rows_of_one_utterance_that_contradict_each_other_are_named(values, message):
    with pytest.raises(InputError, match=message):
        without_repeats([("line 2", utterance()), ("line 9", utterance(**values))])
