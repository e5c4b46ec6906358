"""Log-mels by a DataLoader, as users of torchaudio write it; where that is not installed, by torch.stft.

The worker processes import this file: torch is imported when they begin.
"""

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_RATE = 16000
_MEL = {"n_fft": 512, "win_length": 400, "hop_length": 160}
_NUM_BANDS = 64


def reader() -> str:
    """Names what reads and transforms recordings here."""
    return "torchaudio" if importlib.util.find_spec("torchaudio") else "soundfile and torch.stft"


@dataclasses.dataclass(frozen=True)
class LogMels:
    """A map-style data set: log-mels [num_frames, bands] of recordings."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return (_by_torchaudio if reader() == "torchaudio" else _by_stft)(self.paths[index])


def loader(paths: Sequence[Path], batch_size: int = 32) -> Callable[[], int]:
    """Starts the workers of a DataLoader, one a core, and keeps them.

    Returns:
      A call that goes through all recordings once and returns how many there were.
    """
    from torch.utils.data import DataLoader

    batches = DataLoader(
        LogMels(tuple(paths)),
        batch_size,
        num_workers=min(len(os.sched_getaffinity(0)), len(paths)),
        collate_fn=list,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    return lambda: sum(len(batch) for batch in batches)


def _by_torchaudio(path: Path) -> Any:
    import torch
    import torchaudio

    torch.set_num_threads(1)
    waveform, rate = torchaudio.load(path)
    waveform = torchaudio.functional.resample(waveform.mean(dim=0), rate, _RATE)
    mel = torchaudio.transforms.MelSpectrogram(_RATE, n_mels=_NUM_BANDS, **_MEL)(waveform)
    return torch.log(mel + 1e-6).T


def _by_stft(path: Path) -> Any:
    import soundfile
    import soxr
    import torch

    torch.set_num_threads(1)
    waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    waveform = waveform.mean(axis=1)
    waveform = waveform if rate == _RATE else soxr.resample(waveform, rate, _RATE)
    window = torch.hann_window(_MEL["win_length"])
    spectrum = torch.stft(torch.from_numpy(waveform), window=window, return_complex=True, **_MEL)
    mel = torch.from_numpy(_bands()) @ spectrum.abs().square()
    return torch.log(mel + 1e-6).T


@functools.cache
def _bands() -> np.ndarray:
    """Makes the matrix of the bands, once a process: [bands, bins]."""
    from librosa.filters import mel

    return mel(sr=_RATE, n_fft=_MEL["n_fft"], n_mels=_NUM_BANDS)
