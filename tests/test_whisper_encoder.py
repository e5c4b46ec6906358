"""Tests of pipelines.audio.whisper_encoder: states are those of openai-whisper's own modules, called one by one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines import audio
from pipelines.audio import whisper_checkpoint

whisper = pytest.importorskip("whisper")
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402  (installed with whisper)

REAL_CHECKPOINTS = Path(__file__).parents[1] / "data" / "whisper"


def noise(num_samples=16000, seed=0):
    return (3000 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.int16)


@pytest.fixture(scope="module")
def encoder(encoder_checkpoint):
    """All blocks of the random checkpoint."""
    return whisper_checkpoint.find(str(encoder_checkpoint)).load()


@pytest.fixture(scope="module")
def theirs(encoder_checkpoint):
    """The encoder of the same checkpoint, as whisper loads it."""
    return whisper.load_model(str(encoder_checkpoint), device="cpu").encoder


@pytest.fixture
def real_clips(real_data):
    """Five clips of RAVDESS."""
    return [audio.decode(path) for path in sorted((real_data / "ravdess").rglob("*.flac"))[::251]]


def states_of(encoder, waveform, num_samples=None):
    encoded = encoder(waveform[None], None if num_samples is None else np.array([num_samples]))
    return encoded["encoder"].numpy()[0, : encoded["num_steps"].numpy()[0]]


def own_states(model, samples):
    """What whisper's modules make of samples [num_samples] float32: [num_steps, num_blocks, width]."""
    log_mel = whisper.log_mel_spectrogram(torch.from_numpy(samples), model.conv1.in_channels)
    states = []
    with torch.no_grad():
        x = torch.nn.functional.gelu(model.conv1(log_mel[None]))
        x = torch.nn.functional.gelu(model.conv2(x)).permute(0, 2, 1)
        x = x + model.positional_embedding[: x.shape[1]]
        for block in model.blocks:
            x = block(x)
            states.append(x[0].numpy())
    pairs = np.stack(states, axis=1)  # [num_positions, num_blocks, width]
    return np.stack([pairs[start : start + 2].mean(axis=0) for start in range(0, len(pairs), 2)])


def assert_close(found, expected, tolerance=1e-3):
    """Compares states by their size, which is up to some hundreds in trained models: float32 holds no more of them."""
    assert found.shape == expected.shape
    assert (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max(initial=0) < tolerance


@pytest.mark.parametrize("num_samples", [400, 641, 7999, 16000, 30001])
def test_states_are_those_of_whisper_on_the_clip_alone(encoder, theirs, num_samples):
    waveform = noise(num_samples)
    assert_close(states_of(encoder, waveform), own_states(theirs, audio.to_float(waveform)), 1e-4)


def test_zeros_to_30_seconds_that_count_as_samples_give_what_whisper_gives(encoder, theirs):
    waveform, expected = np.pad(noise(), (0, 29 * 16000)), []
    theirs.blocks[-1].register_forward_hook(lambda block, inputs, output: expected.append(output[0].numpy()))
    samples = audio.to_float(waveform)
    with torch.no_grad():
        theirs(whisper.log_mel_spectrogram(torch.from_numpy(samples), 80)[None])
    found = states_of(encoder, waveform, 30 * 16000)
    assert_close(found, own_states(theirs, samples), 1e-4)
    assert_close(found[:, -1], expected[0].reshape(750, 2, 8).mean(axis=1), 1e-4)


def test_the_log_mel_is_whispers(encoder):
    samples = audio.to_float(noise(12800))
    expected = whisper.log_mel_spectrogram(torch.from_numpy(samples), 80).numpy().T
    found = encoder.log_mel(samples[None], np.array([12800])).numpy()[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_log_mel_of_large_v3_has_128_bands():
    from pipelines.audio.whisper_encoder import WhisperLogMel

    samples = audio.to_float(noise(6400))
    expected = whisper.log_mel_spectrogram(torch.from_numpy(samples), 128).numpy().T
    np.testing.assert_allclose(WhisperLogMel(128)(samples[None], np.array([6400])).numpy()[0], expected, atol=1e-5)


def test_neighbours_and_padding_change_nothing(encoder):
    lengths = [400, 650, 9000, 16001, 24000]
    clips = [noise(length, length) // (1 + 30 * (length % 2)) for length in lengths]
    batch = audio.pad_together([*clips, np.zeros(0, np.int16)])
    encoded = encoder(batch)
    assert encoded["num_steps"].numpy().tolist() == [-(-(length // 160) // 4) for length in lengths] + [0]
    for states, clip in zip(encoded["encoder"].numpy(), clips, strict=False):
        alone = states_of(encoder, clip)
        np.testing.assert_allclose(states[: len(alone)], alone, atol=1e-5)
        np.testing.assert_array_equal(states[len(alone) :], 0)
    np.testing.assert_array_equal(encoded["encoder"].numpy()[-1], 0)


def test_samples_behind_a_stated_length_count_for_nothing(encoder):
    states = states_of(encoder, noise(16000), 9000)
    np.testing.assert_allclose(states, states_of(encoder, noise(16000)[:9000]), atol=1e-5)


def test_a_clip_shorter_than_a_window_is_padded_to_one(encoder):
    np.testing.assert_allclose(
        states_of(encoder, noise(50)), states_of(encoder, np.pad(noise(50), (0, 350)), 400), atol=1e-6
    )


def test_nothing_and_silence_have_no_steps(encoder):
    for waveform in (np.zeros((2, 0), np.int16), np.zeros((2, 5000), np.float32)):
        encoded = encoder(waveform)
        assert encoded["num_steps"].numpy().tolist() == [0, 0]
        assert np.isfinite(encoded["encoder"].numpy()).all()


def test_whole_numbers_and_fractions_read_the_same(encoder):
    np.testing.assert_array_equal(states_of(encoder, noise()), states_of(encoder, audio.to_float(noise())))


def test_a_recording_longer_than_30_seconds_is_read_in_windows(encoder):
    waveform = noise(31 * 16000 + 7)
    states = states_of(encoder, waveform)
    head, tail = (states_of(encoder, part) for part in (waveform[: 30 * 16000], waveform[30 * 16000 :]))
    assert len(states) == 775
    np.testing.assert_allclose(states, np.concatenate([head, tail]), atol=1e-5)


def test_some_blocks_are_those_of_all(encoder):
    some = encoder.with_blocks((1, 3))
    assert len(some.transformer_blocks) == 3
    np.testing.assert_allclose(states_of(some, noise()), states_of(encoder, noise())[:, [0, 2]], atol=1e-6)


def test_it_is_a_part_of_keras_models_that_are_saved_and_read(encoder, tmp_path):
    import keras

    waveform = keras.Input((None,), name="waveform")
    encoded = encoder.with_blocks((2, 3))(waveform)
    assert encoded["encoder"].shape == (None, None, 2, 8)
    model = keras.Model(waveform, encoded)
    model.save(tmp_path / "model.keras")
    samples = audio.to_float(noise())[None]
    read = keras.saving.load_model(tmp_path / "model.keras")(samples)["encoder"]
    np.testing.assert_array_equal(read, model(samples)["encoder"])


def test_upper_blocks_alone_can_be_trained(encoder):
    some = encoder.with_blocks((2, 4))
    for block in some.transformer_blocks[:3]:
        block.trainable = False
    some.first_convolution.trainable = some.second_convolution.trainable = False
    assert {weight.path.split("/")[0] for weight in some.trainable_weights} == {"block_4"}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(some(noise()[None])["encoder"]))
    gradients = tape.gradient(loss, [weight.value for weight in some.trainable_weights])
    assert all(gradient is not None for gradient in gradients)


EXPORTED = """
import sys
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
given = np.load(sys.argv[2])
found = loaded.signatures["serving_default"](waveform=tf.constant(given["waveform"]))
np.testing.assert_allclose(found["encoder"], given["encoder"], atol=1e-5)
np.testing.assert_array_equal(found["num_steps"], given["num_steps"])
assert not {"torch", "whisper", "librosa"} & set(sys.modules)
"""


def test_a_saved_model_reads_waveforms_in_a_process_without_torch(encoder, tmp_path):
    module = tf.Module()
    module.encoder = encoder
    signature = tf.function(encoder, input_signature=[tf.TensorSpec([None, None], tf.float32, name="waveform")])
    tf.saved_model.save(module, str(tmp_path / "export"), signatures=signature)
    batch = audio.pad_together([noise(9000), noise(20000)])
    np.savez(tmp_path / "given.npz", waveform=batch, **{name: one.numpy() for name, one in encoder(batch).items()})
    command = [sys.executable, "-c", EXPORTED, str(tmp_path / "export"), str(tmp_path / "given.npz")]
    subprocess.run(command, check=True)


OTHER_BACKEND = """
import sys
import numpy as np
from pipelines.audio import whisper_checkpoint
from keras import ops
given = np.load(sys.argv[2])
encoded = whisper_checkpoint.find(sys.argv[1]).load()(given["waveform"])
np.testing.assert_allclose(ops.convert_to_numpy(encoded["encoder"]), given["encoder"], atol=1e-4)
np.testing.assert_array_equal(ops.convert_to_numpy(encoded["num_steps"]), given["num_steps"])
"""


def test_another_backend_gives_the_same(encoder, encoder_checkpoint, tmp_path):
    batch = audio.pad_together([noise(9000), noise(20000)])
    np.savez(tmp_path / "given.npz", waveform=batch, **{name: one.numpy() for name, one in encoder(batch).items()})
    command = [sys.executable, "-c", OTHER_BACKEND, str(encoder_checkpoint), str(tmp_path / "given.npz")]
    subprocess.run(command, check=True, env={**os.environ, "KERAS_BACKEND": "torch"})


def test_rounded_states_are_float16_and_finite():
    from pipelines.audio.whisper_encoder import as_stored

    np.testing.assert_array_equal(as_stored(np.array([1 + 2**-12, 1e6, -1e6], np.float32)), [1, 65504, -65504])


@pytest.mark.real_data
@pytest.mark.parametrize("path", sorted(REAL_CHECKPOINTS.glob("*.pt")), ids=lambda path: path.stem)
def test_states_of_real_weights_on_real_clips_are_whispers(path, real_clips):
    model, encoder = whisper.load_model(str(path), device="cpu").encoder, whisper_checkpoint.find(str(path)).load()
    clips = [np.trim_zeros(clip, "b") for clip in real_clips]
    batch = encoder(audio.pad_together(clips))
    for states, clip in zip(batch["encoder"].numpy(), clips, strict=True):
        alone, samples = states_of(encoder, clip), audio.to_float(clip)
        assert_close(alone, own_states(model, samples))
        assert_close(states[: len(alone)], alone, 3e-4)
        padded = np.pad(samples, (0, 30 * 16000 - len(samples)))
        assert_close(states_of(encoder, padded, 30 * 16000), own_states(model, padded))
