"""Starts a model from trained branches, and freezes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from emotion_tf.config import Config
from emotion_tf.models.build import branch_head
from emotion_tf.models.head import HEAD
from emotion_tf.runs.folder import Run


def start_from(model: keras.Model, config: Config, emotions: Sequence[str]) -> None:
    """Copies the weights of trained branches, for early fusion with what they answer alone to the same emotions.

    Then the join adds nothing at first: so fused, branches start as the product of their calibrated answers.
    """
    for modality, source in config.inits.items():
        run = Run(Path(source))
        trained = run.model()
        for layer in model.layers:
            if layer.name.startswith(f"{modality}_") and layer.weights:
                layer.set_weights(trained.get_layer(layer.name).get_weights())
        if config.join and run.metadata()["emotions"] == emotions and run.config().modalities == (modality,):
            _start_head(model, trained, modality)


def _start_head(model: keras.Model, trained: keras.Model, modality: str) -> None:
    """Copies what a branch answers alone, calibrated, and silences what the join adds."""
    temperature = float(trained.get_layer("logits").temperature)
    answer = [weights / temperature for weights in trained.get_layer(HEAD).get_weights()]
    model.get_layer(branch_head(modality)).set_weights(answer)
    join = model.get_layer(HEAD)
    join.set_weights([np.zeros_like(weights) for weights in join.get_weights()])


def started_layers(model: keras.Model, config: Config) -> list[keras.Layer]:
    """Finds the layers of the branches that start from trained runs."""
    prefixes = tuple(f"{modality}_" for modality in config.inits)
    return [layer for layer in model.layers if layer.name.startswith(prefixes)]


def freeze(model: keras.Model, config: Config) -> None:
    """Takes out of training what never changes: started branches, or the batch normalisation of those released later.

    Its statistics move without any gradient, so freezing is not done with rates alone; and they stay as they are after
    the release, as is usual in fine-tuning.
    """
    if not config.training.freeze_epochs:
        return
    is_released = config.training.freeze_epochs < config.training.epochs
    for layer in with_inner(started_layers(model, config)):
        if not is_released or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def with_inner(layers: Sequence[keras.Layer]) -> Iterator[keras.Layer]:
    """Yields layers, and those inside of the models among them."""
    for layer in layers:
        yield layer
        yield from with_inner(getattr(layer, "layers", ()))
