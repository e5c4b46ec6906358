"""Arrays out of requests, and back: what a signature of an export takes, checked before the model sees it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emotion_tf.serving.batches import MAX_SECONDS_OF_SOUND, STEP
from emotion_tf.serving.loading import LITERT
from emotion_tf.serving.predictor import MAX_CHARACTERS, Predictor
from pipelines.audio import SAMPLE_RATE
from pipelines.command import InputError

MAX_ROWS = 128
"""Of a batch of arrays."""

MAX_VALUES = 2**22
"""Of all arrays of a request together: activations of a network grow with them."""

MAX_TEXT = 100_000
"""Characters, or ids of pieces, of all rows together: networks of text take them one after the other."""


DEFAULT_SIGNATURE = "serving_default"

_EXAMPLES = {"waveform": [0.01, -0.02, 0.03], "transcript": "Kids are talking by the door", "context": ""}
_MOST_ZEROS = 4096


def example_row(predictor: Predictor) -> dict[str, Any]:
    """Makes a row that the model answers; empty where it takes none, or that would be long, as pictures are."""
    row: dict[str, Any] = {}
    if predictor.model_format == LITERT:
        return row
    for name, spec in inputs_of(predictor, DEFAULT_SIGNATURE).items():
        if name not in _EXAMPLES and (spec.shape[1:].num_elements() or _MOST_ZEROS + 1) > _MOST_ZEROS:
            return {}
        row[name] = _EXAMPLES[name] if name in _EXAMPLES else np.zeros(spec.shape[1:]).tolist()
    return row


def inputs_of(predictor: Predictor, signature: str) -> dict[str, Any]:
    """Finds what a signature takes: name -> TensorSpec.

    Raises:
      InputError: The model has no such signature, or none at all.
    """
    if predictor.model_format == LITERT:
        raise InputError(
            "the model is served by LiteRT, without signatures: send recordings and words to /v1/classify."
        )
    known = predictor.metadata["signatures"]
    if signature not in known:
        raise InputError(f"the model has no signature {signature[:100]!r}: name one of {', '.join(known)}.")
    return dict(predictor.signature(signature).structured_input_signature[1])


def outputs_of(predictor: Predictor, signature: str) -> dict[str, Any]:
    """Finds what a signature gives: name -> TensorSpec."""
    return dict(predictor.signature(signature).structured_outputs)


def call(predictor: Predictor, signature: str, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Calls a signature with values of JSON.

    Args:
      predictor: The model.
      signature: Name of the signature.
      given: Input -> nested lists, or arrays.

    Returns:
      Output -> array.

    Raises:
      InputError: A signature that does not exist, inputs that lack or are not known, values of another shape or type,
        too many of them, or what the model refuses.
    """
    import tensorflow as tf

    specs = inputs_of(predictor, signature)
    if missing := sorted(set(specs) - set(given)):
        raise InputError(f"{', '.join(missing)} of {signature} lacks: give it, too.")
    if unknown := sorted(set(given) - set(specs)):
        raise InputError(f"{signature} takes {', '.join(sorted(specs))}, and no {', '.join(map(str, unknown))[:100]}.")
    arrays = {name: _array(name, given[name], spec) for name, spec in specs.items()}
    _check_sizes(arrays)
    if "waveform" in arrays:
        arrays["waveform"] = _padded(arrays["waveform"])
    try:
        found = predictor.signature(signature)(**{n: tf.constant(v, specs[n].dtype) for n, v in arrays.items()})
    except tf.errors.ResourceExhaustedError:
        raise InputError("there is no memory for so large a batch: send less at once.") from None
    except tf.errors.InvalidArgumentError as error:
        raise InputError(f"the model refuses its input: {_reason(str(error))}.") from None
    return {name: values.numpy() for name, values in found.items()}


def _reason(message: str) -> str:
    """Finds the sentence of a check of the export in TensorFlow's words."""
    _, found, rest = message.partition("assertion failed: [")
    return rest.partition("]")[0] if found else "its values do not fit the model"


def _array(name: str, values: Any, spec: Any) -> np.ndarray:
    """Makes the array of an input of values of JSON.

    Raises:
      InputError: Another shape or type.
    """
    expected = f"{spec.dtype.name} of shape {[-1 if size is None else size for size in spec.shape]}"
    try:
        if spec.dtype.name == "string":
            array = np.array(_texts(values), object)
        else:
            with np.errstate(over="ignore"):  # Infinite values are refused by the model.
                array = _numbers(values, spec)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InputError(f"{name} is no {expected}: correct it.") from None
    if array.ndim < len(spec.shape) and not array.size:
        array = array.reshape(array.shape + (0,) * (len(spec.shape) - array.ndim))
    if not spec.shape.is_compatible_with(array.shape):
        raise InputError(f"{name} has the shape {list(array.shape)}, where the model takes {expected}: correct it.")
    return array


def _numbers(values: Any, spec: Any) -> np.ndarray:
    raw = np.asarray(values)
    if raw.size and raw.dtype.kind not in "biuf":
        raise ValueError("no numbers")
    if raw.size and spec.dtype.is_integer and not spec.dtype.min <= raw.min() <= raw.max() <= spec.dtype.max:
        raise OverflowError
    return raw.astype(spec.dtype.as_numpy_dtype, casting="same_kind" if spec.dtype.is_integer else "unsafe")


def _texts(values: Any) -> Any:
    """Makes bytes of nested strings, and of objects {"b64": "..."}."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list):
        return [_texts(value) for value in values]
    if isinstance(values, str):
        return values.encode()
    if isinstance(values, bytes):
        return values
    if isinstance(values, dict) and set(values) == {"b64"} and isinstance(values["b64"], str):
        try:
            return base64.b64decode(values["b64"], validate=True)
        except binascii.Error:
            raise ValueError("no base64") from None
    raise ValueError("no string")


def _check_sizes(arrays: Mapping[str, np.ndarray]) -> None:
    """Stops on batches that are too large, and on arrays of which each has another number of rows."""
    rows = {len(array) for array in arrays.values()}
    if len(rows) > 1 or 0 in rows:
        sizes = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise InputError(f"the inputs differ in their number of rows, or have none ({sizes}): give one row each.")
    if max(rows) > MAX_ROWS or sum(array.size for array in arrays.values()) > MAX_VALUES:
        raise InputError(f"a batch has at most {MAX_ROWS} rows and {MAX_VALUES} values: send less at once.")
    if "waveform" in arrays and arrays["waveform"].size > MAX_SECONDS_OF_SOUND * SAMPLE_RATE:
        raise InputError(f"a batch has at most {MAX_SECONDS_OF_SOUND:g} s of sound: send less at once.")
    for name, array in arrays.items():
        if (lengths := _lengths(name, array)) and (max(lengths) > MAX_CHARACTERS or sum(lengths) > MAX_TEXT):
            what = "ids" if name == "token_ids" else "characters"
            raise InputError(f"{name} has at most {MAX_CHARACTERS} {what} a row, and {MAX_TEXT} in all: send less.")


def _lengths(name: str, array: np.ndarray) -> list[int]:
    """Measures the texts of rows, in characters or pieces; nothing of other arrays."""
    if name == "token_ids":
        return [array.shape[1]] * len(array)
    return [len(one.decode(errors="replace")) for one in array] if array.dtype == object else []


def _padded(waveform: np.ndarray) -> np.ndarray:
    """Puts zeros behind sounds, which change no answer: kernels are kept for each new length, and many fill memory."""
    lacking = -waveform.shape[1] % STEP
    return np.pad(waveform, ((0, 0), (0, lacking)))


def to_json(array: np.ndarray, *, is_binary: bool = False) -> Any:
    """Makes nested lists of an array; strings as text, or, where they are bytes, as {"b64": "..."}."""
    return _plain(array.tolist(), is_binary)


def _plain(value: Any, is_binary: bool) -> Any:
    if isinstance(value, list):
        return [_plain(one, is_binary) for one in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()} if is_binary else value.decode(errors="replace")
    return value


def flat(values: Any) -> list[Any]:
    """Makes one list of nested ones, as Open Inference may give them."""
    found: list[Any] = []
    waiting: list[Any] = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        else:
            found.append(value)
    return found


def shaped(name: str, values: Sequence[Any], shape: Any, is_text: bool) -> np.ndarray:
    """Makes an array of a flat list and its shape.

    Raises:
      InputError: A shape that is none, or of another number of values.
    """
    try:
        if not isinstance(shape, list) or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in shape):
            raise ValueError("no shape")
        if is_text:
            array = np.empty(len(values), object)
            array[:] = values
        else:
            array = np.asarray(values)
        return array.reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name} needs a shape, and as many values in data as the shape says.") from None
