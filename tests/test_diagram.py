"""Tests of emotion_tf.reporting.diagram: boxes and arrows of fused models."""

import itertools

from matplotlib.patches import FancyBboxPatch
from test_build import PRIOR, build, build_early

from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.reporting import plots
from emotion_tf.reporting.diagram import Box, draw, late


def test_a_graph_holds_each_box_inside_of_itself_apart_from_the_others_and_an_arrow_for_each_feed():
    columns = [
        [Box("audio", ["log_mel [num_frames, 64]"], (0, 1)), Box("text", ["token_ids [num_tokens]"], (2,))],
        [Box("one", ["cnn"]), Box("two", ["gru", "from " + "x" * 30]), Box("three")],
        [Box("weighted", ["weights 0.3, 0.3, 0.4"])],
        [Box("emotions")],
    ]
    figure = draw(columns, "a title")
    plots.pixels(figure)
    [axes] = figure.axes
    titles = [text for text in axes.texts if text.get_text()]
    assert {text.get_text() for text in titles} == {"a title"} | {
        text for column in columns for box in column for text in (box.title, *box.lines)
    }
    assert len([text for text in axes.texts if not text.get_text()]) == 3 + 3 + 1
    patches = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert len(patches) == 7
    assert not [1 for one, other in itertools.combinations(patches, 2) if one.overlaps(other)]
    for text in titles[1:]:
        extent = text.get_window_extent()
        assert any(p.x0 < extent.x0 and extent.x1 < p.x1 and p.y0 < extent.y0 and extent.y1 < p.y1 for p in patches)


def test_late_fusion_shows_its_runs_with_what_they_hear_and_the_weights():
    sources = {"1: a": build("audio"), "2: b": build_early()}
    model = late_fusion(sources_named(sources), PRIOR, "weighted", fitted={"weights": [0.25, 0.75]})
    inputs, runs, [rule], [emotions] = late(model, sources, [0.25, 0.75])
    assert [(box.title, list(box.feeds)) for box in inputs] == [("audio", [0, 1]), ("text", [1])]
    assert [(box.title, box.lines[0]) for box in runs] == [("1: a", "audio"), ("2: b", "audio and text")]
    assert rule == Box("rule: weighted", ["weights 0.25, 0.75"])
    assert emotions.lines == ["3 logits"]


def sources_named(sources):
    return {f"run_{number}": model for number, model in enumerate(sources.values())}
