"""Tests of the drawn faces: the same bytes again, an expression that is seen, and nothing else of the emotion."""

import itertools
import sys
import wave
from collections import Counter

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.corpora.synthetic import faces
from pipelines.emotions import RAVDESS

cv2 = pytest.importorskip("cv2")

SPEAKERS = {speaker: synthetic._draw_face(0, speaker) for speaker in (1, 2, 3)}


def act(name, speaker=1, num_frames=20, seed=0):
    """The pictures of a clip, [num_frames, height, width, 3]."""
    acting = faces.act(faces.EXPRESSIONS[name], SPEAKERS[speaker], num_frames, np.random.default_rng(seed))
    return np.stack(list(acting))


def pose(name, num_frames=20, seed=0):
    return faces._pose(faces.EXPRESSIONS[name], SPEAKERS[1], num_frames, np.random.default_rng(seed))


def pictures(path):
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == faces.FRAME_RATE
    decoded = []
    while (picture := video.read()[1]) is not None:
        decoded.append(picture)
    return np.stack(decoded)


def edges(picture, face):
    """The directions of the edges in 7 x 7 parts of the head (Dalal & Triggs 2005)."""
    column, row = face.centre
    top, left, side = round(row - 0.6 * face.unit), round(column - face.unit), round(2 * face.unit)
    head = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[top : top + side, left : left + side]
    descriptor = cv2.HOGDescriptor((64, 64), (16, 16), (8, 8), (8, 8), 9)
    return descriptor.compute(cv2.resize(head, (64, 64)))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_numbers_draw_the_same_pictures_and_others_others():
    assert np.array_equal(act("smile"), act("smile"))
    assert not np.array_equal(act("smile"), act("smile", seed=1))
    assert not np.array_equal(act("smile"), act("smile", speaker=2))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(faces.EXPRESSIONS, 2)))
def test_expressions_differ_in_the_face_and_nowhere_else(one, other):
    difference = np.abs(act(one).astype(int) - act(other)).max(axis=(0, 3))
    face = SPEAKERS[1]
    rows = (np.arange(faces.HEIGHT) - face.centre[1]) / face.unit
    columns = (np.arange(faces.WIDTH) - face.centre[0]) / face.unit
    is_face = (np.abs(rows - 0.4)[:, np.newaxis] < 1.2) & (np.abs(columns) < 1.2)
    assert difference[is_face].max() > 50
    assert difference[~is_face].max() == 0


def test_an_expression_rises_and_falls():
    slant = pose("scowl")["brow_slant"][:, 0] - SPEAKERS[1].brow_slant
    highest = slant.argmax()
    assert (np.diff(slant[: highest + 1]) >= 0).all()
    assert (np.diff(slant[highest:]) <= 1e-12).all()
    assert max(slant[0], slant[-1]) < 0.8 * slant.max()


def test_the_height_of_an_expression_differs_from_clip_to_clip():
    full = faces.EXPRESSIONS["scowl"].brow_slant
    heights = [pose("scowl", seed=seed)["brow_slant"].max() - SPEAKERS[1].brow_slant for seed in range(50)]
    # An amplitude from 0.5 to 1, times 0.8 to 1.2.
    assert 0.4 * full <= min(heights) < 0.6 * full
    assert 0.9 * full < max(heights) <= 1.2 * full


def test_the_mouth_speaks_the_same_whatever_the_expression():
    at_rest = pose("rest", 60)["mouth_opening"]
    assert np.std(at_rest) > 0.02
    for name, expression in faces.EXPRESSIONS.items():
        added = pose(name, 60)["mouth_opening"] - at_rest
        assert (added == 0.0).all() if expression.mouth_opening == 0.0 else (added > 0.0).all()


def test_eyes_with_no_opening_are_closed_and_a_blink_closes_them():
    closed = pose("startled") | {"eye_opening": np.zeros((20, 1))}
    eyeball, _ = next(faces._eye(SPEAKERS[1], closed))
    upper, lower = np.split(eyeball, 2, axis=1)
    np.testing.assert_allclose(upper, lower[:, ::-1], atol=1e-12)
    blinks = [faces._blinks(50, np.random.default_rng(seed)) for seed in range(20)]
    assert {blink.max() > 0.8 for blink in blinks} == {True, False}
    assert all(blink.min() >= 0.0 and blink.max() <= 1.0 for blink in blinks)


@pytest.mark.parametrize(("name", "sign"), [("smile", 1), ("droop", -1)])
def test_the_corners_of_the_mouth_rise_in_a_smile_and_drop_in_a_droop(name, sign):
    shut = pose(name) | {"mouth_opening": np.zeros((20, 1)), "lip_raise": np.zeros((20, 1))}
    _, (between_lips, _), _ = faces._mouth(SPEAKERS[1], shut)
    rise = between_lips[:, len(faces._ACROSS) // 2, 1] - between_lips[:, 0, 1]
    assert rise == pytest.approx(shut["mouth_corners"][:, 0])
    assert (sign * rise > 0).all()


def test_a_stroke_along_a_line_is_a_rectangle_of_its_thickness():
    outline = faces._stroke(np.array([(0.0, 0.0), (1.0, 0.0), (3.0, 0.0)]), 0.5)
    assert outline.tolist() == [[0, -0.25], [1, -0.25], [3, -0.25], [3, 0.25], [1, 0.25], [0, 0.25]]


def test_a_filled_square_covers_its_pixels():
    picture = np.zeros((20, 20), np.uint8)
    faces._fill(picture, 16 * np.array([(4, 6), (11, 6), (11, 9), (4, 9)], np.int32), np.array([200.0]))
    assert (picture[7:9, 5:11] == 200).all()
    assert picture.sum() == picture[5:11, 3:13].sum()  # One pixel of soft edge.


def test_swaying_turns_and_scales_but_never_shears():
    turns = faces._moves(SPEAKERS[1], 50, np.random.default_rng(0))[:, :, :2]
    squares = turns @ turns.transpose(0, 2, 1)
    assert squares[:, 0, 0] == pytest.approx(squares[:, 1, 1])
    assert squares[:, 0, 1] == pytest.approx(0.0, abs=1e-12)
    assert np.sqrt(squares[:, 0, 0]) == pytest.approx(1.0, abs=0.1)
    assert np.ptp(turns[:, 0, 1]) > 0.0


def test_what_wanders_has_mean_0_and_deviation_1():
    course = faces._wander(100_000, 1.0, np.random.default_rng(0))
    assert course.mean() == pytest.approx(0.0, abs=0.01)
    assert course.std() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", faces.EXPRESSIONS)
def test_a_face_detector_finds_the_face_where_it_is_drawn(name):
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    is_found = []
    for speaker, face in SPEAKERS.items():
        for picture in act(name, speaker, 24)[2::5]:
            grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
            boxes = cascade.detectMultiScale(grey, 1.1, 5, minSize=(faces.HEIGHT // 6,) * 2)
            left, top, width, height = max(boxes, key=lambda box: box[2], default=(0, 0, 0, 0))
            column, row = face.centre
            off = np.hypot(left + width / 2 - column, top + height / 2 - row - 0.3 * face.unit)
            is_found.append(off < 0.5 * face.unit and 1.4 < width / face.unit < 3.2)
    assert np.mean(is_found) > 0.9


def test_a_written_video_shows_what_was_drawn_and_has_the_same_bytes_again(tmp_path):
    drawn = act("startled", num_frames=12)
    for name in ("one.mp4", "other.mp4"):
        faces.write_video(tmp_path / name, drawn)
    decoded = pictures(tmp_path / "one.mp4")
    assert decoded.shape == drawn.shape == (12, 240, 320, 3)
    assert np.abs(decoded.astype(int) - drawn).mean() < 4.0
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()


def test_a_video_that_is_cut_short_leaves_nothing_behind(tmp_path):
    def broken():
        yield from act("rest", num_frames=3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        faces.write_video(tmp_path / "clip.mp4", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"absent/clip.mp4 cannot be written: allow .*, or free some space"):
        faces.write_video(tmp_path / "absent" / "clip.mp4", act("rest", num_frames=2))


def test_without_opencv_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"needs OpenCV.*pip install -c requirements.txt -e '.\[video\]'"):
        synthetic.make(tmp_path / "corpus", with_video=True)
    assert list(tmp_path.iterdir()) == []


def test_two_pairs_share_an_expression_and_the_group_tells_them_apart():
    assert set(synthetic._EXPRESSIONS) == set(RAVDESS)
    assert set(synthetic._EXPRESSIONS.values()) == set(faces.EXPRESSIONS)
    assert sorted(Counter(synthetic._EXPRESSIONS.values()).values()) == [1, 1, 1, 1, 2, 2]
    told = {(synthetic._GROUPS_AND_THEMES[emotion][0], synthetic._EXPRESSIONS[emotion]) for emotion in RAVDESS}
    assert len(told) == len(RAVDESS)


def test_a_drawing_is_told_the_expression_and_not_the_emotion(tmp_path, monkeypatch):
    told = []

    def act_nothing(expression, face, num_frames, rng):
        told.append(expression)
        return np.zeros((1, faces.HEIGHT, faces.WIDTH, 3), np.uint8)

    monkeypatch.setattr(faces, "act", act_nothing)
    synthetic._make(tmp_path, 0, 1, True)
    expected = [faces.EXPRESSIONS[clip.expression] for clip in synthetic._clips(1)]
    assert told == expected
    assert Counter(expected)[faces.EXPRESSIONS["smile"]] == 8


def test_every_utterance_has_a_video_as_long_as_its_sound(seen_speakers):
    for utterance in seen_speakers.utterances:
        assert utterance.video == utterance.audio.with_name(f"02{utterance.utterance_id[2:]}.mp4")
    for utterance in seen_speakers.utterances[::9]:
        with wave.open(str(utterance.audio), "rb") as file:
            seconds = file.getnframes() / file.getframerate()
        assert len(pictures(utterance.video)) / faces.FRAME_RATE == pytest.approx(seconds, abs=0.5 / faces.FRAME_RATE)


def test_videos_are_added_later_and_after_an_interruption_with_the_same_bytes(seen_speakers, tmp_path, monkeypatch):
    synthetic._make(tmp_path, 0, 1)
    silent, drawn, act_whole = tree(tmp_path), [], faces.act
    assert all(utterance.video is None for utterance in synthetic.read(tmp_path).utterances)

    def act_until_interrupted(*arguments):
        drawn.append(arguments)
        if len(drawn) > 3:
            raise KeyboardInterrupt
        return act_whole(*arguments)

    monkeypatch.setattr(faces, "act", act_until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic._make(tmp_path, 0, 1, True)
    monkeypatch.undo()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(kept) == sum(utterance.video is not None for utterance in synthetic.read(tmp_path).utterances) == 3

    synthetic._make(tmp_path, 0, 1, True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert silent.items() <= tree(tmp_path).items()
    assert tree(tmp_path / "Actor_01") == tree(seen_speakers.source / "Actor_01")


def test_video_tells_the_expression_of_unknown_speakers(seen_speakers):
    clips = seen_speakers.utterances
    inputs = [
        np.mean([edges(picture, SPEAKERS[int(clip.speaker)]) for picture in pictures(clip.video)[8:-8:4]], axis=0)
        for clip in clips
    ]
    expressions = [synthetic._EXPRESSIONS[clip.emotion] for clip in clips]
    classifier = RidgeClassifier(class_weight="balanced")
    speakers = [clip.speaker for clip in clips]
    told = cross_val_predict(classifier, inputs, expressions, groups=speakers, cv=GroupKFold(3))
    # Chance is 1/6.
    assert balanced_accuracy_score(expressions, told) > 0.6
