"""Tests of emotion_tf.config.training_config: a sentence for numbers that cannot work, and what off means."""

import math

import pytest

from emotion_tf.config import TrainingConfig
from pipelines.command import InputError
from pipelines.settings import setting_of, settings_of


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
        {"patience": 0},
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
        {"release_rate": 0.0},
        {"video_frames": 0},
        {"noise_snr_db": -1.0},
        {"noise_snr_db": math.inf},
        {"release_rate": 1.5},
    ],
)
def test_a_number_that_cannot_work_gets_a_sentence_with_its_flag(setting):
    [name] = setting
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} .* cannot work: give a number"):
        TrainingConfig(**setting)


def test_branches_that_were_frozen_learn_at_a_tenth_of_the_rate_unless_told_otherwise():
    assert TrainingConfig().branch_rate == 1
    assert TrainingConfig(freeze_epochs=2).branch_rate == 0.1
    assert TrainingConfig(freeze_epochs=2, release_rate=0.5).branch_rate == 0.5
    assert TrainingConfig(release_rate=0.5).branch_rate == 0.5


def test_noise_of_0_decibels_is_noise_and_only_off_is_none():
    assert not TrainingConfig().changes_waveforms
    assert TrainingConfig(noise_snr_db=0.0).changes_waveforms
    assert TrainingConfig(speed=0.1).changes_waveforms
    assert TrainingConfig(gain_db=3.0).changes_waveforms


@pytest.mark.parametrize(
    ("name", "word"), [("noise_snr_db", "off"), ("patience", "off"), ("video_frames", "all"), ("release_rate", "auto")]
)
def test_what_0_cannot_say_has_a_word_which_the_sentence_names(name, word):
    assert getattr(TrainingConfig(), name) is None
    with pytest.raises(InputError, match=f"cannot work: give a number .*, or {word}"):
        TrainingConfig(**{name: -1})


@pytest.mark.parametrize("name", settings_of(TrainingConfig))
def test_a_setting_has_a_group_a_sentence_and_bounds_or_choices_that_hold_its_default(name):
    field = settings_of(TrainingConfig)[name]
    found = setting_of(field)
    assert found.group
    assert found.sentence.endswith(".")
    assert field.default is None or field.default in (found.choices or found.bounds)
