"""What a branch gives to what comes behind it."""

from typing import NamedTuple

import keras


class Steps(NamedTuple):
    """What a network puts out step by step, before pooling.

    Attributes:
      states: [batch, num_steps, width] float32.
      is_step: [batch, num_steps] bool; the others are padding, whose states mean nothing.
    """

    states: keras.KerasTensor
    is_step: keras.KerasTensor


class BranchOutput(NamedTuple):
    """What a branch makes of its inputs.

    Attributes:
      embedding: [batch, embedding_dim] float32.
      sequences: The steps that were pooled; more than one where the branch reads features of several frame rates.
    """

    embedding: keras.KerasTensor
    sequences: tuple[Steps, ...]
