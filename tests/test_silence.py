"""Tests of pipelines.audio.silence: the silent ends of a clip, the same in the graph and on the host."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio
from pipelines.audio import silence


def span_of(energy, trim_db=30.0):
    """Finds the loud frames of one clip both ways, which agree."""
    first, end = silence.loud_span(tf.constant([energy], tf.float32), trim_db)
    assert silence.loud_span_on_host(np.array(energy), trim_db) == (first[0], end[0])
    return int(first[0]), int(end[0])


@pytest.mark.parametrize(
    ("energy", "trim_db", "span"),
    [
        ([0, 1, 0, 1, 0], 30.0, (1, 4)),
        ([1, 0, 0], 30.0, (0, 1)),
        ([1e-4, 1e-2, 1, 1e-4], 30.0, (1, 3)),
        ([1e-4, 1e-2, 1, 1e-4], 10.0, (2, 3)),
        ([1e-4, 1e-2, 1, 1e-4], 50.0, (0, 4)),
        ([1e-30, 0], 30.0, (0, 1)),
        ([0, 0, 0], 30.0, (0, 0)),
        ([], 30.0, (0, 0)),
    ],
)
def test_the_loud_span_reaches_from_the_first_loud_frame_to_the_last(energy, trim_db, span):
    assert span_of(energy, trim_db) == span


def test_each_clip_of_a_batch_has_a_threshold_of_its_own():
    first, end = silence.loud_span(tf.constant([[0.0, 1.0, 1e-4], [1e-4, 1e-5, 0.0], [0.0, 0.0, 0.0]]), 30.0)
    assert (first.numpy().tolist(), end.numpy().tolist()) == ([1, 0, 0], [2, 2, 0])


def test_energy_is_that_of_whole_blocks_without_their_offset():
    samples = np.tile(np.float32([0.5, 0.3]), 200)  # Two blocks and a half.
    np.testing.assert_allclose(silence.block_energy(tf.constant(samples)), [0.01, 0.01], rtol=1e-5)
    np.testing.assert_allclose(silence.block_energy_on_host(samples), [0.01, 0.01], rtol=1e-5)
    assert not silence.block_energy_on_host(np.full(480, 5000, np.int16)).any()
    assert not silence.block_energy(tf.fill([480], 5000 / 32768)).numpy().any()


def clips():
    """Yields noise [num_samples] int16 whose ends are soft, some on an offset, and what is silent or short."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        begin, loud, end = rng.integers(0, 6000, 3)
        level = np.repeat([10.0, 2000.0, 30.0], [begin, loud, end])
        yield np.rint(level * rng.standard_normal(len(level)) + 5000 * (seed % 2)).astype(np.int16)
    yield from (np.zeros(count, np.int16) for count in (0, 1, 160, 4000))
    yield from (np.full(count, 99, np.int16) for count in (1, 159, 1600))


@pytest.mark.parametrize("trim_db", [10.0, 30.0, 60.0])
def test_graph_and_host_find_the_same_span_of_a_waveform(trim_db):
    def span(waveform):
        return silence.loud_span(silence.block_energy(waveform)[tf.newaxis], trim_db)

    on_host = [silence.loud_span_on_host(silence.block_energy_on_host(clip), trim_db) for clip in clips()]
    eager = [tuple(int(one[0]) for one in span(tf.constant(audio.to_float(clip)))) for clip in clips()]
    dataset = tf.data.Dataset.from_generator(
        lambda: map(audio.to_float, clips()), output_signature=tf.TensorSpec([None], tf.float32)
    )
    mapped = [(int(first[0]), int(end[0])) for first, end in dataset.map(span)]
    assert on_host == eager == mapped
    assert len(set(on_host)) > 10


@pytest.mark.parametrize("trim_db", [10.0, 30.0])
def test_the_front_end_trims_to_the_same_span_of_speech_like_noise_and_a_margin(trim_db):
    waveform = np.concatenate([1e-4 * np.ones(8000), np.full(4000, 0.02), np.full(8000, 0.2), np.zeros(8000)])
    waveform = (waveform * np.random.default_rng(0).standard_normal(len(waveform))).astype(np.float32)
    waveform[-1] = 1e-4
    first, end = silence.loud_span_on_host(silence.block_energy_on_host(waveform), trim_db)
    _, num_frames = audio.frame_features(waveform[np.newaxis], audio.FrontEnd(trim_db=trim_db), ["log_mel"])
    # Five frames of margin at both ends; a frame of 25 ms touches blocks of 10 ms before and behind it.
    assert int(num_frames[0]) == pytest.approx(end - first + 10, abs=3)
    assert first == (50 if trim_db == 30.0 else 75)
