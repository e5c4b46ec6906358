"""The encoder whose states a run reads, to put it into the graph of its export."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.runs.folder import Run
from pipelines import records
from pipelines.audio import whisper_checkpoint
from pipelines.command import InputError
from pipelines.records import remote

if TYPE_CHECKING:
    from pipelines.audio.whisper_checkpoint import Checkpoint
    from pipelines.audio.whisper_encoder import WhisperEncoder

FLAG = whisper_checkpoint.FLAG


def load_encoder(run: Run, model: str | None) -> "WhisperEncoder | None":
    """Loads the encoder of a run, cut off behind the last of its blocks.

    Args:
      run: A finished run.
      model: A name, a checkpoint or a folder of Keras weights; None: what the records of the run keep.

    Returns:
      The encoder; None where the run reads no states: one whose blocks were released is part of the model.

    Raises:
      InputError: A model for a run that reads none, none where the records keep none, other weights than those of the
        states that the run was trained on, or what `Checkpoint.load` stops on.
    """
    facts = run.metadata().encoder
    if facts is None or "encoder" not in run.metadata().audio_features:
        if model is not None:
            raise InputError(f"{run.folder} reads no states of an encoder: leave {FLAG} out.")
        return None
    source = model if model is not None else str(_kept(run, facts))
    checkpoint = whisper_checkpoint.find(source)
    _refuse_another(run, facts, checkpoint, source)
    return checkpoint.load().with_blocks(facts["blocks"])


def _kept(run: Run, facts: dict[str, Any]) -> Path:
    """Finds the weights that the records of a run keep."""
    own = Path(run.config().records)
    folder = records.kept_encoder(own)
    if not whisper_checkpoint.is_folder(folder):
        remote.refresh(own)
    if not whisper_checkpoint.is_folder(folder):
        raise InputError(
            f"{run.folder} reads states of {facts['kind']} {facts['model']}, and {folder}, where its records keep the"
            f" weights, holds none: give them with {FLAG} NAME|FILE|FOLDER."
        )
    return folder


def _refuse_another(run: Run, facts: dict[str, Any], checkpoint: "Checkpoint", source: str) -> None:
    """Refuses other weights, or too few blocks of the right ones."""
    if checkpoint.sha256 != facts["sha256"]:
        raise InputError(
            f"{source} holds other weights (SHA-256 {checkpoint.sha256[:12]}...) than those that made the states of"
            f" {run.folder} ({facts['kind']} {facts['model']}, {facts['sha256'][:12]}...): give {FLAG} these."
        )
    if checkpoint.num_stored < max(facts["blocks"]):
        raise InputError(
            f"{source} holds blocks 1 to {checkpoint.num_stored} alone, and {run.folder} reads block"
            f" {max(facts['blocks'])}: give {FLAG} the whole encoder."
        )
