"""Copies among recordings: identical samples, and nearly identical ones of another level, codec, rate or silence.

Near copies are found by a fingerprint of 512 bits of the log-mel, after Haitsma & Kalker 2002, "A Highly Robust Audio
Fingerprinting System": whether the step from band to band rises or falls from one stretch of time to the next.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

_STRETCHES, _BANDS = 33, 17
_NUM_BITS = (_STRETCHES - 1) * (_BANDS - 1)

# Frames softer than the loudest by more than this, in units of log_mel, are no part of a fingerprint at its ends: where
# speech fades in, copies end in different frames.
_FADED = 2.0

# Of 1,200 clips of RAVDESS two takes of one sentence agree in 0.75 of the bits at most, and nine of ten copies in 0.80
# or more, within three frames: MP3, Opus, 8 kHz, noise 30 dB below, cut 7 ms later or close to the speech.
_LEAST_AGREEMENT = 0.80
_MOST_FRAMES_APART = 3

# Fingerprints that are compared at once: 4 MB of agreements.
_TILE = 1024


class Recording(NamedTuple):
    """What is kept of a record until all are written.

    Attributes:
      utterance_id: Of the utterance.
      emotion: Of the utterance; several are joined by "|".
      sha256: Hash of its samples, or of its pictures where it has no samples; empty for none.
      num_frames: Of the log-mel that the fingerprint was drawn of.
      fingerprint: 512 bits in hexadecimal digits; empty where there are too few frames or bands.
    """

    utterance_id: str
    emotion: str
    sha256: str
    num_frames: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Copies:
    """Utterances whose recordings are copies of each other.

    Attributes:
      utterances: Their ids, sorted.
      emotions: The labels among them, sorted; two or more contradict each other.
      is_identical: Whether the samples, or the pictures, are identical.
    """

    utterances: tuple[str, ...]
    emotions: tuple[str, ...]
    is_identical: bool

    def to_json(self) -> dict[str, Any]:
        """Returns what metadata.json holds of it."""
        return {
            "utterances": list(self.utterances),
            "emotions": list(self.emotions),
            "is_identical": self.is_identical,
        }


def draw_fingerprint(log_mel: np.ndarray) -> tuple[int, str]:
    """Draws the fingerprint of a recording; its level and soft ends change nothing.

    Args:
      log_mel: [num_frames, mel_bins] float32.

    Returns:
      num_frames and fingerprint of a `Recording`.
    """
    energy = np.exp(log_mel - log_mel.max(initial=-np.inf)).sum(axis=1)
    loud = np.flatnonzero(energy >= energy.max(initial=0.0) * np.exp(-_FADED))
    if len(loud) < 2 or log_mel.shape[1] < _BANDS:
        return len(loud), ""
    log_mel = log_mel[loud[0] : loud[-1] + 1]
    if len(log_mel) < _STRETCHES:
        return len(log_mel), ""
    rising = np.diff(np.diff(_means(_means(log_mel, _STRETCHES).T, _BANDS).T, axis=0), axis=1) > 0
    return len(log_mel), np.packbits(rising).tobytes().hex()


def _means(values: np.ndarray, count: int) -> np.ndarray:
    """Averages rows over `count` stretches of about equal length: [num_rows, width] -> [count, width]."""
    edges = np.linspace(0, len(values), count + 1).round().astype(int)
    return np.add.reduceat(values, edges[:-1], axis=0) / np.diff(edges)[:, np.newaxis]


def find_copies(recordings: Sequence[Recording]) -> list[Copies]:
    """Finds all copies among recordings.

    Of identical ones only the first is compared with others. Whole groups whose labels contradict each other come
    first, then identical ones.

    Args:
      recordings: In any order.
    """
    ordered = sorted(recordings)
    first_of: dict[str, int] = {}
    places = np.array([first_of.setdefault(one.sha256, n) if one.sha256 else n for n, one in enumerate(ordered)], int)
    identical = [np.flatnonzero(places == place) for place in _repeated(places)]
    different = [ordered[place] for place in np.unique(places)]
    found = [_copies([ordered[place] for place in group], is_identical=True) for group in identical]
    found += [_copies(group, is_identical=False) for group in _near_copies(different)]
    return sorted(found, key=lambda one: (len(one.emotions) < 2, not one.is_identical, one.utterances))


def _repeated(values: np.ndarray) -> np.ndarray:
    different, counts = np.unique(values, return_counts=True)
    return different[counts > 1]


def _copies(recordings: Sequence[Recording], *, is_identical: bool) -> Copies:
    utterances = tuple(sorted(one.utterance_id for one in recordings))
    return Copies(utterances, tuple(sorted({one.emotion for one in recordings})), is_identical)


def _near_copies(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Groups recordings that are connected by near copies."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    chosen = sorted((one for one in recordings if one.fingerprint), key=lambda one: (one.num_frames, one.utterance_id))
    pairs = np.concatenate([np.zeros((0, 2), int), *_near_pairs(chosen)])
    links = coo_array((np.ones(len(pairs), bool), pairs.T), (len(chosen), len(chosen)))
    _, group_of = connected_components(links, directed=False)
    return [[chosen[place] for place in np.flatnonzero(group_of == group)] for group in _repeated(group_of)]


def _near_pairs(recordings: Sequence[Recording]) -> Iterator[np.ndarray]:
    """Yields pairs [num_pairs, 2] of the places of near copies among recordings that are sorted by length."""
    num_frames = np.array([one.num_frames for one in recordings])
    packed = np.frombuffer(bytes.fromhex("".join(one.fingerprint for one in recordings)), np.uint8)
    packed = packed.reshape(len(recordings), _NUM_BITS // 8)
    for start in range(0, len(recordings), _TILE):
        lengths = num_frames[start : start + _TILE, np.newaxis]
        end = np.searchsorted(num_frames, lengths[-1, 0] + _MOST_FRAMES_APART, side="right")
        for other in range(start, end, _TILE):
            is_near = _agreement(packed[start : start + _TILE], packed[other : other + _TILE]) >= _LEAST_AGREEMENT
            is_near &= num_frames[other : other + _TILE] - lengths <= _MOST_FRAMES_APART
            pairs = np.argwhere(is_near) + np.array([start, other])
            yield pairs[pairs[:, 0] < pairs[:, 1]]


def _agreement(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tells the share of bits that fingerprints agree in: [num_some, num_others] float32 in [0, 1]."""
    signs = [2 * np.unpackbits(packed, axis=1).astype(np.float32) - 1 for packed in (some, others)]
    return 0.5 + signs[0] @ signs[1].T / (2 * _NUM_BITS)
