"""Measures one clip from waveform to answer: `python -m benchmarks.latency --model RUN --whisper tiny.en.pt`.

Times the exported SavedModel of a run that reads states of an encoder, on a clip of three seconds, and in turn with it
openai-whisper's own encoder, which pads the same clip to 30 s. Writes results/latency.json beside this file, where
the results of other checkpoints stay.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_files import commit, read_result, write_result
from emotion_tf.serving import Predictor
from pipelines import audio
from pipelines.command import InputError, run_command
from pipelines.whisper_models import import_whisper


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--whisper", type=Path, required=True, help="the checkpoint (.pt) of its encoder")
    parser.add_argument("--clip", type=Path, help="a recording; without one a made sound")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--repetitions", type=int, default=50)
    arguments = parser.parse_args(argv)
    result = measure(arguments.model, arguments.whisper, _clip(arguments), arguments.repetitions)
    models = read_result("latency").get("models", {}) | {arguments.whisper.stem: result | {"commit": commit()}}
    write_result("latency", {"models": models})
    print(json.dumps(result, indent=1))


def measure(model: Path, checkpoint: Path, waveform: np.ndarray, repetitions: int) -> dict[str, Any]:
    """Times both in turn, so that what else the machine does meets them alike.

    Args:
      model: A run or an export folder.
      checkpoint: Of whisper, in openai-whisper's own format.
      waveform: [num_samples] float32 at 16 kHz.
      repetitions: Measured calls of each, after five that are not.
    """
    predictor = Predictor(model)
    batch = waveform[np.newaxis]
    calls = {"saved_model": lambda: predictor.predict_batch(batch, [""]), "whisper": whisper_call(checkpoint, waveform)}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(5 + repetitions):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number >= 5:
                seconds[name].append(time.perf_counter() - start)
    p50 = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    p95 = {name: 1000 * float(np.quantile(values, 0.95)) for name, values in seconds.items()}
    return {
        "encoder": predictor.metadata["encoder"],
        "variables": predictor.metadata["variables"],
        "seconds": round(len(waveform) / audio.SAMPLE_RATE, 3),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 1),
        "repetitions": repetitions,
        "p50_ms": {name: round(value, 1) for name, value in p50.items()},
        "p95_ms": {name: round(value, 1) for name, value in p95.items()},
        "ratio": round(p50["saved_model"] / p50["whisper"], 3),
    }


def whisper_call(checkpoint: Path, waveform: np.ndarray) -> Callable[[], Any]:
    """Makes the call of whisper's own encoder, log-mel and padding to 30 s in it."""
    whisper = import_whisper()
    import torch

    model = whisper.load_model(str(checkpoint.resolve()), device="cpu")
    # As `transcribe` pads it.
    num_mels, samples = model.dims.n_mels, whisper.pad_or_trim(waveform)

    def encode() -> Any:
        """Encodes the clip."""
        with torch.no_grad():
            return model.embed_audio(whisper.log_mel_spectrogram(samples, num_mels)[None])

    return encode


def _clip(arguments: argparse.Namespace) -> np.ndarray:
    """Reads the clip, or makes one, of so many seconds: [num_samples] float32."""
    length = round(arguments.seconds * audio.SAMPLE_RATE)
    if arguments.clip is None:
        rng = np.random.default_rng(0)
        return (0.1 * rng.standard_normal(length)).astype(np.float32)
    waveform = audio.to_float(audio.decode(arguments.clip))
    if len(waveform) < length:
        raise InputError(f"{arguments.clip} is shorter than --seconds {arguments.seconds:g}: name another.")
    return waveform[:length]


if __name__ == "__main__":
    sys.exit(run_command(main))
