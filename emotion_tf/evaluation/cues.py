"""Whether a corpus tells the label by its recording: a classifier of loudness, noise floor, duration and the like.

No content of a recording enters it. What it scores above chance, any model can score without listening to speech.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from emotion_tf.evaluation.counts import count_emotions, unweighted_average_recall
from emotion_tf.evaluation.uncertainty import Interval, speaker_interval

if TYPE_CHECKING:
    import pandas as pd

CUES: Mapping[str, tuple[str, ...]] = {
    "loudness, noise floor and duration": ("level_db", "floor_db", "seconds"),
    "loudness": ("level_db",),
    "noise floor": ("floor_db",),
    "duration": ("seconds",),
    "silent ends": ("silent_start", "silent_end"),
    "kind of file": ("encoding", "sample_rate", "num_channels", "bits", "offset"),
}
"""What a classifier is given -> columns of `pipelines.survey.Survey.clips`."""

OF_RECORDING = ("noise floor", "silent ends", "kind of file")
"""Those that no speaker changes: they are of the microphone, the room and the cutting."""

_NUM_FOLDS = 5
_FEWEST_CLIPS = 20


@dataclasses.dataclass(frozen=True)
class CueScore:
    """How well labels can be told by a cue.

    Attributes:
      cue: One of `CUES`.
      uar: Unweighted average recall on speakers that the classifier was not trained on.
      interval: 95 % over speakers; None for fewer than three.
      chance: UAR of guessing.
      num_clips, num_speakers: That were classified.
    """

    cue: str
    uar: float
    interval: Interval | None
    chance: float
    num_clips: int
    num_speakers: int

    @property
    def beats_chance(self) -> bool:
        """Whether all of the interval lies above chance."""
        return self.interval is not None and self.interval[0] > self.chance


def score_cues(clips: "pd.DataFrame") -> list[CueScore]:
    """Scores every cue that is known of the clips and differs among them.

    Args:
      clips: As `pipelines.survey.Survey` holds them, one emotion each.

    Returns:
      In the order of `CUES`; none where there are too few clips, or fewer than two speakers or emotions.
    """
    if "seconds" not in clips:
        return []
    clips = clips[clips["seconds"].notna() & (clips["speaker"] != "")]
    if len(clips) < _FEWEST_CLIPS or min(clips["speaker"].nunique(), clips["emotion"].nunique()) < 2:
        return []
    found = []
    for cue, names in CUES.items():
        values = _values(clips, names)
        if values.shape[1]:
            found.append(_score(cue, values, clips))
    return found


def _values(clips: "pd.DataFrame", names: Sequence[str]) -> np.ndarray:
    """Returns the columns that are known and not all equal, [num_clips, num_columns]; words become numbers."""
    import pandas as pd

    known = [name for name in names if name in clips]
    columns = [
        pd.factorize(clips[name], sort=True)[0] * 1.0 if name == "encoding" else clips[name].to_numpy(float)
        for name in known
    ]
    # A smaller offset is that of the speech itself.
    columns = [column.round(2) if name == "offset" else column for name, column in zip(known, columns, strict=True)]
    varied = [column for column in columns if np.isfinite(column).any() and np.nanmin(column) < np.nanmax(column)]
    return np.stack(varied, axis=1) if varied else np.zeros((len(clips), 0))


def _score(cue: str, values: np.ndarray, clips: "pd.DataFrame") -> CueScore:
    import pandas as pd

    labels, emotions = pd.factorize(clips["emotion"], sort=True)
    units, speakers = pd.factorize(clips["speaker"], sort=True)
    predicted = _predict(values, labels, units)
    one_hot = np.eye(len(emotions), dtype=bool)
    table = count_emotions(one_hot[labels], one_hot[predicted], units, np.zeros_like(units))[:, 0]
    return CueScore(
        cue,
        float(unweighted_average_recall(table.sum(axis=0))),
        speaker_interval(table, unweighted_average_recall),
        1 / len(emotions),
        len(clips),
        len(speakers),
    )


def _predict(values: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Predicts each clip by a small decision tree that was trained on other speakers; missing values may be in it."""
    from sklearn.model_selection import GroupKFold
    from sklearn.tree import DecisionTreeClassifier

    predicted = np.zeros_like(labels)
    for train, test in GroupKFold(min(_NUM_FOLDS, units.max() + 1)).split(values, labels, units):
        tree = DecisionTreeClassifier(max_leaf_nodes=30, min_samples_leaf=10, class_weight="balanced", random_state=0)
        predicted[test] = tree.fit(values[train], labels[train]).predict(values[test])
    return predicted
