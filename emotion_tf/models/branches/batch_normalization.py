"""Batch normalisation of pictures, by an operation of TensorFlow where Keras runs on it."""

import keras
from keras import ops

_VECTOR = 16
"""Channels that oneDNN takes at once."""


@keras.saving.register_keras_serializable("emotion_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation of pictures, whose training step is one operation of TensorFlow.

    Keras 3 makes some twenty of it, forth and back, in float32 whatever the policy: a third of a step of the CNN on a
    processor. With `synchronized`, a mask, or another backend than TensorFlow it is Keras's own. So is the name,
    by which files of weights are laid out.

    [batch, height, width, channels] -> the same
    """

    def call(self, inputs, training=None, mask=None):
        is_plain = keras.backend.backend() == "tensorflow" and not self.synchronized and mask is None
        if not (training and self.trainable and is_plain):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        # Of other numbers of channels oneDNN has no quick way in bfloat16: it takes several times as long.
        given = inputs if inputs.shape[-1] % _VECTOR == 0 else ops.cast(inputs, "float32")
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            given, self.gamma.value, self.beta.value, epsilon=self.epsilon
        )
        # TensorFlow estimates the variance of what the batch was drawn from; Keras keeps that of the batch.
        count = ops.cast(ops.size(inputs) // inputs.shape[-1], "float32")
        for statistic, value in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            statistic.assign(statistic * self.momentum + value * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)
