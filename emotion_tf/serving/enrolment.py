"""What is known of a speaker from other recordings, for a model of a run of --normalise enrolled."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotion_tf.serving.prediction import printable
from pipelines import audio
from pipelines.normalisation import Sums, pooled


@dataclasses.dataclass(frozen=True)
class EnrolledRecording:
    """Another recording of a speaker.

    Attributes:
      file: Where it was read.
      sha256: Of its samples.
      sums: Over its frames and steps, of the columns of all audio features that the model reads.
    """

    file: Path
    sha256: str
    sums: Sums

    def is_same(self, file: Path | None, waveform: np.ndarray) -> bool:
        """Whether it is another recording, [num_samples] int16, by its path or by its samples."""
        return audio.sha256(waveform) == self.sha256 or (file is not None and file.resolve() == self.file.resolve())


def statistics_of(enrolled: Sequence[EnrolledRecording], least: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Pools recordings of a speaker.

    Args:
      enrolled: The recordings.
      least: [num_columns], what the columns are divided by at least (`pipelines.normalisation.least_std`).

    Returns:
      Mean and standard deviation over all frames and steps, [num_columns] float64 each, the latter 0 of columns of
      which there are none; None where there is no frame and no step.
    """
    sums = pooled([one.sums for one in enrolled], len(least))
    mean, std = sums.statistics(least)
    return (mean, std * (sums.counts > 0)) if sums.counts.any() else None


def speaker_inputs(
    file: Path | None, waveform: np.ndarray, enrolled: Sequence[EnrolledRecording], least: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Makes the inputs of a model about a speaker.

    Args:
      file: The recording that is to be predicted; None: not a file.
      waveform: [num_samples] int16 of it.
      enrolled: Recordings of its speaker; itself among them does not count.
      least: As `statistics_of` takes it.

    Returns:
      speaker_mean and speaker_std, [1, num_columns] each, or nothing where nothing is known; and warnings.
    """
    same = [printable(str(one.file)) for one in enrolled if one.is_same(file, waveform)]
    others = [one for one in enrolled if not one.is_same(file, waveform)]
    warnings = [f"{', '.join(same)}: this recording itself, so not enrolled for it"] if same else []
    statistics = statistics_of(others, least)
    if statistics is None:
        what = "no sound of the speaker beside this is enrolled" if enrolled else "no speaker is enrolled (--enrol)"
        return {}, [*warnings, f"{what}: the statistics of training stand in"]
    mean, std = statistics
    return {"speaker_mean": mean[np.newaxis], "speaker_std": std[np.newaxis]}, warnings
