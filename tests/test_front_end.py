"""Tests of pipelines.audio.front_end: one waveform to one log-mel, wherever it is computed."""

import librosa
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import tensorflow as tf

from pipelines import audio
from pipelines.audio import FrontEnd
from pipelines.audio.silence import sustained_width
from pipelines.command import InputError

UNTRIMMED = FrontEnd(trim_db=None)


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def tone(frequency_hz, seconds=1.0, sample_rate=16000):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(seconds * sample_rate) / sample_rate)).astype(np.float32)


def log_mel_of(batch, front_end=UNTRIMMED):
    """Computes log_mel of a batch, and num_frames."""
    features, num_frames = audio.frame_features(batch, front_end, ["log_mel"])
    return features["log_mel"], num_frames


def features_of(waveform, front_end=UNTRIMMED):
    """Computes the frames of one clip."""
    log_mel, num_frames = log_mel_of(tf.constant(waveform)[tf.newaxis], front_end)
    return log_mel[0, : num_frames[0]].numpy()


def levelled(waveform, front_end):
    """Cuts a waveform into frames without their mean, all divided by the clip's level, by librosa, numpy and scipy.

    Returns:
      frames [num_frames, frame_length]; magnitude [fft_length // 2 + 1, num_frames]; the level.
    """
    waveform = np.pad(waveform, (0, max(0, front_end.frame_length - len(waveform))))
    frames = librosa.util.frame(
        waveform, frame_length=front_end.frame_length, hop_length=front_end.hop_length, axis=0
    ).astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    window = scipy.signal.get_window("hann", front_end.frame_length)
    magnitude = np.abs(np.fft.rfft(frames * window, front_end.num_fft)).T
    energy = np.square(audio.mel_matrix(front_end).T @ magnitude).sum(axis=0)
    width = sustained_width(front_end.hop_seconds, front_end.frame_seconds)
    level = np.sqrt(scipy.ndimage.grey_opening(energy, width, mode="nearest").max())
    return frames / level, magnitude / level, level


def reference(waveform, front_end):
    """Computes the same with librosa's frames and filters and scipy's opening."""
    _, magnitude, _ = levelled(waveform, front_end)
    filters = librosa.filters.mel(
        sr=16000, n_fft=front_end.num_fft, n_mels=front_end.mel_bins, fmin=front_end.min_hz, fmax=front_end.max_hz
    )
    return np.log(filters @ magnitude + front_end.log_offset).T


# Log-mel.


@pytest.mark.parametrize("frequency_hz", [440.0, 1000.0, 3000.0])
def test_a_sine_peaks_in_the_band_that_holds_its_frequency(frequency_hz):
    centres = librosa.mel_frequencies(66, fmin=50, fmax=8000)[1:-1]
    peaks = features_of(tone(frequency_hz)).argmax(axis=1)
    assert set(peaks) == {np.abs(centres - frequency_hz).argmin()}


@pytest.mark.parametrize(
    ("num_samples", "num_frames"), [(1, 1), (399, 1), (400, 1), (559, 1), (560, 2), (16000, 98), (16001, 98)]
)
def test_frames_are_counted_without_padding(num_samples, num_frames):
    assert features_of(noise(num_samples)).shape == (num_frames, 64)


def test_silence_reads_the_logarithm_of_the_offset():
    waveform = np.zeros(16000, np.float32)
    waveform[-1] = 0.5
    np.testing.assert_allclose(features_of(waveform)[:-3], np.log(3e-3), rtol=1e-6)
    assert FrontEnd(log_offset=0.5).silence == pytest.approx(np.log(0.5))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"frame_seconds": 0.032, "hop_seconds": 0.016, "mel_bins": 40},
        {"frame_seconds": 401 / 16000},
        {"frame_seconds": 0.02, "fft_length": 401},
        {"frame_seconds": 0.02, "fft_length": 2048, "mel_bins": 128, "min_hz": 0.0, "max_hz": 7000.0},
    ],
)
def test_log_mel_agrees_with_librosa(settings):
    front_end = FrontEnd(trim_db=None, **settings)
    waveform = noise(16000)
    np.testing.assert_allclose(features_of(waveform, front_end), reference(waveform, front_end), atol=1e-5)


@pytest.mark.real_data
def test_log_mel_of_real_clips_agrees_with_librosa_eagerly_batched_and_in_a_dataset(real_data):
    paths = sorted((real_data / "ravdess").rglob("*.flac"))[::100]
    waveforms = [audio.decode(path) for path in paths]
    # Trailing zeros are padding, which librosa does not know.
    expected = [reference(audio.to_float(np.trim_zeros(waveform, "b")), UNTRIMMED) for waveform in waveforms]
    batch, num_frames = log_mel_of(audio.pad_together(waveforms))
    dataset = tf.data.Dataset.from_tensor_slices(audio.pad_together(waveforms)).batch(5)
    mapped = dataset.map(log_mel_of).unbatch()
    alone = [features_of(audio.to_float(waveform)) for waveform in waveforms]
    assert len(paths) == 12
    for row, count, (streamed, streamed_count), one, wanted in zip(
        batch.numpy(), num_frames.numpy(), mapped, alone, expected, strict=True
    ):
        assert count == streamed_count == len(one) == len(wanted)
        np.testing.assert_allclose(row[:count], wanted, atol=1e-3)
        np.testing.assert_allclose(streamed[:count], wanted, atol=1e-3)
        np.testing.assert_allclose(one, wanted, atol=1e-3)


def test_trimming_keeps_what_is_loud_and_a_margin_of_fifty_milliseconds():
    waveform = 1e-4 * noise(48000)
    waveform[16000:32000] = noise(16000)
    whole, kept = features_of(waveform), features_of(waveform, FrontEnd())
    first = next(start for start in range(len(whole)) if np.array_equal(whole[start : start + len(kept)], kept))
    # The first frame that touches sample 16000 is 98, the last that touches 31999 is 199.
    assert first in (98 - 5, 99 - 5)
    assert first + len(kept) - 1 in (198 + 5, 199 + 5)


def test_trimming_does_not_depend_on_loudness():
    waveform = noise(32000) * np.linspace(0, 1, 32000, dtype=np.float32) ** 4
    assert len(features_of(waveform, FrontEnd())) == len(features_of(waveform / 8, FrontEnd())) < 198


def speech_like(seed=0):
    """Makes a second of harmonics under syllables in a little noise."""
    rng, time = np.random.default_rng(seed), np.arange(16000) / 16000
    harmonics = sum(np.sin(2 * np.pi * 170 * number * time) / number for number in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time), 0.05, 1)
    return (0.05 * harmonics * syllables + 1e-4 * rng.standard_normal(16000)).astype(np.float32)


def test_gain_and_offset_and_polarity_change_nothing():
    waveform = speech_like()
    expected = features_of(waveform, FrontEnd())
    for changed in (0.03 * waveform, 4 * waveform, waveform + 0.1, -waveform, 0.1 * waveform - 0.02):
        np.testing.assert_allclose(features_of(np.float32(changed), FrontEnd()), expected, atol=2e-3)


@pytest.mark.parametrize("places", [(1600,), (46000,), (1600, 46000), (12000,)])
def test_clicks_in_the_silence_are_no_speech(places):
    rng = np.random.default_rng(0)
    clean = (1e-4 * rng.standard_normal(48000)).astype(np.float32)
    clean[16000:32000] += speech_like()
    clicked = clean.copy()
    for place in places:
        clicked[place : place + 80] += (0.5 * rng.uniform(-1, 1, 80) * np.hanning(80)).astype(np.float32)
    expected = features_of(clean, FrontEnd())
    assert len(expected) < 120
    np.testing.assert_allclose(features_of(clicked, FrontEnd()), expected, atol=1e-4)


def test_a_click_alone_between_zeros_still_has_frames():
    waveform = np.zeros(16000, np.float32)
    waveform[8000:8080] = 0.5
    assert 0 < len(features_of(waveform, FrontEnd())) < 20


@pytest.mark.parametrize("offset", [0.01, 0.1, -0.3])
def test_a_constant_is_no_sound(offset):
    _, num_frames = log_mel_of(np.full((1, 16000), offset, np.float32), FrontEnd())
    assert num_frames.numpy().tolist() == [0]


def test_absence_has_no_frames_and_padding_of_silence():
    for waveform in (np.zeros((2, 16000), np.float32), np.zeros((2, 0), np.float32)):
        log_mel, num_frames = log_mel_of(waveform, FrontEnd())
        assert num_frames.numpy().tolist() == [0, 0]
        assert log_mel.shape[1] >= 1
        np.testing.assert_allclose(log_mel, np.log(3e-3), rtol=1e-6)


@pytest.mark.parametrize("front_end", [FrontEnd(), UNTRIMMED])
def test_padding_and_neighbours_change_nothing(front_end):
    clips = [noise(length, seed) for seed, length in enumerate((160, 5000, 16000))]
    batch = np.zeros((3, 20000), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    together, num_frames = log_mel_of(batch, front_end)
    for clip, row, count in zip(clips, together.numpy(), num_frames.numpy(), strict=True):
        np.testing.assert_allclose(row[:count], features_of(clip, front_end), atol=1e-5)
        np.testing.assert_array_equal(row[count:], np.float32(front_end.silence))


# Normalisation.


def test_normalise_gives_every_band_mean_zero_and_all_of_them_standard_deviation_one():
    log_mel = np.random.default_rng(0).normal(3.0, 2.0, (2, 50, 8)).astype(np.float32)
    normalised = audio.normalise(log_mel, [50, 20]).numpy()
    for row, count in zip(normalised, (50, 20), strict=True):
        np.testing.assert_allclose(row[:count].mean(axis=0), 0, atol=1e-5)
        assert row[:count].std() == pytest.approx(1, abs=1e-5)


def test_normalise_forgets_loudness_and_padding():
    log_mel = np.random.default_rng(0).normal(size=(1, 30, 8)).astype(np.float32)
    longer = np.pad(log_mel, [(0, 0), (0, 9), (0, 0)], constant_values=-11.5)
    expected = audio.normalise(log_mel, [30])
    np.testing.assert_allclose(audio.normalise(log_mel + 2.0, [30]), expected, atol=1e-5)
    np.testing.assert_allclose(audio.normalise(longer, [30])[:, :30], expected, atol=1e-6)
    mapped = tf.data.Dataset.from_tensors(longer).map(lambda x: audio.normalise(x, [30])).get_single_element()
    np.testing.assert_allclose(mapped[:, :30], expected, atol=1e-6)


@pytest.mark.parametrize("num_frames", [0, 1])
def test_normalise_of_nothing_or_one_frame_is_finite(num_frames):
    assert np.isfinite(audio.normalise(np.full((1, 4, 8), -11.5, np.float32), [num_frames])).all()


# Settings.


def test_silence_begins_where_trimming_says_or_30_db_below_where_nothing_is_trimmed():
    assert [FrontEnd(trim_db=trim_db).silence_db for trim_db in (12.0, 30.0, None)] == [12.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fft_length": 256}, "--fft-length 256 is shorter than the window of 400 samples"),
        ({"fft_length": 10**9}, "--fft-length 1000000000 is too long"),
        ({"frame_seconds": 0.0}, "is no window"),
        ({"frame_seconds": -0.025}, "is no window"),
        ({"frame_seconds": float("nan")}, "is no window"),
        ({"frame_seconds": 1e300}, "is no window"),
        ({"hop_seconds": 0.0}, "--hop-seconds 0.0 must be"),
        ({"hop_seconds": -0.01}, "--hop-seconds -0.01 must be"),
        ({"hop_seconds": float("nan")}, "--hop-seconds nan must be"),
        ({"hop_seconds": 1.0}, "at most the window"),
        ({"max_hz": 8001.0}, "above the Nyquist"),
        ({"max_hz": float("nan")}, "below --max-hz nan"),
        ({"max_hz": float("inf")}, "above the Nyquist"),
        ({"min_hz": -1.0}, "--min-hz -1 must be at least 0"),
        ({"min_hz": 8000.0}, "below --max-hz"),
        ({"min_hz": float("nan")}, "--min-hz nan must be"),
        ({"mel_bins": 0}, "--mel-bins 0 must be at least 1"),
        ({"mel_bins": -3}, "--mel-bins -3 must be at least 1"),
        ({"mel_bins": 10**12}, "--mel-bins 1000000000000 .* at most 256"),
        ({"trim_db": 0.0}, "is no threshold"),
        ({"trim_db": float("nan")}, "is no threshold"),
        ({"trim_db": float("inf")}, "is no threshold"),
        ({"log_offset": 0.0}, "has no logarithm"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        FrontEnd(**settings)


def test_empty_mel_bands_are_refused_before_any_work():
    with pytest.raises(InputError, match=r"of 200 mel bands would be empty: give fewer --mel-bins"):
        audio.mel_matrix(FrontEnd(mel_bins=200))
