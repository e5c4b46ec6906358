"""Tests of benchmarks.invariance: each change is what its name says, and is counted as it should be."""

import av
import numpy as np
import pytest
import soundfile

from benchmarks import invariance
from benchmarks.invariance import CHANGES, Change

CLIP = 0.2 * np.sin(2 * np.pi * 200 * np.arange(invariance.RATE) / invariance.RATE)


def test_there_are_thirty_changes_of_different_names():
    assert len({change.name for change in CHANGES}) == len(CHANGES) == 30


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_every_change_is_written_as_a_file_that_holds_the_clip(change, tmp_path, monkeypatch):
    monkeypatch.setattr(invariance, "CHANGES", (change,))
    [(_, path)] = invariance._written(CLIP, tmp_path, 0)
    if path.suffix == ".wav":
        about = soundfile.info(path)
        assert about.samplerate == change.rate
        # The clip of one second, with at most two seconds of silence around it: samples of sound, no time of a run.
        assert about.samplerate <= about.frames <= 3 * about.samplerate
    else:
        with av.open(str(path)) as container:
            [stream] = container.streams.audio
            assert stream.rate == change.rate
            assert sum(frame.samples for frame in container.decode(stream)) / stream.rate == pytest.approx(1, abs=0.1)


def test_what_would_clip_is_left_out():
    loud = next(change for change in CHANGES if change.name.startswith("gain +6"))
    assert loud.apply(CLIP, np.random.default_rng(0)) is not None
    assert loud.apply(4 * CLIP, np.random.default_rng(0)) is None


def test_changes_are_counted_among_all_and_among_clear_predictions():
    before = [[0.9, 0.1], [0.51, 0.49], [0.2, 0.8], [0.4, 0.6]]
    after = [[0.8, 0.2], [0.49, 0.51], [0.6, 0.4], [0.4, 0.6]]
    pairs = [(np.array(one), np.array(other)) for one, other in zip(before, after, strict=True)]
    row = invariance._row(Change("x", lambda samples, rng: samples), pairs)
    assert (row["num_clips"], row["changed"]) == (4, 0.5)
    assert row["changed_where_clear"] == pytest.approx(1 / 3)
    assert row["mean_change"] == pytest.approx((0.1 + 0.02 + 0.4 + 0) / 4)
    assert row["largest_change"] == pytest.approx(0.4)
