"""Tests of emotion_tf.flags: the flags of a branch are the fields of its config, and no others are taken."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from emotion_tf.config import AUDIO_MODELS, AudioConfig, TextConfig
from emotion_tf.fit import make_parser
from emotion_tf.flags import BRANCH_CONFIGS, add_branch_arguments, branch_of, command_of, config_of
from pipelines.command import InputError


def parse(*flags, branch="audio", fusion=None, init_audio=None, modalities=None):
    parser = argparse.ArgumentParser()
    for modality in BRANCH_CONFIGS:
        add_branch_arguments(parser, modality)
    arguments = parser.parse_args(flags)
    chosen = {"branch": branch, "fusion": fusion, "modalities": modalities}
    return argparse.Namespace(**vars(arguments), **chosen, init_audio=init_audio, init_text=None)


def audio_of(*flags, **values):
    return branch_of(parse(*flags, **values), "audio")


def test_flags_become_the_config_of_the_audio_branch():
    assert audio_of() == AudioConfig()
    assert audio_of("--audio-model", "cnn", "--audio-channels", "8", "16") == AudioConfig((8, 16), model="cnn")
    found = audio_of("--audio-model", "gru", "--audio-units", "8", "--audio-dropout", "0", "--audio-features", "mfcc")
    assert found == AudioConfig(model="gru", units=(8,), dropout=0.0, features=("mfcc",))
    found = audio_of("--audio-model", "transformer", "--audio-width", "6", "--audio-heads", "3", "--audio-layers", "1")
    assert found == AudioConfig(model="transformer", width=6, heads=3, layers=1)
    assert audio_of("--audio-features", "encoder", "log_mel", branch="fusion").features == ("log_mel", "encoder")


def test_flags_of_one_branch_leave_the_other_as_it_is():
    given = parse("--audio-model", "cnn", "--text-units", "8", branch="fusion")
    assert branch_of(given, "audio") == AudioConfig(model="cnn")
    assert branch_of(given, "text") == TextConfig(units=(8,))


@pytest.mark.parametrize("modality", BRANCH_CONFIGS)
def test_every_field_of_a_branch_has_a_flag_but_for_widths_that_no_one_changes(modality):
    parser = argparse.ArgumentParser()
    add_branch_arguments(parser, modality)
    shown = parser.format_help()
    names = {field.name for field in dataclasses.fields(BRANCH_CONFIGS[modality])} - {"attention_dim", "embedding_dim"}
    names -= {"dropout"} if modality == "text" else set()
    unprefixed = {"word_dim", "layer_decay", "encoder_release", "encoder_rate"}
    flags = {name if name in unprefixed else f"{modality}_{name}" for name in names}
    assert all("--" + name.replace("_", "-") in shown for name in flags)


def test_the_help_says_whose_a_flag_is_and_what_holds_without_it():
    parser = argparse.ArgumentParser(formatter_class=lambda prog: argparse.HelpFormatter(prog, width=300))
    add_branch_arguments(parser, "audio")
    shown = parser.format_help()
    assert "Give each recurrent layer N units. (each at least 1; default: 96 for crnn, 256 256 128 for gru)" in shown
    assert "Make the states of the transformer N wide. (transformer only; at least 1; default: 128)" in shown
    assert f"--audio-model {{{','.join(AUDIO_MODELS)}}}" in shown
    assert "(default: cnn_attention)" in shown


@pytest.mark.parametrize(
    ("flags", "values", "sentence"),
    [
        (
            ["--audio-channels", "8", "--audio-model", "gru"],
            {},
            "belongs to --audio-model cnn or cnn_attention or crnn",
        ),
        (["--audio-units", "8"], {}, "--audio-units belongs to --audio-model crnn or gru, not cnn_attention"),
        (["--audio-heads", "2"], {}, "--audio-heads belongs to --audio-model transformer, not cnn_attention"),
        (["--audio-model", "cnn"], {"branch": "text"}, "changes? nothing here, where no audio branch is trained"),
        (
            ["--audio-model", "cnn"],
            {"branch": "fusion", "modalities": ["text"]},
            "changes? nothing here, where no audio branch is trained",
        ),
        (["--audio-dropout", "0"], {"branch": "fusion", "fusion": "late"}, "--audio-dropout changes nothing here"),
        (
            ["--audio-features", "mfcc"],
            {"branch": "fusion", "init_audio": "x"},
            "--audio-features cannot change the branch that --init-audio starts from",
        ),
        (["--audio-features", "mfcc", "acoustic"], {}, "hold mfcc twice"),
        (["--audio-features", "mfcc", "mfcc"], {}, "each once"),
        (
            ["--audio-features", "encoder", "--audio-model", "gru", "--audio-units", "4"],
            {},
            "--audio-model, --audio-units change nothing where encoder is the only feature",
        ),
    ],
)
def test_audio_flags_that_change_nothing_or_cannot_work_get_a_sentence(flags, values, sentence):
    with pytest.raises(InputError, match=sentence):
        audio_of(*flags, **values)


def test_blocks_of_an_encoder_are_released_of_a_branch_that_starts_from_a_run_too():
    released = ["--encoder-release", "2", "--encoder-rate", "1e-5"]
    assert audio_of(*released, init_audio="x") == AudioConfig(encoder_release=2, encoder_rate=1e-5)
    found = audio_of("--audio-features", "encoder", *released)
    assert (found.features, found.inputs) == (("encoder",), ("waveform",))
    found = audio_of("--audio-features", "encoder", "log_mel", *released)
    assert (found.features, found.inputs) == (("log_mel", "encoder"), ("log_mel", "waveform"))
    with pytest.raises(InputError, match="--encoder-rate changes nothing without --encoder-release"):
        audio_of("--audio-features", "encoder", "--encoder-rate", "1e-5")


def test_a_feature_that_does_not_exist_is_no_choice(capsys):
    with pytest.raises(SystemExit):
        audio_of("--audio-features", "smell")
    assert "invalid choice: 'smell'" in capsys.readouterr().err


def config_typed(*words):
    """The config that fit makes of what is typed."""
    return config_of(make_parser().parse_args([*words, "--records", "data/records/mine"]))


@pytest.mark.parametrize(
    "words",
    [
        "--branch audio",
        "--branch audio --audio-model gru --audio-units 8 9 --audio-features mfcc --normalise training --patience 3",
        "--branch audio --audio-model transformer --audio-width 6 --audio-heads 3 --speed 0.1 --noise-snr-db 10",
        "--branch text --text-model lstm --text-units 7 --epochs 3 --word-dim 9 --folds lj5 --fold 2 --seed 4",
        "--branch text --text-model distilbert --text-preset some/preset --text-freeze",
        "--branch video --video-pooling attention --folds group-kfold --num-folds 4 --fold-seed 2",
        "--branch fusion --modalities audio text video --join gated --modality-dropout 0.2 --control shuffled-video",
        "--branch fusion --init-audio a --init-text b --freeze-epochs 2 --release-rate 0.5",
        "--branch fusion --fusion late --runs a b --rule weighted --label-map goemotions-seven",
    ],
)
def test_the_command_of_a_config_makes_this_config(words):
    config = config_typed(*words.split())
    [python, _, module, *typed] = command_of(config, Path("saved_models/mine"))
    assert (python, module) == ("python", "emotion_tf.fit")
    assert config_of(make_parser().parse_args(typed)) == config


def test_the_command_of_a_cross_validation_has_seeds_and_no_fold():
    command = command_of(config_typed("--branch", "text", "--folds", "lj5"), Path("saved_models/mine"), seeds=3)
    assert command[2] == "emotion_tf.crossval"
    assert command[command.index("--seeds") + 1] == "3"
    assert "--fold" not in command
