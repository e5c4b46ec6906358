"""Copies of a model that learn together, each from its share of every batch, as one model would from the whole batch.

The batches are those of one device: every worker makes them all, which costs a small part of a step, and takes its
rows. Keras 3 trains under MirroredStrategy, but fails under MultiWorkerMirroredStrategy, where `fit` calls
`strategy.reduce` on a nested batch and on scalars (keras-team/keras#20585). So the layers are made under the strategy,
and the model that `fit` is called on is not: Keras then leaves batches and steps to what it is given, which is here.
"""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from emotion_tf.training.transfer import with_nested
from pipelines.tensorflow_runtime import as_written

if TYPE_CHECKING:
    from emotion_tf.training.placement import Placement

LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
"""What TensorFlow raises where another worker is gone."""


GO_ON, IS_OVER, FAILED = range(3)
"""What the chief tells the other workers at the end of an epoch."""


class Replicas:
    """The copies of one training.

    Args:
      strategy: As `Placement.start` returns it.
      placement: Where this process stands among the workers.
    """

    def __init__(self, strategy: tf.distribute.Strategy, placement: Placement):
        self.strategy, self.index = strategy, placement.index
        self.num_workers = max(1, len(placement.workers))
        self.count = strategy.num_replicas_in_sync
        self.num_here = self.count // self.num_workers
        self.first = placement.index * self.num_here

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Makes variables inside of it copies, one a device."""
        return self.strategy.scope()

    def adopt(self, model: keras.Model) -> keras.Model:
        """Makes a model that learns of one that was built in `scope`, with the same layers; it is to be compiled there.

        Batch normalisation takes the statistics of the whole batch.
        """
        for layer in with_nested(model.layers):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        return keras.Model(model.input, model.output, name=model.name)

    def set_step(self, model: keras.Model) -> None:
        """Lets a compiled model take its steps with all copies at once."""
        of_loss = next(metric for metric in model.metrics if metric.name == "loss")

        def of_copy(
            features: Any, label: tf.Tensor, weight: tf.Tensor, count: tf.Tensor, share: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            """Does what Keras's own step does, but for the share: it would average over copies, not over rows."""
            with tf.GradientTape() as tape:
                logits = model(features, training=True)
                loss = model.compute_loss(features, label, logits, weight, training=True) * self.count
                summand = loss * share
            of_loss.update_state(loss, sample_weight=count)
            variables = model.trainable_variables
            model.optimizer.apply_gradients(zip(tape.gradient(summand, variables), variables, strict=True))
            return model.compute_metrics(features, label, logits, weight)

        def step(batch: tuple[Any, ...]) -> dict[str, tf.Tensor]:
            logs = self.strategy.run(of_copy, args=batch)
            # Those of one copy: at the end of an epoch `fit` reads the metrics, which sum over all of them.
            return {name: self.strategy.experimental_local_results(value)[0] for name, value in logs.items()}

        compiled = tf.function(as_written(step), reduce_retracing=True)
        model.train_function = lambda iterator: compiled(next(iterator))

    def share_out(self, dataset: tf.data.Dataset) -> tf.distribute.DistributedDataset:
        """Gives each copy its rows of every batch.

        Args:
          dataset: Without end, of (features, label[, weight]).
        """
        numbers = range(self.first, self.first + self.num_here)

        def here(batch: Any) -> tf.data.Dataset:
            shares = tf.data.Dataset.range(numbers.start, numbers.stop)
            return shares.map(as_written(lambda number: share_of(batch, number, self.count)))

        def shares(context: tf.distribute.InputContext) -> tf.data.Dataset:
            packed = dataset.map(as_written(lambda *batch: (batch,)))
            return packed.flat_map(as_written(here)).prefetch(self.num_here)

        return self.strategy.distribute_datasets_from_function(shares)

    def copies_of(self, variable: keras.Variable) -> list[tuple[int, Any]]:
        """Lists the copies here of a variable: number of the copy among all, and its variable of TensorFlow."""
        return list(enumerate(self.strategy.experimental_local_results(variable.value), self.first))

    def total(self, number: float) -> float:
        """Sums a number of each worker over all workers, and waits for them."""
        if self.num_workers == 1:
            return number
        value = tf.constant(number, tf.float64)
        summed = self.strategy.reduce("SUM", self.strategy.run(lambda: value), axis=None)
        return float(summed) / self.num_here

    def meet(self) -> None:
        """Waits for the other workers."""
        self.total(0)

    def tell_start(self, epoch: int) -> None:
        """Tells the other workers, as the chief, which epoch is the next."""
        self.total(epoch)

    def start_of_chief(self) -> int:
        """Receives, as another worker, which epoch is the next."""
        return int(self.total(0))

    def told(self, state: int) -> int:
        """Tells the other workers how it stands, as the chief; receives it, with `GO_ON`, as another."""
        return int(self.total(state))

    def any(self, flag: bool) -> bool:
        """Tells whether a flag is set at any worker."""
        return self.total(float(flag)) > 0


def share_of(batch: tuple[Any, ...], number: tf.Tensor, count: int) -> tuple[Any, ...]:
    """Takes the rows of one copy out of a batch, neighbours of which no copy has two more than another.

    A copy without a row gets one that weighs nothing: not all layers can do without.

    Args:
      batch: (features, label[, weight]), [batch, ...] each.
      number: Of the copy, a scalar.
      count: Of all copies.

    Returns:
      (features, label, weight) with some of the rows, how many these are, and which share of all, two scalars.
    """
    label = batch[1]
    num_rows = tf.cast(tf.shape(label)[0], tf.int64)
    start, end = num_rows * number // count, num_rows * (number + 1) // count
    weight = batch[2] if len(batch) > 2 else tf.ones([num_rows], tf.float32)
    rows = slice(start, tf.maximum(end, start + 1))
    features, label, weight = tf.nest.map_structure(lambda values: values[rows], (batch[0], label, weight))
    found = tf.cast(end - start, tf.float32)
    return features, label, tf.where(found > 0, weight, 0.0), found, found / tf.cast(num_rows, tf.float32)


def digest_of(model: keras.Model) -> str:
    """Returns eight letters that two models with the same weights have in common."""
    found = 0
    for weights in model.get_weights():
        found = zlib.crc32(weights.tobytes(), found)
    return f"{found:08x}"
