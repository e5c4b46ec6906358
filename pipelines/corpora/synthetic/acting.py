"""The videos of the synthetic corpus: a drawn face that speaks, with an expression that rises and falls.

A clip is made from an expression, its speaker's looks and random numbers. The lips move as in speech, but not in time
with the audio of the clip, whose rate would give the prosody group away.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from pipelines.command import InputError
from pipelines.corpora.synthetic.drawing import HEIGHT, WIDTH, Pose, draw_still, fill, moving_shapes
from pipelines.corpora.synthetic.faces import Expression, Face
from pipelines.files import replacing
from pipelines.video import import_opencv

FRAME_RATE = 25

# Pixels by which the field of camera noise of a clip is larger than a picture; each picture takes another part of it.
_GRAIN_ROOM = 32


def act(expression: Expression, face: Face, num_frames: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Makes the pictures of one clip.

    Args:
      expression: What the face shows at the height of a strong clip.
      face: Who speaks.
      num_frames: At `FRAME_RATE`.
      rng: Of everything that differs between two clips of one expression and speaker.

    Yields:
      Pictures [HEIGHT, WIDTH, 3] uint8 in BGR.

    Raises:
      InputError: OpenCV is not installed.
    """
    cv2 = import_opencv()
    still = draw_still(face)
    shapes = moving_shapes(face, _pose(expression, face, num_frames, rng))
    moves = _moves(face, num_frames, rng)
    brightness = rng.uniform(0.85, 1.1) * (1.0 + 0.02 * _wander(num_frames, 0.5, rng))
    grain_level = rng.uniform(0.01, 0.04)
    grain = rng.integers(0, 256, (HEIGHT + _GRAIN_ROOM, WIDTH + _GRAIN_ROOM, 3), np.uint8)
    grain_places = rng.integers(0, _GRAIN_ROOM, (num_frames, 2))
    for frame, (row, column) in enumerate(grain_places):
        picture = still.copy()
        for shape in shapes:
            fill(picture, shape.points[frame], shape.colours[frame])
        picture = cv2.GaussianBlur(picture, (3, 3), 0)
        picture = cv2.warpAffine(picture, moves[frame], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        here = grain[row : row + HEIGHT, column : column + WIDTH]
        yield cv2.addWeighted(picture, brightness[frame], here, grain_level, -127.5 * grain_level)


def write_video(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Writes an MPEG-4 video.

    Args:
      path: An mp4 file in a folder that exists.
      frames: Pictures [HEIGHT, WIDTH, 3] uint8 in BGR, shown for 1 / `FRAME_RATE` seconds each.

    Raises:
      InputError: OpenCV is not installed, or cannot write the file.
    """
    cv2 = import_opencv()
    with replacing(path, is_shared=True) as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter_fourcc(*"mp4v"), FRAME_RATE, (WIDTH, HEIGHT))
        num_frames = 0
        try:
            for num_frames, frame in enumerate(frames, start=1):  # noqa: B007
                writer.write(frame)
        finally:
            writer.release()
        if _count_frames(temporary) != num_frames:  # OpenCV says nothing of a full disk.
            raise InputError(f"{path} cannot be written: allow writing to its folder, or free some space.")


def _count_frames(path: Path) -> int:
    """Counts the pictures that a video says it holds; 0 if it cannot be read."""
    import cv2

    video = cv2.VideoCapture(str(path))
    num_frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return num_frames


def _pose(expression: Expression, face: Face, num_frames: int, rng: np.random.Generator) -> Pose:
    """Moves the face over the clip."""
    times = (np.arange(num_frames)[:, np.newaxis] + 0.5) / num_frames
    peak = np.minimum(1.4 * np.sin(np.pi * times ** rng.uniform(0.6, 1.4)), 1.0)
    course = rng.uniform(0.5, 1.0) * (0.4 + 0.6 * peak)
    scales = rng.uniform(0.8, 1.2, len(expression))
    columns = np.array(expression) * scales * course
    pose = dict(zip(expression._fields, np.split(columns, len(expression), axis=1), strict=True))
    pose["brow_raise"] += 0.025 * _wander(num_frames, 1.0, rng)[:, np.newaxis]
    pose["brow_slant"] += face.brow_slant
    pose["mouth_corners"] += face.mouth_corners
    speech = np.sin(np.pi * times) ** 0.3 * np.abs(_wander(num_frames, 3.0, rng))[:, np.newaxis]
    opening = pose["mouth_opening"] + rng.uniform(0.08, 0.16) * speech
    pose["mouth_opening"] = 0.4 * np.tanh(opening / 0.4)  # The chin does not move.
    pose["mouth_width"] += 0.1 * _wander(num_frames, 2.5, rng)[:, np.newaxis]
    pose["eye_opening"] = (1.0 + pose["eye_opening"]) * (1.0 - _blinks(num_frames, rng)[:, np.newaxis])
    return pose


def _blinks(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Closes the eyes now and then: [num_frames] from 0, open, to 1, closed."""
    middles = rng.uniform(0.0, num_frames, 2)[: rng.integers(0, 3)]
    frames = np.arange(num_frames)[:, np.newaxis]
    return np.exp(-np.square((frames - middles) / 1.5)).max(axis=1, initial=0.0)


def _wander(num_frames: int, hz: float, rng: np.random.Generator) -> np.ndarray:
    """Draws a smooth course [num_frames] about 0 of standard deviation 1 and frequencies about `hz`."""
    times = np.arange(num_frames)[:, np.newaxis] / FRAME_RATE
    frequencies_hz, phases = hz * rng.uniform(0.5, 1.5, 3), rng.random(3)
    return np.sqrt(2.0 / 3.0) * np.sin(2.0 * np.pi * (frequencies_hz * times + phases)).sum(axis=1)


def _moves(face: Face, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Sways the picture about the chin: affine matrices [num_frames, 2, 3]."""
    pivot = face.centre + np.array([0.0, face.unit * face.length])
    angle = np.deg2rad(rng.normal(0.0, 2.0) + 1.5 * _wander(num_frames, 0.5, rng))
    scale = rng.uniform(0.94, 1.06) * (1.0 + 0.01 * _wander(num_frames, 0.4, rng))
    drift = rng.normal(0.0, 4.0, 2) + 2.0 * np.stack([_wander(num_frames, 0.5, rng) for _ in range(2)], axis=1)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2)
    return np.concatenate([turn, (pivot + drift - turn @ pivot)[:, :, np.newaxis]], axis=2)
