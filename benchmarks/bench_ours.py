"""Calls of our networks that `benchmarks.bench_networks` times, in a process of their own."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_networks import BANDS, NUM_EMOTIONS, STEPS_AT_ONCE, TOTAL_STEPS, Case, Sizes
from emotion_tf import fit
from pipelines.command import import_tensorflow

Calls = dict[str, Callable[[], Any]]


def make_calls(kind: str, case: Case, precisions: Sequence[str]) -> Calls:
    """Makes a call a precision: "step" or "inference"; and "parameters", which counts them."""
    import_tensorflow()
    make = {"step": _steps, "inference": _logits}[kind]
    calls: Calls = {precision: make(case, build(case, precision)) for precision in precisions}
    return calls | {"parameters": lambda: count_parameters(case)}


def build(case: Case, precision: str) -> Any:
    """Builds and compiles the model as `fit` does."""
    import keras

    from emotion_tf.models.build import build_model
    from emotion_tf.training.optimizer import compile_model
    from emotion_tf.training.precision import computing_in
    from pipelines import text

    training = case.config.training
    with computing_in(precision):
        vocabulary = text.own_tokenizer().vocabulary_size
        model = build_model(case.config, {"log_mel": BANDS}, vocabulary, [1 / NUM_EMOTIONS] * NUM_EMOTIONS)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)
    compile_model(model, case.config, -(-TOTAL_STEPS // training.epochs), loss)
    return model


def count_parameters(case: Case) -> int:
    """Counts what is trained."""
    return sum(int(np.prod(weight.shape)) for weight in build(case, "float32").trainable_weights)


def _steps(case: Case, model: Any) -> Callable[[], None]:
    """Makes the call that takes some steps as `model.fit` does."""
    import tensorflow as tf

    labels = np.eye(NUM_EMOTIONS, dtype=np.float32)[case.labels]
    batches = iter(tf.data.Dataset.from_tensors((dict(case.batch), labels)).repeat().prefetch(2))
    model.make_train_function()

    def take() -> None:
        for _ in range(STEPS_AT_ONCE):
            float(model.train_function(batches)["loss"])

    return take


def _logits(case: Case, model: Any) -> Callable[[], None]:
    import tensorflow as tf

    serve = tf.function(lambda batch: model(batch, training=False), autograph=False)
    batch = {name: tf.constant(values) for name, values in case.batch.items()}

    def take() -> None:
        for _ in range(STEPS_AT_ONCE):
            serve(batch).numpy()

    return take


def make_trainings(case: Case, sizes: Sizes, precisions: Sequence[str], records: Path, clips: Path) -> Calls:
    """Makes a call a precision that trains, and "parameters"; writes the same clips for PyTorch."""
    import_tensorflow()
    _write_clips(records, sizes, clips)
    calls: Calls = {precision: _training(case, sizes, precision, records) for precision in precisions}
    return calls | {"parameters": lambda: count_parameters(case)}


def _training(case: Case, sizes: Sizes, precision: str, records: Path) -> Callable[[], None]:
    given = ["--branch", "audio", "--records", str(records), "--epochs", str(sizes.epochs), "--precision", precision]
    given += ["--batch-size", str(sizes.batch), "--num-frames", str(sizes.num_frames)]
    given += ["--audio-model", case.config.audio.model]
    asked = sizes.channels if case.config.audio.channels else sizes.units
    given += [f"--audio-{'channels' if case.config.audio.channels else 'units'}", *map(str, asked)] if asked else []
    return _fit(given)


def _fit(flags: Sequence[str]) -> Callable[[], None]:
    """Makes the call that trains by some flags into a folder that goes."""

    def train() -> None:
        import keras

        keras.backend.clear_session()
        with tempfile.TemporaryDirectory() as folder, quiet():
            fit.main([*flags, "--run", str(Path(folder) / "run")])

    return train


def make_fits(records: Mapping[str, Path]) -> Calls:
    """Makes a call for each folder of records: an epoch of a small network on it, with all that `fit` does around."""
    import_tensorflow()
    flags = ["--audio-channels", "8", "8", "--epochs", "1", "--num-frames", "128", "--precision", "float32"]
    return {name: _fit(["--branch", "audio", "--records", str(folder), *flags]) for name, folder in records.items()}


def make_encoder(checkpoint: Path, seconds: Sequence[float]) -> Calls:
    """Makes a call for each length of a clip: states behind the last block of our encoder."""
    import_tensorflow()
    from pipelines.audio import SAMPLE_RATE, whisper_checkpoint
    from pipelines.audio.speech_encoder import compiled

    found = whisper_checkpoint.find(str(checkpoint))
    encode = compiled(found.load().with_blocks((found.sizes.num_blocks,)))
    rng = np.random.default_rng(0)

    def call_of(length: float) -> Callable[[], None]:
        waveform = (3000 * rng.standard_normal((1, round(length * SAMPLE_RATE)))).astype(np.int16)

        def encode_one() -> None:
            encode(waveform)[0].numpy()

        return encode_one

    return {f"{length:g} s": call_of(length) for length in seconds}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what commands print."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _write_clips(records: Path, sizes: Sizes, path: Path) -> None:
    """Writes the clips of the training and of the validation split of the default folds, normalised and padded."""
    from emotion_tf.config import Config
    from emotion_tf.training import checks
    from pipelines.dataset import make_dataset

    fold = checks.check(Config("audio", str(records))).metadata.fold
    arrays: dict[str, np.ndarray] = {}
    for split in ("train", "validation"):
        dataset = make_dataset(records, getattr(fold, split), ("audio",), batch_size=2**20)
        features, label = next(iter(dataset.as_numpy_iterator()))[:2]
        log_mel = features["log_mel"]
        # Whole steps of every network.
        padding = max(-(-log_mel.shape[1] // 32) * 32, sizes.num_frames) - log_mel.shape[1]
        arrays[f"{split}_log_mel"] = np.pad(log_mel, [(0, 0), (0, padding), (0, 0)])
        arrays[f"{split}_num_frames"] = features["num_frames"]
        arrays[f"{split}_label"] = label.astype(np.int64)
    np.savez(path, **arrays)  # type: ignore[arg-type]
