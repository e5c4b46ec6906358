"""Tests of pipelines.transcripts.gates: limits by hand, and no trial more than needed."""

import dataclasses

import numpy as np
import pytest

from pipelines.transcripts.gates import Gates, Trial

SPOKEN = Trial("Kids are talking by the door.", avg_logprob=-0.5, no_speech_prob=0.1, compression_ratio=0.78)


def test_the_score_is_that_of_speech_times_a_token():
    trial = Trial("oh", np.log(0.5), 0.2, 1.0)
    assert np.exp(trial.speech_score) == pytest.approx(0.8 * 0.5)
    assert Trial("oh", 0.0, 1.0, 1.0).speech_score < -20


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"avg_logprob": -1.0}, True),
        ({"avg_logprob": -1.3}, False),
        ({"no_speech_prob": 0.45}, True),
        ({"no_speech_prob": 0.55, "avg_logprob": -1.0}, False),
        ({"no_speech_prob": 0.61, "avg_logprob": 0.0}, False),
        ({"compression_ratio": 2.0}, True),
        ({"compression_ratio": 2.01}, False),
    ],
)
def test_words_count_within_all_limits(changes, expected):
    assert Gates().accept(SPOKEN._replace(**changes)) is expected


def test_the_first_trial_that_counts_ends_it():
    stuck = SPOKEN._replace(text="oh oh oh oh", compression_ratio=9.0)
    warm = SPOKEN._replace(temperature=0.2)
    window = Gates().judge(iter([stuck, warm, SPOKEN]))
    assert (window.trials, window.trial, window.is_accepted) == ((stuck, warm), warm, True)


def test_a_sample_that_repeats_itself_a_little_less_is_not_taken():
    stuck = SPOKEN._replace(text="see see see see see see see see", compression_ratio=5.1)
    less = SPOKEN._replace(text="see you, see, see, see, see, see", compression_ratio=1.9)
    assert Gates().judge(iter([less])).is_accepted
    assert not Gates().judge(iter([stuck, less])).is_accepted
    long = SPOKEN._replace(text="words " * 75, compression_ratio=1.9)
    assert Gates().judge(iter([stuck, less, long])).trial == long


def test_no_temperature_makes_words_of_what_is_no_speech():
    breath = SPOKEN._replace(no_speech_prob=0.7)
    window = Gates().judge(iter([breath, SPOKEN]))
    assert (window.trials, window.is_accepted) == ((breath,), False)


def test_the_last_trial_is_the_answer_where_none_counts():
    trials = tuple(SPOKEN._replace(avg_logprob=-2.0, temperature=one) for one in (0.0, 0.5, 1.0))
    window = Gates().judge(iter(trials))
    assert (window.trials, window.trial, window.is_accepted) == (trials, trials[-1], False)


def test_tables_name_every_limit():
    for field in dataclasses.fields(Gates):
        assert str(dataclasses.replace(Gates(), **{field.name: 0.125})) != str(Gates())
