"""Tests of emotion_tf.config.branch_config: sizes of each model, and a sentence for what cannot work."""

import math

import pytest

from emotion_tf.config import AudioConfig, TextConfig, VideoConfig
from pipelines.command import InputError


def test_each_audio_model_has_sizes_of_its_own_unless_others_are_given():
    assert AudioConfig().channels == (32, 64, 128, 160)
    assert (AudioConfig(model="gru").channels, AudioConfig(model="gru").units) == ((), (256, 256, 128))
    assert (AudioConfig((8,), model="cnn").channels, AudioConfig(model="cnn").units) == ((8,), ())


def test_features_of_sound_have_one_order():
    assert AudioConfig(features=("encoder", "acoustic", "log_mel")).features == ("log_mel", "acoustic", "encoder")


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"units": ()}, "--text-units 0 cannot work"),
        ({"units": (8, -1)}, "--text-units -1 cannot work"),
        ({"layers": 0}, "--text-layers 0 cannot work"),
        ({"heads": 0}, "--text-heads 0 cannot work"),
        ({"word_dim": 0}, "--word-dim 0 cannot work"),
        ({"preset_rate": math.nan}, "--text-preset-rate nan cannot work"),
        ({"model": "transformer", "word_dim": 10, "heads": 4}, "--text-heads 4 cannot work: .* that divides 10"),
    ],
)
def test_a_size_of_the_text_branch_that_cannot_work_gets_a_sentence_with_its_flag(setting, sentence):
    with pytest.raises(InputError, match=sentence):
        TextConfig(**setting)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"channels": (8, 0)}, "--audio-channels 0 cannot work"),
        ({"model": "gru", "units": (-1,)}, "--audio-units -1 cannot work"),
        ({"layers": 0}, "--audio-layers 0 cannot work"),
        ({"heads": 0}, "--audio-heads 0 cannot work"),
        ({"width": 0}, "--audio-width 0 cannot work"),
        ({"dropout": 1.0}, "--audio-dropout 1.0 cannot work"),
        ({"model": "transformer", "width": 10, "heads": 4}, "--audio-heads 4 cannot work: .* that divides 10"),
        ({"features": ()}, "--audio-features  cannot work: give some of log_mel, mfcc, acoustic, encoder, each once"),
        ({"features": ("smell",)}, "--audio-features smell cannot work"),
        ({"features": ("mfcc", "mfcc")}, "--audio-features mfcc mfcc cannot work: .* each once"),
        ({"features": ("acoustic", "mfcc")}, "--audio-features acoustic mfcc hold mfcc twice"),
    ],
)
def test_an_audio_branch_that_cannot_work_gets_a_sentence_with_its_flag(setting, sentence):
    with pytest.raises(InputError, match=sentence):
        AudioConfig(**setting)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"channels": ()}, "--video-channels 0 cannot work: give a number of them from 1 to 5"),
        ({"channels": (8,) * 6}, "--video-channels 6 cannot work: give a number of them from 1 to 5"),
        ({"channels": (8, 0)}, "--video-channels 0 cannot work: give a number of at least 1"),
        ({"dropout": -0.1}, "--video-dropout -0.1 cannot work: give a number from 0 to below 1"),
        ({"pooling": "max"}, "--video-pooling max cannot work: give one of mean, attention, gru"),
    ],
)
def test_a_video_branch_that_cannot_work_gets_a_sentence_with_its_flag(setting, sentence):
    with pytest.raises(InputError, match=sentence):
        VideoConfig(**setting)


@pytest.mark.parametrize(("kind", "flag"), [(AudioConfig, "--audio-model"), (TextConfig, "--text-model")])
def test_a_model_that_does_not_exist_gets_a_sentence(kind, flag):
    with pytest.raises(InputError, match=f"{flag} smell cannot work: give one of .*transformer"):
        kind(model="smell")
