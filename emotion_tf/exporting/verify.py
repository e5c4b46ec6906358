"""Loads an export in a new process and compares it with the run that it was made of."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.exporting.saved_model import SPEAKER_INPUTS, raw_to_features, speaker_of, to_probabilities
from emotion_tf.runs.folder import Run
from emotion_tf.serving.batches import leave_out
from emotion_tf.serving.predictor import Predictor
from pipelines import audio, text
from pipelines.audio import speech_encoder
from pipelines.audio.recording import LEVEL
from pipelines.command import InputError
from pipelines.normalisation import Normalisation, normalise_states
from pipelines.video import VideoSettings, to_array

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines.audio.whisper_encoder import WhisperEncoder
    from pipelines.records import Example

NUM_CHECKED = 50
"""Examples that are compared."""

TOLERANCE = 1e-5
"""By how much a probability of an export may differ from that of its run."""

ENCODER_TOLERANCE = 1e-4
"""The same where an encoder is inside: states of float32 that differ in their last digits may round to float16
apart."""

HALF_TOLERANCE = 1e-3
"""The same where variables are stored in float16."""

MOST_ROWS = 500
"""Utterances of the validation split that formats beside the SavedModel are compared over, one by one."""

_SENTENCES = ("", "oh no", "what a lovely day", "the door is open")


def verify_export(
    run: Run, model: "keras.Model", encoder: "WhisperEncoder | None", metadata: dict[str, Any], export: Path
) -> tuple[float, str]:
    """Compares probabilities of a run's model with those of its export, loaded in a new process.

    Every subset of modalities is among the examples.

    Args:
      run: A finished run.
      model: Its model.
      encoder: What makes the states that it reads; None where it reads none.
      metadata: What `export_metadata` collected.
      export: The export folder; examples are written beside it.

    Returns:
      The largest difference, and how many examples of what there are, in words.

    Raises:
      InputError: An export that does not load, or differs by more than it may.
    """
    given, states, source = _raw_examples(run, metadata)
    features = _features_of(run, metadata, given)
    if encoder is not None:
        features |= _states_of(run, encoder, given, states)
    sets, sources = [(given, features)], [f"{NUM_CHECKED} examples of {source}"]
    if encoder is not None and not run.metadata().has_waveform:
        features = _stored_features(run, model)
        sets.append(({name: values.numpy() for name, values in features.items()}, features))
        sources.insert(0, f"{NUM_CHECKED} examples of states of stored clips")
    paths = [export.parent / f"examples-{number}.npz" for number in range(len(sets))]
    for path, (arguments, inputs) in zip(paths, sets, strict=True):
        _write_examples(path, arguments, _expected(model, inputs, metadata))
    return _worst_difference(run, metadata, export, paths), " and ".join(sources)


def _expected(model: "keras.Model", features: "dict[str, tf.Tensor]", metadata: dict[str, Any]) -> "np.ndarray":
    """Computes the probabilities of a run outside of its export."""
    logits = model({key: features[key] for key in model.input}, training=False)
    return to_probabilities(logits, metadata["is_multi_label"]).numpy()


def single_examples(
    run: Run, model: "keras.Model", encoder: "WhisperEncoder | None", metadata: dict[str, Any]
) -> "tuple[list[tuple[dict[str, np.ndarray], np.ndarray]], str]":
    """Takes inputs of a run's model from its validation split, each at its own length.

    Args:
      run, model, encoder, metadata: As `verify_export` takes them.

    Returns:
      Inputs and probabilities [1, num_emotions] of up to `MOST_ROWS` utterances, every subset of modalities among
      the first; and what they are, in words. Where the records are gone, they are what `verify_export` compares.
    """
    rows: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
    try:
        for features in _validation_batches(run, model):
            rows += _rows_of(features, _expected(model, features, metadata))
            if len(rows) >= MOST_ROWS:
                break
        return rows[:MOST_ROWS], "the validation split"
    except InputError:
        given, states, source = _raw_examples(run, metadata)
    features = _features_of(run, metadata, given)
    if encoder is not None:
        features |= _states_of(run, encoder, given, states)
    features = {name: features[name] for name in model.input}
    return list(_rows_of(features, _expected(model, features, metadata))), source


def _validation_batches(run: Run, model: "keras.Model") -> "Iterator[dict[str, tf.Tensor]]":
    """Yields the inputs of a model of the validation split; in the first batch, modalities are taken away."""
    from emotion_tf.evaluation.split import split_of, take_away
    from emotion_tf.models.inputs import audio_features_of, modalities_of

    modalities = modalities_of(model)
    for index, features in enumerate(split_of(run, "validation", modalities, audio_features_of(model)).features):
        own = {name: values for name, values in features.items() if name in model.input}
        for modality, where in _absences(modalities) if index == 0 else ():
            own = take_away(own, modality, where[: len(next(iter(own.values())))])
        yield own


def _rows_of(
    features: "Mapping[str, tf.Tensor]", expected: "np.ndarray"
) -> "Iterator[tuple[dict[str, np.ndarray], np.ndarray]]":
    """Cuts a batch into its rows, without the padding behind each."""
    arrays = {name: values.numpy() for name, values in features.items()}
    for row in range(len(expected)):
        one = {name: values[row : row + 1] for name, values in arrays.items()}
        cut = {name: values if values.ndim < 2 else values[:, : _length(name, one)] for name, values in one.items()}
        yield cut, expected[row : row + 1]


def _length(name: str, one: "Mapping[str, np.ndarray]") -> int | None:
    """Counts what is no padding of an input of one utterance; None: all of it."""
    if name == "token_ids":
        return max(1, int((one[name] != 0).sum()))
    if name in ("waveform", "video_frames"):
        return None
    return max(1, int(one["num_steps" if name == "encoder" else "num_frames"][0]))


def _write_examples(path: Path, arguments: "dict[str, np.ndarray]", expected: "np.ndarray") -> None:
    """Writes what `compare` reads, without objects: strings get one length."""
    import numpy as np

    plain: dict[str, Any] = {
        name: values.astype(str) if values.dtype == object else values for name, values in arguments.items()
    }
    np.savez(path, expected=expected, **plain)


def _absences(modalities: Sequence[str]) -> "Iterator[tuple[str, np.ndarray]]":
    """Yields each modality with the examples in which it is absent, [NUM_CHECKED] bool: all subsets take turns."""
    import numpy as np

    for number, modality in enumerate(modalities if len(modalities) > 1 else ()):
        yield modality, np.arange(NUM_CHECKED) // 2**number % 2 > 0


def _stored_features(run: Run, model: "keras.Model") -> "dict[str, tf.Tensor]":
    """Reads inputs of the signature `features` from the validation split, padding of a batch among them."""
    import tensorflow as tf

    from emotion_tf.evaluation.split import split_of, take_away
    from emotion_tf.models.inputs import audio_features_of, modalities_of

    modalities = modalities_of(model)
    validation = split_of(run, "validation", modalities, audio_features_of(model))
    stored = next(iter(validation.features))
    # Fewer where the validation split is small: the rows repeat.
    rows = tf.range(NUM_CHECKED) % len(stored["num_steps"])
    blank = text.own_tokenizer()([""] * NUM_CHECKED).to_tensor()  # A run without text takes and ignores it.
    features = {"token_ids": blank} | {name: tf.gather(values, rows) for name, values in stored.items()}
    for modality, where in _absences(modalities):
        features = take_away(features, modality, where)
    return features


def _raw_examples(run: Run, metadata: dict[str, Any]) -> "tuple[dict[str, np.ndarray], list[np.ndarray | None], str]":
    """Takes arguments of `Predictor.predict_batch` from the validation split, and makes what is not stored.

    Returns:
      waveforms [NUM_CHECKED, num_samples], transcripts [NUM_CHECKED] and, as the run asks for them, contexts,
      video_frames and `SPEAKER_INPUTS`; of each waveform the stored states of an encoder, or None; and what they are,
      in words.
    """
    import numpy as np

    found, chosen = run.metadata(), _stored_examples(run, metadata)
    waveforms, states, kind = [one.waveform for one in chosen], [one.states for one in chosen], "stored sentences"
    if found.has_audio or metadata["video"]:
        kind = "stored clips"
    if found.has_audio and not found.has_waveform:
        waveforms, states, kind = noises(), [None] * NUM_CHECKED, "generated clips (none stored)"
    transcripts = np.array([one.transcript for one in chosen], object)
    given = {"waveforms": audio.pad_together(waveforms), "transcripts": transcripts}
    if metadata["context"]:
        given["contexts"] = np.array([one.context for one in chosen], object)
    if settings := metadata["video"]:
        given["video_frames"] = np.stack([to_array(one.images, VideoSettings(**settings)) for one in chosen])
    for modality, where in _absences(metadata["modalities"]):
        leave_out(given, modality, where)
    return given | _speakers(run.normalisation(), metadata["audio_features"]), states, kind


def _stored_examples(run: Run, metadata: dict[str, Any]) -> "list[Example]":
    """Reads utterances of the validation split; sentences stand in where nothing is stored, or no longer."""
    import numpy as np

    from pipelines.records import Example, read_examples

    found, stored = run.metadata(), []
    if found.has_waveform or not found.has_audio or metadata["video"]:
        records, fold = Path(run.config().records), found.fold
        stored = read_examples(records, fold.validation, NUM_CHECKED, fold.by)
    stored = stored or [Example(np.zeros(0, np.int16), sentence, []) for sentence in _SENTENCES]
    return [stored[index % len(stored)] for index in range(NUM_CHECKED)]


def noises() -> "list[np.ndarray]":
    """Makes waveforms of noise at the level of recordings, half a second to three seconds long, [num_samples] int16."""
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = rng.integers(audio.SAMPLE_RATE // 2, 3 * audio.SAMPLE_RATE, NUM_CHECKED)
    noises = [rng.standard_normal(length) for length in lengths]
    return [np.rint(noise * (32768 * LEVEL / np.abs(noise).max())).astype(np.int16) for noise in noises]


def _speakers(normalisation: Normalisation | None, audio_features: Sequence[str]) -> "dict[str, np.ndarray]":
    """Makes statistics of speakers, every other of them not enrolled, for a run that normalises by them."""
    import numpy as np

    if normalisation is None or normalisation.mode != "enrolled":
        return {}
    rng, is_enrolled = np.random.default_rng(0), np.arange(NUM_CHECKED)[:, np.newaxis] % 2
    mean, deviation = normalisation.vectors(audio_features)
    means = is_enrolled * (mean + deviation * rng.standard_normal((NUM_CHECKED, len(mean))))
    deviations = is_enrolled * deviation * rng.uniform(0.5, 2.0, (NUM_CHECKED, 1))
    values = (means.astype(np.float32), deviations.astype(np.float32))
    return dict(zip(SPEAKER_INPUTS, values, strict=True))


def _states_of(
    run: Run, encoder: "WhisperEncoder", given: "Mapping[str, np.ndarray]", stored: "Sequence[np.ndarray | None]"
) -> "dict[str, tf.Tensor]":
    """Takes stored states, or computes them as `prepare` does, of each clip alone, and normalises them.

    Args:
      run: Whose normalisation it takes.
      encoder: Of the run.
      given: waveforms [batch, num_samples] float32 at the level of recordings, zeros where audio is absent; and
        `SPEAKER_INPUTS`, where the run asks for them.
      stored: Of each, [num_steps, num_blocks, width] float16, or None.
    """
    import numpy as np
    import tensorflow as tf

    encode, found = speech_encoder.compiled(encoder), []
    for waveform, states in zip(given["waveforms"], stored, strict=True):
        samples = np.trim_zeros(np.rint(waveform * 32768).astype(np.int16), "b")
        if states is None or not len(samples):
            encoded, [num_steps] = encode(samples[np.newaxis])
            states = np.asarray(encoded)[0, : int(num_steps)]
        found.append(states)
    batch = np.zeros((len(found), max([1, *map(len, found)]), *found[0].shape[1:]), np.float32)
    for row, states in zip(batch, found, strict=True):
        row[: len(states)] = states
    scaled = normalise_states(tf.constant(batch), run.normalisation(), *speaker_of(given))
    return {"encoder": scaled, "num_steps": tf.constant([len(states) for states in found], tf.int32)}


def _features_of(run: Run, metadata: dict[str, Any], given: "dict[str, np.ndarray]") -> "dict[str, tf.Tensor]":
    """Computes the inputs of a run's model outside of the export, but for states of an encoder."""
    import tensorflow as tf

    raw = {name: tf.constant(given[name]) for name in (*SPEAKER_INPUTS, "video_frames") if name in given}
    raw |= {"waveform": tf.constant(given["waveforms"]), "transcript": tf.constant(given["transcripts"].tolist())}
    raw |= {"context": tf.constant(given["contexts"].tolist())} if "contexts" in given else {}
    return raw_to_features(run, metadata, None)(raw)


def _tolerance(metadata: dict[str, Any]) -> float:
    if metadata["variables"] == "float16":
        return HALF_TOLERANCE
    return ENCODER_TOLERANCE if metadata["encoder"] else TOLERANCE


def _worst_difference(run: Run, metadata: dict[str, Any], export: Path, examples: Sequence[Path]) -> float:
    """Refuses an export that differs from its run."""
    worst, tolerance = _compared_elsewhere(export, examples), _tolerance(metadata)
    if not worst <= tolerance and metadata["variables"] == "float16":
        raise InputError(
            f"--variables float16 changes probabilities of {run.folder} by {worst:.1e}, more than {tolerance:.0e}: it"
            " was not written; leave the flag out."
        )
    if not worst <= tolerance:
        raise InputError(
            f"the export differs from {run.folder} by {worst:.1e}, more than {tolerance:.0e}: it was not written;"
            " report this with the run's config.json."
        )
    return worst


def _compared_elsewhere(export: Path, examples: Sequence[Path]) -> float:
    """Runs `compare` in a new process."""
    script = "import sys; from emotion_tf.exporting import verify; print(verify.compare(*sys.argv[1:]))"
    command = [sys.executable, "-c", script, str(export), *map(str, examples)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        reason = (finished.stderr.strip() or f"it ended with status {finished.returncode}").splitlines()[-1]
        raise InputError(f"the export does not load in a new process: {reason}")
    return float(finished.stdout.split()[-1])


def compare(export_folder: str, *examples_paths: str) -> float:
    """Loads an export and returns how far its probabilities lie from the expected ones.

    Args:
      export_folder: What `emotion_tf.export` wrote.
      examples_paths: What `verify_export` wrote: the expected probabilities, and arguments of
        `Predictor.predict_batch`, or the inputs of the signature `features`.
    """
    import numpy as np

    predictor, worst = Predictor(export_folder), 0.0
    for path in examples_paths:
        examples = dict(np.load(path, allow_pickle=False))
        expected = examples.pop("expected")
        is_raw = "waveforms" in examples
        found = predictor.predict_batch(**examples).probabilities if is_raw else _by_features(predictor, examples)
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def _by_features(predictor: Predictor, features: "dict[str, np.ndarray]") -> "np.ndarray":
    """Predicts with the signature `features`."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(predictor.folder))
    inputs = {name: tf.constant(values) for name, values in features.items()}
    return loaded.signatures["features"](**inputs)["probabilities"].numpy()
