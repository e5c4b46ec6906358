"""Tests of pipelines.speakers: which names are one person's, and which are not."""

import pytest

from pipelines.command import InputError
from pipelines.speakers import spelling_of, stop_on_alike


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("01", "1"),
        ("1", "1.0"),
        ("007", "7.00"),
        ("0", "00"),
        ("Anna", "anna"),
        ("Anna Lee", "anna  lee"),
        ("Anna\u00a0Lee", "AnnaLee"),
        ("anna\u200b", "anna"),
        ("Zoe\u0308", "Zo\u00eb"),
        ("STRASSE", "stra\u00dfe"),
        ("S01", "s1"),
        ("Speaker 03", "speaker 3"),
        ("s1_02", "s01_2"),
        ("\uff11", "1"),
    ],
)
def test_one_person_in_two_spellings_stops_with_both_names(one, other):
    with pytest.raises(InputError) as caught:
        stop_on_alike(["x", one, other, "y"], "mine.csv")
    first, second = sorted((one, other))
    assert str(caught.value).startswith(f"mine.csv: the speakers {first!r} and {second!r} differ in zeros, case")


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "10"), ("1.0", "10"), ("100", "1"), ("1.5", "1.05"), ("1.5", "15"), ("0", "o"), ("a-b", "ab"), ("", "0")],
)
def test_names_that_differ_in_more_are_two_persons(one, other):
    assert spelling_of(one) != spelling_of(other)
    stop_on_alike([one, other], "mine.csv")


def test_a_name_that_stands_many_times_is_one_and_the_others_are_counted():
    stop_on_alike(["01", "01", "", ""], "mine.csv")
    with pytest.raises(InputError, match=r"the speakers '01' and '1' \(and 2 more\) differ"):
        stop_on_alike(["01", "1", "A", "a", "b", "B "], "mine.csv")
