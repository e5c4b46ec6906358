"""How early fusion makes one vector of the branches: joined side by side, weighed by a gate, or after attention.

The logits of the join are added to those of the branches' own heads, so that branches that were trained alone start as
their late fusion. A modality that is absent contributes exactly nothing, whatever its branch makes of padding.
"""

from collections.abc import Mapping
from typing import NamedTuple

import keras
from keras import layers, ops

from emotion_tf.models.branches.outputs import BranchOutput, Steps

_HEADS = 4
"""Of attention between modalities."""


class Joined(NamedTuple):
    """What a join makes of the branches.

    Attributes:
      vector: [batch, width] float32.
      weights: [batch, num_modalities] float32, of the logits of the branches' own heads: 0 for what is absent; their
        sum is the number of modalities that are present.
    """

    vector: keras.KerasTensor
    weights: keras.KerasTensor


@keras.saving.register_keras_serializable("emotion_tf")
class ModalityDropout(keras.layers.Layer):
    """Marks present modalities as absent in training, each with probability `rate`; one always stays.

    [batch, num_modalities] float32 of 0 and 1 -> the same. So what training drops is dropped just as an input that is
    absent. Where all would be dropped, one of them, chosen at random, stays.

    Args:
      rate: Probability, from 0 to below 1.
      seed: Of the uniform noise; None: a new one.

    Source: Neverova et al. 2015, arXiv:1501.00102 (ModDrop).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, is_present, training=False):
        if not training:
            return is_present
        noise = keras.random.uniform(ops.shape(is_present), seed=self.seed_generator)  # [batch, num_modalities]
        # A modality is dropped where its noise is below the rate; the present one of the largest noise stays anyway.
        largest = ops.max(ops.where(is_present > 0, noise, -1.0), axis=1, keepdims=True)
        return is_present * ops.cast(ops.logical_or(noise >= self.rate, noise == largest), is_present.dtype)

    def compute_output_shape(self, is_present_shape):
        return is_present_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("emotion_tf")
class Shares(keras.layers.Layer):
    """A softmax over the modalities that are present.

    Inputs scores and is_present, [batch, num_modalities]; output the same: shares of sum 1, exactly 0 for what is
    absent, all 0 where nothing is present.
    """

    def call(self, scores, is_present):
        scores = ops.where(is_present > 0, scores, -1e9)
        weights = ops.exp(scores - ops.max(scores, axis=1, keepdims=True)) * is_present
        return weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-9)

    def compute_output_shape(self, scores_shape, is_present_shape):
        return scores_shape


@keras.saving.register_keras_serializable("emotion_tf")
class CrossAttention(keras.layers.Layer):
    """Lets the steps of one modality attend to those of another, and takes the mean over them.

    Inputs queries [batch, num_steps, width], is_query [batch, num_steps] bool, and keys and is_key of the other
    modality, equally wide; output [batch, width]. Without a query the mean is 0; without a key it is finite, and means
    nothing.

    Args:
      heads: Of attention.

    Source: Tsai et al. 2019, arXiv:1906.00295, with one layer and neither positions nor a feed-forward layer.
    """

    def __init__(self, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.supports_masking = True  # is_query and is_key say it all.

    def build(self, queries_shape, is_query_shape, keys_shape, is_key_shape):
        width = queries_shape[-1]
        self.norm = layers.LayerNormalization(name="norm")
        self.key_norm = layers.LayerNormalization(name="key_norm")
        # Heads of width 1 have biases that Keras 3.15 adds along time where there are as many steps as heads.
        self.attend = layers.MultiHeadAttention(self.heads, max(2, width // self.heads), name="attend")
        self.norm.build(queries_shape)
        self.key_norm.build(keys_shape)
        self.attend.build(queries_shape, keys_shape)

    def call(self, queries, is_query, keys, is_key):
        keys = self.key_norm(keys)
        attended = self.attend(self.norm(queries), keys, attention_mask=is_key[:, None, :])
        weights = ops.cast(is_query, attended.dtype)[:, :, None]
        return ops.sum(attended * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)

    def compute_mask(self, *inputs):
        return None

    def compute_output_shape(self, queries_shape, is_query_shape, keys_shape, is_key_shape):
        return (queries_shape[0], queries_shape[-1])

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


def concat(outputs: Mapping[str, BranchOutput], is_present: keras.KerasTensor, width: int) -> Joined:
    """Puts the embeddings side by side, zeros for an absent one, and a hidden layer over them.

    Args:
      outputs: Modality -> what its branch makes.
      is_present: [batch, num_modalities] float32, 0 or 1, in the order of the outputs.
      width: Of the hidden layer.

    Returns:
      A vector [batch, width], and weights of 1 for what is present.
    """
    # A branch whose input is absent still has biases; its embedding is put to zero.
    x = _side_by_side([output.embedding for output in outputs.values()], is_present, "fusion_join")
    return Joined(layers.Dense(width, activation="relu", name="fusion_hidden")(x), is_present)


def gated(outputs: Mapping[str, BranchOutput], is_present: keras.KerasTensor, width: int) -> Joined:
    """Sums projections of the embeddings, weighed by a gate that reads all of them.

    Arguments as of `concat`, result too; the weights are the gate's. The layer "fusion_shares" puts out its shares.

    Source: Arevalo et al. 2017, arXiv:1702.01992, with one weight a modality.
    """
    embeddings = [output.embedding for output in outputs.values()]
    projections = [
        layers.Dense(width, activation="tanh", name=f"fusion_{modality}_projection")(output.embedding)
        for modality, output in outputs.items()
    ]
    return _weigh(projections, _side_by_side(embeddings, is_present, "fusion_join"), is_present)


def cross_attention(outputs: Mapping[str, BranchOutput], is_present: keras.KerasTensor, width: int) -> Joined:
    """Adds to each modality's projection what its steps find in those of the others, and gates the sums.

    Arguments as of `concat`, result too; the weights are the gate's. The layer "fusion_shares" puts out its shares.

    Source: Tsai et al. 2019, arXiv:1906.00295; Arevalo et al. 2017, arXiv:1702.01992.
    """
    flags = {modality: is_present[:, index : index + 1] for index, modality in enumerate(outputs)}
    steps = {modality: _common(output.sequences, width, modality) for modality, output in outputs.items()}
    enriched = []
    for modality, output in outputs.items():
        x = layers.Dense(width, name=f"fusion_{modality}_projection")(output.embedding)
        for other in outputs:
            if other != modality:
                attend = CrossAttention(_HEADS, name=f"fusion_{modality}_attends_to_{other}")
                x = x + flags[other] * attend(*steps[modality], *steps[other])
        enriched.append(layers.Activation("tanh", name=f"fusion_{modality}")(x))
    return _weigh(enriched, _side_by_side(enriched, is_present, "fusion_join"), is_present)


def _common(sequences: tuple[Steps, ...], width: int, modality: str) -> Steps:
    """Brings the steps of a modality to one width, those of all its sequences behind each other."""
    states = [
        layers.Dense(width, name=f"fusion_{modality}_steps_{index}")(steps.states)
        for index, steps in enumerate(sequences)
    ]
    if len(sequences) == 1:
        return Steps(states[0], sequences[0].is_step)
    return Steps(ops.concatenate(states, axis=1), ops.concatenate([steps.is_step for steps in sequences], axis=1))


def _side_by_side(vectors: list[keras.KerasTensor], is_present: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Concatenates a vector a modality, zeros for an absent one: [batch, sum of their widths]."""
    present = [vector * is_present[:, index : index + 1] for index, vector in enumerate(vectors)]
    return layers.Concatenate(name=name)(present)


def _weigh(vectors: list[keras.KerasTensor], features: keras.KerasTensor, is_present: keras.KerasTensor) -> Joined:
    """Sums vectors [batch, width], each times the share that a gate on the features gives it; equal at the start."""
    scores = layers.Dense(len(vectors), kernel_initializer="zeros", name="fusion_gate")(features)
    shares = Shares(name="fusion_shares")(scores, is_present)
    vector = sum(shares[:, index : index + 1] * vector for index, vector in enumerate(vectors))
    return Joined(vector, shares * ops.sum(is_present, axis=1, keepdims=True))


JOINS = {"concat": concat, "gated": gated, "cross_attention": cross_attention}
"""Name -> function (outputs, is_present, width) -> Joined."""
