"""Tests of what the page draws as HTML."""

import re
from pathlib import Path

import numpy as np
import pytest

from emotion_tf.colours import colour_of
from emotion_tf.serving import demo_figures
from emotion_tf.serving.explanation import Spectrogram
from emotion_tf.serving.timeline import Segment, Timeline


def test_bars_keep_the_order_and_the_colours_of_the_labels():
    html = demo_figures.bars({"sad": 0.25, "angry": 0.7, "calm": 0.05}, "angry", 0.4)
    assert re.findall(r'scope="row">(\w+)<', html) == ["sad", "angry", "calm"]
    assert re.findall(r"width:([\d.]+)%;background:(#\w+)", html) == [
        ("25.0", colour_of(0)),
        ("70.0", colour_of(1)),
        ("5.0", colour_of(2)),
    ]
    assert html.count("left:40.0%") == 3
    assert re.search(r'<tr class=most><th scope="row">angry', html)


def test_names_are_text_and_no_markup():
    assert "<script>" not in demo_figures.bars({"<script>": 1.0}, "")


def timeline(segments, seconds=90.0):
    envelope = np.tile([-0.1, 0.2], (round(20 * seconds), 1)).astype(np.float32)
    hops = np.full((round(seconds), 2), 0.5)
    return Timeline(Path("talk.wav"), ("calm", "sad"), seconds, tuple(segments), (), 1.0, hops, envelope)


def test_segments_lie_where_they_are_and_play_from_their_start():
    html = demo_figures.timeline(timeline([Segment(9.0, 18.0, "sad", (0.2, 0.8))]))
    assert html.count('data-start="9.0"') == 2
    assert f"left:10.000%;width:10.000%;background:{colour_of(1)}" in html
    assert "0:09.0 to 0:18.0, sad, 0.80: play from here" in html


def test_segments_below_what_counts_as_sure_are_called_so():
    html = demo_figures.timeline(timeline([Segment(0.0, 9.0, "sad", (0.45, 0.55))]), 0.6)
    assert "not sure (sad)" in html
    assert "opacity:0.35" in html


@pytest.mark.parametrize(
    ("seconds", "clock"), [(0.0, "0:00.0"), (59.96, "1:00.0"), (61.25, "1:01.2"), (600, "10:00.0")]
)
def test_clocks_have_minutes_seconds_and_tenths(seconds, clock):
    assert demo_figures.clock(seconds) == clock


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.05, [0]),
        (1.8, [0, 0.5, 1, 1.5]),
        (12.0, [0, 2, 4, 6, 8, 10, 12]),
        (61.0, [0, 10, 20, 30, 40, 50, 60]),
        (602.0, [0, 120, 240, 360, 480, 600]),
        (3600.0, [0, 600, 1200, 1800, 2400, 3000, 3600]),
    ],
)
def test_axes_have_a_few_round_marks_within_the_clip(seconds, expected):
    assert demo_figures._ticks(seconds) == expected


def test_a_sound_has_words_for_those_who_do_not_see_it():
    spectrogram = Spectrogram(np.zeros((10, 4), np.float32), 0.01, np.array([100.0, 500.0, 2000.0, 7000.0]))
    html = demo_figures.sound(np.full(1600, 1000, np.int16), spectrogram)
    assert 'aria-label="Waveform, 0.10 seconds"' in html
    assert 'alt="Log-mel spectrogram, 100 to 7000 Hz"' in html
    assert "4000 Hz" in html


def test_the_waveform_is_as_high_as_its_loudest_place():
    heights = [
        re.findall(r",([\d.]+)", demo_figures._wave(scale * np.array([[-0.5, 0.5], [-0.1, 0.1]]), "w"))
        for scale in (1, 0.01)
    ]
    assert heights[0] == heights[1]
    assert min(map(float, heights[0])) == 5.0


def test_the_box_of_a_face_is_drawn_into_its_frame():
    cv2 = pytest.importorskip("cv2")
    image = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()
    boxes = np.array([[0.25, 0.25, 0.5, 0.5, 1.0], [0.25, 0.25, 0.5, 0.5, 0.0]])
    with_face, without = demo_figures.with_boxes([image, image], boxes)
    assert with_face[16, 16:48].max() > 100
    assert without.max() == 0
