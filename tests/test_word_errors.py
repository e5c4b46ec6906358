"""Tests of pipelines.transcripts.word_errors: errors by hand, and against a plain recursion."""

import functools

import numpy as np
import pytest

from pipelines.transcripts.word_errors import WordErrorRate, word_error_rate, words


@pytest.mark.parametrize(
    ("script", "transcript", "expected"),
    [
        ("kids are talking", "kids are talking", 0),
        ("kids are talking", "dogs are talking", 1),
        ("kids are talking", "kids talking", 1),
        ("kids are talking", "the kids are all talking", 2),
        ("kids are talking", "", 3),
        ("kids", "thank you", 2),
        ("a b c d", "b c d a", 2),
    ],
)
def test_words_that_are_inserted_deleted_or_substituted_are_errors(script, transcript, expected):
    assert word_error_rate([script], [transcript]) == WordErrorRate(expected, len(script.split()))


def test_the_errors_are_those_of_the_plain_recursion():
    @functools.cache
    def plain(one, other):
        if not one or not other:
            return len(one) + len(other)
        exchanged = plain(one[1:], other[1:]) + (one[0] != other[0])
        return min(exchanged, plain(one[1:], other) + 1, plain(one, other[1:]) + 1)

    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = ("".join(rng.choice(list("abc"), rng.integers(least, 8))) for least in (1, 0))
        assert word_error_rate([" ".join(one)], [" ".join(other)]).num_errors == plain(one, other)


def test_case_punctuation_and_quotes_do_not_count():
    assert words("Don’t  STOP, it's – fine!") == ["don't", "stop", "it's", "fine"]
    assert words("好 Größe ①") == ["好", "grösse", "1"]
    assert words(" ...") == []


@pytest.mark.parametrize("apostrophe", ["`", "´", "\x92", "\u2018", "\u2019", "\u02bc", "\uff07"])
def test_whatever_stands_for_an_apostrophe_is_no_error(apostrophe):
    assert words(f"He{apostrophe}s here, {apostrophe}cause he can") == ["he's", "here", "cause", "he", "can"]
    assert word_error_rate(["don't"], [f"Don{apostrophe}t."]) == WordErrorRate(0, 1)


def test_the_rate_is_errors_over_words_of_all_scripts():
    found = word_error_rate(["Kids are talking", "Dogs", ""], ["kids are walking", "", "thank you"])
    assert found == WordErrorRate(2, 4)
    assert str(found) == "word error rate 50.0% against the script (2 of 4 words)"


def test_without_a_script_there_is_no_rate():
    assert str(word_error_rate(["", " "], ["a", "b"])) == "no script to compare with"
