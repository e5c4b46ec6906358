"""Tests of emotion_tf.reporting.boxes: every text is inside of its box, boxes are apart, and arrows lead on."""

import itertools

import pytest
from matplotlib.patches import FancyBboxPatch

from emotion_tf.reporting import plots
from emotion_tf.reporting.boxes import Box, draw, draw_rows

COLUMNS = [
    [Box("audio", ["log_mel [num_frames, 64]"], (0, 1)), Box("text", ["token_ids [num_tokens]"], (2,))],
    [Box("one", ["cnn"]), Box("two", ["gru", "from " + "x" * 30]), Box("three")],
    [Box("weighted", ["weights 0.3, 0.3, 0.4"])],
    [Box("emotions")],
]
ROW = [[Box("raw corpus", ["data"])], [Box("records")], [Box("dataset", ["crop, pad", "augment"])]]


def drawn(figure):
    """The axes of a figure, its texts, and the corners of the boxes around boxes' texts."""
    plots.pixels(figure)
    [axes] = figure.axes
    texts = {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text()}
    patches = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    return axes, texts, patches


def is_inside(extent, box):
    return box.x0 < extent.x0 and extent.x1 < box.x1 and box.y0 < extent.y0 and extent.y1 < box.y1


def test_a_diagram_holds_each_box_inside_of_itself_apart_from_the_others_and_an_arrow_for_each_feed():
    axes, texts, patches = drawn(draw(COLUMNS, "a title"))
    assert set(texts) == {"a title"} | {
        text for column in COLUMNS for box in column for text in (box.title, *box.lines)
    }
    assert len([text for text in axes.texts if not text.get_text()]) == 3 + 3 + 1
    assert len(patches) == 7
    assert not [1 for one, other in itertools.combinations(patches, 2) if one.overlaps(other)]
    for text in set(texts) - {"a title"}:
        assert any(is_inside(texts[text], box) for box in patches)


def test_rows_stand_below_each_other_in_frames_with_their_names_and_an_arrow_between():
    axes, texts, patches = drawn(draw_rows([("first", ROW), ("second", [*ROW, *COLUMNS[2:]])]))
    boxes, frames = [], []
    for patch in patches:
        (frames if any(is_inside(other, patch) for other in patches) else boxes).append(patch)
    assert (len(boxes), len(frames)) == (3 + 5, 2)
    assert frames[0].y0 > frames[1].y1
    for name, frame in (("first", frames[0]), ("second", frames[1])):
        assert frame.y1 < texts[name].y0
        assert texts[name].x1 < frame.x1
    assert texts["second"].y1 < frames[0].y0
    assert len([text for text in axes.texts if not text.get_text()]) == 2 + 4 + 1
    [elbow] = axes.lines
    assert not [1 for name in ("first", "second") if elbow.get_window_extent().overlaps(texts[name])]


@pytest.mark.parametrize("box", [Box("a"), Box("emotions " * 5, ["one", "two", "three"])])
def test_a_single_box_is_a_diagram(box):
    _, texts, [patch] = drawn(draw([[box]], ""))
    assert all(is_inside(extent, patch) for extent in texts.values())
