"""Tests of emotion_tf.serving.explanation_plot: axes in seconds and hertz, emotions in one order and colour."""

import json

import numpy as np
import pytest

from emotion_tf.colours import colour_of
from emotion_tf.serving.explanation import GRADIENTS, Contribution, Explanation, Spectrogram, TimeContributions
from emotion_tf.serving.explanation_plot import draw, save
from emotion_tf.serving.prediction import Prediction


@pytest.fixture
def explanation():
    """Of a sound of 40 frames, whose features begin at frame 10 and have one cell that counts: frame 15, band 2."""
    cells = np.zeros((20, 4))
    cells[5, 2] = 0.5
    time = TimeContributions(GRADIENTS, 0.1 + 0.01 * np.arange(20) + 0.0125, cells.sum(axis=1), cells, 0.5, 32)
    probabilities = {"calm": 0.25, "sad": 0.75}
    prediction = Prediction(None, "oh no", "sad", None, probabilities, None, None, 0.4, ())
    sound = Spectrogram(np.zeros((40, 4)), 0.01, np.array([200.0, 400.0, 1000.0, 3000.0]))
    words = (Contribution("oh", 0.3), Contribution("no", -0.1))
    return Explanation(prediction, "sad", sound, time, words, (Contribution("audio", 1.0), Contribution("text", -1.0)))


def test_emotions_keep_their_order_and_their_colours(explanation):
    bars = draw(explanation).axes[0]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["calm", "sad"]
    from matplotlib.colors import same_color

    assert all(same_color(bar.get_facecolor(), colour_of(place)) for place, bar in enumerate(bars.patches))


def test_the_axes_are_seconds_and_hertz(explanation):
    sound, curve = draw(explanation).axes[2:4]
    assert sound.get_xlim() == pytest.approx((0, 0.4))
    assert (curve.get_xlabel(), sound.get_ylabel()) == ("seconds", "Hz")
    ticks = dict(zip([label.get_text() for label in sound.get_yticklabels()], sound.get_yticks(), strict=True))
    assert ticks["1000"] == 2  # The band whose centre is 1 kHz.
    overlay = sound.images[1]
    assert overlay.get_extent()[:2] == pytest.approx([0.1075, 0.3075])
    assert np.unravel_index(np.argmax(overlay.get_array()), (4, 20)) == (2, 5)


def test_what_is_absent_is_not_drawn(explanation):
    bare = Explanation(explanation.prediction, "sad", None, None, (), explanation.modalities)
    assert len(draw(bare).axes) == 2


def test_contributions_of_nearly_nothing_look_so(explanation):
    weak = explanation.words[0]._replace(nats=2e-5)
    bare = Explanation(explanation.prediction, "sad", None, None, (weak,), explanation.modalities)
    *_, modalities, words = draw(bare).axes
    assert words.get_ylim() == pytest.approx((-0.01, 0.01))
    assert modalities.get_xlim()[1] >= 1


def test_a_single_modality_is_a_bar_and_no_square(explanation):
    bare = Explanation(explanation.prediction, "sad", None, None, (), explanation.modalities[:1])
    axes = draw(bare).axes[-1]
    low, high = axes.get_ylim()
    assert axes.patches[0].get_height() < 0.3 * (low - high)


@pytest.mark.parametrize("ground", ["white", "black"])
def test_silence_has_the_colour_of_the_ground(explanation, ground):
    import matplotlib as mpl

    with mpl.rc_context({"axes.facecolor": ground}):
        sound = draw(explanation).axes[2].images[0]
    assert sound.cmap(0.0)[:3] == pytest.approx(mpl.colors.to_rgb(ground))


def test_lines_take_the_colour_of_the_axes_and_titles_fit_the_width(explanation):
    import matplotlib as mpl

    with mpl.rc_context({"axes.edgecolor": "#0a0b0c"}):
        figure = draw(explanation, 5.4)
    assert figure.get_figwidth() == 5.4
    assert max(map(len, figure.get_suptitle().splitlines())) <= 57
    assert all(line.get_color()[:3] == mpl.colors.to_rgb("#0a0b0c") for axes in figure.axes[3:] for line in axes.lines)


def test_both_files_are_written_and_the_numbers_agree(explanation, tmp_path):
    assert save(explanation, tmp_path, "clip").read_bytes().startswith(b"\x89PNG")
    stored = json.loads((tmp_path / "clip.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.png"]
    assert stored["explained"] == "sad"
    assert stored["words"][0] == {"name": "oh", "nats": 0.3, "share": 0.75}
    assert (stored["time"]["method"], stored["time"]["sum"], stored["time"]["difference"]) == (GRADIENTS, 0.5, 0.5)
    assert stored["bands"] == {"hz": [200, 400, 1000, 3000], "nats": [0, 0, 0.5, 0]}


def test_shares_of_nothing_are_0(explanation):
    silent = Explanation(explanation.prediction, "sad", None, None, (), (Contribution("audio", 0.0),))
    assert silent.to_json()["modalities"] == [{"name": "audio", "nats": 0.0, "share": 0.0}]
