"""Tests of emotion_tf.config: JSON there and back, and a sentence for numbers that cannot work."""

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
        audio=AudioConfig((8, 16)),
        text=TextConfig(gru_units=(3,)),
        training=TrainingConfig(epochs=7, learning_rate=1e-4),
    )
    assert Config.from_json(config.to_json()) == config


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
    ],
)
def test_a_number_that_cannot_work_gets_a_sentence_with_its_flag(setting):
    [name] = setting
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} .* cannot work: give a number"):
        TrainingConfig(**setting)
