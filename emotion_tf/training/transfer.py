"""Starts the branches of a model from those of trained runs, and freezes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from emotion_tf.config import Config
from emotion_tf.models.build import branch_head
from emotion_tf.models.head import HEAD
from emotion_tf.runs.compatibility import targets_by_name
from emotion_tf.runs.folder import Run


def load_branches(model: keras.Model, config: Config, emotions: Sequence[str]) -> None:
    """Copies the weights of trained branches into a model.

    In early fusion a branch that knows the whole label set, in any order, brings its calibrated head, too, and the head
    of the join is zero: the model starts as the product of the probabilities of its branches.

    Args:
      model: Built of the config.
      config: Its `inits` name the runs.
      emotions: The label set of the model, in label order.
    """
    for modality, source in config.inits.items():
        run = Run(Path(source))
        trained = run.model()
        for layer in model.layers:
            if layer.name.startswith(f"{modality}_") and layer.weights:
                layer.set_weights(trained.get_layer(layer.name).get_weights())
        places = targets_by_name(emotions, run.metadata().emotions)
        if config.join and None not in places and run.config().modalities == (modality,):
            _load_head(model, trained, modality, places)


def _load_head(model: keras.Model, trained: keras.Model, modality: str, places: Sequence[int | None]) -> None:
    """Copies the head of a trained branch, divided by its temperature, and makes the head of the join zero.

    Args:
      model, trained: The model, and that of the branch.
      modality: Of the branch.
      places: Of each emotion of the model, its number in the branch.
    """
    temperature = float(trained.get_layer("logits").temperature)
    calibrated = [weights[..., places] / temperature for weights in trained.get_layer(HEAD).get_weights()]
    model.get_layer(branch_head(modality)).set_weights(calibrated)
    join = model.get_layer(HEAD)
    join.set_weights([np.zeros_like(weights) for weights in join.get_weights()])


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
