"""The text branch on WordPiece ids: recurrent, a small transformer, or a pretrained DistilBERT; attention pooling."""

import keras
from keras import layers, ops

from emotion_tf.branches.layers import AttentionPooling
from emotion_tf.config import MAX_POSITIONS, TextConfig


@keras.saving.register_keras_serializable("emotion_tf")
class Positions(keras.layers.Layer):
    """Adds a learned vector for the place of each step; steps behind the last place share its vector.

    [batch, num_steps, width] -> the same.
    """

    def __init__(self, num_positions: int, **kwargs):
        super().__init__(**kwargs)
        self.num_positions = num_positions

    def build(self, inputs_shape):
        shape = (self.num_positions, inputs_shape[-1])
        self.positions = self.add_weight(name="positions", shape=shape, initializer="random_normal")

    def call(self, inputs):
        places = ops.minimum(ops.arange(ops.shape(inputs)[1], dtype="int32"), self.num_positions - 1)
        return inputs + ops.take(self.positions, places, axis=0)[None]

    def compute_output_shape(self, inputs_shape):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "num_positions": self.num_positions}


def text_branch(token_ids: keras.KerasTensor, vocabulary_size: int, config: TextConfig) -> keras.KerasTensor:
    """Builds the branch.

    Args:
      token_ids: [batch, num_tokens] int32, 0 is padding.
      vocabulary_size: Pieces of the vocabulary; DistilBERT brings its own.
      config: Model, widths and dropout.

    Returns:
      embedding [batch, embedding_dim] float32.
    """
    mask = ops.not_equal(token_ids, 0)
    if config.model == "distilbert":
        x = _distil_bert(token_ids, mask, config)
    else:
        x = layers.Embedding(vocabulary_size, config.word_dim, name="text_words")(token_ids)
        x = layers.SpatialDropout1D(config.dropout, name="text_words_dropout")(x)
        x = (_transformer if config.model == "transformer" else _recurrent)(x, mask, config)
    x = AttentionPooling(config.attention_dim, name="text_pooling")(x, mask)
    x = layers.Dropout(config.dropout, name="text_dropout")(x)
    return layers.Dense(config.embedding_dim, activation="relu", name="text_embedding")(x)


def _recurrent(x: keras.KerasTensor, mask: keras.KerasTensor, config: TextConfig) -> keras.KerasTensor:
    """Stacks bidirectional layers, words beside them: [batch, num_tokens, word_dim] -> [batch, num_tokens, width]."""
    words = x
    layer = layers.LSTM if config.model == "lstm" else layers.GRU
    for index, units in enumerate(config.units):
        one_way = layer(units, return_sequences=True, name=f"text_{config.model}_{index}")
        x = layers.Bidirectional(one_way, name=f"text_bidirectional_{index}")(x, mask=mask)
        x = layers.Dropout(config.dropout, name=f"text_dropout_{index}")(x)
    # Pooling sees the words themselves, too, as a bag of words would.
    return layers.Concatenate(name="text_words_and_states")([words, x])


def _transformer(x: keras.KerasTensor, mask: keras.KerasTensor, config: TextConfig) -> keras.KerasTensor:
    """Stacks encoder layers that normalise first: [batch, num_tokens, word_dim] -> the same.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745 (normalising first).
    """
    width, share = config.word_dim, config.dropout / 4  # Each layer drops twice, where a recurrent one drops once.
    x = Positions(MAX_POSITIONS, name="text_positions")(x)
    is_key = mask[:, None, :]
    for index in range(config.layers):
        y = layers.LayerNormalization(name=f"text_attention_norm_{index}")(x)
        attend = layers.MultiHeadAttention(config.heads, width // config.heads, name=f"text_attention_{index}")
        y = attend(y, y, attention_mask=is_key)
        x = x + layers.Dropout(share, name=f"text_attention_dropout_{index}")(y)
        y = layers.LayerNormalization(name=f"text_forward_norm_{index}")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"text_forward_{index}")(y)
        y = layers.Dense(width, name=f"text_back_{index}")(y)
        x = x + layers.Dropout(share, name=f"text_forward_dropout_{index}")(y)
    return layers.LayerNormalization(name="text_norm")(x)


def _distil_bert(token_ids: keras.KerasTensor, mask: keras.KerasTensor, config: TextConfig) -> keras.KerasTensor:
    """Reads the pretrained model: [batch, num_tokens] -> [batch, num_tokens, width of the preset]."""
    import keras_nlp

    # Frozen, it is to give the same features in training as later: no update, and no dropout either.
    options = {"dropout": 0.0} if config.freeze else {}
    backbone = keras_nlp.models.DistilBertBackbone.from_preset(config.preset, name="text_backbone", **options)
    backbone.trainable = not config.freeze
    return backbone({"token_ids": token_ids, "padding_mask": ops.cast(mask, "int32")})
