"""Videos to frames cropped to the face on the host, stored as JPEG; and these to numbers in the graph.

PyAV decodes (`pipelines.video_decoding`), OpenCV finds faces and crops; it is imported where it is used. `prepare` and
`predict` both call `read_frames`, so a model is given the frames that it was trained on.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.audio import silence
from pipelines.audio.waveform import SAMPLE_RATE
from pipelines.command import InputError
from pipelines.video_decoding import Timeline, length_of, pictures_at, smaller

if TYPE_CHECKING:
    import tensorflow as tf

NUM_BOX_COLUMNS = 5
"""Of face_boxes: left, top, width and height as shares of the crop, and 1 where the face was found in that frame."""

MARGIN = 1.3
"""Side of the crop, as a multiple of the face box."""

# Pictures are kept no larger than faces of a sixth of them need, and searched at half of that.
_KEPT_SIDE, _SEARCHED_SIDE = 480, 240
_SMALLEST_FACE = 1 / 6
_JPEG_QUALITY = 92

MOST_FRAMES, SIZES = 256, (32, 256)


@dataclasses.dataclass(frozen=True)
class VideoSettings:
    """Which frames of a video are read.

    Attributes:
      num_frames: Of each video.
      size: Pixels of a side of the crop.
      is_colour: Three channels instead of a grey one.

    Raises:
      InputError: Numbers that cannot work.
    """

    num_frames: int = 16
    size: int = 64
    is_colour: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.num_frames <= MOST_FRAMES:
            raise InputError(f"--video-frames {self.num_frames} cannot work: give a number from 1 to {MOST_FRAMES}.")
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise InputError(f"--video-size {self.size} cannot work: give pixels from {SIZES[0]} to {SIZES[1]}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a frame."""
        return (self.size, self.size, 3 if self.is_colour else 1)


class Frames(NamedTuple):
    """Frames of a video.

    Attributes:
      images: A JPEG a frame.
      boxes: [num_frames, 5] float32, as `NUM_BOX_COLUMNS` says.
      num_pictures: Different pictures of the video among them.
    """

    images: list[bytes]
    boxes: np.ndarray
    num_pictures: int

    @property
    def num_without_face(self) -> int:
        """Counts frames in which no face was found."""
        return int((self.boxes[:, 4] == 0).sum())


def spoken_span(waveform: np.ndarray, trim_db: float = silence.TRIM_DB) -> tuple[float, float] | None:
    """Finds the spoken part of a clip, in seconds from its start to its end; None without sound.

    Args:
      waveform: [num_samples] int16 at 16 kHz.
      trim_db: Where the silent ends begin: `FrontEnd.silence_db`.
    """
    lasting = silence.sustained_on_host(silence.block_energy_on_host(waveform), silence.BLOCKS_SUSTAINED)
    first, end = silence.loud_span_on_host(lasting, trim_db)
    if first == end:
        return None
    seconds = silence.BLOCK_LENGTH / SAMPLE_RATE
    begin, behind = first * seconds - silence.MARGIN_SECONDS, end * seconds + silence.MARGIN_SECONDS
    return max(0.0, begin), min(behind, len(waveform) / SAMPLE_RATE)


def read_frames(path: Path, settings: VideoSettings, span: tuple[float, float] | None = None) -> Frames:
    """Takes pictures of a clip, evenly over its spoken part, and crops them to the face.

    A frame without a face is cropped where the face was last (at the beginning: where it is first), a clip without any
    in its middle. Pictures are turned and mirrored as the file says; their times are those of the file, whatever its
    rate, counted from the first sample of its sound.

    Args:
      path: A video.
      settings: How many, how large, which channels.
      span: The spoken part in seconds; None: the whole clip.

    Raises:
      InputError: OpenCV is not installed; a file that is missing, cut off, no video, or without pictures.
    """
    import_opencv()
    timeline = length_of(path)
    pictures = pictures_at(path, timeline, _times(settings.num_frames, span, timeline), _KEPT_SIDE)
    found = _without_outliers([_find_face(picture) for picture in pictures])
    boxes = _filled(found, pictures[0].shape)
    images, rows = [], []
    for picture, box, face in zip(pictures, boxes, found, strict=True):
        crop, inside = _crop(picture, box)
        images.append(_to_jpeg(crop, settings))
        rows.append([*inside, float(face is not None)])
    return Frames(images, np.array(rows, np.float32), len({id(picture) for picture in pictures}))


def decode_frames(images: tf.Tensor, settings: VideoSettings) -> tf.Tensor:
    """Decodes the stored pictures of a clip, as a graph op.

    Args:
      images: [num_frames] strings; none where a clip has no video.
      settings: As the pictures were made.

    Returns:
      [num_frames, height, width, channels] uint8; zeros, the sign of absence, where there are no pictures.
    """
    import tensorflow as tf

    height, width, channels = settings.shape

    def decode(image: tf.Tensor) -> tf.Tensor:
        """Decodes one JPEG."""
        # The accurate transform is that of OpenCV.
        return tf.io.decode_jpeg(image, channels=channels, dct_method="INTEGER_ACCURATE")

    def decode_all() -> tf.Tensor:
        """Decodes all of them."""
        return tf.map_fn(decode, images, fn_output_signature=tf.TensorSpec([None, None, channels], tf.uint8))

    nothing = tf.zeros([settings.num_frames, height, width, channels], tf.uint8)
    frames = tf.cond(tf.size(images) > 0, decode_all, lambda: nothing)
    return tf.ensure_shape(frames, [settings.num_frames, height, width, channels])


def to_array(images: Sequence[bytes], settings: VideoSettings) -> np.ndarray:
    """Decodes pictures as a model takes them: [num_frames, height, width, channels] float32 in [0, 1].

    Equal to `decode_frames` divided by 255; zeros where there are no pictures.
    """
    cv2 = import_opencv()
    frames = np.zeros((settings.num_frames, *settings.shape), np.float32)
    for frame, image in zip(frames, images, strict=False):
        flags = cv2.IMREAD_COLOR if settings.is_colour else cv2.IMREAD_GRAYSCALE
        decoded = cv2.imdecode(np.frombuffer(image, np.uint8), flags)
        decoded = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB) if settings.is_colour else decoded[:, :, np.newaxis]
        frame[:] = decoded.astype(np.float32) / 255
    return frames


def import_opencv() -> Any:
    """Imports OpenCV, which then prints nothing about damaged files: they get sentences here.

    Raises:
      InputError: It is not installed, or a version without face detection.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    try:
        import cv2
    except ImportError:
        raise InputError("video needs OpenCV: install it with pip install -c requirements.txt -e '.[video]'.") from None
    if not hasattr(cv2, "CascadeClassifier"):
        raise InputError(
            f"OpenCV {cv2.__version__} has no CascadeClassifier: pip install -c requirements.txt -e '.[video]'."
        )
    return cv2


def _times(num_frames: int, span: tuple[float, float] | None, timeline: Timeline) -> np.ndarray:
    """Cuts the spoken part into equal pieces as far as there are pictures, and returns the middle of each."""
    first, last = float(timeline.starts[0]), timeline.end
    begin, end = span or (first, last)
    if begin >= last or end <= first:
        begin, end = first, last
    begin, end = max(begin, first), min(end, last)
    return begin + (np.arange(num_frames) + 0.5) * (end - begin) / num_frames


@functools.cache
def _cascade() -> Any:
    cv2 = import_opencv()
    cv2.setNumThreads(1)  # As for decoding; and one thread finds faces as fast as two here.
    return cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")


def _find_face(picture: np.ndarray) -> tuple[float, float, float, float] | None:
    """Finds the largest face of a picture: left, top, width, height in pixels.

    Source: Viola & Jones 2001, https://doi.org/10.1109/CVPR.2001.990517, with OpenCV's trained cascade.
    """
    import cv2

    grey = cv2.equalizeHist(cv2.cvtColor(smaller(picture, _SEARCHED_SIDE), cv2.COLOR_BGR2GRAY))
    scale = min(picture.shape[:2]) / min(grey.shape)
    least = max(24, round(min(grey.shape) * _SMALLEST_FACE))
    faces = _cascade().detectMultiScale(grey, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
    if not len(faces):
        return None
    left, top, width, height = max(faces, key=lambda box: box[2] * box[3]) * scale
    return left, top, width, height


def _without_outliers(boxes: Sequence[tuple[float, ...] | None]) -> list[tuple[float, ...] | None]:
    """Drops boxes far from where, or of another size than, most of the clip's are: something else was taken for it."""
    found = np.array([box for box in boxes if box is not None])
    if len(found) < 3:
        return list(boxes)
    middle = np.median(found, axis=0)
    reach = 0.75 * middle[2]

    def is_near(box: tuple[float, ...]) -> bool:
        """Whether a box is where, and as large as, most are."""
        is_like = 0.5 < box[2] / middle[2] < 2
        return is_like and max(abs(box[0] - middle[0]), abs(box[1] - middle[1])) < reach

    return [box if box is not None and is_near(box) else None for box in boxes]


def _filled(boxes: Sequence[tuple[float, ...] | None], shape: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Puts the last box, at the beginning the first, where there is none; where there are none at all the middle."""
    height, width = shape[:2]
    side = 0.5 * min(height, width)
    last = next((box for box in boxes if box is not None), ((width - side) / 2, (height - side) / 2, side, side))
    filled = []
    for box in boxes:
        last = last if box is None else box
        filled.append(last)
    return filled


def _crop(picture: np.ndarray, box: tuple[float, ...]) -> tuple[np.ndarray, tuple[float, ...]]:
    """Cuts a square around a box, moved into the picture where it would leave it.

    Returns:
      The square, and the box as shares of it: left, top, width, height.
    """
    height, width = picture.shape[:2]
    side = min(MARGIN * max(box[2:]), height, width)
    left = min(max(box[0] + box[2] / 2 - side / 2, 0), width - side)
    top = min(max(box[1] + box[3] / 2 - side / 2, 0), height - side)
    row, column, length = round(top), round(left), max(1, round(side))
    inside = ((box[0] - left) / side, (box[1] - top) / side, box[2] / side, box[3] / side)
    return picture[row : row + length, column : column + length], inside


def _to_jpeg(crop: np.ndarray, settings: VideoSettings) -> bytes:
    import cv2

    image = crop if settings.is_colour else cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    smaller = settings.size < min(image.shape[:2])
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    image = cv2.resize(image, (settings.size, settings.size), interpolation=interpolation)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
