"""The pictures of the synthetic corpus: a drawn face that speaks, with an expression that rises and falls.

A clip is drawn from an expression, its speaker's looks and random numbers. The lips move as in speech, but not with the
sound of the clip: how fast that is spoken tells the prosody group, of which the pictures know nothing.

Points are in face units: x to the right and y down from between the eyes, the half width of the head is 1.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.command import InputError
from pipelines.video import import_opencv

WIDTH, HEIGHT = 320, 240
FRAME_RATE = 25


class Expression(NamedTuple):
    """How a face differs from its rest.

    Attributes:
      brow_raise: Rise of the brows, in face units.
      brow_slant: Drop of the inner ends of the brows against the outer ones, in face units.
      eye_opening: Change of the opening of the eyes, as a share of that at rest.
      mouth_corners: Rise of the corners of the mouth, in face units.
      mouth_width: Change of the width of the mouth, as a share of that at rest.
      mouth_opening: Distance between the lips, in face units.
      lip_raise: Rise of the upper lip that bares the teeth, in face units.
      nose_wrinkle: Depth of the wrinkles on the nose, from 0 to 1.
    """

    brow_raise: float
    brow_slant: float
    eye_opening: float
    mouth_corners: float
    mouth_width: float
    mouth_opening: float
    lip_raise: float
    nose_wrinkle: float


EXPRESSIONS = {
    "rest": Expression(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "smile": Expression(0.03, 0.0, -0.3, 0.2, 0.4, 0.05, 0.08, 0.0),
    "startled": Expression(0.2, -0.05, 0.6, 0.0, -0.2, 0.26, 0.0, 0.0),
    "scowl": Expression(-0.08, 0.29, -0.15, -0.09, -0.05, 0.0, 0.0, 0.15),
    "grimace": Expression(-0.05, 0.1, -0.45, -0.1, 0.15, 0.03, 0.12, 1.0),
    "droop": Expression(0.04, -0.24, -0.4, -0.18, -0.05, 0.0, 0.0, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Face:
    """What a speaker keeps in all clips. Colours are [3] in BGR from 0 to 255, lengths in face units.

    Attributes:
      centre: Of the place between the eyes, [2] in pixels.
      unit: Half the width of the head, in pixels.
      length: From the eyes to the chin.
      jaw: How much narrower the head is at the chin.
      skin: Colour.
      hair: Colour of hair and brows.
      hairline: From the eyes up to the hair.
      hair_width: Half the width of hair.
      hair_length: From the eyes down to the end of the hair.
      beard: Darkness of the shade of a beard, from 0 to 1.
      background: Colours of a blotched wall, [3, 4, 3].
      clothes: Colour.
      iris: Colour.
      lips: How much redder the lips are than the skin, from 0 to 1.
      eye_distance: From the middle of the face to that of an eye.
      eye_width: Half the width of an eye.
      eye_height: Half the height of an open eye.
      brow_height: From the eyes up to the brows.
      brow_slant: As in an expression, at rest.
      brow_thickness: At the inner end.
      nose: From the eyes to the tip of the nose.
      nose_width: Half the width of the nose.
      mouth: From the eyes to the mouth.
      mouth_width: Half the width of the mouth.
      mouth_corners: As in an expression, at rest.
      lip_thickness: Of one lip.
      light: From -1, light from the left, to 1.
    """

    centre: np.ndarray
    unit: float
    length: float
    jaw: float
    skin: np.ndarray
    hair: np.ndarray
    hairline: float
    hair_width: float
    hair_length: float
    beard: float
    background: np.ndarray
    clothes: np.ndarray
    iris: np.ndarray
    lips: float
    eye_distance: float
    eye_width: float
    eye_height: float
    brow_height: float
    brow_slant: float
    brow_thickness: float
    nose: float
    nose_width: float
    mouth: float
    mouth_width: float
    mouth_corners: float
    lip_thickness: float
    light: float


_SKINS = np.array([(186, 206, 236), (150, 180, 222), (112, 146, 196), (78, 108, 158)], float)
_HAIRS = np.array([(28, 30, 36), (36, 50, 74), (60, 88, 120), (96, 148, 186), (128, 130, 134)], float)
_IRISES = np.array([(40, 56, 80), (120, 96, 60), (70, 100, 84)], float)

# Pixels by which the field of camera noise of a clip is larger than a picture; each picture takes another part of it.
_GRAIN_ROOM = 32


def draw_face(sex: str, rng: np.random.Generator) -> Face:
    """Draws the looks of a speaker, "male" or "female"."""
    is_male = sex == "male"
    length = rng.uniform(1.22, 1.42)
    return Face(
        centre=np.array([rng.uniform(130.0, 190.0), rng.uniform(95.0, 115.0)]),
        unit=rng.uniform(42.0, 54.0) if is_male else rng.uniform(40.0, 50.0),
        length=length,
        jaw=rng.uniform(0.1, 0.25) if is_male else rng.uniform(0.2, 0.35),
        skin=_between(_SKINS, rng),
        hair=_between(_HAIRS, rng),
        hairline=rng.uniform(0.8, 1.05) if is_male else rng.uniform(0.75, 0.95),
        hair_width=rng.uniform(1.05, 1.15) if is_male else rng.uniform(1.12, 1.35),
        hair_length=rng.uniform(-0.2, 0.2) if is_male else rng.uniform(0.3, 1.6),
        beard=max(0.0, rng.uniform(-0.6, 0.8)) if is_male else 0.0,
        background=rng.uniform(90.0, 170.0) + rng.uniform(-25.0, 25.0, 3) + rng.uniform(-60.0, 60.0, (3, 4, 1)),
        clothes=rng.uniform(30.0, 200.0, 3),
        iris=_between(_IRISES, rng),
        lips=rng.uniform(0.15, 0.4) if is_male else rng.uniform(0.3, 0.9),
        eye_distance=rng.uniform(0.4, 0.47),
        eye_width=rng.uniform(0.19, 0.24),
        eye_height=rng.uniform(0.085, 0.115),
        brow_height=rng.uniform(0.27, 0.35),
        brow_slant=rng.uniform(-0.04, 0.05),
        brow_thickness=rng.uniform(0.08, 0.14) if is_male else rng.uniform(0.05, 0.1),
        nose=length * rng.uniform(0.38, 0.43),
        nose_width=rng.uniform(0.16, 0.24),
        mouth=length * rng.uniform(0.59, 0.64),
        mouth_width=rng.uniform(0.3, 0.38),
        mouth_corners=rng.uniform(-0.03, 0.03),
        lip_thickness=rng.uniform(0.04, 0.08),
        light=rng.uniform(-1.0, 1.0),
    )


def _between(colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a colour from a row of them, or from between two."""
    place = rng.uniform(0.0, len(colours) - 1.0)
    return np.array([np.interp(place, np.arange(len(colours)), channel) for channel in colours.T])


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
    still = _still(face)
    shapes = _shapes(face, _pose(expression, face, num_frames, rng))
    moves = _moves(face, num_frames, rng)
    brightness = rng.uniform(0.85, 1.1) * (1.0 + 0.02 * _wander(num_frames, 0.5, rng))
    grain_level = rng.uniform(0.01, 0.04)
    grain = rng.integers(0, 256, (HEIGHT + _GRAIN_ROOM, WIDTH + _GRAIN_ROOM, 3), np.uint8)
    grain_places = rng.integers(0, _GRAIN_ROOM, (num_frames, 2))
    for frame, (row, column) in enumerate(grain_places):
        picture = still.copy()
        for shape in shapes:
            _fill(picture, shape.points[frame], shape.colours[frame])
        picture = cv2.GaussianBlur(picture, (3, 3), 0)
        picture = cv2.warpAffine(picture, moves[frame], (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        here = grain[row : row + HEIGHT, column : column + WIDTH]
        yield cv2.addWeighted(picture, brightness[frame], here, grain_level, -127.5 * grain_level)


def write_video(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Writes an MPEG-4 video so that it is there whole or not at all.

    Args:
      path: An mp4 file in a folder that exists.
      frames: Pictures [HEIGHT, WIDTH, 3] uint8 in BGR, shown for 1 / `FRAME_RATE` seconds each.

    Raises:
      InputError: OpenCV is not installed, or cannot write the file.
    """
    cv2 = import_opencv()
    partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")  # OpenCV takes the container from the suffix.
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*"mp4v"), FRAME_RATE, (WIDTH, HEIGHT))
    num_frames = 0
    try:
        for num_frames, frame in enumerate(frames, start=1):  # noqa: B007
            writer.write(frame)
        writer.release()
        if _count_frames(partial) != num_frames:  # OpenCV says nothing of a full disk.
            raise InputError(f"{path} cannot be written: allow writing to its folder, or free some space.")
        partial.replace(path)
    finally:
        writer.release()
        partial.unlink(missing_ok=True)


def _count_frames(path: Path) -> int:
    """Counts the pictures that a video says it holds; 0 if it cannot be read."""
    import cv2

    video = cv2.VideoCapture(str(path))
    num_frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return num_frames


def _pose(expression: Expression, face: Face, num_frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Moves the face over the clip: field of an expression -> [num_frames, 1]; opening of the eyes from 0, closed."""
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


def _still(face: Face) -> np.ndarray:
    """Paints what does not move in the face, and what is around it: [HEIGHT, WIDTH, 3] uint8."""
    import cv2

    chest = face.length + 0.55
    neck = np.array([(-0.5, 0.6), (0.5, 0.6), (0.6, chest + 0.1), (-0.6, chest + 0.1)])
    picture = cv2.resize(face.background, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    layers = (
        (_hair(face), face.hair),
        (_ellipse((0.0, chest + 1.2), (2.0, 1.3)), face.clothes),
        (neck, 0.72 * face.skin),
        (_ellipse((-1.0, 0.1), (0.13, 0.25)), 0.8 * face.skin),
        (_ellipse((1.0, 0.1), (0.13, 0.25)), 0.8 * face.skin),
        (_head(face), face.skin),
    )
    is_skin = np.zeros((HEIGHT, WIDTH), np.uint8)
    for points, colour in layers:
        _fill(picture, _to_sixteenths(points, face), colour)
    for points in (neck, _head(face)):
        _fill(is_skin, _to_sixteenths(points, face), np.array([255.0]))
    lit = picture * _light(face, cv2.GaussianBlur(is_skin, (5, 5), 0) / 255.0)[:, :, np.newaxis]
    picture = lit.clip(0, 255).astype(np.uint8)
    _fill(picture, _to_sixteenths(_fringe(face), face), face.hair)
    return cv2.GaussianBlur(picture, (5, 5), 0)


def _light(face: Face, is_skin: np.ndarray) -> np.ndarray:
    """Lights the room from a side and the skin as if it were no plane: factors [HEIGHT, WIDTH] about 1."""
    rows = (np.arange(HEIGHT) - face.centre[1]) / face.unit
    columns = (np.arange(WIDTH) - face.centre[0]) / face.unit
    relief = np.zeros((HEIGHT, WIDTH))
    for x, y, half_width, half_height, brightness in _relief(face):
        across = sum(np.exp(-np.square((columns - side) / half_width)) for side in {x, -x})
        relief += brightness * np.outer(np.exp(-np.square((rows - y) / half_height)), across)
    room = (1.0 + 0.1 * face.light * columns.clip(-2.0, 2.0)) * (1.0 - 0.03 * rows[:, np.newaxis])
    return room * (1.0 + is_skin * relief)


def _relief(face: Face) -> list[tuple[float, float, float, float, float]]:
    """Lists x and y, half width, half height and brightness of what is lighter or darker on both sides of a face.

    A trained face detector looks for dark eyes between a bright forehead and bright cheeks, and for a bright nose.
    """
    return [
        (face.eye_distance, -0.03, 0.27, 0.16, -0.36),
        (0.15, -0.12, 0.1, 0.2, -0.14),
        (0.0, 0.15, 0.09, 0.4, 0.14),
        (0.48, 0.42, 0.25, 0.2, 0.15),
        (0.0, -0.65, 0.5, 0.25, 0.08),
        (0.0, face.nose + 0.08, face.nose_width + 0.05, 0.07, -0.2),
        (0.0, face.mouth + 0.17, 0.25, 0.06, -0.12),
        (0.0, face.length - 0.12, 0.25, 0.12, 0.06),
        (1.05, 0.3, 0.25, 0.9, -0.25),
        (0.0, face.length + 0.15, 0.8, 0.15, -0.3),
        (0.0, face.mouth + 0.2, 0.6, 0.35, -0.4 * face.beard),
    ]


def _head(face: Face) -> np.ndarray:
    angle = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    down = np.sin(angle)
    half_width = 1.0 - face.jaw * np.square(down.clip(0.0))
    return _curve(half_width * np.cos(angle), np.where(down > 0, face.length, face.hairline + 0.25) * down)


def _hair(face: Face) -> np.ndarray:
    """Outlines the hair behind the head."""
    return _outline(_crown(face), _curve(face.hair_width * _ACROSS, face.hair_length - 0.3 * _ACROSS**4))


def _fringe(face: Face) -> np.ndarray:
    """Outlines the hair in front of the head."""
    return _outline(_crown(face), _curve(_ACROSS, -face.hairline + 0.55 * _ACROSS**4))


def _crown(face: Face) -> np.ndarray:
    return _curve(face.hair_width * _ACROSS, -0.35 - (face.hairline + 0.1) * np.sqrt(1.0 - _ACROSS**2))


class _Shape(NamedTuple):
    """An outline and what fills it.

    Attributes:
      points: [num_frames, num_points, 2] in sixteenths of pixels.
      colours: [num_frames, 3].
    """

    points: np.ndarray
    colours: np.ndarray


def _shapes(face: Face, pose: dict[str, np.ndarray]) -> list[_Shape]:
    """Draws what moves in the face, from back to front."""
    num_frames = len(pose["brow_raise"])
    drawn = [*_eye(face, pose), *_brow(face, pose), *_nose(face, pose), *_fold(face, pose)]
    mirrored = [(points * np.array([side, 1.0]), colour) for points, colour in drawn for side in (-1.0, 1.0)]
    return [
        _Shape(
            np.broadcast_to(_to_sixteenths(points, face), (num_frames, *points.shape[-2:])),
            np.broadcast_to(colour, (num_frames, 3)),
        )
        for points, colour in (*mirrored, *_wrinkles(face, pose), *_mouth(face, pose))
    ]


_Drawn = Iterator[tuple[np.ndarray, np.ndarray]]
"""Outlines [num_frames or 1, num_points, 2] in face units and colours [num_frames, 3] or [3]."""

_ACROSS = np.sin(np.linspace(-0.5 * np.pi, 0.5 * np.pi, 13))
_ARCH = 1.0 - _ACROSS**2
_EYEBALL, _TEETH = np.array([190.0, 194.0, 198.0]), np.array([205.0, 215.0, 220.0])


def _eye(face: Face, pose: dict[str, np.ndarray]) -> _Drawn:
    opening = pose["eye_opening"]
    upper = face.eye_height * (0.25 - 1.25 * opening)
    lower = face.eye_height * (0.25 + 0.55 * opening)
    x = face.eye_distance + face.eye_width * _ACROSS
    upper_lid, lower_lid = _curve(x, upper * _ARCH), _curve(x, lower * _ARCH)
    yield _outline(upper_lid, lower_lid), _EYEBALL
    circle = _ellipse((0.0, 0.0), (0.11, 0.11))
    for ball, colour in ((circle, face.iris), (0.5 * circle, 0.2 * face.iris)):
        room = 1.0 - np.square(ball[:, 0] / face.eye_width)
        yield _curve(face.eye_distance + ball[:, 0], np.clip(ball[:, 1], upper * room, lower * room)), colour
    yield _stroke(upper_lid, 0.035), 0.25 * face.skin
    yield _stroke(lower_lid, 0.015), 0.55 * face.skin
    yield _stroke(_curve(x, upper * _ARCH - 0.06), 0.02 * _ARCH), 0.6 * face.skin


def _brow(face: Face, pose: dict[str, np.ndarray]) -> _Drawn:
    x = face.eye_distance + 0.01 + 1.25 * face.eye_width * _ACROSS
    y = -face.brow_height - pose["brow_raise"] - 0.5 * pose["brow_slant"] * (_ACROSS - 0.2) - 0.06 * _ARCH
    yield _stroke(_curve(x, y), face.brow_thickness * (0.65 - 0.35 * _ACROSS)), 0.75 * face.hair


def _nose(face: Face, pose: dict[str, np.ndarray]) -> _Drawn:
    lift = 0.05 * pose["nose_wrinkle"]
    nostril = _ellipse((0.5 * face.nose_width, face.nose + 0.02), (0.35 * face.nose_width, 0.03))
    yield _curve(nostril[:, 0], nostril[:, 1] - lift), 0.35 * face.skin
    wing = face.nose_width * np.array([1.0, 1.15, 1.1]), face.nose + np.array([-0.12, -0.05, 0.02])
    yield _stroke(_curve(wing[0], wing[1] - lift), 0.02), 0.6 * face.skin


def _fold(face: Face, pose: dict[str, np.ndarray]) -> _Drawn:
    """Draws the fold from the nose to the corner of the mouth, as deep as the cheek or the lip is raised."""
    depth = np.clip(4.0 * pose["mouth_corners"].clip(0.0) + 6.0 * pose["lip_raise"], 0.0, 1.0)
    length = 0.05 + 0.95 * depth
    fold = _curve(0.27 + length * np.array([0.0, 0.11, 0.18]), face.nose - 0.05 + length * np.array([0.0, 0.15, 0.3]))
    yield _stroke(fold, np.array([0.02, 0.035, 0.015])), face.skin * (0.95 - 0.35 * depth)


def _wrinkles(face: Face, pose: dict[str, np.ndarray]) -> _Drawn:
    half_width = 0.02 + 0.11 * pose["nose_wrinkle"]
    for y in (0.02, 0.12, 0.22):
        line = _curve(half_width * _ACROSS, y + 0.04 * _ACROSS**2)
        yield _stroke(line, 0.03 * _ARCH), face.skin * (1.1 - 0.5 * pose["nose_wrinkle"])


def _mouth(face: Face, pose: dict[str, np.ndarray]) -> _Drawn:
    """Draws the lips, and the dark and the teeth between them."""
    x = face.mouth_width * (1.0 + pose["mouth_width"]) * _ACROSS
    line = face.mouth + pose["mouth_corners"] * (0.35 - _ACROSS**2)
    upper = line - (pose["lip_raise"] + 0.35 * pose["mouth_opening"]) * _ARCH
    lower = line + 0.65 * pose["mouth_opening"] * _ARCH
    thickness = face.lip_thickness * np.sqrt(_ARCH)
    bow = 1.0 - 0.3 * np.exp(-np.square(_ACROSS / 0.15))
    teeth = 0.02 + 0.6 * pose["lip_raise"]
    red = 0.85 * face.skin * (1.0 - face.lips * np.array([0.45, 0.5, 0.2]))
    yield _outline(_curve(x, upper - thickness * bow), _curve(x, lower + 1.2 * thickness)), red
    yield _outline(_curve(x, upper), _curve(x, lower)), 0.18 * face.skin
    yield _outline(_curve(x, upper), _curve(x, np.minimum(upper + teeth * np.sqrt(_ARCH), lower))), _TEETH


def _curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack(np.broadcast_arrays(x, y), axis=-1)


def _outline(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    return np.concatenate([upper, lower[..., ::-1, :]], axis=-2)


def _stroke(points: np.ndarray, thickness: float | np.ndarray) -> np.ndarray:
    """Outlines a pen's stroke along points [..., num_points, 2], one thickness or [num_points]."""
    along = np.gradient(points, axis=-2)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1) / np.linalg.norm(along, axis=-1, keepdims=True)
    half = 0.5 * np.broadcast_to(thickness, points.shape[-2:-1])[:, np.newaxis] * across
    return _outline(points - half, points + half)


def _ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    angle = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    return np.array(centre) + np.array(radii) * _curve(np.cos(angle), np.sin(angle))


def _to_sixteenths(points: np.ndarray, face: Face) -> np.ndarray:
    """Turns face units into sixteenths of pixels, int32."""
    return np.round(16.0 * (face.centre + face.unit * points)).astype(np.int32)


def _fill(picture: np.ndarray, points: np.ndarray, colour: np.ndarray) -> None:
    """Fills an outline [num_points, 2] in sixteenths of pixels."""
    import cv2

    cv2.fillPoly(picture, [points], colour.tolist(), cv2.LINE_AA, 4)
