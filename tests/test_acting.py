"""Tests of the acted faces: the same pictures again, an expression that rises and falls, and videos of it."""

import wave

import numpy as np
import pytest

from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.corpora.synthetic import acting, faces

cv2 = pytest.importorskip("cv2")

SPEAKERS = {speaker: synthetic._draw_face(0, speaker) for speaker in (1, 2, 3)}


def act(name, speaker=1, num_frames=20, seed=0):
    """The pictures of a clip, [num_frames, height, width, 3]."""
    pictures = acting.act(faces.EXPRESSIONS[name], SPEAKERS[speaker], num_frames, np.random.default_rng(seed))
    return np.stack(list(pictures))


def pose(name, num_frames=20, seed=0):
    """How a face moves in a clip: field of an expression -> [num_frames, 1]."""
    return acting._pose(faces.EXPRESSIONS[name], SPEAKERS[1], num_frames, np.random.default_rng(seed))


def decode(path):
    """The pictures of a video, [num_frames, height, width, 3]."""
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == acting.FRAME_RATE
    decoded = []
    while (picture := video.read()[1]) is not None:
        decoded.append(picture)
    return np.stack(decoded)


def test_the_same_numbers_draw_the_same_pictures_and_others_others():
    assert np.array_equal(act("smile"), act("smile"))
    assert not np.array_equal(act("smile"), act("smile", seed=1))
    assert not np.array_equal(act("smile"), act("smile", speaker=2))


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


def test_a_blink_closes_the_eyes():
    blinks = [acting._blinks(50, np.random.default_rng(seed)) for seed in range(20)]
    assert {blink.max() > 0.8 for blink in blinks} == {True, False}
    assert all(blink.min() >= 0.0 and blink.max() <= 1.0 for blink in blinks)


def test_swaying_turns_and_scales_but_never_shears():
    turns = acting._moves(SPEAKERS[1], 50, np.random.default_rng(0))[:, :, :2]
    squares = turns @ turns.transpose(0, 2, 1)
    assert squares[:, 0, 0] == pytest.approx(squares[:, 1, 1])
    assert squares[:, 0, 1] == pytest.approx(0.0, abs=1e-12)
    assert np.sqrt(squares[:, 0, 0]) == pytest.approx(1.0, abs=0.1)
    assert np.ptp(turns[:, 0, 1]) > 0.0


def test_what_wanders_has_mean_0_and_deviation_1():
    course = acting._wander(100_000, 1.0, np.random.default_rng(0))
    assert course.mean() == pytest.approx(0.0, abs=0.01)
    assert course.std() == pytest.approx(1.0, abs=0.01)


def test_a_written_video_shows_what_was_drawn_and_has_the_same_bytes_again(tmp_path):
    drawn = act("startled", num_frames=12)
    for name in ("one.mp4", "other.mp4"):
        acting.write_video(tmp_path / name, drawn)
    decoded = decode(tmp_path / "one.mp4")
    assert decoded.shape == drawn.shape == (12, 240, 320, 3)
    assert np.abs(decoded.astype(int) - drawn).mean() < 4.0
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()


def test_a_video_that_is_cut_short_leaves_nothing_behind(tmp_path):
    def broken():
        yield from act("rest", num_frames=3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        acting.write_video(tmp_path / "clip.mp4", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"absent/clip.mp4 cannot be written: allow .*, or free some space"):
        acting.write_video(tmp_path / "absent" / "clip.mp4", act("rest", num_frames=2))


def test_every_utterance_has_a_video_as_long_as_its_recording(seen_speakers):
    for utterance in seen_speakers.utterances:
        assert utterance.video == utterance.audio.with_name(f"02{utterance.utterance_id[2:]}.mp4")
    for utterance in seen_speakers.utterances[::9]:
        with wave.open(str(utterance.audio), "rb") as file:
            seconds = file.getnframes() / file.getframerate()
        assert len(decode(utterance.video)) / acting.FRAME_RATE == pytest.approx(seconds, abs=0.5 / acting.FRAME_RATE)
