"""Tests of pipelines.audio.sound: which part of a file is read, and what is too long."""

import math
import pickle
import re
from pathlib import Path

import pytest

from pipelines.audio.sound import Extent, TooLongError, check_rate
from pipelines.command import InputError

FILE = Path("a.wav")


def test_a_stated_length_may_be_rounded_up_and_no_more():
    Extent(longest=60.0).check(FILE, 60.2)
    with pytest.raises(InputError, match=r"a\.wav is 61 s long, and an utterance has at most 60 s: cut it up"):
        Extent(longest=60.0).check(FILE, 61.0)


def test_only_the_part_that_is_read_counts():
    Extent(7000.0, 7030.0, 60.0).check(FILE, 7200.0)
    Extent(7150.0, math.inf, 60.0).check(FILE, 7200.0)
    with pytest.raises(InputError, match="is 100 s long"):
        Extent(7100.0, math.inf, 60.0).check(FILE, 7200.0)


def test_a_sample_rate_that_no_recording_has_is_refused():
    check_rate(FILE, 1000)
    check_rate(FILE, 1_536_000)
    for rate in (999, 1_536_001, 2e6, float("inf"), float("nan")):
        with pytest.raises(InputError, match=rf"a\.wav states a sample rate of {re.escape(str(rate))} Hz"):
            check_rate(FILE, rate)


def test_an_error_of_another_process_says_the_same_and_takes_advice():
    error = pickle.loads(pickle.dumps(TooLongError(FILE, "61 s", 60.0)))
    assert str(error) == "a.wav is 61 s long, and an utterance has at most 60 s: cut it up."
    assert error.sentence("be brief") == "a.wav is 61 s long, and an utterance has at most 60 s: be brief."
