"""Tests of the faces: a detector finds them, and a classifier their expressions."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from test_acting import SPEAKERS, act, cv2, decode

from pipelines.corpora import synthetic
from pipelines.corpora.synthetic import faces
from pipelines.corpora.synthetic.drawing import HEIGHT


def edges(picture, face):
    """The directions of the edges in 7 x 7 parts of the head (Dalal & Triggs 2005)."""
    column, row = face.centre
    top, left, side = round(row - 0.6 * face.unit), round(column - face.unit), round(2 * face.unit)
    head = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[top : top + side, left : left + side]
    descriptor = cv2.HOGDescriptor((64, 64), (16, 16), (8, 8), (8, 8), 9)
    return descriptor.compute(cv2.resize(head, (64, 64)))


@pytest.mark.parametrize("name", faces.EXPRESSIONS)
def test_a_face_detector_finds_the_face_where_it_is_drawn(name):
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    is_found = []
    for speaker, face in SPEAKERS.items():
        for picture in act(name, speaker, 24)[2::5]:
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            boxes = cascade.detectMultiScale(grey, 1.1, 5, minSize=(HEIGHT // 6,) * 2)
            left, top, width, height = max(boxes, key=lambda box: box[2], default=(0, 0, 0, 0))
            column, row = face.centre
            off = np.hypot(left + width / 2 - column, top + height / 2 - row - 0.3 * face.unit)
            is_found.append(off < 0.5 * face.unit and 1.4 < width / face.unit < 3.2)
    assert np.mean(is_found) > 0.9


def test_a_speaker_keeps_its_looks_and_others_look_otherwise():
    again = synthetic._draw_face(0, 1)
    for name, value in vars(SPEAKERS[1]).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert len({face.length for face in SPEAKERS.values()}) == 3
    assert SPEAKERS[2].beard == 0.0  # Speakers of even numbers are female.


def test_pictures_show_the_expression_of_unknown_speakers(seen_speakers):
    clips = seen_speakers.utterances
    inputs = [
        np.mean([edges(picture, SPEAKERS[int(clip.speaker)]) for picture in decode(clip.video)[8:-8:4]], axis=0)
        for clip in clips
    ]
    expressions = [synthetic._EXPRESSIONS[clip.emotion] for clip in clips]
    classifier = RidgeClassifier(class_weight="balanced")
    speakers = [clip.speaker for clip in clips]
    predicted = cross_val_predict(classifier, inputs, expressions, groups=speakers, cv=GroupKFold(3))
    # Chance is 1/6.
    assert balanced_accuracy_score(expressions, predicted) > 0.6
