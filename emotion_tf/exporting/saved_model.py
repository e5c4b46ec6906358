"""Writes the SavedModel of a run, with its signatures."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.exporting.interface import interface_of
from emotion_tf.exporting.variables import StoredVariables
from emotion_tf.runs.folder import Run
from emotion_tf.serving.limits import MAX_PEAK, WITH_PEAK, not_finite, too_loud
from pipelines import audio, text
from pipelines.audio import speech_encoder
from pipelines.normalisation import STATES, normalise, normalise_states
from pipelines.records.metadata import shape_of_states
from pipelines.video import VideoSettings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pipelines.audio.whisper_encoder import WhisperEncoder

FRAMES_STEP = 32
"""Frames of which the length of a batch is a multiple, once silent ends are cut off."""

SPEAKER_INPUTS = ("speaker_mean", "speaker_std")
"""Further inputs of a run that normalises by the speaker's other recordings, [batch, num_columns] float32 each: of the
columns of its features of frames, and behind them those of states of an encoder, num_blocks * width."""


def write_saved_model(
    model: "keras.Model", encoder: "WhisperEncoder | None", metadata: dict[str, Any], run: Run, folder: Path
) -> dict[str, Any]:
    """Writes a model with its signatures.

    Args:
      model: Of the run.
      encoder: What makes the states that the model reads; None where it reads none.
      metadata: What `export_metadata` collected.
      run: Whose tokenizer and normalisation become part of `serving_default`.
      folder: The version folder to make.

    Returns:
      Of each signature inputs and outputs, as metadata.json says them.

    Raises:
      InputError: Weights that the type of the variables does not hold.

    All signatures raise an InvalidArgumentError on NaN and infinite values, and on a waveform or frames with a peak
    above `MAX_PEAK`.
    """
    import tensorflow as tf

    predict, specs = predictions(model, metadata), feature_specs(metadata)
    tokenizer = run.tokenizer() or text.own_tokenizer()
    to_features, sums = raw_to_features(run, metadata, encoder, tokenizer), _waveform_to_sums(metadata, encoder)
    stored = StoredVariables([model, *([encoder] if encoder else [])], metadata["variables"])

    def serve_raw(raw: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        """Predicts from waveforms and words."""
        with stored.in_use():
            return predict(to_features(checked(raw)))

    def serve_features(features: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        """Predicts from the inputs of the model."""
        with stored.in_use():
            return predict(checked(features))

    def serve_inputs(raw: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        """Computes the inputs of the model."""
        return to_features(checked(raw))

    module = tf.Module()

    def enrol(waveform: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """Sums recordings of speakers."""
        with stored.in_use():
            return sums(checked({"waveform": waveform})["waveform"])

    module.stored = stored.values  # The signatures share them.
    module.tokenizer = list(tokenizer.resources)
    raw = raw_specs(metadata, specs)
    module.serving_default = tf.function(serve_raw, input_signature=[raw], autograph=False)
    module.features = tf.function(serve_features, input_signature=[specs], autograph=False)
    if "to_features" in metadata["signatures"]:
        module.to_features = tf.function(serve_inputs, input_signature=[raw], autograph=False)
    if "enrol" in metadata["signatures"]:
        module.enrol = tf.function(enrol, input_signature=[raw["waveform"]], autograph=False)
    signatures = {name: getattr(module, name) for name in metadata["signatures"]}
    tf.saved_model.save(module, str(folder), signatures)
    return {name: interface_of(function, metadata) for name, function in signatures.items()}


def checked(inputs: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
    """Lets inputs of a signature pass that are numbers of the right size; a server answers others with status 400."""
    import tensorflow as tf

    checks = []
    for name, values in inputs.items():
        if values.dtype == tf.float32:
            is_finite = tf.reduce_all(tf.math.is_finite(values))
            checks.append(tf.debugging.Assert(is_finite, [not_finite(name)]))
    for name in WITH_PEAK:
        if name in inputs:
            is_small = tf.reduce_all(tf.abs(inputs[name]) <= MAX_PEAK)
            checks.append(tf.debugging.Assert(is_small, [too_loud(name)]))
    with tf.control_dependencies(checks):
        return {name: tf.identity(values) for name, values in inputs.items()}


def raw_to_features(
    run: Run, metadata: dict[str, Any], encoder: "WhisperEncoder | None", tokenizer: text.Tokenizer | None = None
) -> "Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]":
    """Makes the function from the inputs of `serving_default` to those of `features`, as graph ops.

    Args:
      run: Whose tokenizer and normalisation it takes.
      metadata: What `export_metadata` collected.
      encoder: What makes states for the run; None: they are left out.
      tokenizer: Of the run; None: it is read.

    Returns:
      A function from waveform [batch, num_samples] float32 in [-1, 1) at 16 kHz, transcript [batch] string and, where
      the run asks for them, context [batch] string, video_frames and `SPEAKER_INPUTS`, to the audio features [batch,
      num_frames, columns], normalised, num_frames [batch], states of an encoder with num_steps, or the waveform at one
      level, token_ids [batch, num_tokens] and video_frames, as records and dataset have them.
    """
    cut = tokenizer or run.tokenizer() or text.own_tokenizer()
    normalisation, has_frames = run.normalisation(), bool(audio.frame_names(metadata["audio_features"]))
    begins_with_encoder = "waveform" in metadata["audio_features"]
    of_frames = sound_to_features(run, metadata)

    def of_steps(raw: "dict[str, tf.Tensor]", encoder: "WhisperEncoder") -> "dict[str, tf.Tensor]":
        """Computes states."""
        found = speech_encoder.graph_states(encoder, raw["waveform"])
        return found | {STATES: normalise_states(found[STATES], normalisation, *speaker_of(raw))}

    def to_features(raw: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        return {
            **(of_frames(raw) if has_frames else {}),
            **(of_steps(raw, encoder) if encoder else {}),
            **({"waveform": speech_encoder.levelled(raw["waveform"])} if begins_with_encoder else {}),
            "token_ids": cut(raw["transcript"], metadata["max_tokens"], raw.get("context")).to_tensor(),
            **{name: raw[name] for name in ("video_frames",) if name in raw},
        }

    return to_features


def sound_to_features(
    run: Run, metadata: dict[str, Any]
) -> "Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]":
    """Makes the function from waveform and, where the run asks for them, `SPEAKER_INPUTS` to features of frames.

    Args:
      run: Whose normalisation it takes.
      metadata: What `export_metadata` collected.

    Returns:
      A function to the audio features [batch, num_frames, columns], normalised, and num_frames [batch], as graph ops.
    """
    front_end, names = audio.FrontEnd(**metadata["front_end"]), audio.frame_names(metadata["audio_features"])
    normalisation = run.normalisation()

    def of_frames(raw: "Mapping[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        features, num_frames = audio.frame_features(raw["waveform"], front_end, names)
        features = {name: _cropped(values, num_frames) for name, values in features.items()}
        return {**normalise(features, num_frames, normalisation, *speaker_of(raw)), "num_frames": num_frames}

    return of_frames


def _cropped(values: "tf.Tensor", num_frames: "tf.Tensor") -> "tf.Tensor":
    """Cuts off frames [batch, max_frames, columns] that are padding in all of a batch, but for a few: kernels are kept
    for each new length."""
    import tensorflow as tf

    longest = tf.maximum(tf.reduce_max(num_frames), 1)
    return values[:, : -(-longest // FRAMES_STEP) * FRAMES_STEP]


def speaker_of(raw: "Mapping[str, tf.Tensor]") -> "list[tf.Tensor | None]":
    """Picks `SPEAKER_INPUTS`; None where a run does not ask for them."""
    return [raw.get(name) for name in SPEAKER_INPUTS]


def _waveform_to_sums(
    metadata: dict[str, Any], encoder: "WhisperEncoder | None"
) -> "Callable[[tf.Tensor], dict[str, tf.Tensor]]":
    """Makes the function of the signature `enrol`, as graph ops.

    Args:
      metadata: What `export_metadata` collected.
      encoder: What makes states for the run; None where it reads none.

    Returns:
      A function from waveform [batch, num_samples] to counts, total and squares, [batch, num_columns] float64 each:
      what `pipelines.normalisation.Sums` holds of each recording, in the columns of `SPEAKER_INPUTS`.
    """
    import tensorflow as tf

    front_end, names = audio.FrontEnd(**metadata["front_end"]), audio.frame_names(metadata["audio_features"])

    def summed(values: "tf.Tensor", lengths: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
        """Sums [batch, length, columns] up to the end of each: counts, total and squares [batch, columns]."""
        is_there = tf.sequence_mask(lengths, tf.shape(values)[1], tf.float64)[:, :, tf.newaxis]
        wide = tf.cast(values, tf.float64) * is_there
        counts = tf.reduce_sum(is_there, axis=1) * tf.ones(values.shape[2:], tf.float64)
        return counts, tf.reduce_sum(wide, axis=1), tf.reduce_sum(tf.square(wide), axis=1)

    def to_sums(waveform: "tf.Tensor") -> "dict[str, tf.Tensor]":
        parts = []
        if names:
            features, num_frames = audio.frame_features(waveform, front_end, names)
            parts.append(summed(tf.concat(list(features.values()), axis=2), num_frames))
        if encoder:
            found = speech_encoder.graph_states(encoder, waveform)
            shape = tf.shape(found[STATES])
            width = math.prod(shape_of_states(metadata["encoder"]))
            parts.append(summed(tf.reshape(found[STATES], (shape[0], shape[1], width)), found["num_steps"]))
        joined = [tf.concat(values, axis=1) for values in zip(*parts, strict=True)]
        return dict(zip(("counts", "total", "squares"), joined, strict=True))

    return to_sums


def raw_specs(metadata: dict[str, Any], features: "dict[str, tf.TensorSpec]") -> "dict[str, tf.TensorSpec]":
    """Describes the inputs of `serving_default`, given those of `features`."""
    import tensorflow as tf

    specs = {
        "waveform": tf.TensorSpec([None, None], tf.float32, name="waveform"),
        "transcript": tf.TensorSpec([None], tf.string, name="transcript"),
        **{name: features[name] for name in ("video_frames",) if name in features},
    }
    if metadata["context"]:
        specs["context"] = tf.TensorSpec([None], tf.string, name="context")
    if metadata["normalise"] == "enrolled":
        num_columns = sum(math.prod(features[name].shape[2:]) for name in metadata["audio_features"])
        specs |= {name: tf.TensorSpec([None, num_columns], tf.float32, name=name) for name in SPEAKER_INPUTS}
    return specs


def feature_specs(metadata: dict[str, Any]) -> "dict[str, tf.TensorSpec]":
    """Describes the inputs of `features`: those of audio and text whatever the run reads, so that clients are alike.

    Frames of videos are large, and asked for only by a run that reads them.
    """
    import tensorflow as tf

    front_end = audio.FrontEnd(**metadata["front_end"])
    specs = {"token_ids": tf.TensorSpec([None, None], tf.int32, name="token_ids")}
    if "waveform" in metadata["audio_features"]:
        specs["waveform"] = tf.TensorSpec([None, None], tf.float32, name="waveform")
    for name in [name for name in metadata["audio_features"] if name != "waveform"]:
        is_encoder = name == "encoder"
        columns = shape_of_states(metadata["encoder"]) if is_encoder else (audio.num_columns(name, front_end),)
        length = "num_steps" if is_encoder else "num_frames"
        specs[name] = tf.TensorSpec([None, None, *columns], tf.float32, name=name)
        specs[length] = tf.TensorSpec([None], tf.int32, name=length)
    if settings := metadata["video"]:
        shape = [None, None, *VideoSettings(**settings).shape]
        specs["video_frames"] = tf.TensorSpec(shape, tf.float32, name="video_frames")
    return specs


def predictions(
    model: "keras.Model", metadata: dict[str, Any]
) -> "Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]":
    """Makes the function from features to the outputs of an export.

    They are probabilities, emotions and predicted [batch, num_emotions], but for late fusion embedding
    [batch, embedding_dim], and where modalities have weights shares [batch, num_modalities].
    """
    import keras
    import tensorflow as tf

    from emotion_tf.models.head import embedding_of
    from emotion_tf.models.late_fusion import shares_model

    shares, embedding = shares_model(model), embedding_of(model)
    found = {"logits": model.output}
    found |= {} if embedding is None else {"embedding": embedding}
    found |= {"shares": shares.output} if shares else {}
    whole = keras.Model(model.input, found)

    def predict(features: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        further = whole({key: features[key] for key in model.input})
        probabilities = to_probabilities(further.pop("logits"), metadata["is_multi_label"])
        # One batch size over all outputs: TensorFlow Serving's row format wants it (tensorflow/serving#1047).
        emotions = tf.tile(tf.constant([metadata["emotions"]]), [tf.shape(probabilities)[0], 1])
        outputs = {"probabilities": probabilities, "emotions": emotions, "predicted": _decide(probabilities, metadata)}
        return outputs | further

    return predict


def to_probabilities(logits: "tf.Tensor", is_multi_label: bool) -> "tf.Tensor":
    """Computes [batch, num_emotions] float32 as graph ops: a sigmoid each with several emotions, or the softmax."""
    import tensorflow as tf

    return tf.nn.sigmoid(logits) if is_multi_label else tf.nn.softmax(logits)


def _decide(probabilities: "tf.Tensor", metadata: dict[str, Any]) -> "tf.Tensor":
    """Names emotions as `multilabel.decide` does, or the most probable one: bool [batch, num_emotions]."""
    import tensorflow as tf

    num_emotions = len(metadata["emotions"])
    if not metadata["thresholds"]:
        return tf.one_hot(tf.argmax(probabilities, axis=1), num_emotions, on_value=True, off_value=False, dtype=tf.bool)
    thresholds = tf.constant([metadata["thresholds"][emotion] for emotion in metadata["emotions"]], tf.float32)
    reached = probabilities >= thresholds
    closest = tf.one_hot(tf.argmax(probabilities / thresholds, axis=1), num_emotions) > 0
    return reached | (closest & ~tf.reduce_any(reached, axis=1, keepdims=True))
