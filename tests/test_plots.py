"""Tests of emotion_tf.reporting.plots: what is drawn is what was counted."""

import numpy as np
import pandas as pd
import pytest
from test_comparison import compared_hits, random_hits

from emotion_tf.evaluation import metrics
from emotion_tf.reporting import plots


@pytest.fixture
def history():
    return pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "loss": [3.0, 2.0, 1.0],
            "val_loss": [3.0, 2.5, 2.6],
            "accuracy": [0.1, 0.4, 0.8],
            "val_accuracy": [0.1, 0.3, 0.2],
            "val_unweighted_average_recall": [0.1, 0.5, 0.4],
        }
    )


def test_the_best_epoch_is_marked_and_chance_is_drawn(history):
    recalls = plots.curves(history, 0.125).axes[1]
    lines = {line.get_label(): line for line in recalls.lines}
    assert (list(lines["kept"].get_xdata()), list(lines["kept"].get_ydata())) == ([2], [0.5])
    assert set(lines["chance"].get_ydata()) == {0.125}
    np.testing.assert_allclose(lines["validation UAR"].get_ydata(), history["val_unweighted_average_recall"])


def test_the_curve_of_several_emotions_is_macro_f1(history):
    history = history.rename(columns={"val_unweighted_average_recall": "val_macro_f1"})
    scores = plots.curves(history.drop(columns=["accuracy", "val_accuracy"]), 0.1).axes[1]
    lines = {line.get_label(): line for line in scores.lines}
    assert set(lines) == {"validation macro-F1", "kept", "chance"}
    assert scores.get_title() == "macro-F1"
    assert (list(lines["kept"].get_xdata()), list(lines["kept"].get_ydata())) == ([2], [0.5])


def test_emotions_are_sorted_by_their_f1_with_counts():
    found = {
        "joy": {"precision": 0.8, "recall": 0.4, "f1": 0.5, "count": 7},
        "love": {"precision": 0.9, "recall": 0.7, "f1": 0.8, "count": 3},
        "grief": {"precision": None, "recall": None, "f1": None, "count": 0},
    }
    axes = plots.per_emotion({"per_emotion": found, "macro_f1": 0.65, "chance": {"macro_f1": 0.1}}, "a title").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["joy (7)", "love (3)"]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.8]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["recall"].get_xdata()) == [0.4, 0.7]
    assert set(lines["macro-F1"].get_xdata()) == {0.65}


def test_the_pictures_of_several_emotions_hold_no_confusion_matrix(tmp_path):
    rows = {"utterance_id": list("abcd"), "speaker": "", "split": "test", "label": ["joy", "love", "joy|love", "joy"]}
    rows |= {"predicted": "joy|love", "probability_joy": [0.9, 0.2, 0.6, 0.4], "probability_love": [0.1, 0.7, 0.8, 0.3]}
    table = pd.DataFrame(rows)
    plots.draw_scores(tmp_path / "plots", table, metrics.scores(table, ("joy", "love"), 2.0), 2.0, ["paired"])
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        *("per-emotion-test.png", "roc-test.png", "reliability-test.png")
    }


def test_a_single_epoch_can_be_seen(history):
    losses = plots.curves(history[:1], 0.125).axes[0]
    legend = [text.get_text() for text in losses.get_legend().get_texts()]
    assert legend == ["training (as weighted and masked)", "validation"]
    assert all(line.get_marker() == "." for line in losses.lines)


def test_every_cell_of_a_confusion_matrix_holds_its_count():
    figure = plots.confusion_matrix(np.array([[3, 1], [0, 0]]), ("calm", "sad"), "a title")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "1", "0", "0"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["calm", "sad"]


def test_time_runs_to_the_right_in_seconds():
    figure = plots.spectrogram(np.zeros((50, 8)), "a title", 0.01)
    assert list(figure.axes[0].images[0].get_extent()) == [0, 0.5, 0, 8]
    assert figure.axes[0].images[0].origin == "lower"


@pytest.fixture
def bins():
    return pd.DataFrame({"count": [0, 1, 3], "confidence": [np.nan, 0.5, 0.9], "accuracy": [np.nan, 1.0, 0.75]})


def test_reliability_draws_the_bins_that_hold_clips(bins):
    above, below = plots.reliability(bins, None, "a title").axes
    diagonal, line = above.lines
    assert diagonal.get_label() == "perfectly calibrated"
    np.testing.assert_allclose(line.get_xydata(), [[0.5, 1.0], [0.9, 0.75]])
    (counts,) = below.patches
    assert counts.get_data().values.tolist() == [0, 1, 3]
    np.testing.assert_allclose(counts.get_data().edges, [0, 1 / 3, 2 / 3, 1])


def test_reliability_before_and_after_calibration_can_be_told_apart(bins):
    above, below = plots.reliability(bins, bins[::-1], "a title").axes
    _, before, after = above.lines
    assert (before.get_label(), after.get_label()) == ("before calibration", "calibrated")
    assert before.get_color() != after.get_color()
    assert len(below.patches) == 2


def test_the_legend_of_roc_curves_names_their_areas():
    steps = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])
    line = np.array([0.0, 0.5, 1.0])
    figure = plots.roc({"calm": steps, "sad": (line, line)}, "a title")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["calm (1.000)", "sad (0.500)", "chance (0.500)"]


def test_no_two_of_28_roc_curves_look_the_same():
    line = np.array([0.0, 1.0])
    figure = plots.roc({f"emotion {number}": (line, line) for number in range(28)}, "a title")
    looks = {(curve.get_color(), str(curve._dash_pattern)) for curve in figure.axes[0].lines}
    assert len(looks) == 29
    plots.pixels(figure)
    assert not figure.legends[0].get_window_extent().overlaps(figure._suptitle.get_window_extent())


def test_an_emotion_keeps_its_colour_and_stroke_where_others_have_no_curve():
    line = np.array([0.0, 1.0])
    emotions = ("neutral", "calm", "happy")
    whole = plots.roc(dict.fromkeys(emotions, (line, line)), "a title", emotions).axes[0].lines
    alone = plots.roc({"happy": (line, line)}, "a title", emotions).axes[0].lines
    assert alone[0].get_color() == whole[2].get_color()
    assert alone[0]._dash_pattern == whole[2]._dash_pattern
    assert len({str(plots.emotion_style(place)) for place in range(64)}) == 64
    assert len({plots.emotion_style(place)["linestyle"] for place in range(8)}) == 8


def test_selective_accuracy_stands_beside_all_clips_and_the_majority_class():
    axes = plots.selective({"1.0": 0.5, "0.5": 0.7, "0.1": 1.0}, 0.2, "a title").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["most confident clips"].get_xydata(), [[1, 0.5], [0.5, 0.7], [0.1, 1]])
    assert set(lines["all clips"].get_ydata()) == {0.5}
    assert set(lines["majority class"].get_ydata()) == {0.2}


def test_speakers_are_sorted_by_their_uar_beside_chance():
    uars = {"01": 0.5, "02": 0.9, "03": 0.1}
    by_speaker = {name: {"unweighted_average_recall": uar} for name, uar in uars.items()}
    axes = plots.speakers(by_speaker, 0.125, "a title").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["03", "01", "02"]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["speaker"].get_xdata().tolist() == [0.1, 0.5, 0.9]
    assert set(lines["mean of speakers"].get_xdata()) == {0.5}
    assert set(lines["chance"].get_xdata()) == {0.125}


def test_long_names_of_speakers_keep_both_ends_and_leave_room_for_the_scores():
    names = ["a name that goes on for very long, of " + place for place in ("Paris", "Rome")]
    by_speaker = {name: {"unweighted_average_recall": 0.5} for name in names}
    figure = plots.speakers(by_speaker, 0.125, "a title")
    plots.pixels(figure)
    (axes,) = figure.axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert [text.split()[-1] for text in shown] == ["Paris", "Rome"]
    assert axes.get_window_extent().width > figure.bbox.width / 2


@pytest.mark.parametrize("num_emotions", [2, 8])
def test_a_long_title_stays_inside_the_picture(num_emotions):
    counts = np.eye(num_emotions, dtype=int)
    title = "ravdess-audio-with-a-long-name, validation [synthetic] [label-leaking]: UAR 0.500"
    for figure in (
        plots.confusion_matrix(counts, [f"emotion {n}" for n in range(num_emotions)], title),
        plots.spectrogram(np.zeros((50, 8)), title * 2, 0.01),
        plots.reliability(pd.DataFrame({"count": [1], "confidence": [0.5], "accuracy": [1.0]}), None, title),
        plots.roc({}, title),
        plots.selective({"1.0": 0.5}, 0.1, title),
        plots.speakers({"01": {"unweighted_average_recall": 0.5}}, 0.1, title),
    ):
        plots.pixels(figure)
        box = figure._suptitle.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_pixels_and_files_hold_the_picture(tmp_path):
    figure = plots.spectrogram(np.zeros((50, 8)), "a title", 0.01)
    pixels = plots.pixels(figure)
    assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 4)
    plots.save(figure, tmp_path / "plots" / "x.png")
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["x.png"]
    assert (tmp_path / "plots" / "x.png").read_bytes().startswith(b"\x89PNG")


def test_strips_show_at_most_16_frames_and_how_each_box_was_found():
    boxes = np.tile([0.1, 0.1, 0.8, 0.8, 1.0], (40, 1))
    boxes[0, 4] = 0
    figure = plots.frame_strips({"sad": (np.full((40, 8, 8, 1), 0.5), boxes)}, "a run")
    patches = [axes.patches[0] for axes in figure.axes]
    assert len(patches) == 16
    assert [patch.get_linestyle() for patch in patches[:2]] == [":", "-"]


def test_a_comparison_has_a_line_for_each_run_and_pair():
    compared = compared_hits({name: random_hits(6, seed=seed) for seed, name in enumerate("abc")})
    scores, differences = plots.forest(compared).axes[:2]
    assert [label.get_text() for label in scores.get_yticklabels()] == ["a", "b", "c"]
    assert len(differences.get_yticks()) == 3
