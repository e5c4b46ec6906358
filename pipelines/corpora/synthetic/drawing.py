"""How the faces of the synthetic corpus are drawn: outlines, filled from back to front.

Points are in face units: x to the right and y down from between the eyes, the half width of the head is 1.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipelines.corpora.synthetic.faces import Face

WIDTH, HEIGHT = 320, 240

Pose = dict[str, np.ndarray]
"""Field of an expression -> [num_frames, 1]; the opening of the eyes is from 0, closed."""


def draw_still(face: Face) -> np.ndarray:
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
        fill(picture, _to_sixteenths(points, face), colour)
    for points in (neck, _head(face)):
        fill(is_skin, _to_sixteenths(points, face), np.array([255.0]))
    lit = picture * _light(face, cv2.GaussianBlur(is_skin, (5, 5), 0) / 255.0)[:, :, np.newaxis]
    picture = lit.clip(0, 255).astype(np.uint8)
    fill(picture, _to_sixteenths(_fringe(face), face), face.hair)
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


class Shape(NamedTuple):
    """An outline and what fills it.

    Attributes:
      points: [num_frames, num_points, 2] in sixteenths of pixels.
      colours: [num_frames, 3].
    """

    points: np.ndarray
    colours: np.ndarray


def moving_shapes(face: Face, pose: Pose) -> list[Shape]:
    """Draws what moves in the face, from back to front."""
    num_frames = len(pose["brow_raise"])
    drawn = [*_eye(face, pose), *_brow(face, pose), *_nose(face, pose), *_fold(face, pose)]
    mirrored = [(points * np.array([side, 1.0]), colour) for points, colour in drawn for side in (-1.0, 1.0)]
    return [
        Shape(
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


def _eye(face: Face, pose: Pose) -> _Drawn:
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


def _brow(face: Face, pose: Pose) -> _Drawn:
    x = face.eye_distance + 0.01 + 1.25 * face.eye_width * _ACROSS
    y = -face.brow_height - pose["brow_raise"] - 0.5 * pose["brow_slant"] * (_ACROSS - 0.2) - 0.06 * _ARCH
    yield _stroke(_curve(x, y), face.brow_thickness * (0.65 - 0.35 * _ACROSS)), 0.75 * face.hair


def _nose(face: Face, pose: Pose) -> _Drawn:
    lift = 0.05 * pose["nose_wrinkle"]
    nostril = _ellipse((0.5 * face.nose_width, face.nose + 0.02), (0.35 * face.nose_width, 0.03))
    yield _curve(nostril[:, 0], nostril[:, 1] - lift), 0.35 * face.skin
    wing = face.nose_width * np.array([1.0, 1.15, 1.1]), face.nose + np.array([-0.12, -0.05, 0.02])
    yield _stroke(_curve(wing[0], wing[1] - lift), 0.02), 0.6 * face.skin


def _fold(face: Face, pose: Pose) -> _Drawn:
    """Draws the fold from the nose to the corner of the mouth, as deep as the cheek or the lip is raised."""
    depth = np.clip(4.0 * pose["mouth_corners"].clip(0.0) + 6.0 * pose["lip_raise"], 0.0, 1.0)
    length = 0.05 + 0.95 * depth
    fold = _curve(0.27 + length * np.array([0.0, 0.11, 0.18]), face.nose - 0.05 + length * np.array([0.0, 0.15, 0.3]))
    yield _stroke(fold, np.array([0.02, 0.035, 0.015])), face.skin * (0.95 - 0.35 * depth)


def _wrinkles(face: Face, pose: Pose) -> _Drawn:
    half_width = 0.02 + 0.11 * pose["nose_wrinkle"]
    for y in (0.02, 0.12, 0.22):
        line = _curve(half_width * _ACROSS, y + 0.04 * _ACROSS**2)
        yield _stroke(line, 0.03 * _ARCH), face.skin * (1.1 - 0.5 * pose["nose_wrinkle"])


def _mouth(face: Face, pose: Pose) -> _Drawn:
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


def fill(picture: np.ndarray, points: np.ndarray, colour: np.ndarray) -> None:
    """Fills an outline [num_points, 2] in sixteenths of pixels."""
    import cv2

    cv2.fillPoly(picture, [points], colour.tolist(), cv2.LINE_AA, 4)
