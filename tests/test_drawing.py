"""Tests of how faces are drawn: outlines by hand, and an expression that shows in the face and nowhere else."""

import itertools

import numpy as np
import pytest
from test_acting import SPEAKERS, act, pose

from pipelines.corpora.synthetic import drawing, faces


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(faces.EXPRESSIONS, 2)))
def test_expressions_differ_in_the_face_and_nowhere_else(one, other):
    difference = np.abs(act(one).astype(int) - act(other)).max(axis=(0, 3))
    face = SPEAKERS[1]
    rows = (np.arange(drawing.HEIGHT) - face.centre[1]) / face.unit
    columns = (np.arange(drawing.WIDTH) - face.centre[0]) / face.unit
    is_face = (np.abs(rows - 0.4)[:, np.newaxis] < 1.2) & (np.abs(columns) < 1.2)
    assert difference[is_face].max() > 50
    assert difference[~is_face].max() == 0


def test_eyes_with_no_opening_are_closed():
    closed = pose("startled") | {"eye_opening": np.zeros((20, 1))}
    eyeball, _ = next(drawing._eye(SPEAKERS[1], closed))
    upper, lower = np.split(eyeball, 2, axis=1)
    np.testing.assert_allclose(upper, lower[:, ::-1], atol=1e-12)


@pytest.mark.parametrize(("name", "sign"), [("smile", 1), ("droop", -1)])
def test_the_corners_of_the_mouth_rise_in_a_smile_and_drop_in_a_droop(name, sign):
    shut = pose(name) | {"mouth_opening": np.zeros((20, 1)), "lip_raise": np.zeros((20, 1))}
    _, (between_lips, _), _ = drawing._mouth(SPEAKERS[1], shut)
    rise = between_lips[:, len(drawing._ACROSS) // 2, 1] - between_lips[:, 0, 1]
    assert rise == pytest.approx(shut["mouth_corners"][:, 0])
    assert (sign * rise > 0).all()


def test_a_stroke_along_a_line_is_a_rectangle_of_its_thickness():
    outline = drawing._stroke(np.array([(0.0, 0.0), (1.0, 0.0), (3.0, 0.0)]), 0.5)
    assert outline.tolist() == [[0, -0.25], [1, -0.25], [3, -0.25], [3, 0.25], [1, 0.25], [0, 0.25]]


def test_a_filled_square_covers_its_pixels():
    picture = np.zeros((20, 20), np.uint8)
    drawing.fill(picture, 16 * np.array([(4, 6), (11, 6), (11, 9), (4, 9)], np.int32), np.array([200.0]))
    assert (picture[7:9, 5:11] == 200).all()
    assert picture.sum() == picture[5:11, 3:13].sum()  # One pixel of soft edge.
