"""The text branch: stacked bidirectional GRUs on WordPiece ids, with attention pooling over pieces."""

import keras
from keras import layers

from emotion_tf.branches.layers import AttentionPooling
from emotion_tf.config import TextConfig


def text_branch(token_ids: keras.KerasTensor, vocabulary_size: int, config: TextConfig) -> keras.KerasTensor:
    """Builds the branch.

    Args:
      token_ids: [batch, num_tokens] int32, 0 is padding.
      vocabulary_size: Pieces of the vocabulary.
      config: Widths and dropout.

    Returns:
      embedding [batch, embedding_dim] float32.
    """
    mask = keras.ops.not_equal(token_ids, 0)
    x = layers.Embedding(vocabulary_size, config.word_dim, name="text_words")(token_ids)
    x = layers.SpatialDropout1D(config.dropout, name="text_words_dropout")(x)
    for index, units in enumerate(config.gru_units):
        gru = layers.GRU(units, return_sequences=True, name=f"text_gru_{index}")
        x = layers.Bidirectional(gru, name=f"text_bidirectional_{index}")(x, mask=mask)
        x = layers.Dropout(config.dropout, name=f"text_dropout_{index}")(x)
    x = AttentionPooling(config.attention_dim, name="text_pooling")(x, mask)
    x = layers.Dropout(config.dropout, name="text_dropout")(x)
    return layers.Dense(config.embedding_dim, activation="relu", name="text_embedding")(x)
