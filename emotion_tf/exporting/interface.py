"""What each input and output of an export is: shape, dtype, unit and meaning, as metadata.json says it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

_NUM_SAMPLES, _NUM_FRAMES, _NUM_STEPS = ("batch", "num_samples"), ("batch", "num_frames"), ("batch", "num_steps")

_AXES = {
    "waveform": _NUM_SAMPLES,
    "token_ids": ("batch", "num_tokens"),
    "encoder": _NUM_STEPS,
    "video_frames": ("batch", "num_video_frames"),
}
"""Names of the axes of open length; those of features of frames are `_NUM_FRAMES`, all others have the batch alone."""

_MEANINGS = {
    "waveform": (
        "amplitude from -1 to 1 (int16 / 32768), {sample_rate} Hz, one channel",
        "samples; zeros behind the end of a recording; all zeros: no audio",
    ),
    "transcript": ("text, UTF-8", "what is said; empty: not known"),
    "context": ("text, UTF-8", "the lines of the dialogue before, one a line"),
    "video_frames": (
        "brightness from 0 to 1",
        "faces, cropped as pipelines.video.read_frames does; all zeros: no video",
    ),
    "speaker_mean": ("as the audio features", "means of the speaker's other recordings"),
    "speaker_std": ("as the audio features", "deviations of the speaker's other recordings; zeros: not enrolled"),
    "log_mel": (
        "natural logarithm of the mel magnitude, then normalised (normalise)",
        "computed as front_end says; anything behind num_frames counts for nothing",
    ),
    "acoustic": ("of each column its own, then normalised (normalise)", "acoustic features of frames"),
    "num_frames": ("frames", "length of each recording; 0: no audio"),
    "encoder": ("states, normalised (normalise)", "of the blocks that encoder names"),
    "num_steps": ("steps of the encoder", "length of each recording; 0: no audio"),
    "token_ids": (
        "numbers of word pieces",
        "2 [START] first, 0 [PAD] behind the end, or as the pretrained model of tokenizer has them; the first alone:"
        " no transcript",
    ),
    "probabilities": ("probability", "calibrated"),
    "emotions": ("text", "the labels, in the order of probabilities"),
    "predicted": ("true or false", "the most probable emotion, or those that reach thresholds"),
    "shares": ("share from 0 to 1", "weight of each modality"),
    "embedding": ("none", "what the last layer reads"),
    "counts": ("frames", "of the recording, one each column"),
    "total": ("as the audio features", "sum over the frames"),
    "squares": ("as the audio features, squared", "sum of the squares over the frames"),
}
"""Unit and meaning of each."""


def interface_of(function: Any, metadata: Mapping[str, Any], batch: Any = "batch") -> dict[str, Any]:
    """Describes a signature.

    Args:
      function: A tf.function of one input, a dictionary of tensors or a waveform, to a dictionary of tensors.
      metadata: What `export_metadata` collected.
      batch: Size of the batch, or its name where it is open.

    Returns:
      `inputs` and `outputs`, as `describe` gives them.
    """
    concrete = function.get_concrete_function()
    [given], _ = concrete.structured_input_signature
    given = given if isinstance(given, Mapping) else {given.name: given}
    outputs = concrete.structured_outputs
    return {"inputs": describe(given, metadata, batch), "outputs": describe(outputs, metadata, batch)}


def describe(specs: "Mapping[str, tf.TensorSpec]", metadata: Mapping[str, Any], batch: Any) -> dict[str, Any]:
    """Describes inputs or outputs.

    Args:
      specs: Name -> shape and dtype.
      metadata: What `export_metadata` collected.
      batch: Size of the batch, or its name where it is open.

    Returns:
      Name -> shape (numbers, and names of what is open), dtype, unit, meaning and, of outputs with a column an emotion
      or modality, `columns`, their order.
    """
    return {name: _one(name, spec, metadata, batch) for name, spec in sorted(specs.items())}


def _one(name: str, spec: "tf.TensorSpec", metadata: Mapping[str, Any], batch: Any) -> dict[str, Any]:
    unit, meaning = _MEANINGS[name if name in _MEANINGS else "acoustic"]
    sizes = spec.shape.as_list()
    default = _NUM_FRAMES if len(sizes) > 2 else ("batch", "num_columns")
    names = (batch, *_AXES.get(name, default)[1:])
    columns = {"shares": metadata["modalities"]}.get(name)
    if name in ("probabilities", "emotions", "predicted"):
        columns = metadata["emotions"]
    shape = [axis if size is None or index == 0 else size for index, (size, axis) in enumerate(_zip(sizes, names))]
    if name in metadata["normalised_by_clip"]:
        unit = unit.replace("(normalise)", "clip by clip")
    found = {"shape": shape, "dtype": spec.dtype.name, "unit": unit.format(**metadata), "meaning": meaning}
    return found | ({"columns": list(columns)} if columns else {})


def _zip(sizes: list[int | None], names: Iterable[Any]) -> Iterable[tuple[int | None, Any]]:
    """Pairs sizes with names; those behind the last name are fixed."""
    padded = [*names, *[""] * len(sizes)]
    return zip(sizes, padded[: len(sizes)], strict=True)
