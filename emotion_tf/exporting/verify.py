"""Loads an export in a new process and compares it with the run that it was made of."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.exporting.saved_model import SPEAKER_INPUTS, raw_features, to_probabilities
from emotion_tf.runs.folder import Run
from pipelines import audio, text
from pipelines.command import InputError, import_tensorflow
from pipelines.normalisation import Normalisation
from pipelines.video import VideoSettings, to_array

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

_SENTENCES = ("", "oh no", "what a lovely day", "the door is open")

_RAW = {"audio": "waveform", "text": "transcripts", "video": "video_frames"}
"""Modality -> what is given of it where features are not."""

TOLERANCE = 1e-5
NUM_CHECKED = 50


def check(run: Run, model: "keras.Model", metadata: dict[str, Any], made: Path) -> tuple[float, str]:
    """Compares the run's model with the export, loaded in a new process; returns the largest difference."""
    import numpy as np

    from emotion_tf.evaluation.split import take_away

    examples = made.parent / "examples.npz"
    modalities = metadata["modalities"]
    left_out = {modality: _is_left_out(number, modalities) for number, modality in enumerate(modalities)}
    if metadata["encoder"]:
        features, source = _stored_features(run, model), "stored clips"
        for modality, where in left_out.items():
            features = take_away(features, modality, where)
        given = {name: values.numpy() for name, values in features.items()}
    else:
        given, source = _examples(run, metadata)
        for modality, where in left_out.items():
            values = given[_RAW[modality]]
            values[where] = "" if modality == "text" else 0
        given |= _speakers(run.normalisation(), metadata["audio_features"])
        features = _features_of(run, metadata, given)
    logits = model({key: features[key] for key in model.input}, training=False)
    # Without objects: strings of one length.
    given |= {name: values.astype(str) for name, values in given.items() if values.dtype == object}
    np.savez(examples, expected=to_probabilities(logits, metadata["is_multi_label"]).numpy(), **given)
    return _worst_difference(run, made, examples), source


def _is_left_out(number: int, modalities: Sequence[str]) -> "np.ndarray":
    """Tells in which examples a modality is absent, so that all subsets take turns: [NUM_CHECKED] bool."""
    import numpy as np

    turns = np.arange(NUM_CHECKED) // 2**number % 2 > 0
    return turns if len(modalities) > 1 else np.zeros_like(turns)


def _features_of(run: Run, metadata: dict[str, Any], given: "dict[str, np.ndarray]") -> "dict[str, tf.Tensor]":
    """Computes the inputs of a run's model outside of the export."""
    import tensorflow as tf

    features = raw_features(
        tf.constant(given["waveform"]),
        tf.constant(given["transcripts"].tolist()),
        audio.FrontEnd(**metadata["front_end"]),
        metadata["max_tokens"],
        run.tokenizer(),
        metadata["audio_features"],
        run.normalisation(),
        *(tf.constant(given[name]) for name in SPEAKER_INPUTS if name in given),
    )
    return features | {name: tf.constant(given[name]) for name in ("video_frames",) if name in given}


def _stored_features(run: Run, model: "keras.Model") -> "dict[str, tf.Tensor]":
    """Reads inputs of the signature `features` from the validation split, padding of a batch among them."""
    import tensorflow as tf

    from emotion_tf.evaluation.split import split_of
    from emotion_tf.models.inputs import audio_features_of, modalities_of

    part = split_of(run, "validation", modalities_of(model), audio_features_of(model))
    stored = next(iter(part.features))
    # Fewer where the validation split is small: the rows repeat.
    rows = tf.range(NUM_CHECKED) % len(stored["num_steps"])
    words = text.own_tokenizer()([""] * NUM_CHECKED).to_tensor()  # What a run without words is given and leaves.
    return {"token_ids": words} | {name: tf.gather(values, rows) for name, values in stored.items()}


def _worst_difference(run: Run, made: Path, examples: Path) -> float:
    """Compares the export, loaded in a new process, with what is expected of it."""
    script = "import sys; from emotion_tf.exporting import verify; print(verify.compare(sys.argv[1], sys.argv[2]))"
    command = [sys.executable, "-c", script, str(made), str(examples)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = (answer.stderr.strip() or f"it ended with status {answer.returncode}").splitlines()[-1]
        raise InputError(f"the export does not load in a new process: {reason}")
    worst = float(answer.stdout.split()[-1])
    if not worst <= TOLERANCE:
        raise InputError(
            f"the export differs from {run.folder} by {worst:.1e}, more than {TOLERANCE:.0e}: it was not written;"
            " report this with the run's config.json."
        )
    return worst


def compare(export_folder: str, examples_path: str) -> float:
    """Loads an export and returns how far its probabilities lie from the expected ones."""
    import numpy as np

    examples = dict(np.load(examples_path, allow_pickle=False))
    expected = examples.pop("expected")
    if "waveform" not in examples:
        return float(np.abs(_by_features(Path(export_folder) / "1", examples) - expected).max())
    from emotion_tf.serving.predictor import Predictor

    beside = {name: examples[name] for name in (*SPEAKER_INPUTS, "video_frames") if name in examples}
    found = Predictor(Path(export_folder))(examples["waveform"], examples["transcripts"].tolist(), **beside)
    return float(np.abs(found - expected).max())


def _by_features(version: Path, features: "dict[str, np.ndarray]") -> "np.ndarray":
    """Loads a version folder and answers with the signature `features`."""
    import_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version))
    inputs = {name: tf.constant(values) for name, values in features.items()}
    return loaded.signatures["features"](**inputs)["probabilities"].numpy()


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


def _examples(run: Run, metadata: dict[str, Any]) -> "tuple[dict[str, np.ndarray], str]":
    """Takes waveforms, words and frames from the validation split, or makes waveforms where none are stored.

    Returns:
      waveform [NUM_CHECKED, num_samples], transcripts [NUM_CHECKED] and, of a run that sees, video_frames; and what
      they are.
    """
    import numpy as np

    from pipelines.records import Example, read_examples

    config, found = run.config(), run.metadata()
    stored = []
    if found.has_waveform or not found.has_audio or metadata["video"]:
        stored = read_examples(Path(config.records), found.fold.validation, NUM_CHECKED, found.fold.by)
    # Where nothing is stored, or no longer, examples of words alone stand in; few rows repeat.
    stored = stored or [Example(np.zeros(0, np.int16), words, []) for words in _SENTENCES]
    chosen = [stored[index % len(stored)] for index in range(NUM_CHECKED)]
    waveforms, words = [one.waveform for one in chosen], [one.transcript for one in chosen]
    kind = "stored clips" if found.has_audio or metadata["video"] else "stored sentences"
    if found.has_audio and not found.has_waveform:
        waveforms, kind = _noises(), "generated clips (none stored)"
    given = {"waveform": audio.pad_together(waveforms), "transcripts": np.array(words, object)}
    if settings := metadata["video"]:
        given["video_frames"] = np.stack([to_array(one.images, VideoSettings(**settings)) for one in chosen])
    return given, kind


def _noises() -> "list[np.ndarray]":
    import numpy as np

    rng = np.random.default_rng(0)
    lengths = rng.integers(audio.SAMPLE_RATE // 2, 3 * audio.SAMPLE_RATE, NUM_CHECKED)
    return [(3000 * rng.standard_normal(length)).clip(-32768, 32767).astype(np.int16) for length in lengths]
