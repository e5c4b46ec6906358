"""Tests of pipelines.audio.silence: the silent ends of a clip, the same in the graph and on the host."""

import numpy as np
import pytest
import scipy.ndimage
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


@pytest.mark.parametrize(
    ("energy", "width", "expected"),
    [
        ([0, 9, 9, 0, 0], 3, [0, 0, 0, 0, 0]),  # Two frames are over sooner than three.
        ([0, 9, 8, 9, 0], 3, [0, 8, 8, 8, 0]),
        ([9, 9, 9, 0, 0], 3, [9, 9, 9, 0, 0]),  # Beyond the ends there is nothing that could be softer.
        ([9, 9], 5, [9, 9]),
        ([1, 2, 50, 2, 1], 3, [1, 2, 2, 2, 1]),
        ([4, 7, 2], 1, [4, 7, 2]),
    ],
)
def test_what_is_over_sooner_is_cut_down_to_what_is_around_it(energy, width, expected):
    longer = tf.constant([[*energy, *[99.0] * 4]], tf.float32)  # What stands behind the end is none of the clip.
    found = silence.sustained(longer, tf.constant([len(energy)]), width)
    assert found.numpy()[0].tolist() == [*expected, 0, 0, 0, 0]
    assert silence.sustained_on_host(np.array(energy, float), width).tolist() == expected


@pytest.mark.parametrize(("length", "width"), [(1, 3), (2, 7), (50, 5), (200, 7)])
def test_graph_and_host_keep_the_same_and_scipy_opens_so_too(length, width):
    energy = np.random.default_rng(length).random(length)
    on_host = silence.sustained_on_host(energy, width)
    found = silence.sustained(tf.constant(energy[np.newaxis]), tf.constant([length]), width)
    np.testing.assert_allclose(found[0], on_host, rtol=1e-12)
    eroded = scipy.ndimage.minimum_filter1d(energy, width, mode="constant", cval=np.inf)
    np.testing.assert_allclose(
        on_host, scipy.ndimage.maximum_filter1d(eroded, width, mode="constant", cval=-np.inf), rtol=1e-12
    )


def test_the_width_is_that_of_fifty_milliseconds_and_a_window_and_odd():
    assert [silence.sustained_width(*sizes) for sizes in ((0.01, 0.025), (0.016, 0.032), (0.04, 0.04), (0.1, 0.1))] == [
        7,
        5,
        3,
        1,
    ]


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
