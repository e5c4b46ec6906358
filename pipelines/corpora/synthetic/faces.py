"""The faces of the synthetic corpus: the looks that a speaker keeps, and expressions.

Lengths are in face units: the half width of the head is 1.
"""

import dataclasses
from typing import NamedTuple

import numpy as np


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
