"""The text branch on WordPiece ids: recurrent, a small transformer, or a pretrained encoder; pooled over its steps."""

import functools

import keras
from keras import layers, ops

from emotion_tf.config import MAX_POSITIONS, TextConfig
from emotion_tf.models.branches.layers import AttentionPooling, MeanPooling, WeightedLayerSum
from emotion_tf.models.branches.outputs import BranchOutput, Steps
from emotion_tf.models.branches.transformer import Positions, encoder_layers
from pipelines.text_encoder import load_text_encoder, separator_of


def text_branch(token_ids: keras.KerasTensor, vocabulary_size: int, config: TextConfig) -> BranchOutput:
    """Builds the branch.

    Args:
      token_ids: [batch, num_tokens] int32, 0 is padding.
      vocabulary_size: Pieces of the vocabulary; a pretrained model brings its own.
      config: Model, widths and dropout.

    Returns:
      Embedding, and the steps of the word pieces.
    """
    mask = ops.not_equal(token_ids, 0)
    if config.is_pretrained:
        x = _pretrained(token_ids, config)
    else:
        x = layers.Embedding(vocabulary_size, config.word_dim, name="text_words")(token_ids)
        x = layers.SpatialDropout1D(config.dropout, name="text_words_dropout")(x)
        x = (_transformer if config.model == "transformer" else _recurrent)(x, mask, config)
    steps = Steps(x, mask)
    by_mean = config.is_pretrained and config.pooling == "mean"
    pooling = MeanPooling if by_mean else functools.partial(AttentionPooling, config.attention_dim)
    x = pooling(name="text_pooling")(*steps)
    x = layers.Dropout(config.dropout, name="text_dropout")(x)
    return BranchOutput(layers.Dense(config.embedding_dim, activation="relu", name="text_embedding")(x), (steps,))


def _recurrent(x: keras.KerasTensor, mask: keras.KerasTensor, config: TextConfig) -> keras.KerasTensor:
    """Stacks bidirectional layers: [batch, num_tokens, word_dim] -> [batch, num_tokens, word_dim + 2 * units]."""
    pieces = x
    layer = layers.LSTM if config.model == "lstm" else layers.GRU
    for index, units in enumerate(config.units):
        one_way = layer(units, return_sequences=True, name=f"text_{config.model}_{index}")
        x = layers.Bidirectional(one_way, name=f"text_bidirectional_{index}")(x, mask=mask)
        x = layers.Dropout(config.dropout, name=f"text_dropout_{index}")(x)
    # Pooling reads the embeddings of the pieces as well, as a bag of words would.
    return layers.Concatenate(name="text_words_and_states")([pieces, x])


def _transformer(x: keras.KerasTensor, mask: keras.KerasTensor, config: TextConfig) -> keras.KerasTensor:
    """Lets word pieces attend to each other: [batch, num_tokens, word_dim] -> the same."""
    x = Positions(MAX_POSITIONS, name="text_positions")(x)
    dropout = config.dropout / 4  # Each layer drops twice, where a recurrent one drops once.
    return encoder_layers(x, mask, config.layers, config.heads, dropout, "text")


def _pretrained(token_ids: keras.KerasTensor, config: TextConfig) -> keras.KerasTensor:
    """Reads the pretrained model: [batch, num_tokens] -> [batch, num_tokens, width of the preset]."""
    given = (config.preset, config.states, config.release, config.freeze, separator_of(config.preset))
    encoder = load_text_encoder(*given, name="text_backbone")
    states = encoder(token_ids)
    if config.states == 1:
        return states[:, :, 0]
    # Of each layer by itself: the later ones have the larger states.
    return WeightedLayerSum(name="text_states_sum")(layers.LayerNormalization(name="text_states_norm")(states))
