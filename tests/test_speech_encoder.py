"""Tests of pipelines.audio.speech_encoder: which states of a clip are kept, by a checkpoint that the test writes."""

import hashlib
import shutil

import numpy as np
import pytest

from pipelines import audio
from pipelines.audio import speech_encoder as module
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.audio.whisper_checkpoint import find
from pipelines.command import InputError

pytest.importorskip("whisper")
import torch


def noise(num_samples=16000, seed=0):
    return (3000 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.int16)


@pytest.fixture(scope="module")
def whole(encoder_checkpoint):
    """The same weights, outside of what is tested."""
    return find(str(encoder_checkpoint)).load()


def settings_of(checkpoint, *blocks, **options):
    return EncoderSettings(str(checkpoint), blocks, "cpu", **options)


@pytest.fixture(scope="module")
def encoder(encoder_checkpoint):
    return Encoder(settings_of(encoder_checkpoint))


def states_of(encoder, waveform):
    [states] = encoder([waveform])
    return states


def test_states_are_those_of_the_blocks_rounded_to_float16(encoder_checkpoint, whole):
    states = states_of(Encoder(settings_of(encoder_checkpoint, 4, 1)), noise(16001))
    assert (states.shape, states.dtype) == ((25, 2, 8), np.float16)
    expected = whole(noise(16001)[None])["encoder"].numpy()[0]
    np.testing.assert_allclose(states, expected[:25, [0, 3]], rtol=2**-11, atol=1e-5)


def test_all_blocks_but_the_first_and_the_last_are_the_default(encoder, encoder_checkpoint):
    assert encoder.facts["blocks"] == [2, 3]
    chosen = Encoder(settings_of(encoder_checkpoint, 3, 2))
    np.testing.assert_array_equal(states_of(encoder, noise()), states_of(chosen, noise()))


@pytest.mark.parametrize(
    ("num_samples", "num_steps"),
    [(1, 1), (640, 1), (799, 1), (800, 2), (1280, 2), (16000, 25), (30 * 16000, 750), (30 * 16000 + 1, 751)],
)
def test_steps_are_as_many_as_hold_the_frames_of_a_clip(encoder, num_samples, num_steps):
    assert len(states_of(encoder, np.full(num_samples, 99, np.int16))) == num_steps


def test_absent_and_silent_clips_have_no_steps_and_zeros_at_the_end_are_padding(encoder):
    clips = [np.zeros(0, np.int16), np.zeros(16000, np.int16), noise(), np.pad(noise(), (0, 9000))]
    nothing, silent, states, padded = encoder(clips)
    assert nothing.shape == silent.shape == (0, 2, 8)
    np.testing.assert_array_equal(states, padded)


def test_a_clip_longer_than_30_seconds_is_encoded_in_windows(encoder):
    states = states_of(encoder, noise(31 * 16000))
    head, tail = encoder([noise(31 * 16000)[: 30 * 16000], noise(31 * 16000)[30 * 16000 :]])
    assert len(states) == 775
    np.testing.assert_allclose(states, np.concatenate([head, tail]), rtol=2**-10, atol=1e-5)


def test_neighbours_in_a_batch_change_nothing(encoder, monkeypatch):
    clips = [noise(9000 + 4000 * number, number) // (1 + 9 * (number % 2)) for number in range(6)]
    alone = list(encoder(clips))
    monkeypatch.setitem(module._WINDOWS_AT_ONCE, "cpu", 4)
    for one, other in zip(alone, encoder(clips), strict=True):
        np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-4)


def test_clips_are_encoded_as_they_are_asked_for_and_in_few_lengths(encoder, monkeypatch):
    asked, encode = [], encoder._encode
    monkeypatch.setattr(encoder, "_encode", lambda windows: asked.append(windows.shape) or encode(windows))
    monkeypatch.setitem(module._WINDOWS_AT_ONCE, "cpu", 2)
    states = encoder([noise(700), noise(8100), *[noise(900)] * 3])
    next(states)
    assert asked == [(2, 16000)]
    assert len(list(states)) == 4
    assert asked == [(2, 16000), (2, 8000), (1, 8000)]


def test_states_beyond_float16_stay_finite(encoder_checkpoint, tmp_path):
    content = torch.load(encoder_checkpoint, weights_only=True)
    content["model_state_dict"]["encoder.blocks.3.mlp.2.bias"][0] = 1e6
    torch.save(content, tmp_path / "loud.pt")
    states = states_of(Encoder(settings_of(tmp_path / "loud.pt", 4)), noise())
    assert np.isfinite(states).all()
    assert states[0, 0, 0] == 65504


def test_facts_are_known_before_loading_and_the_identity_knows_no_name(encoder_checkpoint, tmp_path):
    sha256 = hashlib.sha256(encoder_checkpoint.read_bytes()).hexdigest()
    settings = settings_of(encoder_checkpoint)
    identity = {"kind": "whisper", "sha256": sha256, "blocks": [2, 3]}
    assert settings.identity == identity
    assert settings.facts == identity | {"model": "random.pt", "width": 8, "steps_per_second": 25}
    assert settings.bytes_per_second == 25 * 2 * 8 * 2
    shutil.copy(encoder_checkpoint, tmp_path / "renamed.pt")
    assert settings_of(tmp_path / "renamed.pt", 2, 3).identity == identity


def test_a_kept_folder_gives_the_same_states_under_the_same_facts(encoder, encoder_checkpoint, tmp_path):
    Encoder(settings_of(encoder_checkpoint, save=tmp_path / "kept"))
    kept = Encoder(settings_of(tmp_path / "kept"))
    assert kept.facts == encoder.facts
    np.testing.assert_array_equal(states_of(kept, noise()), states_of(encoder, noise()))


@pytest.mark.parametrize(("blocks", "wrong"), [((0, 2), 0), ((2, 5), 5), ((-1,), -1), ((3, 2, 3), 3)])
def test_blocks_that_there_are_not_and_blocks_given_twice_are_refused(encoder_checkpoint, blocks, wrong):
    sentence = rf"--encoder-blocks .* cannot work \({wrong}\): whisper random\.pt has blocks 1 to 4"
    with pytest.raises(InputError, match=sentence):
        Encoder(settings_of(encoder_checkpoint, *blocks))


def test_a_gpu_that_is_not_there_is_refused(encoder_checkpoint):
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is one")
    with pytest.raises(InputError, match="--device cuda finds no GPU that TensorFlow can use"):
        Encoder(EncoderSettings(str(encoder_checkpoint), device="cuda"))


def test_decoded_clips_give_what_their_samples_give(encoder, tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", noise(), 16000)
    waveform = audio.decode(tmp_path / "a.wav")
    np.testing.assert_array_equal(*encoder([waveform, waveform]))
