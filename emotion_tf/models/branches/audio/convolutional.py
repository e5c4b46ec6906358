"""Convolutional networks over frames: each convolution masks its output, so that padding counts for nothing."""

import keras
from keras import layers, ops

from emotion_tf.config import AudioConfig
from emotion_tf.models.branches.audio.frames import image_of
from emotion_tf.models.branches.batch_normalization import BatchNormalization
from emotion_tf.models.branches.layers import MaskFrames, MeanPooling, StepMask
from emotion_tf.models.branches.outputs import Steps


def cnn(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Stacks blocks that halve time and columns each: steps as wide as the last channels."""
    x = image_of(frames, num_frames, 2 ** len(config.channels))
    for index, channels in enumerate(config.channels):
        x = _block(x, num_frames, channels, 2**index, (2, 2), config, f"audio_{index}")
    return _steps(x, num_frames, 2 ** len(config.channels))


def crnn(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Reads blocks of convolutions with bidirectional LSTM layers: steps 2 * units wide.

    Every block halves the columns, the first two halve time as well.
    """
    stride = 2 ** min(2, len(config.channels))
    x = image_of(frames, num_frames, stride)
    for index, channels in enumerate(config.channels):
        x = _block(x, num_frames, channels, 2 ** min(2, index), (2 if index < 2 else 1, 2), config, f"audio_{index}")
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="audio_sequence")(x)  # [batch, num_steps, bands * channels]
    is_step = StepMask(stride, name="audio_steps")(x, num_frames)
    for index, units in enumerate(config.units):
        one_way = layers.LSTM(units, return_sequences=True, name=f"audio_lstm_{index}")
        x = layers.Bidirectional(one_way, name=f"audio_bidirectional_{index}")(x, mask=is_step)
        x = layers.Dropout(config.dropout / 4, name=f"audio_lstm_dropout_{index}")(x)
    return Steps(x, is_step)


def cnn_attention(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Stacks residual stages, one each of channels: steps as wide as the last."""
    stride = 2 ** len(config.channels)
    x = _stem(image_of(frames, num_frames, stride), num_frames, config.channels[0])
    for stage, channels in enumerate(config.channels):
        if stage:
            x = layers.AveragePooling2D(2, name=f"audio_{stage}_pool")(x)
        x = _residual(x, num_frames, channels, 2 ** (stage + 1), f"audio_{stage}")
    return _steps(x, num_frames, stride)


def resnet(frames: keras.KerasTensor, num_frames: keras.KerasTensor, config: AudioConfig) -> Steps:
    """Stacks stages of two residual steps, each with squeeze-and-excitation: steps as wide as the last channels.

    Source: He et al. 2016, arXiv:1512.03385; Hu et al. 2018, arXiv:1709.01507.
    """
    stride = 2 ** len(config.channels)
    x = _stem(image_of(frames, num_frames, stride), num_frames, config.channels[0])
    for stage, channels in enumerate(config.channels):
        if stage:
            x = layers.AveragePooling2D(2, padding="same", name=f"audio_{stage}_pool")(x)
        for step in range(2):
            x = _residual(x, num_frames, channels, 2 ** (stage + 1), f"audio_{stage}_{step}", excites=True)
    return _steps(x, num_frames, stride)


def excite(x: keras.KerasTensor, num_frames: keras.KerasTensor, stride: int, name: str) -> keras.KerasTensor:
    """Weighs channels by what the whole clip holds of them, padding aside: [batch, num_steps, bands, channels]."""
    channels = x.shape[-1]
    mean = ops.mean(x, axis=2)
    squeezed = MeanPooling(name=f"{name}_squeeze")(mean, StepMask(stride, name=f"{name}_steps")(mean, num_frames))
    hidden = layers.Dense(max(1, channels // 8), activation="relu", name=f"{name}_hidden")(squeezed)
    weights = layers.Dense(channels, activation="sigmoid", name=f"{name}_weights")(hidden)
    return layers.Multiply(name=f"{name}_excite")([x, layers.Reshape((1, 1, channels), name=f"{name}_shape")(weights)])


def _block(
    x: keras.KerasTensor,
    num_frames: keras.KerasTensor,
    channels: int,
    stride: int,
    pool: tuple[int, int],
    config: AudioConfig,
    name: str,
) -> keras.KerasTensor:
    """Convolution, norm, ReLU, maximum and dropout; `stride` frames are a step of the input."""
    x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    x = MaskFrames(stride, name=f"{name}_mask")(layers.ReLU(name=f"{name}_relu")(x), num_frames)
    # Behind a ReLU the zeros of padding change no maximum. "same" keeps the last band of an odd number.
    x = layers.MaxPooling2D(pool, padding="same", name=f"{name}_pool")(x)
    return layers.Dropout(config.dropout / 4, name=f"{name}_dropout")(x)


def _stem(x: keras.KerasTensor, num_frames: keras.KerasTensor, channels: int) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 5, 2, "same", use_bias=False, name="audio_stem")(x)
    x = BatchNormalization(momentum=0.9, name="audio_stem_norm")(x)
    return MaskFrames(2, name="audio_stem_mask")(layers.ReLU(name="audio_stem_relu")(x), num_frames)


def _residual(
    x: keras.KerasTensor, num_frames: keras.KerasTensor, channels: int, stride: int, name: str, excites: bool = False
) -> keras.KerasTensor:
    """Two 3x3 convolutions and a way around them."""
    around = x
    if x.shape[-1] != channels:
        around = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_around")(x)
    for step in ("a", "b"):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_{step}")(x)
        x = BatchNormalization(momentum=0.9, name=f"{name}_{step}_norm")(x)
        if step == "a":
            x = layers.ReLU(name=f"{name}_{step}_relu")(x)
            x = MaskFrames(stride, name=f"{name}_{step}_mask")(x, num_frames)
    x = excite(x, num_frames, stride, name) if excites else x
    x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, around]))
    return MaskFrames(stride, name=f"{name}_mask")(x, num_frames)


def _steps(x: keras.KerasTensor, num_frames: keras.KerasTensor, stride: int) -> Steps:
    x = ops.mean(x, axis=2)  # [batch, num_steps, channels]
    return Steps(x, StepMask(stride, name="audio_steps")(x, num_frames))
