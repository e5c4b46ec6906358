"""Tests of emotion_tf.serving.diarisation: the emotion diarisation error rate, by hand."""

import pytest

from emotion_tf.serving.annotations import Labelled
from emotion_tf.serving.diarisation import DiarisationErrors, diarisation_errors


def errors(reference, found, seconds=10.0):
    return diarisation_errors([Labelled(*one) for one in reference], [Labelled(*one) for one in found], seconds)


def test_the_same_stretches_have_no_error():
    stretches = [(0, 3, "neutral"), (3, 7, "angry")]
    assert errors(stretches, stretches) == DiarisationErrors(0, 0, 0, 0, 10)


@pytest.mark.parametrize(
    ("reference", "found", "part", "seconds"),
    [
        ([(0, 10, "neutral")], [(2, 5, "angry")], "false_alarm", 3),
        ([], [(2, 5, "angry")], "false_alarm", 3),
        ([(2, 6, "angry")], [(2, 5, "angry")], "missed", 1),
        ([(2, 6, "angry")], [(2, 6, "neutral")], "missed", 4),
        ([(2, 6, "angry")], [(2, 4, "happy"), (4, 6, "angry")], "confusion", 2),
        ([(2, 6, "angry")], [(2, 6, "angry"), (3, 4, "sad")], "overlap", 1),
    ],
)
def test_each_kind_of_error_is_counted_in_seconds(reference, found, part, seconds):
    counted = errors(reference, found)
    assert getattr(counted, part) == pytest.approx(seconds)
    assert counted.error_rate == pytest.approx(seconds / 10)


def test_neutral_where_the_reference_has_a_gap_is_right():
    assert errors([(2, 6, "angry")], [(0, 2, "neutral"), (2, 6, "angry")]).error_rate == 0


def test_either_of_two_emotions_of_the_reference_is_right():
    assert errors([(0, 4, "sad"), (0, 4, "fearful")], [(0, 4, "fearful")]).error_rate == 0


def test_what_lies_behind_the_end_does_not_count():
    assert errors([(0, 4, "sad")], [(0, 4, "sad"), (12, 14, "angry")]).error_rate == 0


def test_parts_are_shares_that_add_up():
    found = errors([(2, 6, "angry")], [(1, 4, "happy"), (4, 5, "angry")]).to_json()
    parts = [found[name] for name in ("false_alarm", "missed", "confusion", "overlap")]
    assert parts == pytest.approx([0.1, 0.1, 0.2, 0])
    assert found["error_rate"] == pytest.approx(sum(parts))
    assert found["seconds"] == 10
