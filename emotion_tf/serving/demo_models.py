"""The exports that the page offers: found in a folder, with their card and scores, and loaded when they are chosen."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emotion_tf.serving.explain import Explainer
from emotion_tf.serving.explanation import Explanation
from emotion_tf.serving.loading import find_version, read_metadata
from emotion_tf.serving.prediction import Given
from emotion_tf.serving.predictor import Predictor
from pipelines.audio import SAMPLE_RATE
from pipelines.command import InputError

CARD = "MODEL_CARD.md"

_WARM_UP_SECONDS = 3


@dataclasses.dataclass(frozen=True)
class Export:
    """An export that can be chosen.

    Attributes:
      name: Of its run.
      version: Its version folder.
      changed: When it was written, in seconds.
      metadata: What its metadata.json holds.
    """

    name: str
    version: Path
    changed: float
    metadata: Mapping[str, Any] = dataclasses.field(compare=False, hash=False)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads."""
        return tuple(self.metadata["modalities"])

    @property
    def is_synthetic(self) -> bool:
        """Whether it was trained on the built-in corpus."""
        return "synthetic" in self.metadata["marks"]

    def card(self) -> str:
        """Reads its card without the front matter, headings three levels lower; empty where there is none."""
        for folder in (self.version, self.version.parent):
            if (folder / CARD).is_file():
                return _body((folder / CARD).read_text(encoding="utf-8"))
        return ""

    def scores(self) -> Iterator[dict[str, str]]:
        """Yields rows of its scores: split, score, value, 95 % interval over the unit that it names, chance, clips."""
        for split, found in self.metadata.get("scores", {}).items():
            for one in (value for value in found.values() if isinstance(value, Mapping)):
                low, high = one["interval"] or (None, None)
                yield {
                    "split": split,
                    "score": one["name"],
                    "value": f"{one['score']:.3f}",
                    "95 %": f"too few {found['unit']}s"
                    if low is None
                    else f"{low:.2f} to {high:.2f}, {found['unit']}s",
                    "chance": "" if one["chance"] is None else f"{one['chance']:.3f}",
                    "clips": str(found["num_utterances"]),
                }


def find_exports(root: Path, chosen: Path | None = None) -> list[Export]:
    """Lists the newest export of each run in a folder.

    Args:
      root: A folder of runs, or of folders that `emotion_tf.export` wrote; it may be absent.
      chosen: A run, an export folder or a version folder that comes first.
    """
    folders = sorted(folder for folder in root.glob("*") if folder.is_dir())
    found = [_export(chosen), *map(_export, folders)] if chosen else map(_export, folders)
    return list({one.version: one for one in found if one is not None}.values())


def _export(folder: Path) -> Export | None:
    """Reads what says that there is an export; None where there is none that can be used."""
    try:
        version = find_version(folder)
        metadata = read_metadata(version)
        changed = (version / "saved_model.pb").stat().st_mtime
    except (InputError, OSError):
        return None
    return Export(metadata.get("run") or folder.name, version, changed, metadata)


def _body(card: str) -> str:
    _, _, body = card.partition("---\n")[2].partition("---\n") if card.startswith("---\n") else ("", "", card)
    is_code, lines = False, []
    for line in body.splitlines():
        is_code ^= line.startswith("```")
        lines.append(f"###{line}" if line.startswith("#") and not is_code else line)
    return "\n".join(lines).strip()


class LoadedModel:
    """A model in memory, shared by all who look at the page.

    Args:
      export: What to load.

    Attributes:
      export: As given.
      predictor: The model.
      key: Tells it from others, and from one that was exported anew into the same folder.
    """

    def __init__(self, export: Export):
        self.export, self.predictor = export, Predictor(export.version)
        self.key = (str(export.version), export.changed)
        self._explainer, self._lock = Explainer(self.predictor), threading.Lock()
        # The first answer of a session would otherwise wait for what TensorFlow compiles.
        noise = np.random.default_rng(0).integers(-3000, 3000, _WARM_UP_SECONDS * SAMPLE_RATE).astype(np.int16)
        self.predictor.predict(noise, "hello", sample_rate=SAMPLE_RATE)

    def explain(self, given: Given) -> Explanation:
        """Explains the prediction of an utterance that was read; one after the other."""
        with self._lock:
            return self._explainer.explain(given)
