"""Starts the branches of a model from those of trained runs, or with a pretrained encoder, and freezes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from emotion_tf.config import Config
from emotion_tf.models.branches.audio import ENCODER
from emotion_tf.models.build import branch_head
from emotion_tf.models.head import HEAD
from emotion_tf.runs.compatibility import targets_by_name
from emotion_tf.runs.folder import Run
from pipelines import records
from pipelines.audio import whisper_checkpoint

if TYPE_CHECKING:
    from pipelines.audio.whisper_encoder import WhisperEncoder


def released_encoder(config: Config) -> "WhisperEncoder | None":
    """Loads the encoder that a model begins with, whose last blocks learn, from the records.

    Args:
      config: `encoder_release` of its audio branch; 0, or no audio branch: None is loaded.

    Raises:
      InputError: What `Checkpoint.load` stops on.
    """
    if "audio" not in config.modalities or not config.audio.encoder_release:
        return None
    folder = Path(config.records)
    blocks = (records.read_metadata(folder).encoder or {})["blocks"]
    whole = whisper_checkpoint.find(str(records.kept_encoder(folder))).load()
    encoder = whole.with_blocks(blocks, name=ENCODER)
    encoder.release(config.audio.encoder_release)
    return encoder


def load_branches(model: keras.Model, config: Config, emotions: Sequence[str]) -> None:
    """Copies the weights of trained branches into a model.

    In early fusion a branch that knows the whole label set, in any order, brings its calibrated head, too, and the head
    of the join is zero: the model starts as the product of the probabilities of its branches. So does a head of audio
    whose encoder is released: the model starts as the run of the frozen one.

    Args:
      model: Built of the config.
      config: Its `inits` name the runs.
      emotions: The label set of the model, in label order.
    """
    for modality, source in config.inits.items():
        run = Run(Path(source))
        trained = run.model()
        # A run that reads stored states has no encoder to bring.
        lacking = {ENCODER} - {layer.name for layer in trained.layers}
        for layer in model.layers:
            if layer.name.startswith(f"{modality}_") and layer.weights and layer.name not in lacking:
                layer.set_weights(trained.get_layer(layer.name).get_weights())
        places = targets_by_name(emotions, run.metadata().emotions)
        brings_head = bool(config.join) or (modality == "audio" and config.audio.encoder_release > 0)
        if brings_head and None not in places and run.config().modalities == (modality,):
            _load_head(model, trained, branch_head(modality) if config.join else HEAD, places)


def _load_head(model: keras.Model, trained: keras.Model, name: str, places: Sequence[int | None]) -> None:
    """Copies the head of a trained branch, divided by its temperature, and makes that of a join zero.

    Args:
      model, trained: The model, and that of the branch.
      name: Of the head in the model.
      places: Of each emotion of the model, its number in the branch.
    """
    temperature = float(trained.get_layer("logits").temperature)
    join = model.get_layer(HEAD)
    join.set_weights([np.zeros_like(weights) for weights in join.get_weights()])
    calibrated = [weights[..., places] / temperature for weights in trained.get_layer(HEAD).get_weights()]
    model.get_layer(name).set_weights(calibrated)


def loaded_layers(model: keras.Model, config: Config) -> list[keras.Layer]:
    """Returns the layers of the branches that start from trained runs.

    Args:
      model: Built of the config.
      config: Its `inits` name the runs.
    """
    prefixes = tuple(f"{modality}_" for modality in config.inits)
    return [layer for layer in model.layers if layer.name.startswith(prefixes)]


def freeze_branches(model: keras.Model, config: Config) -> None:
    """Makes layers of loaded branches untrainable: all where they are frozen throughout, else batch normalisation.

    The statistics of batch normalisation move without any gradient, so the optimizer cannot freeze them. They stay as
    they are after the branches are unfrozen, as is usual in fine-tuning.

    Args:
      model: Changed in place.
      config: `freeze_epochs` of its training; 0: nothing is frozen.
    """
    if not config.training.freeze_epochs:
        return
    is_throughout = config.training.freeze_epochs >= config.training.epochs
    for layer in with_nested(loaded_layers(model, config)):
        if is_throughout or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def with_nested(layers: Sequence[keras.Layer]) -> Iterator[keras.Layer]:
    """Yields layers, each followed by the layers inside of it where it is a model."""
    for layer in layers:
        yield layer
        yield from with_nested(getattr(layer, "layers", ()))
