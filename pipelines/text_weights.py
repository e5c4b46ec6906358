"""Weights of Hugging Face's folders, under the names that keras-hub reads.

keras-hub wants a prefix before the names of some models, which folders of the bare encoder lack, and a pooler, which
nothing here reads; of RoBERTa it leaves out the embedding of the first segment.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.text_presets import Preset

if TYPE_CHECKING:
    import numpy as np

_PREFIXES = {"DistilBert": "distilbert.", "Roberta": "roberta.", "Albert": "albert."}
"""Model -> what its names have to begin with."""

_POOLERS = {"Bert": "pooler.dense.", "Albert": "albert.pooler."}
"""Model -> what the names of its pooler begin with."""

_SEGMENTS, _POSITIONS = (
    "roberta.embeddings.token_type_embeddings.weight",
    "roberta.embeddings.position_embeddings.weight",
)


@contextlib.contextmanager
def readable_folder(preset: Preset) -> Iterator[str]:
    """Lends a folder that keras-hub can read: the one of the preset, or a copy that is removed behind.

    Raises:
      Exception: Whatever safetensors raises of a file that is none.
    """
    if not preset.config or preset.model not in {*_PREFIXES, *_POOLERS}:
        yield preset.name
        return
    tensors = _read(preset.folder)
    found = _converted(preset, tensors)
    if set(found) == set(tensors) and all(found[name] is tensors[name] for name in found):
        yield preset.name
        return
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(preset.folder / "config.json", folder)
        save_file(found, Path(folder) / "model.safetensors")
        yield folder


def _read(folder: Path) -> "dict[str, np.ndarray]":
    """Reads all tensors of a folder; only those that are used are taken from the disk."""
    from safetensors.numpy import load_file

    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    found: dict[str, np.ndarray] = {}
    for name in names:
        found |= load_file(folder / name)
    return found


def _converted(preset: Preset, tensors: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
    """Names tensors as keras-hub wants them, and adds what it does not do without."""
    import numpy as np

    prefix, pooler = _PREFIXES.get(preset.model, ""), _POOLERS.get(preset.model, "")
    has_prefix = any(name.startswith(prefix) for name in tensors)
    found = tensors if has_prefix else {prefix + name: values for name, values in tensors.items()}
    if pooler and not any(name.endswith(f"{pooler}weight") for name in found):
        width = preset.config["hidden_size"]
        zeros = {"weight": np.zeros((width, width), np.float32), "bias": np.zeros(width, np.float32)}
        found = found | {pooler + name: values for name, values in zeros.items()}
    if np.any(segments := found.get(_SEGMENTS, np.zeros(1))):
        found = found | {_POSITIONS: found[_POSITIONS] + segments[0], _SEGMENTS: np.zeros_like(segments)}
    return found
