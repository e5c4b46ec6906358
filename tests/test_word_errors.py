"""Tests of pipelines.transcripts.word_errors: distances by hand, and against a plain recursion."""

import functools

import numpy as np
import pytest

from pipelines.transcripts.word_errors import WordErrorRate, distance, word_error_rate, words


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("kids are talking", "kids are talking", 0),
        ("kids are talking", "dogs are talking", 1),
        ("kids are talking", "kids talking", 1),
        ("kids are talking", "the kids are all talking", 2),
        ("kids are talking", "", 3),
        ("", "thank you", 2),
        ("a b c d", "b c d a", 2),
    ],
)
def test_the_distance_counts_words_put_in_left_out_and_exchanged(one, other, expected):
    assert distance(one.split(), other.split()) == expected


def test_the_distance_is_that_of_the_plain_recursion():
    @functools.cache
    def plain(one, other):
        if not one or not other:
            return len(one) + len(other)
        exchanged = plain(one[1:], other[1:]) + (one[0] != other[0])
        return min(exchanged, plain(one[1:], other) + 1, plain(one, other[1:]) + 1)

    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = ("".join(rng.choice(list("abc"), rng.integers(8))) for _ in range(2))
        assert distance(one, other) == plain(one, other)


def test_case_punctuation_and_quotes_do_not_count():
    assert words("Don’t  STOP, it's – fine!") == ["don't", "stop", "it's", "fine"]
    assert words("好 Größe ①") == ["好", "grösse", "1"]
    assert words(" ...") == []


def test_the_rate_is_errors_over_words_of_all_scripts():
    found = word_error_rate(["Kids are talking", "Dogs", ""], ["kids are walking", "", "thank you"])
    assert found == WordErrorRate(2, 4)
    assert str(found) == "word error rate 50.0% against the script (2 of 4 words)"


def test_without_a_script_there_is_no_rate():
    assert str(word_error_rate(["", " "], ["a", "b"])) == "no script to compare with"
