"""Tests of emotion_tf.config: JSON there and back, and a sentence for modalities that cannot work."""

import json

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


@pytest.mark.parametrize(
    ("branch", "fusion", "expected"),
    [
        ("audio", "", (("audio",), "")),
        ("fusion", "early", (("audio", "text"), "concat")),
        ("fusion", "late", (("audio", "text"), "")),
    ],
)
def test_modalities_and_join_are_those_of_the_branch_where_none_are_given(branch, fusion, expected):
    found = Config(branch, "x", fusion=fusion)
    assert (found.modalities, found.join) == expected


@pytest.mark.parametrize("name", ["audio", "text", "video", "training"])
def test_json_that_lacks_a_branch_or_the_training_is_no_config(name):
    values = json.loads(Config("audio", "x").to_json())
    del values[name]
    with pytest.raises(KeyError, match=name):
        Config.from_json(json.dumps(values))


def test_json_with_a_setting_that_does_not_exist_is_no_config():
    values = json.loads(Config("audio", "x").to_json())
    values["audio"]["smell"] = 1
    with pytest.raises(TypeError, match="smell"):
        Config.from_json(json.dumps(values))


def test_settings_that_are_off_are_null_in_json():
    values = json.loads(Config("audio", "x").to_json())["training"]
    assert [name for name, value in values.items() if value is None] == [
        "patience",
        "shuffle_size",
        "video_frames",
        "noise_snr_db",
        "release_rate",
    ]


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


def test_sources_are_what_a_run_starts_from_or_averages():
    assert Config("audio", "x").sources == ()
    assert Config("fusion", "x", fusion="early", init_text="t").sources == ("t",)
    assert Config("fusion", "x", fusion="late", runs=("a", "b")).sources == ("a", "b")


@pytest.mark.parametrize(
    ("features", "chosen", "kept"),
    [(("encoder",), "auto", "loss"), (("log_mel", "encoder"), "auto", "score"), (("encoder",), "last", "last")],
)
def test_a_head_on_states_keeps_the_epoch_of_the_least_loss_unless_told_otherwise(features, chosen, kept):
    training = TrainingConfig(keep_epoch=chosen)
    assert Config("audio", "records", audio=AudioConfig(features=features), training=training).kept_epoch == kept


def test_patience_needs_an_epoch_that_is_the_best():
    with pytest.raises(InputError, match="--keep-epoch last does not look for"):
        TrainingConfig(keep_epoch="last", patience=3)
