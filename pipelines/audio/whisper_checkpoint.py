"""Where the weights of Whisper's encoder come from: openai-whisper's checkpoints, or a folder of Keras weights.

`find` reads what must be known before weights are loaded; keras, torch and whisper are imported where they are needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import whisper_models
from pipelines.command import InputError, make_folder
from pipelines.files import replacing, write_json

if TYPE_CHECKING:
    from pipelines.audio.whisper_encoder import WhisperEncoder

FLAG = "--encoder-model"

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_NUM_POSITIONS = 1500
_WORTH_A_WARNING = 2**30


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of an encoder.

    Attributes:
      num_mels: Mel bands that it reads.
      width: Of its states.
      num_heads: Of the attention in each block.
      num_blocks: All that it has.
    """

    num_mels: int
    width: int
    num_heads: int
    num_blocks: int

    @property
    def num_parameters(self) -> int:
        """Counts the weights of convolutions, positions and blocks."""
        convolutions = 3 * self.width * (self.num_mels + self.width) + 2 * self.width
        return convolutions + _NUM_POSITIONS * self.width + self.num_blocks * (12 * self.width**2 + 13 * self.width)

    @property
    def num_bytes(self) -> int:
        """Estimates the memory that loading and a window of 30 s take: weights twice, and attention thrice."""
        return 4 * (2 * self.num_parameters + 3 * self.num_heads * _NUM_POSITIONS**2)


_MULTILINGUAL = {
    "tiny": Sizes(80, 384, 6, 4),
    "base": Sizes(80, 512, 8, 6),
    "small": Sizes(80, 768, 12, 12),
    "medium": Sizes(80, 1024, 16, 24),
}

NAMED: Mapping[str, Sizes] = {
    **_MULTILINGUAL,
    **{f"{name}.en": sizes for name, sizes in _MULTILINGUAL.items()},
    **dict.fromkeys(("large-v1", "large-v2"), Sizes(80, 1280, 20, 32)),
    **dict.fromkeys(("large-v3", "large", "large-v3-turbo", "turbo"), Sizes(128, 1280, 20, 32)),
}
"""Whisper's own models. Source: the dimensions in their checkpoints."""

_PARTS = {
    "attn_ln": "attention_norm",
    "attn.out": "attended",
    "mlp_ln": "network_norm",
    "mlp.0": "hidden",
    "mlp.2": "output_dense",
}
"""Layer of a block in a checkpoint -> its attribute of `WhisperBlock`."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An encoder that was found and is not loaded yet.

    Attributes:
      name: Of the model, without a folder.
      sha256: Of the .pt file that the weights come from.
      sizes: Those of the whole encoder.
      num_stored: Blocks whose weights it has, from the first on: all, or in a folder of records those that were used.
      path: A .pt file or a folder; None: a name whose file whisper downloads at first use.
    """

    name: str
    sha256: str
    sizes: Sizes
    num_stored: int
    path: Path | None

    def load(self) -> WhisperEncoder:
        """Loads all blocks that it has.

        Raises:
          InputError: More memory than there is, whisper or torch that is needed and not installed, weights that are
            missing, corrupt, of other shapes or not finite.
        """
        _stop_on_memory(self)
        if self.path is not None and self.path.is_dir():
            return _load_folder(self)
        path = self.path or whisper_models.download(self.name, FLAG)
        return _load_file(path, self.sizes)

    def save(self, encoder: WhisperEncoder, folder: Path) -> None:
        """Writes Keras weights, config.json last, so that `find` reads them without torch; those there already stay.

        Args:
          encoder: All blocks, as `load` returned them.
          folder: Made where it does not exist.

        Raises:
          InputError: It holds something else.
        """
        if folder.is_dir() and any(folder.iterdir()):
            there = _find_folder(folder) if (folder / _CONFIG).is_file() else None
            if there is not None and there.sha256 == self.sha256 and there.num_stored >= self.num_stored:
                return
            raise InputError(f"--encoder-save {folder} holds something else: give a new folder.")
        make_folder(folder, "--encoder-save")
        self._write(encoder, folder)

    def keep(self, encoder: WhisperEncoder, folder: Path) -> None:
        """Writes Keras weights of an encoder, cut off or not, to a folder of our own; those of another one go.

        Raises:
          InputError: The folder cannot be made.
        """
        make_folder(folder, "--records")
        (folder / _CONFIG).unlink(missing_ok=True)  # It says that the weights are complete.
        self._write(encoder, folder)

    def is_kept(self, folder: Path, num_blocks: int) -> bool:
        """Whether a folder holds the weights of just so many blocks of this encoder, whole."""
        try:
            there = _find_folder(folder)
            return (there.sha256, there.num_stored) == (self.sha256, num_blocks) and _is_whole(folder)
        except InputError:
            return False

    def _write(self, encoder: WhisperEncoder, folder: Path) -> None:
        with replacing(folder / _WEIGHTS) as temporary:
            encoder.save_weights(temporary)
        weights = whisper_models.file_sha256(folder / _WEIGHTS)
        facts = {"kind": "whisper", "model": self.name, "sha256": self.sha256, "weights_sha256": weights}
        stored = {"num_stored": len(encoder.transformer_blocks)}
        write_json(folder / _CONFIG, facts | dataclasses.asdict(self.sizes) | stored)


def find(model: str) -> Checkpoint:
    """Finds an encoder; of a .pt file it reads the dimensions, with torch.

    Args:
      model: A name of whisper's own, a .pt file, or a folder that `Checkpoint.save` wrote.

    Raises:
      InputError: None of these, a file that is no checkpoint or of another size than its name says, torch that is
        needed and not installed.
    """
    path = Path(model)
    if path.is_file():
        return _find_file(path)
    if is_folder(path):
        return _find_folder(path)
    if model in NAMED:
        sizes = NAMED[model]
        return Checkpoint(model, whisper_models.named_sha256(model), sizes, sizes.num_blocks, None)
    if path.is_dir():
        raise InputError(f"{path} holds no weights of an encoder ({_CONFIG} is missing): give a folder that prepare"
                         " --encoder-save wrote.")  # fmt: skip
    raise InputError(
        f"{FLAG} {model} is neither a checkpoint file, nor a folder of prepare --encoder-save, nor one of"
        f" {', '.join(NAMED)}: correct it."
    )


def _find_file(path: Path) -> Checkpoint:
    sizes, named = _sizes_of(path, _read(path)), NAMED.get(path.stem)
    # What was called large once has fewer mel bands.
    if named is not None and (named.width, named.num_blocks) != (sizes.width, sizes.num_blocks):
        raise InputError(
            f"{path} holds {_described(sizes)}, and whisper's {path.stem} has {_described(named)}: give the right"
            " file, or this one a name of its own."
        )
    return Checkpoint(path.name, whisper_models.file_sha256(path), sizes, sizes.num_blocks, path)


def is_folder(path: Path) -> bool:
    """Whether a folder holds Keras weights that `find` reads."""
    return (path / _CONFIG).is_file()


def remove_kept(folder: Path) -> None:
    """Removes what `Checkpoint.keep` wrote, and the folder where it holds nothing else."""
    for name in (_CONFIG, _WEIGHTS):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _described(sizes: Sizes) -> str:
    return f"{sizes.num_blocks} blocks {sizes.width} wide"


def _find_folder(folder: Path) -> Checkpoint:
    try:
        facts = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        sizes = Sizes(**{field.name: int(facts[field.name]) for field in dataclasses.fields(Sizes)})
        num_stored = int(facts["num_stored"])
        checkpoint = Checkpoint(str(facts["model"]), str(facts["sha256"]), sizes, num_stored, folder)
        is_possible = min(dataclasses.astuple(sizes)) >= 1 and 1 <= num_stored <= sizes.num_blocks
        if facts["kind"] != "whisper" or not is_possible or sizes.width % sizes.num_heads:
            raise ValueError("no encoder of whisper's")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder / _CONFIG} is corrupt ({error}): write the folder again with prepare"
                         " --encoder-save.") from None  # fmt: skip
    if not (folder / _WEIGHTS).is_file():
        raise InputError(f"{folder} holds no weights ({_WEIGHTS} is missing): write it again with prepare"
                         " --encoder-save.")  # fmt: skip
    return checkpoint


def _load_folder(checkpoint: Checkpoint) -> WhisperEncoder:
    assert checkpoint.path is not None
    path = checkpoint.path / _WEIGHTS
    if not _is_whole(checkpoint.path):
        raise InputError(f"{path} is corrupt or not the file that {_CONFIG} beside it was written for: write the folder"
                         " again with prepare --encoder-save.")  # fmt: skip
    encoder = _empty(checkpoint.sizes, checkpoint.num_stored)
    encoder.load_weights(path)
    return encoder


def _is_whole(folder: Path) -> bool:
    """Whether the weights in a folder are those that its config.json was written for."""
    facts = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return bool(whisper_models.file_sha256(folder / _WEIGHTS) == facts.get("weights_sha256"))


def _empty(sizes: Sizes, num_blocks: int) -> WhisperEncoder:
    from pipelines.audio.whisper_encoder import WhisperEncoder

    return WhisperEncoder(sizes.num_mels, sizes.width, sizes.num_heads, range(1, num_blocks + 1))


def _read(path: Path) -> dict[str, Any]:
    """Opens a .pt file; weights stay on disk until they are looked at, where its format allows it."""
    content = whisper_models.read_checkpoint(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in _KEYS):
        raise InputError(f"{path} is no whisper checkpoint (it holds no {' and '.join(_KEYS)}): give a .pt file in"
                         " openai-whisper's format.")  # fmt: skip
    return content


_KEYS = ("dims", "model_state_dict")


def _sizes_of(path: Path, content: Mapping[str, Any]) -> Sizes:
    """Reads the dimensions of a checkpoint, and compares the shapes of its weights with them."""
    dims, weights = content["dims"], content["model_state_dict"]
    try:
        keys = ("n_mels", "n_audio_state", "n_audio_head", "n_audio_layer")
        sizes, num_positions = Sizes(*(int(dims[key]) for key in keys)), int(dims["n_audio_ctx"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no whisper checkpoint (its dims lack or garble {error}): give a .pt file in"
                         " openai-whisper's format.") from None  # fmt: skip
    if num_positions != _NUM_POSITIONS:
        raise InputError(f"the encoder of {path} does not read 30 s: give one of whisper's own.")
    expected = _shapes(sizes)
    wrong = [name for name, shape in expected.items() if tuple(getattr(weights.get(name), "shape", ())) != shape]
    if wrong or min(dataclasses.astuple(sizes)) < 1 or sizes.width % sizes.num_heads:
        named = wrong[0] if wrong else "its numbers of heads and blocks"
        raise InputError(f"{path} is no whisper checkpoint ({named} is missing or does not fit its dims): give a .pt"
                         " file in openai-whisper's format.")  # fmt: skip
    return sizes


def _shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Lists the weights of the encoder in a checkpoint, and their shapes."""
    width = sizes.width
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (width, sizes.num_mels, 3),
        "encoder.conv1.bias": (width,),
        "encoder.conv2.weight": (width, width, 3),
        "encoder.conv2.bias": (width,),
        "encoder.positional_embedding": (_NUM_POSITIONS, width),
    }
    matrices = {f"attn.{name}": (width, width) for name in ("query", "key", "value", "out")}
    matrices |= {"mlp.0": (4 * width, width), "mlp.2": (width, 4 * width)}
    for number in range(sizes.num_blocks):
        prefix = f"encoder.blocks.{number}."
        for name, shape in {**matrices, "attn_ln": (width,), "mlp_ln": (width,)}.items():
            shapes[f"{prefix}{name}.weight"] = shape
            if name != "attn.key":
                shapes[f"{prefix}{name}.bias"] = shape[:1]
    return shapes


def _load_file(path: Path, sizes: Sizes) -> WhisperEncoder:
    """Copies the weights of a .pt file."""
    content = _read(path)
    if _sizes_of(path, content) != sizes:
        raise InputError(f"{path} changed while it was read: run the command again.")
    stored = content["model_state_dict"]

    def take(name: str) -> np.ndarray:
        """Copies one tensor as float32."""
        values: np.ndarray = stored[f"encoder.{name}"].float().numpy()
        if not np.isfinite(values).all():
            raise InputError(f"{path} holds NaN or infinite values in encoder.{name}: copy it again.")
        return values

    encoder = _empty(sizes, sizes.num_blocks)
    for convolution, name in ((encoder.first_convolution, "conv1"), (encoder.second_convolution, "conv2")):
        # PyTorch: [filters, channels, length]; Keras: [length, channels, filters].
        convolution.set_weights([take(f"{name}.weight").transpose(2, 1, 0), take(f"{name}.bias")])
    encoder.positions.assign(take("positional_embedding"))
    for number, block in enumerate(encoder.transformer_blocks):
        prefix = f"blocks.{number}."
        for name, attribute in _PARTS.items():
            weights = [take(f"{prefix}{name}.{kind}") for kind in ("weight", "bias")]
            getattr(block, attribute).set_weights([weights[0].T, weights[1]])
        names = [f"{prefix}attn.{name}" for name in ("query", "key", "value")]
        biases = [take(f"{names[0]}.bias"), np.zeros(sizes.width, np.float32), take(f"{names[2]}.bias")]
        kernel = np.concatenate([take(f"{name}.weight").T for name in names], axis=1)  # [width, 3 * width]
        block.projections.set_weights([kernel, np.concatenate(biases)])
    return encoder


def _stop_on_memory(checkpoint: Checkpoint) -> None:
    """Refuses an encoder that does not fit into memory, and tells what a large one takes."""
    needed, available = checkpoint.sizes.num_bytes, available_memory()
    about = f"the encoder of whisper {checkpoint.name} takes about {needed / 2**30:.1f} GiB of memory"
    if available is not None and needed > available:
        raise InputError(f"{about}, and this machine has {available / 2**30:.1f} GiB free: give a smaller model to"
                         f" {FLAG}, or end other programs.")  # fmt: skip
    if needed > _WORTH_A_WARNING:
        print(about, file=sys.stderr)


def available_memory() -> int | None:
    """Finds how many bytes of memory are free, within the limit of a container; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        [free] = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # No limit, or another system.
        limit, used = (int((group / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        free = min(free, max(limit - used, 0)) if free else limit - used
    return free or None
