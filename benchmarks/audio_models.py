"""Sets the audio models beside each other: `python -m benchmarks.audio_models [--models NAME...]`.

Each is trained on crops of 128 frames for a few epochs, exported, loaded in a new process and compared, and timed: a
training step on 32 clips of 256 frames, and one recording of three seconds before the export. Everything else is as
`fit` does it by default, but efficientnet goes without masks and mixup. Writes results/audio_models.json beside this
file, model by model.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.result_files import commit, read_result, write_result
from emotion_tf import export, fit
from emotion_tf.config import AUDIO_MODELS, AudioConfig, Config, TrainingConfig
from emotion_tf.runs.compatibility import inputs_of
from emotion_tf.runs.folder import Run
from pipelines.audio import SAMPLE_RATE
from pipelines.command import import_tensorflow, run_command
from pipelines.records import read_metadata

EPOCHS = {"cnn": 8, "cnn_attention": 6, "crnn": 8, "gru": 5, "resnet": 5, "efficientnet": 6, "transformer": 8}
NUM_FRAMES = 128

PLAIN: dict[str, Any] = {"num_mel_masks": 0, "num_frame_masks": 0, "mixup": 0.0}
"""Of efficientnet, which so few steps teach next to nothing of masked and mixed clips."""


def main(argv: list[str] | None = None) -> None:
    """Measures model by model, prints and writes the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, default=Path("data/records/synthetic"))
    parser.add_argument("--models", nargs="+", choices=AUDIO_MODELS, default=AUDIO_MODELS)
    parser.add_argument("--epochs", type=int, help="of every model (default: of each its own)")
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args(argv)
    import_tensorflow()
    result = read_result("audio_models")
    result |= {"corpus": read_metadata(arguments.records).corpus, "cores": len(os.sched_getaffinity(0))}
    result |= {"num_frames": NUM_FRAMES, "models": result.get("models", {})}
    for model in arguments.models:
        epochs = arguments.epochs or EPOCHS[model]
        found = measure(arguments.records, model, epochs, arguments.repetitions)
        result["models"][model] = found | {"commit": commit()}
        print(model, json.dumps(result["models"][model]), flush=True)
        write_result("audio_models", result)


def measure(records: Path, model: str, epochs: int, repetitions: int) -> dict[str, Any]:
    """Trains, exports and times one model."""
    import keras

    changes = PLAIN if model == "efficientnet" else {}
    training = TrainingConfig(epochs=epochs, num_frames=NUM_FRAMES, warm_up_epochs=1, confusion_every=0, **changes)
    config = Config("audio", str(records), audio=AudioConfig(model=model), training=training)
    keras.backend.clear_session()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / model)
        start, start_of_work = time.perf_counter(), time.process_time()
        fit.fit(config, run)
        seconds, worked = time.perf_counter() - start, time.process_time() - start_of_work
        said = export.export(run, Path(folder) / "export")
        worst = re.search(r" to (\S+), loaded in a new process", said)
        return {
            "parameters": sum(weights.size for weights in run.model().get_weights()),
            "epochs": epochs,
            "training_seconds": round(seconds, 1),
            "training_seconds_of_processors": round(worked, 1),
            "validation_unweighted_average_recall": run.scores()["validation"]["unweighted_average_recall"],
            "export_difference": float(worst[1]) if worst else None,
            "milliseconds_a_clip": round(_milliseconds(_prediction(Path(folder) / "export"), 3 * repetitions), 1),
            "milliseconds_a_step": round(_milliseconds(_step(config, run), repetitions)),
        }


def _prediction(folder: Path) -> Callable[[], Any]:
    """Makes a call that predicts the emotion of three seconds of noise."""
    import numpy as np

    from emotion_tf.serving import Predictor

    predictor = Predictor(folder)
    waveform = np.random.default_rng(0).uniform(-0.1, 0.1, (1, 3 * SAMPLE_RATE)).astype(np.float32)
    return lambda: predictor.predict_batch(waveform, [""])


def _step(config: Config, run: Run) -> Callable[[], Any]:
    """Makes a call that trains on 32 clips of 256 frames."""
    import numpy as np

    from emotion_tf.training.train import make_model

    metadata, rng = run.metadata(), np.random.default_rng(0)
    model = make_model(config, metadata, inputs_of(run), 100)
    num_emotions = len(metadata.emotions)
    shape = (32, 256, metadata.front_end["mel_bins"])
    features = {"log_mel": rng.standard_normal(shape).astype(np.float32), "num_frames": np.full(32, 256, np.int32)}
    labels = np.eye(num_emotions, dtype=np.float32)[rng.integers(num_emotions, size=32)]
    return lambda: model.train_on_batch(features, labels)


def _milliseconds(call: Callable[[], Any], repetitions: int) -> float:
    """Times a call in the median, after two that are not counted."""
    times = []
    for _ in range(2 + repetitions):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


if __name__ == "__main__":
    sys.exit(run_command(main))
