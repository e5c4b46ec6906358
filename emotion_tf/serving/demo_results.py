"""What the page lets people take away: answers and timelines as JSON, CSV, TextGrid and pictures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from emotion_tf.serving.annotations import WRITERS, rows
from emotion_tf.serving.demo_answer import Answer, as_timeline, best_of
from emotion_tf.serving.demo_models import Export
from emotion_tf.serving.prediction import Prediction
from emotion_tf.serving.table import NOT_SURE
from emotion_tf.serving.timeline import Timeline

_KINDS = {".csv": "text/csv", ".textgrid": "text/plain", ".png": "image/png"}
_TITLES = {".csv": "CSV", ".textgrid": "TextGrid", ".png": "Picture (PNG)"}


def answer_object(found: Answer, probabilities: Mapping[str, float], model: str, least: float) -> dict[str, Any]:
    """Makes the object that `python -m emotion_tf.predict` prints, with `model`, `reject_below` and `alone`.

    Args:
      found: What the model says.
      probabilities: With the weights that the user chose; those of the model where none were moved.
      model: Its name.
      least: Below this probability the emotion is "not sure".
    """
    emotion, most = best_of(probabilities)
    shown = {name: round(value, 6) for name, value in probabilities.items()}
    alone = {
        modality: {name: round(value, 6) for name, value in each.items()} for modality, each in found.alone.items()
    }
    return found.prediction.to_json() | {
        "model": model,
        "emotion": NOT_SURE if most < least or found.is_empty else emotion,
        "probabilities": shown,
        "reject_below": least,
        "alone": alone,
    }


def csv_of(row: Mapping[str, Any]) -> str:
    """Writes the object as a table of one row, with the columns of `predict --output` and the model behind them."""
    flat = {name: row[name] for name in ("file", "emotion")}
    flat |= {f"probability_{name}": value for name, value in row["probabilities"].items()}
    flat |= {"seconds": row["seconds"], "warnings": "; ".join(row["warnings"]), "model": row["model"]}
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(flat), lineterminator="\n")
    writer.writeheader()
    writer.writerow(flat)
    return written.getvalue()


def written(timeline: Timeline, suffix: str) -> bytes:
    """Writes a timeline as one of `annotations.WRITERS` does."""
    with tempfile.TemporaryDirectory(prefix="emotion-tf-") as folder:
        path = Path(folder) / f"timeline{suffix}"
        WRITERS[suffix](timeline, path)
        return path.read_bytes()


def renamed(timeline: Timeline, name: str) -> Timeline:
    """Gives a timeline the name of the upload in place of that of the temporary file."""
    return dataclasses.replace(timeline, file=Path(name))


def stem_of(prediction: Prediction) -> str:
    """Names files of a prediction after what was predicted."""
    return "transcript" if prediction.file is None else PurePath(prediction.file.name).stem


def offer_answer(found: Answer, probabilities: Mapping[str, float], export: Export, least: float) -> None:
    """Offers an answer as JSON, CSV and TextGrid."""
    import streamlit as st

    row, stem = answer_object(found, probabilities, export.name, least), stem_of(found.prediction)
    stem = f"{stem}-{export.name}"
    with st.container(horizontal=True):
        content = json.dumps(row, ensure_ascii=False, indent=2)
        offer("JSON", content, f"{stem}.json", "application/json", f"json-{export.version}")
        offer("CSV", csv_of(row), f"{stem}.csv", "text/csv", f"csv-{export.version}")
        if found.prediction.seconds:
            single = as_timeline(found.prediction)
            offer("TextGrid", lambda: written(single, ".textgrid"), f"{stem}.TextGrid", "text/plain",
                  f"grid-{export.version}")  # fmt: skip


def offer_timeline(timeline: Timeline, export: Export) -> None:
    """Offers a timeline as JSON, CSV, TextGrid and as a picture."""
    import streamlit as st

    stem = f"{PurePath(timeline.file.name).stem}-timeline"
    segments: Sequence[Mapping[str, Any]] = list(rows(timeline))
    content = json.dumps(
        timeline.summary() | {"model": export.name, "segments": segments}, ensure_ascii=False, indent=2
    )
    with st.container(horizontal=True):
        offer("JSON", content, f"{stem}.json", "application/json", "timeline-json")
        for suffix, kind in _KINDS.items():
            name = f"{stem}{'.TextGrid' if suffix == '.textgrid' else suffix}"
            offer(_TITLES[suffix], _maker(timeline, suffix), name, kind, f"timeline-{suffix}")


def _maker(timeline: Timeline, suffix: str) -> Callable[[], bytes]:
    return lambda: written(timeline, suffix)


def offer(title: str, content: Any, name: str, kind: str, key: str) -> None:
    """Offers a file; what is a function is called when it is wanted."""
    import streamlit as st

    st.download_button(title, content, name, kind, key=key, on_click="ignore", icon=":material/download:")
