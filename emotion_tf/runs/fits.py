"""Fits whose predictions are scored together, each a run of its own with a log beside it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_tf.config import Config
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import RunMetadata

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Fit:
    """One fit of a cross-validation; metadata is what its run's metadata.json has to hold."""

    fold: int
    seed: int
    config: Config
    run: Run
    metadata: RunMetadata | None = None

    log_path = property(lambda self: self.run.folder.with_name(self.run.folder.name + ".log"))

    def refuse_changed(self) -> None:
        """Makes sure that a finished fit was trained on these records and folds."""
        if self.run.is_finished and self.metadata:
            self.run.refuse_changed(self.metadata)

    @property
    def epochs_done(self) -> int:
        """Counts finished epochs; all of them for a finished fit, which may have stopped early."""
        if self.run.is_finished:
            return self.config.training.epochs
        try:
            return self.run.history_path.read_text(encoding="utf-8").count("\n") - 1
        except OSError:
            return 0

    def is_scored(self, split: str) -> bool:
        """Tells whether it is finished and a split of it scored."""
        return self.run.is_finished and split in self.run.scores()

    def failure(self, exit_code: int) -> str:
        """Says in a sentence why it failed: by the last line of its log, unless a signal (below 0) ended it."""
        killed = "it was killed, perhaps for lack of memory: run the same command again, with --processes 1."
        reason = last_line(self.log_path) if exit_code > 0 else ""
        return f"{self.run.folder} failed ({self.log_path}): {reason or killed}"


def last_line(log_path: Path) -> str:
    """Reads the last line of a log, which says why a process failed; "" where there is none."""
    text = log_path.read_text(encoding="utf-8", errors="replace") if log_path.exists() else ""
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]  # "\r" stands before a bar.
    return lines[-1].removeprefix("error: ") if lines else ""


def pooled_predictions(fits: Sequence[Fit], splits: Sequence[str], without: str = "") -> "pd.DataFrame":
    """Sets the predictions of all fits, or those without a modality, below each other.

    Fold, seed and each fit's temperature are columns.
    """
    import pandas as pd

    tables = [
        one.run.predictions(without).assign(fold=one.fold, seed=one.seed, temperature=one.run.temperature())
        for one in fits
    ]
    pooled = pd.concat(tables, ignore_index=True)
    return pooled[pooled["split"].isin(splits)]
