"""The server that one writes in an evening, for comparison: FastAPI, an upload, the SavedModel clip by clip.

Started by `benchmarks.server` as `python -m benchmarks.plain_server --model RUN --port N`.
"""

import argparse
import sys
from pathlib import Path
from typing import Annotated

import numpy as np

from pipelines import audio
from pipelines.command import run_command


def main(argv: list[str] | None = None) -> None:
    """Serves until a signal comes."""
    import tensorflow as tf
    import uvicorn
    from fastapi import FastAPI, File, UploadFile

    from emotion_tf.serving import Predictor
    from emotion_tf.serving.sources import as_file

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args(argv)
    predictor = Predictor(arguments.model)
    serve, app = predictor.signature("serving_default"), FastAPI()

    @app.get("/readyz")
    def ready() -> str:
        return "ok"

    # Not async: FastAPI calls it in one of its threads.
    @app.post("/v1/classify")
    def classify(file: Annotated[UploadFile, File()]) -> dict[str, float]:
        with as_file(file.file.read()) as path:
            waveform = audio.to_float(audio.decode(path))[np.newaxis]
        found = serve(waveform=tf.constant(waveform), transcript=tf.constant([""]))
        return dict(zip(predictor.emotions, found["probabilities"].numpy()[0].tolist(), strict=True))

    uvicorn.run(app, port=arguments.port, log_level="error")


if __name__ == "__main__":
    sys.exit(run_command(main))
