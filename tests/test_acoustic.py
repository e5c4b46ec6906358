"""Tests of pipelines.audio.acoustic: 103 columns of each frame, as librosa computes them."""

import librosa
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import tensorflow as tf

from pipelines import audio
from pipelines.audio import ACOUSTIC, FrontEnd
from pipelines.audio.acoustic import HIGHEST_HZ, LOWEST_HZ, PITCH_LENGTH, _contrast_bands
from pipelines.audio.silence import sustained_width
from pipelines.command import InputError

UNTRIMMED = FrontEnd(trim_db=None)
NUMBERS = np.arange(16000)

GROUPS = {
    "mfcc": slice(0, 40),
    "deltas": slice(40, 80),
    "chroma": slice(80, 92),
    "contrast": slice(92, 99),
    "zero_crossing_rate": slice(99, 100),
    "rms": slice(100, 101),
    "f0_hz": slice(101, 102),
    "voicing": slice(102, 103),
}


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def tone(frequency_hz, seconds=1.0):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(seconds * 16000) / 16000)).astype(np.float32)


def voice(f0_hz=130.0, seconds=1.0, seed=0):
    """Makes harmonics that rise by a quarter, in a little noise that fades."""
    time = np.arange(int(seconds * 16000)) / 16000
    phase = 2 * np.pi * f0_hz * (time + time**2 / 8 / seconds)
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 20))
    return (0.1 * harmonics * (0.3 + np.sin(np.pi * time / seconds)) + 0.01 * noise(len(time), seed)).astype(np.float32)


def acoustic_of(batch, front_end=UNTRIMMED):
    """Computes acoustic of a batch, and num_frames."""
    features, num_frames = audio.frame_features(batch, front_end, ["acoustic"])
    return features["acoustic"], num_frames


def features_of(waveform, front_end=UNTRIMMED):
    """Computes the frames of one clip: group -> [num_frames, columns]."""
    acoustic, num_frames = acoustic_of(tf.constant(waveform)[tf.newaxis], front_end)
    return {name: acoustic[0, : num_frames[0]].numpy()[:, columns] for name, columns in GROUPS.items()}


def centred(waveform, front_end):
    """Pads a waveform so that frames of a pitch begin where ours do."""
    return np.pad(waveform, (PITCH_LENGTH // 2 - front_end.frame_length // 2, PITCH_LENGTH))


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
    """Computes the same with librosa, but for the pitch."""
    frames, magnitude, _ = levelled(waveform, front_end)
    log_mel = np.log(audio.mel_matrix(front_end).T @ magnitude + front_end.log_offset)
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=40)
    found = {
        "mfcc": mfcc,
        "deltas": librosa.feature.delta(mfcc, mode="nearest"),
        "chroma": librosa.feature.chroma_stft(S=magnitude**2, sr=16000, tuning=0.0, n_fft=front_end.num_fft),
        "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=16000, n_fft=front_end.num_fft),
        "zero_crossing_rate": librosa.zero_crossings(frames, axis=1, pad=False).mean(axis=1)[np.newaxis],
        "rms": np.sqrt(np.square(frames).mean(axis=1))[np.newaxis],
    }
    return {name: values.T for name, values in found.items()}


def assert_near(found, expected):
    """To a thousandth of what a group spans; a valley of contrast may be nothing but rounding, and differ."""
    for name, wanted in expected.items():
        is_near = np.isclose(found[name], wanted, rtol=1e-3, atol=1e-3 * np.ptp(wanted))
        assert is_near.mean() > 0.99 if name == "contrast" else is_near.all(), name


# Columns.


def test_every_column_has_a_name_of_its_own():
    assert len(ACOUSTIC) == len(set(ACOUSTIC)) == 103
    assert ACOUSTIC[39:41] == ("mfcc_39", "mfcc_0_delta")
    assert (ACOUSTIC[80], ACOUSTIC[91], ACOUSTIC[92], ACOUSTIC[98]) == (
        "chroma_c",
        "chroma_b",
        "contrast_0",
        "contrast_6",
    )
    assert ACOUSTIC[99:] == ("zero_crossing_rate", "rms", "f0_hz", "voicing")
    assert audio.num_columns("acoustic", UNTRIMMED) == 103


@pytest.mark.parametrize("frequency_hz", [62.0, 110.0, 200.0, 440.0, 590.0])
def test_the_pitch_of_a_sine_is_its_frequency(frequency_hz):
    found = features_of(tone(frequency_hz))
    inner = slice(4, -4)
    np.testing.assert_allclose(found["f0_hz"][inner], frequency_hz, rtol=2e-3)
    assert found["voicing"][inner].min() > 0.98


def test_a_sine_of_440_hz_is_an_a():
    chroma = features_of(tone(440.0))["chroma"]
    assert {ACOUSTIC[80 + column] for column in chroma.argmax(axis=1)} == {"chroma_a"}
    np.testing.assert_allclose(chroma.max(axis=1), 1.0, rtol=1e-6)


def test_loudness_and_zero_crossings_of_a_sine_are_those_of_the_formula():
    found = features_of(tone(1000.0))
    *_, level = levelled(tone(1000.0), UNTRIMMED)
    np.testing.assert_allclose(found["rms"], 0.5 / np.sqrt(2) / level, rtol=1e-3)
    np.testing.assert_allclose(found["zero_crossing_rate"], 2 * 1000 / 16000, atol=1.01 / 400)


def test_coefficients_keep_the_length_of_the_log_mel():
    front_end = FrontEnd(mel_bins=40, trim_db=None)
    features, _ = audio.frame_features(noise(8000)[np.newaxis], front_end, ["log_mel"])
    found, expected = features_of(noise(8000), front_end), np.linalg.norm(features["log_mel"][0], axis=1)
    np.testing.assert_allclose(np.linalg.norm(found["mfcc"], axis=1), expected, rtol=1e-5)


def test_the_slope_of_what_rises_steadily_is_its_rise():
    louder = (noise(16000) * np.exp(NUMBERS / 8000)).astype(np.float32)
    slopes, steady = (features_of(clip)["deltas"][:, 0] for clip in (louder, noise(16000)))
    # Each frame of 160 samples adds 160 / 8000 to every natural logarithm, but for what the floor of -50 dB takes.
    np.testing.assert_allclose((slopes - steady)[4:-4], 160 / 8000 * np.sqrt(64), rtol=0.2)


def test_noise_has_little_voicing_and_a_voice_much():
    assert features_of(noise(16000))["voicing"].mean() < 0.5
    assert features_of(voice())["voicing"][4:-4].min() > 0.8


# Agreement.


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"frame_seconds": 0.032, "hop_seconds": 0.016, "mel_bins": 40},
        {"frame_seconds": 0.02, "fft_length": 401, "mel_bins": 48},
        {"frame_seconds": 0.1, "hop_seconds": 0.02, "mel_bins": 128},
    ],
)
def test_all_but_the_pitch_agree_with_librosa(settings):
    front_end = FrontEnd(trim_db=None, **settings)
    for waveform in (noise(12345), voice()):
        assert_near(features_of(waveform, front_end), reference(waveform, front_end))


def yin(waveform, front_end):
    """Finds the pitch as the paper defines it, frame by frame and lag by lag, without interpolation."""
    padded, found = centred(waveform, front_end), []
    for start in range(0, len(waveform) - front_end.frame_length + 1, front_end.hop_length):
        frame = padded[start : start + PITCH_LENGTH].astype(np.float64)
        differences = np.array([np.square(frame[lag:] - frame[:-lag]).sum() for lag in range(1, 268)])
        differences *= np.arange(1, 268) / np.cumsum(differences)
        lags = [lag for lag in range(26, 267) if differences[lag - 1] < min(0.1, *differences[[lag - 2, lag]])]
        found.append(16000 / (lags[0] if lags else 26 + differences[25:].argmin()))
    return np.array(found)


def test_the_pitch_of_a_gliding_voice_is_what_the_paper_says():
    for waveform in (voice(), voice(90.0, seed=1)):
        found, wanted = features_of(waveform)["f0_hz"][:, 0], yin(waveform, UNTRIMMED)
        assert len(found) == len(wanted)
        # Half a lag of rounding: the reference knows whole ones.
        np.testing.assert_array_less(np.abs(16000 / found - 16000 / wanted), 0.51)


@pytest.fixture(scope="module")
def real_clips(real_data):
    """50 recordings, spread over the actors; trailing zeros, which are padding, cut off."""
    paths = sorted((real_data / "ravdess").rglob("*.flac"))[::24]
    assert len(paths) == 50
    return [audio.to_float(np.trim_zeros(audio.decode(path), "b")) for path in paths]


@pytest.mark.real_data
def test_real_clips_agree_with_librosa(real_clips):
    for waveform in real_clips:
        assert_near(features_of(waveform), reference(waveform, UNTRIMMED))


@pytest.mark.real_data
def test_the_pitch_of_real_voices_is_within_two_hundredths_of_librosa_yin(real_clips):
    """Three clips: pyin takes seconds each. benchmarks/acoustic.py looks at all of them."""
    errors = []
    settings = {"fmin": LOWEST_HZ, "fmax": HIGHEST_HZ, "sr": 16000, "frame_length": PITCH_LENGTH, "hop_length": 160}
    for waveform in real_clips[5::20]:
        padded, found = centred(waveform, UNTRIMMED), features_of(waveform)["f0_hz"][:, 0]
        wanted = librosa.yin(padded, center=False, **settings)[: len(found)]
        is_voiced = librosa.pyin(padded, center=False, **settings)[1][: len(found)]
        errors.append(np.abs(found - wanted)[is_voiced] / wanted[is_voiced])
    assert min(map(len, errors)) > 30
    assert np.median(np.concatenate(errors)) < 0.02


# Padding, and what has no pitch.


@pytest.mark.parametrize("front_end", [FrontEnd(), UNTRIMMED])
def test_padding_and_neighbours_change_nothing(front_end):
    clips = [noise(160), voice(seconds=0.3), noise(16000, 2)]
    batch = np.zeros((3, 20000), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    together, num_frames = acoustic_of(batch, front_end)
    silence = audio.silence_row("acoustic", front_end)
    for clip, row, count in zip(clips, together.numpy(), num_frames.numpy(), strict=True):
        alone, _ = acoustic_of(clip[np.newaxis], front_end)
        np.testing.assert_allclose(row[:count], alone[0, :count], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(row[count:], np.tile(silence, (len(row) - count, 1)))


@pytest.mark.parametrize("waveform", [np.full(16000, 0.5), np.eye(1, 16000, 8000)[0], np.full(16000, 1e-40)])
def test_what_does_not_repeat_has_no_pitch(waveform):
    found = features_of(np.pad(waveform, (2000, 0)).astype(np.float32)[2000:])
    assert not found["f0_hz"][4:-4].any()
    assert not found["voicing"][4:-4].any()


# Settings.


def test_too_few_mel_bands_are_refused():
    audio.check_acoustic(FrontEnd(mel_bins=40))
    with pytest.raises(InputError, match="--mel-bins 39 are too few for the 40 cepstral coefficients"):
        audio.check_acoustic(FrontEnd(mel_bins=39))
    with pytest.raises(InputError, match="--mel-bins 39 are too few"):
        acoustic_of(noise(8000)[np.newaxis], FrontEnd(mel_bins=39))


def test_no_band_of_contrast_is_empty_where_forty_mel_bands_fit():
    for num_fft in range(80, 1200):
        assert all(first < end for first, end, _ in _contrast_bands(num_fft))
