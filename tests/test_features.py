"""Tests of pipelines.audio.features: every feature of the same frames, the same wherever it is computed, and finite."""

import numpy as np
import pytest
import tensorflow as tf
from test_acoustic import noise, tone, voice

from pipelines import audio
from pipelines.audio import ACOUSTIC, FrontEnd

UNTRIMMED = FrontEnd(trim_db=None)
NUMBERS = np.arange(16000)

MFCC, CHROMA = slice(0, 40), slice(80, 92)


def features_of(waveform, front_end):
    """Computes all features of the frames of one clip: name -> [num_frames, columns]."""
    features, num_frames = audio.frame_features(waveform[np.newaxis], front_end, audio.FRAME_FEATURES)
    return {name: values[0, : num_frames[0]].numpy() for name, values in features.items()}


# The same frames, wherever they are computed.


def test_trimming_cuts_what_was_computed_of_the_whole_clip():
    waveform = np.concatenate([1e-4 * noise(9000, 1), voice(), 1e-4 * noise(9000, 2)])
    whole, kept = features_of(waveform, UNTRIMMED), features_of(waveform, FrontEnd())
    first = next(start for start, row in enumerate(whole["acoustic"]) if np.array_equal(row, kept["acoustic"][0]))
    assert 0 < first < first + len(kept["acoustic"]) < len(whole["acoustic"])
    for name, values in kept.items():
        np.testing.assert_array_equal(values, whole[name][first : first + len(values)])


def test_a_feature_is_the_same_alone_and_beside_others():
    together, num_frames = audio.frame_features(voice()[np.newaxis], FrontEnd(), audio.FRAME_FEATURES)
    np.testing.assert_array_equal(together["mfcc"], together["acoustic"][:, :, :80])
    for name, values in together.items():
        alone, count = audio.frame_features(voice()[np.newaxis], FrontEnd(), [name])
        np.testing.assert_array_equal(alone[name], values)
        np.testing.assert_array_equal(count, num_frames)
        assert values.shape[2] == audio.num_columns(name, FrontEnd())


@pytest.mark.parametrize("name", audio.FRAME_FEATURES)
def test_a_feature_is_the_same_compiled_mapped_and_in_an_export(name, tmp_path):
    def compute(waveform):
        return audio.frame_features(waveform, FrontEnd(), (name,))

    batch = np.stack([voice(seconds=0.5), noise(8000)])
    eager, num_frames = compute(batch)
    module, signature = tf.Module(), [tf.TensorSpec([None, None], tf.float32)]
    module.serve = tf.function(compute, input_signature=signature)
    tf.saved_model.save(module, tmp_path)
    exported = tf.saved_model.load(tmp_path).serve(batch)
    mapped = tf.data.Dataset.from_tensors(batch).map(compute).get_single_element()
    tolerance = 1e-5 if name == "log_mel" else 1e-4
    for features, count in (audio.compiled_features(FrontEnd(), (name,))(batch), exported, mapped):
        np.testing.assert_allclose(features[name], eager[name], rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(count, num_frames)


# Silence and worse.


def test_silence_reads_the_silence_row_and_absence_has_no_frames():
    waveform = np.zeros((2, 16000), np.float32)
    waveform[1, [15700, 15999]] = 0.5, 1e-6
    features, num_frames = audio.frame_features(waveform, UNTRIMMED, audio.FRAME_FEATURES)
    assert num_frames.numpy().tolist() == [0, 98]
    for name, values in features.items():
        silence = audio.silence_row(name, UNTRIMMED)
        # The last frames, and the slopes of four before them, touch the one sample that is no silence.
        for clip in (values[0], values[1, :91]):
            # Contrast has two floors, 80 dB below the clip's strongest peak and below its strongest valley.
            np.testing.assert_allclose(clip, np.broadcast_to(silence, clip.shape), atol=0.05)
    assert silence[0] == pytest.approx(np.log(3e-3) * 8)
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
        "rms": (0, 1000),
        "zero_crossing_rate": (0, 1),
    }.items():
        values = acoustic[:, :, ACOUSTIC.index(column)]
        assert low <= values.min() <= values.max() <= high
    assert 0 <= acoustic[:, :, CHROMA].min() <= acoustic[:, :, CHROMA].max() <= 1
    for name, waveform in found.items():
        if not len(np.trim_zeros(waveform, "b")):
            assert num_frames.numpy()[list(found).index(name)] == 0


# Normalisation.


def test_normalising_gives_every_column_mean_zero_and_standard_deviation_one():
    waveforms = np.stack([voice(), np.pad(voice(90.0, 0.4), (0, 9600))])
    features, num_frames = audio.frame_features(waveforms, FrontEnd(), ("mfcc", "acoustic"))
    normalised = audio.normalise_frames(features, num_frames)
    np.testing.assert_allclose(normalised["mfcc"], normalised["acoustic"][:, :, :80], atol=1e-4)
    for row, count in zip(normalised["acoustic"].numpy(), num_frames.numpy(), strict=True):
        np.testing.assert_allclose(row[:count].mean(axis=0), 0, atol=2e-4)
        assert row[:count].std(axis=0).max() < 1.001
        np.testing.assert_allclose(row[:count, MFCC].std(axis=0), 1, atol=1e-3)


def test_columns_that_hardly_vary_are_not_blown_up():
    features, num_frames = audio.frame_features(tone(200.0)[np.newaxis, : 400 + 16 * 160], UNTRIMMED, ("acoustic",))
    constant = features["acoustic"] * 0 + 3 + 1e-5 * np.float32(np.arange(17) % 2)[:, np.newaxis]
    assert np.abs(audio.normalise_frames({"acoustic": constant}, num_frames)["acoustic"]).max() < 0.1


def test_log_mel_is_normalised_as_by_normalise():
    features, num_frames = audio.frame_features(voice()[np.newaxis], FrontEnd(), ("log_mel",))
    normalised = audio.normalise_frames(features, num_frames)
    np.testing.assert_array_equal(normalised["log_mel"], audio.normalise(features["log_mel"], num_frames))
