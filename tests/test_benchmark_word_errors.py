"""Tests of benchmarks/word_errors.py: errors are counted by group, and intervals are over actors."""

from pathlib import Path

import pytest

from benchmarks import rows
from benchmarks.word_errors import groups_of, rate
from pipelines.utterance import Corpus, Utterance

SCRIPT = "dogs are sitting by the door"


@pytest.fixture
def corpus():
    utterances = [
        Utterance(f"{speaker}-{emotion}", speaker, emotion, transcript=SCRIPT, attributes={"intensity": intensity})
        for speaker in ("01", "02", "03")
        for emotion, intensity in (("calm", "normal"), ("angry", "strong"))
    ]
    return Corpus("ravdess", Path(), "", ("calm", "angry"), tuple(utterances))


def test_groups_hold_all_clips_of_an_emotion_and_an_intensity(corpus):
    assert groups_of(corpus) == {
        "all": [0, 1, 2, 3, 4, 5],
        "calm": [0, 2, 4],
        "angry": [1, 3, 5],
        "normal intensity": [0, 2, 4],
        "strong intensity": [1, 3, 5],
    }


def test_the_rate_counts_words_and_its_interval_lies_around_it(corpus):
    pairs = [(SCRIPT, SCRIPT if one.speaker != "02" else "dogs are sitting") for one in corpus.utterances]
    found = rate(corpus, pairs, range(6))
    assert found["rate"] == pytest.approx(6 / 36)
    assert found["num_words"] == 36
    low, high = found["interval"]
    assert low < 6 / 36 < high


def test_the_table_has_a_row_a_group_and_shows_what_is_not_known(corpus):
    right = [(SCRIPT, SCRIPT)] * 6
    groups = {name: rate(corpus, right, members) for name, members in groups_of(corpus).items()}
    table = rows.word_errors({"models": {"tiny": {"groups": groups, "blank": 0, "minutes": None}}})
    assert [row["clips"] for row in table] == [*groups, "clips without words", "processor time, minutes"]
    assert table[0]["tiny: word errors"] == "0.00% [0.00%, 0.00%]"
    assert table[-1]["tiny: word errors"] == "?"
