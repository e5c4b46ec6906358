"""What is known of a speaker from other recordings, for a model of a run of --normalise enrolled."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines import audio
from pipelines.normalisation import Sums, least_std, pooled


@dataclasses.dataclass(frozen=True)
class EnrolledRecording:
    """Another recording of a speaker.

    Attributes:
      file: Where it was read.
      sha256: Of its samples.
      sums: Over its frames, of the columns of all audio features that the model reads.
    """

    file: Path
    sha256: str
    sums: Sums

    def is_same(self, file: Path | None, waveform: np.ndarray) -> bool:
        """Whether it is another recording, [num_samples] int16, by its path or by its samples."""
        return audio.sha256(waveform) == self.sha256 or (file is not None and file.resolve() == self.file.resolve())


def statistics_of(
    enrolled: Sequence[EnrolledRecording], front_end: audio.FrontEnd, audio_features: Sequence[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pools recordings of a speaker.

    Returns:
      Mean and standard deviation over all frames, [num_columns] float64 each; None where there is no frame.
    """
    least = least_std(audio_features, front_end)
    sums = pooled([one.sums for one in enrolled], len(least))
    return sums.statistics(least) if sums.num_frames else None
