"""Tests of emotion_tf.plots: what is drawn is what was counted."""

import numpy as np
import pandas as pd
import pytest

from emotion_tf import plots


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


def test_a_single_epoch_can_be_seen(history):
    losses = plots.curves(history[:1], 0.125).axes[0]
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


@pytest.mark.parametrize("num_emotions", [2, 8])
def test_a_long_title_stays_inside_the_picture(num_emotions):
    counts = np.eye(num_emotions, dtype=int)
    title = "ravdess-audio-with-a-long-name, validation [synthetic] [label-leaking]: UAR 0.500"
    for figure in (
        plots.confusion_matrix(counts, [f"emotion {n}" for n in range(num_emotions)], title),
        plots.spectrogram(np.zeros((50, 8)), title * 2, 0.01),
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
