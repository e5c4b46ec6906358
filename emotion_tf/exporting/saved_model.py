"""Writes the SavedModel of a run: its signatures, and the facts that go beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.runs.folder import Run
from pipelines import audio, text
from pipelines.normalisation import Normalisation, normalise
from pipelines.video import VideoSettings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SPEAKER_INPUTS = ("speaker_mean", "speaker_std")


def export_metadata(run: Run) -> dict[str, Any]:
    found = run.metadata()
    names = ("corpus", "marks", "emotions", "is_multi_label", "front_end", "vocabulary_sha256", "tokenizer", "encoder")
    facts = {name: getattr(found, name) for name in (*names, "video")}
    thresholds = run.thresholds()
    hop_seconds = found.front_end["hop_seconds"]
    return facts | {
        "run": run.folder.name,
        "normalise": _mode(run.normalisation()),
        "thresholds": None if thresholds is None else dict(zip(found.emotions, thresholds.tolist(), strict=True)),
        "sample_rate": audio.SAMPLE_RATE,
        "max_tokens": run.config().training.max_tokens,
        "longest_seconds": round(found.longest_frames * hop_seconds, 2),
    }


def _mode(normalisation: Normalisation | None) -> str:
    return normalisation.mode if normalisation else "clip"


def save(model: "keras.Model", metadata: dict[str, Any], run: Run, folder: Path) -> None:
    """Writes the SavedModel with its signatures."""
    import keras
    import tensorflow as tf

    specs, answer = _feature_specs(metadata), _answering(model, metadata)
    if metadata["encoder"]:
        # An archive would call its first signature serving_default, too.
        module = tf.Module()
        module.model, module.features = model, tf.function(answer, input_signature=[specs])
        tf.saved_model.save(module, str(folder), {"features": module.features})
        return

    front_end, tokenizer, normalisation = audio.FrontEnd(**metadata["front_end"]), run.tokenizer(), run.normalisation()

    def serve(inputs: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        settings = (front_end, metadata["max_tokens"], tokenizer, metadata["audio_features"], normalisation)
        speaker = [inputs.get(name) for name in SPEAKER_INPUTS]
        features = raw_features(inputs["waveform"], inputs["transcript"], *settings, *speaker)
        return answer(features | {name: inputs[name] for name in ("video_frames",) if name in inputs})

    raw = {
        "waveform": tf.TensorSpec([None, None], tf.float32, name="waveform"),
        "transcript": tf.TensorSpec([None], tf.string, name="transcript"),
        **{name: specs[name] for name in ("video_frames",) if name in specs},
    }
    if metadata["normalise"] == "enrolled":
        num_columns = sum(specs[name].shape[2] for name in metadata["audio_features"])
        raw |= {name: tf.TensorSpec([None, num_columns], tf.float32, name=name) for name in SPEAKER_INPUTS}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve, [raw])
    archive.add_endpoint("features", answer, [specs])
    archive.write_out(str(folder), verbose=False)


def _answering(
    model: "keras.Model", metadata: dict[str, Any]
) -> "Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]":
    """Makes the function from features to the outputs of an export."""
    from emotion_tf.models.late_fusion import shares_model

    weighs = shares_model(model)

    def answer(features: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
        inputs = {key: features[key] for key in model.input}
        found = _answer(model(inputs), metadata)
        return found | {"shares": weighs(inputs)} if weighs else found

    return answer


def _feature_specs(metadata: dict[str, Any]) -> "dict[str, tf.TensorSpec]":
    """Describes the inputs of `features`: of sound and of words, so that a client need not know what the run uses.

    Frames of videos are large, and asked for only by a run that sees them.
    """
    import tensorflow as tf

    front_end = audio.FrontEnd(**metadata["front_end"])
    specs = {"token_ids": tf.TensorSpec([None, None], tf.int32, name="token_ids")}
    for name in metadata["audio_features"]:
        is_encoder = name == "encoder"
        columns = metadata["encoder"]["width"] if is_encoder else audio.num_columns(name, front_end)
        length = "num_steps" if is_encoder else "num_frames"
        specs[name] = tf.TensorSpec([None, None, columns], tf.float32, name=name)
        specs[length] = tf.TensorSpec([None], tf.int32, name=length)
    if settings := metadata["video"]:
        shape = [None, None, *VideoSettings(**settings).shape]
        specs["video_frames"] = tf.TensorSpec(shape, tf.float32, name="video_frames")
    return specs


def raw_features(
    waveform: "tf.Tensor",
    transcript: "tf.Tensor",
    front_end: audio.FrontEnd,
    max_tokens: int,
    tokenizer: "text.Tokenizer | None" = None,
    audio_features: Sequence[str] = ("log_mel",),
    normalisation: Normalisation | None = None,
    speaker_mean: "tf.Tensor | None" = None,
    speaker_std: "tf.Tensor | None" = None,
) -> "dict[str, tf.Tensor]":
    """Computes a model's inputs as the records and the dataset do, as graph ops.

    Args:
      waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz.
      transcript: [batch] string.
      front_end: The settings of log_mel.
      max_tokens: Token ids kept of a transcript.
      tokenizer: What makes them; None: the vocabulary of the records.
      audio_features: What of the sound the model hears, of `pipelines.audio.FRAME_FEATURES`.
      normalisation: Statistics that bring sound to one scale; None: each clip by itself.
      speaker_mean, speaker_std: [batch, num_columns] of all these features over other clips of the speaker, where the
        mode is "enrolled".

    Returns:
      Those features [batch, num_frames, columns] normalised, num_frames [batch], token_ids [batch, num_tokens].
    """
    features, num_frames = audio.frame_features(waveform, front_end, audio_features)
    return {
        **normalise(features, num_frames, normalisation, speaker_mean, speaker_std),
        "num_frames": num_frames,
        "token_ids": (tokenizer or text.own_tokenizer())(transcript, max_tokens).to_tensor(),
    }


def _answer(logits: "tf.Tensor", metadata: dict[str, Any]) -> "dict[str, tf.Tensor]":
    """Turns logits [batch, num_emotions] into the outputs of an export, all of that shape."""
    import tensorflow as tf

    probabilities = to_probabilities(logits, metadata["is_multi_label"])
    # One batch size over all outputs: TensorFlow Serving's row format wants it (tensorflow/serving#1047).
    names = tf.tile(tf.constant([metadata["emotions"]]), [tf.shape(logits)[0], 1])
    return {"probabilities": probabilities, "emotions": names, "predicted": _decide(probabilities, metadata)}


def to_probabilities(logits: "tf.Tensor", is_multi_label: bool) -> "tf.Tensor":
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
