"""Exports a finished run for serving: `python -m emotion_tf.export --run saved_models/NAME [--output DIR]`.

Writes DIR/1/saved_model.pb (default DIR: the run's export/), DIR/metadata.json and DIR/calibration.json, the layout of
TensorFlow Serving; the model answers with calibrated probabilities.
Front end, tokenizer and label names are inside: `serving_default` takes `waveform` [batch, num_samples] float32 at
16 kHz and `transcript` [batch] string, and returns `probabilities`, `emotions` and `predicted`; `features`
takes log_mel (or what else the run hears, normalised), num_frames and token_ids instead. These outputs are
[batch, num_emotions]; `predicted` tells which emotions are named: the most probable one or, with several an utterance,
those that reach the thresholds in metadata.json. A run that weighs its modalities adds `shares` [batch,
num_modalities], in the order of `modalities` in metadata.json.
A run that sees video adds the input `video_frames` [batch, num_video_frames, height, width, channels] float32 in [0, 1]
to both: faces cropped as `pipelines.video.read_frames` does; zeros stand for no video.
A run of --normalise enrolled adds the inputs `speaker_mean` and `speaker_std` [batch, num_columns] float32 to
`serving_default`: of the columns of log_mel (or what else the run hears) over the frames of the speaker's other
recordings. Deviations of zero stand for a speaker who is not enrolled.
A run that hears states of an encoder has the signature `features` alone, with the inputs `encoder` [batch, num_steps,
width] and `num_steps` [batch]; metadata.json says whose states they are.
The export is loaded in a new process and compared first.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.run import Run, read_json
from pipelines import audio, text
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.normalisation import Normalisation, normalise
from pipelines.records import write_json
from pipelines.video import VideoSettings, to_array

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

SPEAKER_INPUTS = ("speaker_mean", "speaker_std")

_SENTENCES = ("", "oh no", "what a lovely day", "the door is open")

_RAW = {"audio": "waveform", "text": "transcripts", "video": "video_frames"}
"""Modality -> what is given of it where features are not."""

TOLERANCE = 1e-5
NUM_CHECKED = 50


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and exports.

    Raises:
      InputError: A run that is not finished, a folder of something else, or an export that does not agree with its run.
    """
    parser = argparse.ArgumentParser(prog="python -m emotion_tf.export", description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--output", type=Path, help="folder to write (default: the run's export/)")
    arguments = parser.parse_args(argv)
    run = Run(arguments.run).require_finished()
    print(export(run, arguments.output or run.export))


def export(run: Run, output: Path) -> str:
    """Exports a run, checks the export in a new process, and only then puts it in place.

    Returns:
      A sentence that says what was written and how it was checked.
    """
    if output.exists() and not _is_replaceable(output):
        raise InputError(f"{output} holds something that is no export: give --output another folder.")
    import_tensorflow()
    from emotion_tf.fusion import audio_features_of, modalities_of
    from emotion_tf.late import shares_model

    model, metadata = run.model(), _export_metadata(run)
    metadata["modalities"] = modalities_of(model)
    metadata["has_shares"] = shares_model(model) is not None
    metadata["audio_features"] = list(audio_features_of(model)) or ["log_mel"]
    # States of an encoder are computed elsewhere: there is no way from a waveform to an answer.
    metadata["signatures"] = ["features"] if metadata["encoder"] else ["serving_default", "features"]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as temporary:
        made = Path(temporary) / "export"
        _save(model, metadata, run, made / "1")
        write_json(made / "metadata.json", metadata)
        write_json(made / "calibration.json", read_json(run.calibration_path))
        worst, source = _check(run, model, metadata, made)
        if output.exists():
            shutil.rmtree(output)
        made.rename(output)
    return (
        f"{output}: {', '.join(metadata['modalities'])} -> {', '.join(metadata['emotions'])};"
        f" agrees with the run on {NUM_CHECKED} {source} to {worst:.1e}, loaded in a new process"
    )


def _is_replaceable(output: Path) -> bool:
    """Whether a folder is empty or holds an export and nothing else; runs and records have a metadata.json, too."""
    names = {path.name for path in output.iterdir()} if output.is_dir() else {str(output)}
    return names <= {"metadata.json", "calibration.json", "1"} and (
        not names or (output / "1" / "saved_model.pb").exists()
    )


def _export_metadata(run: Run) -> dict[str, Any]:
    found = run.metadata()
    names = ("corpus", "marks", "emotions", "is_multi_label", "front_end", "vocabulary_sha256", "tokenizer", "encoder")
    facts = {name: found[name] for name in (*names, "video")}
    thresholds = run.thresholds()
    hop_seconds = found["front_end"]["hop_seconds"]
    return facts | {
        "run": run.folder.name,
        "normalise": _mode(run.normalisation()),
        "thresholds": None if thresholds is None else dict(zip(found["emotions"], thresholds.tolist(), strict=True)),
        "sample_rate": audio.SAMPLE_RATE,
        "max_tokens": run.config().training.max_tokens,
        "longest_seconds": round(found["longest_frames"] * hop_seconds, 2),
    }


def _mode(normalisation: Normalisation | None) -> str:
    return normalisation.mode if normalisation else "clip"


def _save(model: "keras.Model", metadata: dict[str, Any], run: Run, folder: Path) -> None:
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
    from emotion_tf.late import shares_model

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

    probabilities = _probabilities(logits, metadata["is_multi_label"])
    # One batch size over all outputs: TensorFlow Serving's row format wants it (tensorflow/serving#1047).
    names = tf.tile(tf.constant([metadata["emotions"]]), [tf.shape(logits)[0], 1])
    return {"probabilities": probabilities, "emotions": names, "predicted": _decide(probabilities, metadata)}


def _probabilities(logits: "tf.Tensor", is_multi_label: bool) -> "tf.Tensor":
    import tensorflow as tf

    return tf.nn.sigmoid(logits) if is_multi_label else tf.nn.softmax(logits)


def _decide(probabilities: "tf.Tensor", metadata: dict[str, Any]) -> "tf.Tensor":
    """Names emotions as `emotion_tf.multilabel.decide` does, or the most probable one: bool [batch, num_emotions]."""
    import tensorflow as tf

    num_emotions = len(metadata["emotions"])
    if not metadata["thresholds"]:
        return tf.one_hot(tf.argmax(probabilities, axis=1), num_emotions, on_value=True, off_value=False, dtype=tf.bool)
    thresholds = tf.constant([metadata["thresholds"][emotion] for emotion in metadata["emotions"]], tf.float32)
    reached = probabilities >= thresholds
    closest = tf.one_hot(tf.argmax(probabilities / thresholds, axis=1), num_emotions) > 0
    return reached | (closest & ~tf.reduce_any(reached, axis=1, keepdims=True))


def _check(run: Run, model: "keras.Model", metadata: dict[str, Any], made: Path) -> tuple[float, str]:
    """Compares the run's model with the export, loaded in a new process; returns the largest difference."""
    import numpy as np

    from emotion_tf.part import take_away

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
    np.savez(examples, expected=_probabilities(logits, metadata["is_multi_label"]).numpy(), **given)
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
    """Reads inputs of the signature `features` from the validation part, padding of a batch among them."""
    import tensorflow as tf

    from emotion_tf.fusion import audio_features_of, modalities_of
    from emotion_tf.part import part_of

    part = part_of(run, "validation", modalities_of(model), audio_features_of(model))
    stored = next(iter(part.features))
    # Fewer where the validation part is small: the rows repeat.
    rows = tf.range(NUM_CHECKED) % len(stored["num_steps"])
    words = text.own_tokenizer()([""] * NUM_CHECKED).to_tensor()  # What a run without words is given and leaves.
    return {"token_ids": words} | {name: tf.gather(values, rows) for name, values in stored.items()}


def _worst_difference(run: Run, made: Path, examples: Path) -> float:
    """Compares the export, loaded in a new process, with what is expected of it."""
    script = "import sys; from emotion_tf import export; print(export.compare(sys.argv[1], sys.argv[2]))"
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
    from emotion_tf.predict import ExportedModel

    beside = {name: examples[name] for name in (*SPEAKER_INPUTS, "video_frames") if name in examples}
    found = ExportedModel(Path(export_folder))(examples["waveform"], examples["transcripts"].tolist(), **beside)
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
    """Takes waveforms, words and frames from the validation part, or makes waveforms where none are stored.

    Returns:
      waveform [NUM_CHECKED, num_samples], transcripts [NUM_CHECKED] and, of a run that sees, video_frames; and what
      they are.
    """
    import numpy as np

    from pipelines.records import Example, read_examples

    config, found = run.config(), run.metadata()
    stored = []
    if found["has_waveform"] or not found["has_audio"] or metadata["video"]:
        stored = read_examples(Path(config.records), found["fold"]["validation"], NUM_CHECKED, found["fold"]["by"])
    # Where nothing is stored, or no longer, examples of words alone stand in; few rows repeat.
    stored = stored or [Example(np.zeros(0, np.int16), words, []) for words in _SENTENCES]
    chosen = [stored[index % len(stored)] for index in range(NUM_CHECKED)]
    waveforms, words = [one.waveform for one in chosen], [one.transcript for one in chosen]
    kind = "stored clips" if found["has_audio"] or metadata["video"] else "stored sentences"
    if found["has_audio"] and not found["has_waveform"]:
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


if __name__ == "__main__":
    sys.exit(run_command(main))
