"""Tests of emotion_tf.colours."""

import numpy as np
from matplotlib.colors import to_rgb

from emotion_tf.colours import COLOURS, colour_of


def test_the_eight_emotions_of_ravdess_have_colours_that_differ():
    colours = np.array([to_rgb(colour_of(place)) for place in range(8)])
    distances = np.abs(colours[:, None] - colours).max(axis=2) + np.eye(8)
    assert distances.min() > 0.15


def test_further_emotions_begin_again():
    assert colour_of(len(COLOURS)) == colour_of(0)
