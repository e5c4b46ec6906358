"""Tests of emotion_tf.reporting.diagram: what single branches, early and late fusion are made of."""

import re

import pytest
from test_build import PRIOR, VOCABULARY_SIZE, build, build_early

from emotion_tf.config import AUDIO_MODELS, VIDEO_POOLINGS, AudioConfig, Config, TextConfig, TrainingConfig, VideoConfig
from emotion_tf.models.build import build_model
from emotion_tf.models.early_fusion import JOINS
from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.reporting import plots
from emotion_tf.reporting.boxes import Box
from emotion_tf.reporting.diagram import early, late, single, workflow

WIDTHS = {"log_mel": 32, "acoustic": 5, "encoder": (3, 6), "video_frames": (32, 32, 1)}
SMALL = {"width": 4, "layers": 2, "heads": 2}
CONFIGS = [
    *(
        Config("audio", "x", audio=AudioConfig(attention_dim=4, embedding_dim=6, model=m, **SMALL))
        for m in AUDIO_MODELS
    ),
    Config("audio", "x", audio=AudioConfig((4, 4), 4, 6, features=("log_mel", "encoder"))),
    Config("audio", "x", audio=AudioConfig((4, 4), 4, 6, features=("encoder",))),
    *(Config("text", "x", text=TextConfig(4, (4,), 4, 6, model=m, layers=2, heads=2)) for m in ("gru", "transformer")),
    *(Config("video", "x", video=VideoConfig((2, 3), 4, 6, pooling=pooling)) for pooling in VIDEO_POOLINGS),
]


def number(text):
    """The number of parameters at the end of a line."""
    return int(re.search(r"([\d,]+)( parameters)?$", text)[1].replace(",", ""))


@pytest.mark.parametrize("config", CONFIGS)
def test_the_stages_of_a_branch_and_its_head_hold_every_parameter_once(config):
    model = build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR)
    [inputs], [branch], [head], [emotions] = single(model, config)
    assert inputs.title == config.branch
    *stages, total = [number(line) for line in branch.lines if re.search(r"\]: |parameters", line)]
    assert sum(stages) == total
    temperature = 1
    assert total + number(head.lines[-1]) + temperature == model.count_params()
    assert (head.lines[0], emotions.lines[1]) == ("3 logits", "softmax over 3 emotions")


def test_a_preset_is_one_stage(tiny_preset):
    config = Config("text", "x", text=TextConfig(4, (4,), 4, 6, model="distilbert", preset=tiny_preset))
    model = build_model(config, {}, VOCABULARY_SIZE, PRIOR)
    _, [branch], [head], _ = single(model, config)
    assert branch.lines[1].startswith("backbone [num_tokens, 1, 8]: ")
    assert number(branch.lines[-1]) + number(head.lines[-1]) + 1 == model.count_params()


def test_stages_say_what_shape_they_give():
    config = Config("text", "x", text=TextConfig(4, (5, 7), 4, 6))
    _, [branch], _, _ = single(build_model(config, {}, VOCABULARY_SIZE, PRIOR), config)
    assert branch.lines[0] == "gru, units 5 7"
    assert [line.partition(":")[0] for line in branch.lines[1:-1]] == [
        "embeddings of pieces [num_tokens, 4]",
        "recurrent layers [num_tokens, 18]",
        "pooling [36]",
        "embedding [6]",
    ]


def test_a_branch_names_the_run_that_it_starts_from_and_how_long_it_is_frozen():
    config = Config("text", "x", text=TextConfig(4, (4,), 4, 6), init_text="saved_models/one")
    frozen = Config("text", "x", text=config.text, init_text="one", training=TrainingConfig(epochs=3, freeze_epochs=2))
    model = build("text")
    assert "from one" in single(model, config)[1][0].lines
    assert {"from one", "frozen epochs: 2"} <= set(single(model, frozen)[1][0].lines)


@pytest.mark.parametrize("join", JOINS)
def test_early_fusion_holds_every_parameter_once_and_an_arrow_to_each_branch_s_own_head(join):
    model = build_early(join, training=TrainingConfig(modality_dropout=0.25))
    config = Config("fusion", "x", fusion="early", join=join, training=TrainingConfig(modality_dropout=0.25))
    inputs, branches, heads, [emotions] = early(model, config)
    assert [box.title for box in inputs] == ["audio", "text"]
    assert [box.title for box in heads] == ["audio head", f"join: {join}", "text head"]
    assert [[heads[target].title for target in box.feeds] for box in branches] == [
        ["audio head", f"join: {join}"],
        ["text head", f"join: {join}"],
    ]
    assert "modality dropout 0.25" in heads[1].lines
    lines = [line for box in (*branches, *heads) for line in box.lines if line.endswith("parameters")]
    assert sum(map(number, lines)) + 1 == model.count_params()  # One is the temperature.
    assert emotions.lines[0] == "weighted sum of logits"


def test_three_branches_have_the_join_in_the_middle_of_their_heads():
    modalities = ("audio", "text", "video")
    config = Config("fusion", "x", fusion="early", modalities=modalities, video=VideoConfig((2, 3), 4, 6))
    _, branches, heads, _ = early(build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR), config)
    assert [box.title for box in heads] == ["audio head", "join: concat", "text head", "video head"]
    assert [[heads[target].title for target in box.feeds] for box in branches] == [
        [f"{modality} head", "join: concat"] for modality in modalities
    ]


def test_late_fusion_shows_its_runs_with_what_they_read_and_the_weights():
    sources = {"1: a": build("audio"), "2: b": build_early()}
    named = {f"run_{number}": model for number, model in enumerate(sources.values())}
    model = late_fusion(named, PRIOR, "weighted", fitted={"weights": [0.25, 0.75]})
    inputs, runs, [rule], [emotions] = late(model, sources, [0.25, 0.75])
    assert [(box.title, list(box.feeds)) for box in inputs] == [("audio", [0, 1]), ("text", [1])]
    assert [(box.title, box.lines[0]) for box in runs] == [("1: a", "audio"), ("2: b", "audio and text")]
    assert rule == Box("rule: weighted", ["weights 0.25, 0.75"])
    assert "softmax over 3 emotions" in emotions.lines


def test_several_emotions_have_a_sigmoid_each():
    config = Config("text", "x", text=TextConfig(4, (4,), 4, 6))
    assert "sigmoid of each of 3 emotions" in single(build("text", is_multi_label=True), config)[-1][0].lines


def test_the_workflow_leads_from_the_raw_corpus_to_what_serves():
    figure = workflow()
    plots.pixels(figure)
    titles = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    first = ["raw corpus", "utterances", "transcripts", "records", "dataset"]
    assert titles == [*first, "branches", "fusion", "fit", "evaluate", "export", "serve"]


@pytest.mark.parametrize("name", ["text_run", "early_run", "late_run"])
def test_every_run_draws_its_model(name, request):
    assert (request.getfixturevalue(name).plots / "graph.png").exists()
