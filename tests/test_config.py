"""Tests of emotion_tf.config: JSON there and back, and a sentence for numbers that cannot work."""

import json
import math

import pytest

from emotion_tf.config import AudioConfig, Config, TextConfig, TrainingConfig
from pipelines.command import InputError


def test_json_gives_the_same_config_back():
    config = Config(
        "fusion",
        "data/records/x",
        "group-kfold",
        fold=1,
        num_folds=3,
        fold_seed=4,
        control="shuffled-audio",
        fusion="late",
        runs=("a", "b"),
        modalities=("text",),
        audio=AudioConfig((8, 16), model="crnn", units=(4, 4), features=("mfcc", "encoder")),
        text=TextConfig(units=(3,), model="distilbert", preset="here", freeze=True),
        training=TrainingConfig(epochs=7, learning_rate=1e-4),
    )
    assert Config.from_json(config.to_json()) == config


def test_a_config_from_before_there_were_several_audio_models_is_read_as_the_first():
    old = json.loads(Config("audio", "x").to_json())
    old["audio"] = {"channels": [8, 16], "attention_dim": 128, "embedding_dim": 128, "dropout": 0.4}
    audio = Config.from_json(json.dumps(old)).audio
    assert audio == AudioConfig((8, 16), model="cnn_attention", features=("log_mel",))


@pytest.mark.parametrize(
    ("branch", "fusion", "expected"),
    [
        ("audio", "", (("audio",), "")),
        ("fusion", "early", (("audio", "text"), "concat")),
        ("fusion", "late", (("audio", "text"), "")),
    ],
)
def test_a_config_from_before_there_were_several_joins_is_read_as_it_was_meant(branch, fusion, expected):
    old = json.loads(Config(branch, "x", fusion=fusion).to_json())
    del old["modalities"], old["join"], old["training"]["modality_dropout"]
    del old["training"]["freeze_epochs"], old["training"]["release_rate"]
    found = Config.from_json(json.dumps(old))
    assert found == Config(branch, "x", fusion=fusion)
    assert (found.modalities, found.join) == expected


def test_modalities_have_one_order_and_one_alone_is_not_joined():
    assert Config("fusion", "x", fusion="early", modalities=("text", "audio")).modalities == ("audio", "text")
    assert Config("fusion", "x", fusion="early", modalities=("text",), join="gated").join == ""


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"modalities": ("smell",)}, "--modalities smell cannot work: give some of audio, text, video, each once"),
        ({"modalities": ("text", "text")}, "--modalities text text cannot work"),
        ({"join": "glue"}, "--join glue cannot work: give one of concat, gated, cross_attention"),
    ],
)
def test_modalities_and_joins_that_do_not_exist_get_a_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        Config("fusion", "x", fusion="early", **values)


def test_each_audio_model_has_sizes_of_its_own_unless_others_are_given():
    assert AudioConfig().channels == (32, 64, 128, 160)
    assert (AudioConfig(model="gru").channels, AudioConfig(model="gru").units) == ((), (256, 256, 128))
    assert (AudioConfig((8,), model="cnn").channels, AudioConfig(model="cnn").units) == ((8,), ())


def test_features_of_sound_have_one_order():
    assert AudioConfig(features=("encoder", "acoustic", "log_mel")).features == ("log_mel", "acoustic", "encoder")


def test_sources_are_what_a_run_starts_from_or_averages():
    assert Config("audio", "x").sources == ()
    assert Config("fusion", "x", fusion="early", init_text="t").sources == ("t",)
    assert Config("fusion", "x", fusion="late", runs=("a", "b")).sources == ("a", "b")


@pytest.mark.parametrize(
    "setting",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"weight_decay": math.nan},
        {"weight_decay": math.inf},
        {"warm_up_epochs": -1},
        {"label_smoothing": 1.0},
        {"label_smoothing": math.nan},
        {"ema_share": -0.1},
        {"mixup": 1.5},
        {"patience": -1},
        {"mel_mask": -1},
        {"confusion_every": -2},
        {"num_frames": 0},
        {"max_tokens": 0},
        {"word_dropout": 1.0},
        {"word_swap": -0.1},
        {"word_mask": math.nan},
        {"modality_dropout": 1.0},
        {"freeze_epochs": -1},
        {"release_rate": -0.1},
        {"release_rate": 1.5},
    ],
)
def test_a_number_that_cannot_work_gets_a_sentence_with_its_flag(setting):
    [name] = setting
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} .* cannot work: give a number"):
        TrainingConfig(**setting)


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


def test_branches_that_were_frozen_learn_at_a_tenth_of_the_rate_unless_told_otherwise():
    assert TrainingConfig().branch_rate == 1
    assert TrainingConfig(freeze_epochs=2).branch_rate == 0.1
    assert TrainingConfig(freeze_epochs=2, release_rate=0.5).branch_rate == 0.5
    assert TrainingConfig(release_rate=0.5).branch_rate == 0.5
