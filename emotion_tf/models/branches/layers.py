"""Layers that branches share: masks and pooling in which padding counts for nothing."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("emotion_tf")
class PadFrames(keras.layers.Layer):
    """Pads time with zeros to a multiple, so that strides fall on the same frames whatever the batch's length.

    [batch, num_frames, ...] -> [batch, ceil(num_frames / multiple) * multiple, ...]
    """

    def __init__(self, multiple: int, **kwargs):
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, inputs):
        # Of no negative number: ONNX truncates where TensorFlow floors.
        missing = (self.multiple - ops.shape(inputs)[1] % self.multiple) % self.multiple
        return ops.pad(inputs, [[0, 0], [0, missing]] + [[0, 0]] * (len(inputs.shape) - 2))

    def compute_output_shape(self, input_shape):
        num_frames = input_shape[1]
        padded = None if num_frames is None else -(-num_frames // self.multiple) * self.multiple
        return (input_shape[0], padded, *input_shape[2:])

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("emotion_tf")
class MaskFrames(keras.layers.Layer):
    """Puts zeros behind each clip's end, `stride` frames of the clip to one of the input.

    Inputs [batch, num_steps, ...] and num_frames [batch]; output as the first input.
    """

    def __init__(self, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs, num_frames):
        mask = ops.cast(step_mask(inputs, num_frames, self.stride), inputs.dtype)
        return inputs * ops.reshape(mask, ops.shape(mask) + (1,) * (len(inputs.shape) - 2))

    def compute_output_shape(self, inputs_shape, num_frames_shape):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("emotion_tf")
class CutWindows(keras.layers.Layer):
    """Puts windows of `length` frames below each other, each a row of its own.

    [batch, num_windows * length, columns] -> [batch * num_windows, length, columns]
    """

    def __init__(self, length: int, **kwargs):
        super().__init__(**kwargs)
        self.length = length

    def call(self, inputs):
        return ops.reshape(inputs, (-1, self.length, inputs.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (None, self.length, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "length": self.length}


@keras.saving.register_keras_serializable("emotion_tf")
class JoinWindows(keras.layers.Layer):
    """Puts the steps of a clip's windows behind each other again.

    Inputs [batch * num_windows, num_steps, width] and num_frames, or anything else of [batch, ...]; output [batch,
    num_windows * num_steps, width].
    """

    def call(self, inputs, num_frames):
        return ops.reshape(inputs, (ops.shape(num_frames)[0], -1, inputs.shape[-1]))

    def compute_output_shape(self, inputs_shape, num_frames_shape):
        return (num_frames_shape[0], None, inputs_shape[-1])


@keras.saving.register_keras_serializable("emotion_tf")
class CutFrames(keras.layers.Layer):
    """Puts the frames of videos below each other, each a row of its own; `JoinWindows` puts them together again.

    [batch, num_video_frames, height, width, channels] -> [batch * num_video_frames, height, width, channels]
    """

    def call(self, inputs):
        return ops.reshape(inputs, (-1, *inputs.shape[2:]))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("emotion_tf")
class StandardiseFrames(keras.layers.Layer):
    """Brings the light of each video to one scale: over its own frames mean 0 and deviation 1, all channels together.

    Inputs [batch, num_video_frames, height, width, channels] and is_step [batch, num_video_frames] bool; output as the
    first input, zeros where no frame is.
    """

    def call(self, inputs, is_step):
        weights = ops.cast(is_step, inputs.dtype)[:, :, None, None, None]
        pixels = inputs.shape[2] * inputs.shape[3] * inputs.shape[4]
        count = ops.maximum(ops.sum(weights, axis=1, keepdims=True) * pixels, 1.0)
        centred = (inputs - ops.sum(inputs * weights, axis=(1, 2, 3, 4), keepdims=True) / count) * weights
        variance = ops.sum(ops.square(centred), axis=(1, 2, 3, 4), keepdims=True) / count
        # A picture of one colour stays what it is.
        return centred / ops.sqrt(ops.maximum(variance, 1e-4))

    def compute_output_shape(self, inputs_shape, is_step_shape):
        return inputs_shape


@keras.saving.register_keras_serializable("emotion_tf")
class FrameNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of pictures of which some are absent: these move no statistics, nor does a batch without any.

    With `synchronized` copies on several devices normalise by the statistics of all; Keras leaves that out for masks.

    Inputs [batch * num_video_frames, height, width, channels] and is_frame [batch * num_video_frames] bool; output as
    the first input.
    """

    def build(self, inputs_shape, is_frame_shape):
        super().build(inputs_shape)

    def call(self, inputs, is_frame, training=None):
        is_pixel = ops.logical_and(is_frame[:, None, None], ops.ones((1, *inputs.shape[1:3]), "bool"))
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=is_pixel)
        # Over no picture Keras finds mean and variance 0, and moves its statistics there.
        kept = [(statistic, ops.copy(statistic)) for statistic in (self.moving_mean, self.moving_variance)]
        outputs = super().call(inputs, training=training, mask=is_pixel)
        is_any = ops.any(is_frame)
        if self.synchronized:
            is_any = ops.moments(ops.cast(is_frame, "float32"), (0,), synchronized=True)[0] > 0
        for statistic, before in kept:
            statistic.assign(ops.where(is_any, statistic, before))
        return outputs

    def _moments(self, inputs, mask):
        if not self.synchronized:
            return super()._moments(inputs, mask)
        # Sums over all devices are there as moments alone: means over pixels, those of absent pictures among them.
        weights = ops.cast(mask, inputs.dtype)[..., None]

        def mean_of(values):
            return ops.moments(values, self._reduction_axes, synchronized=True)[0]

        share = ops.maximum(mean_of(weights), keras.backend.epsilon())
        mean = mean_of(inputs * weights) / share
        return mean, mean_of(ops.square(inputs - mean) * weights) / share

    def compute_output_shape(self, inputs_shape, is_frame_shape):
        return inputs_shape


@keras.saving.register_keras_serializable("emotion_tf")
class MeanPooling(keras.layers.Layer):
    """Pools steps by their mean.

    Inputs [batch, num_steps, width] and is_step [batch, num_steps] bool; output [batch, width]. Pooling over nothing
    gives zeros.
    """

    def call(self, inputs, is_step):
        weights = ops.cast(is_step, inputs.dtype)[:, :, None]
        return ops.sum(inputs * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)

    def compute_output_shape(self, inputs_shape, is_step_shape):
        return (inputs_shape[0], inputs_shape[-1])


@keras.saving.register_keras_serializable("emotion_tf")
class AttentionPooling(keras.layers.Layer):
    """Pools steps by learned attention, and by their maximum beside it.

    Inputs [batch, num_steps, width] and is_step [batch, num_steps] bool; output [batch, 2 * width]: the
    attention-weighted mean, then the maximum. Pooling over nothing gives zeros.

    Source: Lin et al. 2017, arXiv:1703.03130 (one head).
    """

    def __init__(self, attention_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.attention_dim = attention_dim
        self.supports_masking = True  # is_step says it all; a mask that a recurrent layer attached may be dropped.
        self.hidden = keras.layers.Dense(attention_dim, activation="tanh", name="hidden")
        self.score = keras.layers.Dense(1, use_bias=False, name="score")

    def build(self, inputs_shape, is_step_shape):
        self.hidden.build(inputs_shape)
        self.score.build((*inputs_shape[:-1], self.attention_dim))

    def call(self, inputs, is_step):
        is_step = ops.expand_dims(is_step, -1)
        scores = ops.where(is_step, self.score(self.hidden(inputs)), -1e9)
        # Not ops.softmax, which warns about a single step and is not defined for none.
        weights = ops.exp(scores - ops.max(scores, axis=1, keepdims=True)) * ops.cast(is_step, inputs.dtype)
        mean = ops.sum(inputs * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1e-9)
        highest = ops.max(ops.where(is_step, inputs, -1e9), axis=1)
        return ops.concatenate([mean, ops.where(ops.any(is_step, axis=1), highest, 0.0)], axis=-1)

    def compute_mask(self, inputs, is_step):
        return None

    def compute_output_shape(self, inputs_shape, is_step_shape):
        return (inputs_shape[0], 2 * inputs_shape[-1])

    def get_config(self):
        return {**super().get_config(), "attention_dim": self.attention_dim}


@keras.saving.register_keras_serializable("emotion_tf")
class AttentiveStatisticsPooling(keras.layers.Layer):
    """Pools steps by mean and deviation, of all steps alike and as each head of learned attention weighs them.

    Inputs [batch, num_steps, width] and is_step [batch, num_steps] bool; output [batch, 2 * (1 + num_heads) * width]:
    the means of all, then the deviations. Pooling over nothing gives zeros.

    Source: Okabe et al. 2018, arXiv:1803.10963, with heads as Lin et al. 2017, arXiv:1703.03130.
    """

    def __init__(self, attention_dim: int, num_heads: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.attention_dim, self.num_heads = attention_dim, num_heads
        self.hidden = keras.layers.Dense(attention_dim, activation="tanh", name="hidden")
        self.score = keras.layers.Dense(num_heads, use_bias=False, name="score")

    def build(self, inputs_shape, is_step_shape):
        self.hidden.build(inputs_shape)
        self.score.build((*inputs_shape[:-1], self.attention_dim))

    def call(self, inputs, is_step):
        is_step = ops.cast(is_step, inputs.dtype)[:, :, None]
        scores = ops.where(is_step > 0, self.score(self.hidden(inputs)), -1e9)
        # Not ops.softmax, which warns about a single step and is not defined for none.
        attention = ops.exp(scores - ops.max(scores, axis=1, keepdims=True))
        weights = ops.concatenate([ops.ones_like(is_step), attention], axis=2) * is_step
        weights = weights / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-9)  # [batch, steps, 1 + heads]
        by_head = ops.swapaxes(weights, 1, 2)
        mean = ops.matmul(by_head, inputs)  # [batch, 1 + num_heads, width]
        variance = ops.matmul(by_head, ops.square(inputs)) - ops.square(mean)
        # The root has no slope at 0.
        has_steps = ops.any(is_step > 0, axis=1, keepdims=True)
        deviation = ops.where(has_steps, ops.sqrt(ops.maximum(variance, 1e-5)), 0.0)
        joined = ops.concatenate([mean, deviation], axis=1)
        return ops.reshape(joined, (-1, 2 * (1 + self.num_heads) * inputs.shape[-1]))

    def compute_output_shape(self, inputs_shape, is_step_shape):
        return (inputs_shape[0], 2 * (1 + self.num_heads) * inputs_shape[-1])

    def get_config(self):
        return {**super().get_config(), "attention_dim": self.attention_dim, "num_heads": self.num_heads}


@keras.saving.register_keras_serializable("emotion_tf")
class WeightedLayerSum(keras.layers.Layer):
    """Sums the states of several blocks of an encoder with learned weights, positive and 1 together.

    [batch, num_steps, num_blocks, width] -> [batch, num_steps, width]; at first their mean.

    Source: Yang et al. 2021 (SUPERB), arXiv:2105.01051.
    """

    def build(self, input_shape):
        self.scores = self.add_weight(shape=(input_shape[2],), initializer="zeros", name="scores")

    def call(self, inputs):
        exponents = ops.exp(self.scores - ops.max(self.scores))
        weights = exponents / ops.sum(exponents)
        return ops.sum(inputs * ops.cast(weights, inputs.dtype)[:, None], axis=2)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], input_shape[3])


@keras.saving.register_keras_serializable("emotion_tf")
class StepMask(keras.layers.Layer):
    """Masks the padding behind a clip.

    Inputs [batch, num_steps, ...] and num_frames [batch]; output [batch, num_steps] bool: whether a step
    holds a frame of the clip.
    """

    def __init__(self, stride: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs, num_frames):
        return step_mask(inputs, num_frames, self.stride)

    def compute_output_spec(self, inputs, num_frames):
        return keras.KerasTensor(inputs.shape[:2], dtype="bool")

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}


def step_mask(inputs, num_frames, stride: int):
    """Returns [batch, num_steps] bool: whether a step, of `stride` frames, holds a frame of the clip."""
    steps = (num_frames + stride - 1) // stride  # Of no negative number: ONNX truncates where TensorFlow floors.
    return ops.arange(ops.shape(inputs)[1], dtype="int32")[None, :] < ops.cast(steps, "int32")[:, None]
