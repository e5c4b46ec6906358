"""Tests of pipelines.audio.speech_encoder: whisper's own states, by a checkpoint that the test writes."""

import hashlib

import numpy as np
import pytest

from pipelines import audio
from pipelines.audio import speech_encoder as module
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.command import InputError

whisper = pytest.importorskip("whisper")
import torch  # noqa: E402  (installed with whisper)


def noise(num_samples=16000, seed=0):
    return (3000 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.int16)


def encoder(checkpoint, layer=None):
    return Encoder(EncoderSettings(str(checkpoint), layer, "cpu"))


def states_of(checkpoint, waveform, layer=None):
    [states] = encoder(checkpoint, layer)([waveform])
    return states


def own_states(checkpoint, waveform, layer):
    """What whisper computes itself, [1500, width]: its output, or what a hook gets behind a block."""
    model, outputs = whisper.load_model(str(checkpoint), device="cpu"), []
    model.encoder.blocks[layer - 1].register_forward_hook(lambda block, inputs, output: outputs.append(output))
    samples = whisper.pad_or_trim(torch.from_numpy(audio.to_float(waveform)))
    with torch.no_grad():
        output = model.encoder(whisper.log_mel_spectrogram(samples, 80)[None])
    return (output if layer == 2 else outputs[0])[0].numpy()


@pytest.mark.parametrize("layer", [1, 2])
def test_states_are_those_of_whisper_pooled_by_two_and_cut_where_the_clip_ends(encoder_checkpoint, layer):
    waveform = noise(16001)
    states = states_of(encoder_checkpoint, waveform, layer)
    assert (states.shape, states.dtype) == ((26, 8), np.float16)
    pooled = own_states(encoder_checkpoint, waveform, layer)[:52].reshape(26, 2, 8).mean(axis=1)
    np.testing.assert_allclose(states, pooled, rtol=2**-11, atol=1e-5)


def test_the_last_layer_is_the_default_and_the_norm_at_its_end_is_in_it_alone(encoder_checkpoint):
    first, last, default = (states_of(encoder_checkpoint, noise(), layer) for layer in (1, 2, None))
    np.testing.assert_array_equal(last, default)
    weights = torch.load(encoder_checkpoint, weights_only=True)["model_state_dict"]
    scale, shift = (weights[f"encoder.ln_post.{name}"].numpy() for name in ("weight", "bias"))
    # Two normalised steps have mean 0 each, and so has their mean.
    np.testing.assert_allclose(((last - shift) / scale).mean(axis=1), 0, atol=2e-3)
    assert np.abs(((first - shift) / scale).mean(axis=1)).max() > 0.05


@pytest.mark.parametrize(("num_samples", "num_steps"), [(1, 1), (640, 1), (641, 2), (16000, 25), (30 * 16000, 750)])
def test_steps_are_as_many_as_hold_the_samples(encoder_checkpoint, num_samples, num_steps):
    assert len(states_of(encoder_checkpoint, np.full(num_samples, 99, np.int16))) == num_steps


def test_absent_and_silent_clips_have_no_steps_and_zeros_at_the_end_are_padding(encoder_checkpoint):
    clips = [np.zeros(0, np.int16), np.zeros(16000, np.int16), noise(), np.pad(noise(), (0, 9000))]
    nothing, silent, states, padded = encoder(encoder_checkpoint)(clips)
    assert nothing.shape == silent.shape == (0, 8)
    np.testing.assert_array_equal(states, padded)


def test_a_clip_longer_than_30_seconds_is_encoded_in_windows(encoder_checkpoint):
    states = states_of(encoder_checkpoint, noise(31 * 16000))
    head, tail = encoder(encoder_checkpoint)([noise(31 * 16000)[: 30 * 16000], noise(31 * 16000)[30 * 16000 :]])
    assert len(states) == 775
    np.testing.assert_allclose(states, np.concatenate([head, tail]), rtol=2**-10, atol=1e-5)


def test_neighbours_in_a_batch_change_nothing(encoder_checkpoint, monkeypatch):
    clips = [noise(9000 + 4000 * number, number) // (1 + 9 * (number % 2)) for number in range(6)]
    alone = list(encoder(encoder_checkpoint)(clips))
    monkeypatch.setitem(module._WINDOWS_AT_ONCE, "cpu", 4)
    for one, other in zip(alone, encoder(encoder_checkpoint)(clips), strict=True):
        np.testing.assert_allclose(one, other, rtol=2**-10, atol=1e-5)


def test_clips_are_encoded_as_they_are_asked_for(encoder_checkpoint, monkeypatch):
    made = encoder(encoder_checkpoint)
    asked, encode = [], made._encode
    monkeypatch.setattr(made, "_encode", lambda windows: asked.append(len(windows)) or encode(windows))
    monkeypatch.setitem(module._WINDOWS_AT_ONCE, "cpu", 2)
    states = made([noise(700)] * 5)
    next(states)
    assert asked == [2]
    assert len(list(states)) == 4
    assert asked == [2, 2, 1]


def test_states_beyond_float16_stay_finite(encoder_checkpoint, tmp_path):
    content = torch.load(encoder_checkpoint, weights_only=True)
    content["model_state_dict"]["encoder.ln_post.bias"][0] = 1e6
    torch.save(content, tmp_path / "large.pt")
    states = states_of(tmp_path / "large.pt", noise())
    assert np.isfinite(states).all()
    assert states[0, 0] == 65504


def test_facts_name_the_states_and_the_settings_know_them_before_loading(encoder_checkpoint):
    sha256 = hashlib.sha256(encoder_checkpoint.read_bytes()).hexdigest()
    facts = {"kind": "whisper", "model": "random.pt", "sha256": sha256}
    assert EncoderSettings(str(encoder_checkpoint)).identity == facts | {"layer": None}
    assert encoder(encoder_checkpoint).facts == facts | {"layer": 2, "width": 8, "steps_per_second": 25}


def test_a_model_by_name_has_the_hash_that_whisper_checks_it_against(encoder_checkpoint, monkeypatch):
    model = whisper.load_model(str(encoder_checkpoint), device="cpu")
    monkeypatch.setattr(whisper, "load_model", lambda name, device: model)
    facts = Encoder(EncoderSettings("tiny", device="cpu")).facts
    assert (facts["model"], facts["sha256"][:8], len(facts["sha256"])) == ("tiny", "65147644", 64)


@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_a_layer_that_there_is_not_is_refused(encoder_checkpoint, layer):
    with pytest.raises(InputError, match=rf"--encoder-layer {layer} cannot work: whisper random\.pt has layers 1 to 2"):
        encoder(encoder_checkpoint, layer)


def test_a_checkpoint_that_does_not_read_30_seconds_is_refused(tmp_path):
    dims = whisper.ModelDimensions(80, 100, 8, 2, 1, 16, 4, 8, 2, 1)
    weights = whisper.model.Whisper(dims).state_dict()
    torch.save({"dims": vars(dims), "model_state_dict": weights}, tmp_path / "short.pt")
    with pytest.raises(InputError, match=r"short\.pt does not read 30 s"):
        encoder(tmp_path / "short.pt")


def test_a_file_that_is_no_checkpoint_and_a_name_that_is_no_model_name_the_flag(tmp_path):
    (tmp_path / "bad.pt").write_text("no checkpoint")
    with pytest.raises(InputError, match=r"bad\.pt is no whisper checkpoint"):
        encoder(tmp_path / "bad.pt")
    with pytest.raises(InputError, match="--encoder-model basic is neither a checkpoint file nor one of"):
        encoder("basic")
