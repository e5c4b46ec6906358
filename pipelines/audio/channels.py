"""Several channels to one, in which all is left that can be heard in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CANCELLED = "the channels are of opposite polarity and cancel each other out: the loudest alone is read"
DEAD = "a channel holds no sound beside the other: it is left out"

# Channels that are this much softer than the loudest hold the noise of an open input.
_DEAD_DB = 40.0

# Of the energy that independent channels would keep when mixed: less is left of those that cancel out.
_LEAST_SHARE = 0.5

# Of the mono mix of ITU-R BS.775; the channel of low frequencies holds effects.
_WEIGHTS = {"FC": 1.0, "LFE": 0.0, "LFE2": 0.0} | dict.fromkeys(("FL", "FR", "FLC", "FRC"), 0.5**0.5)
_WEIGHT_AROUND = 0.5


def mixed(channels: np.ndarray, names: Sequence[str] | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Mixes channels down, each without its mean: an offset is no sound.

    Channels without sound are left out, and of channels that cancel each other out the loudest alone is taken.

    Args:
      channels: [num_samples, num_channels] float32.
      names: What FFmpeg calls the channels of a surround layout: FL, FR, FC, LFE, ...; None: all count alike.

    Returns:
      [num_samples] float32, and in sentences what was left out.
    """
    centred = _without_means(channels)
    if centred.shape[1] == 1:
        return centred[:, 0], ()
    energies = np.einsum("sc,sc->c", centred, centred, dtype=np.float64)  # [num_channels], like all below
    if not energies.any():
        return centred[:, 0], ()
    weights = _weights(centred.shape[1], names)
    audible = energies * (weights > 0) if energies @ weights else energies
    loudest = int(audible.argmax())
    weights = np.where(audible > audible[loudest] * 10 ** (-_DEAD_DB / 10), np.maximum(weights, 1e-9), 0.0)
    weights /= weights.sum()
    # Of a surround layout most channels hold nothing.
    notes = (DEAD,) if centred.shape[1] == 2 and not weights.all() else ()
    mono = centred @ weights.astype(np.float32)
    if np.einsum("s,s", mono, mono, dtype=np.float64) < _LEAST_SHARE * (weights**2 @ energies):
        return centred[:, loudest], (*notes, CANCELLED)
    return mono, notes


def _weights(num_channels: int, names: Sequence[str] | None) -> np.ndarray:
    """Returns what each channel counts, [num_channels] float64."""
    if names is None or num_channels < 3:
        return np.ones(num_channels)
    return np.array([_WEIGHTS.get(name, _WEIGHT_AROUND) for name in names])


def _without_means(channels: np.ndarray) -> np.ndarray:
    """Removes the mean of each channel, of zeros at its ends nothing: they are padding, and stay zeros."""
    centred = np.zeros_like(channels)
    for column, samples in zip(centred.T, channels.T, strict=True):
        inner = _without_zeros_at_ends(samples)
        if len(samples[inner]):
            np.subtract(samples[inner], np.float32(samples[inner].mean(dtype=np.float64)), out=column[inner])
    return centred


def _without_zeros_at_ends(samples: np.ndarray) -> slice:
    """Finds what lies between the zeros at both ends of [num_samples]."""
    if not len(samples) or (samples[0] and samples[-1]):
        return slice(None)
    is_set = samples != 0
    return slice(int(is_set.argmax()), len(samples) - int(is_set[::-1].argmax())) if is_set.any() else slice(0)
