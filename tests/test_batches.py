"""Tests of emotion_tf.serving.batches: each utterance once, beside others of its length, padded by zeros."""

import numpy as np
import pytest

from emotion_tf.serving.batches import (
    MAX_ROWS,
    MAX_SECONDS_OF_SOUND,
    STEP,
    holds,
    in_batches,
    leave_out,
    together,
    without,
)
from pipelines.audio import SAMPLE_RATE


@pytest.mark.parametrize("rows_each", [1, 3])
def test_each_comes_once_in_batches_of_bounded_rows_and_seconds(rows_each):
    lengths = np.random.default_rng(0).integers(0, 30 * SAMPLE_RATE, 200).tolist()
    batches = list(in_batches(lengths, rows_each))
    assert sorted(place for batch in batches for place in batch) == list(range(200))
    for batch in batches:
        rows = len(batch) * rows_each
        assert rows <= MAX_ROWS
        assert rows * max(lengths[place] for place in batch) <= MAX_SECONDS_OF_SOUND * SAMPLE_RATE


def test_what_is_alike_in_length_goes_together():
    assert list(in_batches([5, 1] * MAX_ROWS)) == [list(range(1, 2 * MAX_ROWS, 2)), list(range(0, 2 * MAX_ROWS, 2))]


def test_what_is_much_longer_does_not_pad_the_others():
    lengths = [3 * SAMPLE_RATE] * 6 + [5 * SAMPLE_RATE] * 6
    assert list(in_batches(lengths)) == [list(range(6)), list(range(6, 12))]
    assert list(in_batches(lengths[5:7])) == [[0, 1]]  # Two calls would cost more.


def test_one_that_is_larger_than_a_batch_goes_alone():
    assert list(in_batches([1, 10**9], 9)) == [[0], [1]]
    assert list(in_batches([])) == []


def given(waveform, transcript, **further):
    return {"waveforms": waveform[np.newaxis], "transcripts": np.array([transcript], object), **further}


def test_a_batch_holds_each_utterance_and_zeros_for_what_lacks():
    one = given(np.ones(3, np.float32), "oh", speaker_mean=np.full((1, 2), 7.0), video_frames=np.ones((1, 2, 4, 4, 1)))
    other = given(np.full(STEP + 1, 2, np.float32), "no")
    batch = together([one, other])
    assert batch["waveforms"].shape == (2, 2 * STEP)
    assert batch["waveforms"].sum(axis=1).tolist() == [3, 2 * (STEP + 1)]
    assert batch["transcripts"].tolist() == ["oh", "no"]
    assert batch["speaker_mean"].tolist() == [[7, 7], [0, 0]]
    assert batch["video_frames"].sum(axis=(1, 2, 3, 4)).tolist() == [32, 0]
    assert "speaker_std" not in batch


def test_an_utterance_knows_what_it_holds_and_goes_without():
    one = given(np.ones(3, np.float32), "oh", video_frames=np.ones((1, 2, 4, 4, 1)))
    for modality in ("audio", "text", "video"):
        assert holds(one, modality)
        assert not holds(without(one, modality), modality)
        batch = together([one, without(one, modality)])
        expected = together([one, one])
        leave_out(expected, modality, 1)
        assert {name: values.tolist() for name, values in batch.items()} == {
            name: values.tolist() for name, values in expected.items()
        }
    assert without(one, None) is one


def test_what_is_left_out_is_zeros_or_empty_in_some_rows_alone():
    inputs = {"waveforms": np.ones((2, 3)), "transcripts": np.array(["oh", "no"], object)}
    for modality in ("audio", "text", "video"):
        leave_out(inputs, modality, 1)
    assert inputs["waveforms"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert inputs["transcripts"].tolist() == ["oh", ""]
