"""Tests of pipelines.audio.acoustic: 103 columns of each frame, as librosa computes them, finite whatever comes."""

import librosa
import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio
from pipelines.audio import ACOUSTIC, FrontEnd
from pipelines.audio.acoustic import HIGHEST_HZ, LOWEST_HZ, PITCH_LENGTH, _contrast_bands
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


def features_of(waveform, front_end=UNTRIMMED):
    """Computes the frames of one clip: group -> [num_frames, columns]."""
    acoustic, num_frames = audio.acoustic(tf.constant(waveform)[tf.newaxis], front_end)
    return {name: acoustic[0, : num_frames[0]].numpy()[:, columns] for name, columns in GROUPS.items()}


def centred(waveform, front_end):
    """Pads a waveform so that frames of a pitch begin where ours do."""
    return np.pad(waveform, (PITCH_LENGTH // 2 - front_end.frame_length // 2, PITCH_LENGTH))


def reference(waveform, front_end):
    """Computes the same with librosa, but for the pitch."""
    sizes = {"frame_length": front_end.frame_length, "hop_length": front_end.hop_length, "center": False}
    num_frames = 1 + max(len(waveform) - front_end.frame_length, 0) // front_end.hop_length
    shift = (front_end.num_fft - front_end.frame_length) // 2
    magnitude = np.abs(
        librosa.stft(
            np.pad(waveform, (shift, front_end.num_fft)),
            n_fft=front_end.num_fft,
            hop_length=front_end.hop_length,
            win_length=front_end.frame_length,
            center=False,
        )
    )[:, :num_frames]
    log_mel = np.log(audio.mel_matrix(front_end).T @ magnitude + front_end.log_offset)
    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=40)
    found = {
        "mfcc": mfcc,
        "deltas": librosa.feature.delta(mfcc, mode="nearest"),
        "chroma": librosa.feature.chroma_stft(S=magnitude**2, sr=16000, tuning=0.0, n_fft=front_end.num_fft),
        "contrast": librosa.feature.spectral_contrast(S=magnitude, sr=16000, n_fft=front_end.num_fft),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(waveform, **sizes),
        "rms": librosa.feature.rms(y=waveform, **sizes),
    }
    return {name: values.T for name, values in found.items()}


def assert_near(found, expected):
    """To a thousandth of what a group spans; a valley of contrast may be nothing but rounding, and differ."""
    for name, wanted in expected.items():
        is_near = np.isclose(found[name], wanted, rtol=1e-3, atol=1e-3 * np.ptp(wanted))
        assert is_near.mean() > 0.998 if name == "contrast" else is_near.all(), name


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
    np.testing.assert_allclose(found["rms"], 0.5 / np.sqrt(2), rtol=1e-3)
    np.testing.assert_allclose(found["zero_crossing_rate"], 2 * 1000 / 16000, atol=1.01 / 400)


def test_coefficients_keep_the_length_of_the_log_mel():
    front_end = FrontEnd(mel_bins=40, trim_db=None)
    log_mel, _ = audio.log_mel(noise(8000)[np.newaxis], front_end)
    found = features_of(noise(8000), front_end)
    np.testing.assert_allclose(np.linalg.norm(found["mfcc"], axis=1), np.linalg.norm(log_mel[0], axis=1), rtol=1e-5)


def test_the_slope_of_what_rises_steadily_is_its_rise():
    louder = (noise(16000) * np.exp(NUMBERS / 8000)).astype(np.float32)
    slopes, steady = (features_of(clip)["deltas"][:, 0] for clip in (louder, noise(16000)))
    # Each frame of 160 samples adds 160 / 8000 to every natural logarithm.
    np.testing.assert_allclose((slopes - steady)[4:-4], 160 / 8000 * np.sqrt(64), rtol=0.02)


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


def test_trimming_cuts_what_was_computed_of_the_whole_clip():
    waveform = np.concatenate([1e-4 * noise(9000, 1), voice(), 1e-4 * noise(9000, 2)])
    whole, kept = features_of(waveform), features_of(waveform, FrontEnd())
    first = next(start for start in range(len(whole["rms"])) if np.array_equal(whole["rms"][start], kept["rms"][0]))
    assert 0 < first < first + len(kept["rms"]) < len(whole["rms"])
    for name, values in kept.items():
        np.testing.assert_array_equal(values, whole[name][first : first + len(values)])
    log_mel, num_frames = audio.log_mel(waveform[np.newaxis], FrontEnd())
    features, count = audio.frame_features(waveform[np.newaxis], FrontEnd(), audio.FRAME_FEATURES)
    np.testing.assert_array_equal(features["log_mel"], log_mel)
    np.testing.assert_array_equal(features["mfcc"], features["acoustic"][:, :, :80])
    assert count.numpy().tolist() == num_frames.numpy().tolist() == [len(kept["rms"])]


def yin(waveform, front_end):
    """Finds the pitch as the paper words it, frame by frame and lag by lag, without interpolation."""
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


# Padding, batches, graphs.


@pytest.mark.parametrize("front_end", [FrontEnd(), UNTRIMMED])
def test_padding_and_neighbours_change_nothing(front_end):
    clips = [noise(160), voice(seconds=0.3), noise(16000, 2)]
    batch = np.zeros((3, 20000), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    together, num_frames = audio.acoustic(batch, front_end)
    silence = audio.silence_row("acoustic", front_end)
    for clip, row, count in zip(clips, together.numpy(), num_frames.numpy(), strict=True):
        alone, _ = audio.acoustic(clip[np.newaxis], front_end)
        np.testing.assert_allclose(row[:count], alone[0, :count], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(row[count:], np.tile(silence, (len(row) - count, 1)))


def test_it_is_the_same_eagerly_compiled_and_mapped():
    batch = np.stack([voice(seconds=0.5), noise(8000)])
    eager, num_frames = audio.acoustic(batch, FrontEnd())
    dataset = tf.data.Dataset.from_tensors(batch)
    mapped = dataset.map(lambda waveform: audio.acoustic(waveform, FrontEnd())).get_single_element()
    features, compiled_count = audio.compiled_features(FrontEnd(), ("acoustic",))(batch)
    for acoustic, count in ((features["acoustic"], compiled_count), mapped):
        np.testing.assert_allclose(acoustic, eager, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(count, num_frames)


# Silence and worse.


def test_silence_reads_the_silence_row_and_absence_has_no_frames():
    waveform = np.zeros((2, 16000), np.float32)
    waveform[1, -1] = 1e-9
    acoustic, num_frames = audio.acoustic(waveform, UNTRIMMED)
    assert num_frames.numpy().tolist() == [0, 98]
    silence = audio.silence_row("acoustic", UNTRIMMED)
    np.testing.assert_allclose(acoustic, np.broadcast_to(silence, acoustic.shape), atol=1e-3)
    assert silence[0] == pytest.approx(np.log(1e-5) * 8)
    assert not silence[1:].any()


def adversaries():
    """Makes a hundred waveforms that break formulas: name -> [num_samples]."""
    sign = 1 - 2 * (NUMBERS % 2)
    made = {f"{level} constant": np.full(16000, level) for level in (1, -1, 0.5, 1e-3, 1 / 32768, 1e-20, 1e-40)}
    made |= {f"impulse at {at}": np.eye(1, 16000, at)[0] for at in (0, 1, 199, 200, 399, 400, 8000, 15998, 15999)}
    made |= {f"{level} impulse": level * np.eye(1, 16000, 5000)[0] for level in (-1, 1e-4, 1e-30, 1e-40, 1e-45)}
    made |= {f"{level} denormals": level * noise(16000) for level in (1e-37, 1e-38, 1e-39, 1e-44)}
    made |= {f"square of {half}": np.where(NUMBERS // half % 2, -1, 1) for half in (1, 2, 3, 13, 27, 100, 400, 9999)}
    made |= {f"{level} alternating": level * sign for level in (1, 0.1, 1 / 32768, 1e-20, 1e-40)}
    made |= {f"silence of {count}": np.zeros(count) for count in (0, 1, 399, 400, 16000)}
    made |= {f"{level} alone": np.array([level]) for level in (1, -1, 1 / 32768, 1e-40)}
    made |= {f"{count} samples": noise(count) for count in (2, 3, 160, 399, 400, 401, 560, 1023, 1024, 1025)}
    made |= {f"{level} noise": level * noise(16000) for level in (10, 1, 1e-3, 1e-6, 1e-10, 1e-20)}
    made |= {f"{hz} Hz": tone(hz) for hz in (1, 20, 59, 60, 61, 267, 599, 600, 601, 4000, 7999, 8000)}
    made |= {f"{hz} Hz at the top": 2 * tone(hz) for hz in (1, 50, 100, 1000, 7999)}
    made |= {f"{hz} Hz on an offset": 0.5 + 1e-4 * tone(hz) for hz in (50, 100, 440)}
    made |= {f"voice among zeros from {at}": np.pad(voice(seconds=0.2), (at, 6400)) for at in (0, 77, 3200, 6400)}
    made |= {f"step at {at}": np.repeat([0, 0.9], [at, 16000 - at]) for at in (1, 500, 8000, 15999)}
    made |= {f"ramp to {top}": np.linspace(-top, top, 16000) for top in (1, 1e-5)}
    made |= {f"every {step}th": 1.0 * (NUMBERS % step == 0) for step in (2, 27, 160, 400, 5000)}
    made |= {"one side": np.abs(tone(200)), "fading": noise(16000) * np.exp(-NUMBERS / 100.0)}
    return {name: np.clip(values, -1, 1).astype(np.float32) for name, values in made.items()}


@pytest.mark.parametrize("front_end", [FrontEnd(), UNTRIMMED])
def test_no_waveform_gives_a_number_that_is_none(front_end):
    found = adversaries()
    assert len(found) >= 100
    batch = np.zeros((len(found), 16000), np.float32)
    for row, waveform in zip(batch, found.values(), strict=True):
        row[: len(waveform)] = waveform
    features, num_frames = audio.compiled_features(front_end, audio.FRAME_FEATURES)(batch)
    normalised = audio.normalise_frames(features, num_frames)
    for values in (*features.values(), *normalised.values()):
        for name, clip in zip(found, values.numpy(), strict=True):
            assert np.isfinite(clip).all(), name
    acoustic = features["acoustic"].numpy()
    for column, (low, high) in {
        "f0_hz": (0, 620),
        "voicing": (0, 1),
        "rms": (0, 1),
        "zero_crossing_rate": (0, 1),
    }.items():
        values = acoustic[:, :, ACOUSTIC.index(column)]
        assert low <= values.min() <= values.max() <= high
    assert 0 <= acoustic[:, :, GROUPS["chroma"]].min() <= acoustic[:, :, GROUPS["chroma"]].max() <= 1
    for name, waveform in found.items():
        if not len(np.trim_zeros(waveform, "b")):
            assert num_frames.numpy()[list(found).index(name)] == 0


@pytest.mark.parametrize("waveform", [np.full(16000, 0.5), np.eye(1, 16000, 8000)[0], np.full(16000, 1e-40)])
def test_what_does_not_repeat_has_no_pitch(waveform):
    found = features_of(np.pad(waveform, (2000, 0)).astype(np.float32)[2000:])
    assert not found["f0_hz"][4:-4].any()
    assert not found["voicing"][4:-4].any()


# Normalisation.


def test_normalising_gives_every_column_mean_zero_and_deviation_one():
    waveforms = np.stack([voice(), np.pad(voice(90.0, 0.4), (0, 9600))])
    features, num_frames = audio.frame_features(waveforms, FrontEnd(), ("mfcc", "acoustic"))
    normalised = audio.normalise_frames(features, num_frames)
    np.testing.assert_allclose(normalised["mfcc"], normalised["acoustic"][:, :, :80], atol=1e-4)
    for row, count in zip(normalised["acoustic"].numpy(), num_frames.numpy(), strict=True):
        np.testing.assert_allclose(row[:count].mean(axis=0), 0, atol=2e-4)
        assert row[:count].std(axis=0).max() < 1.001
        np.testing.assert_allclose(row[:count, GROUPS["mfcc"]].std(axis=0), 1, atol=1e-3)


def test_columns_that_hardly_vary_are_not_blown_up():
    features, num_frames = audio.frame_features(tone(200.0)[np.newaxis, : 400 + 16 * 160], UNTRIMMED, ("acoustic",))
    constant = features["acoustic"] * 0 + 3 + 1e-5 * np.float32(np.arange(17) % 2)[:, np.newaxis]
    assert np.abs(audio.normalise_frames({"acoustic": constant}, num_frames)["acoustic"]).max() < 0.1


def test_log_mel_is_normalised_as_ever():
    features, num_frames = audio.frame_features(voice()[np.newaxis], FrontEnd(), ("log_mel",))
    normalised = audio.normalise_frames(features, num_frames)
    np.testing.assert_array_equal(normalised["log_mel"], audio.normalise(features["log_mel"], num_frames))


# Settings.


def test_too_few_mel_bands_are_refused():
    audio.check_acoustic(FrontEnd(mel_bins=40))
    with pytest.raises(InputError, match="--mel-bins 39 are too few for the 40 cepstral coefficients"):
        audio.check_acoustic(FrontEnd(mel_bins=39))
    with pytest.raises(InputError, match="--mel-bins 39 are too few"):
        audio.acoustic(noise(8000)[np.newaxis], FrontEnd(mel_bins=39))


def test_no_band_of_contrast_is_empty_where_forty_mel_bands_fit():
    for num_fft in range(80, 1200):
        assert all(first < end for first, end, _ in _contrast_bands(num_fft))
