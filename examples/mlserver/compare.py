"""Lets MLServer answer a clip, and compares: `python examples/mlserver/compare.py --model RUN clip.wav`.

RUN has an export of LiteRT (`python -m emotion_tf.export --run RUN --format litert`). MLServer gets an environment of
its own, in a temporary folder: that takes minutes, and --environment DIR keeps it. It serves on loopback for as long as
the question takes. Exits with 1 where a probability differs by more than 1e-4 from that of `predict` by the SavedModel.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

from emotion_tf.serving import Predictor
from pipelines import audio, text_python
from pipelines.command import InputError, run_command

PACKAGES = ("mlserver>=1.7", "ai-edge-litert>=2.3")
TOLERANCE = 1e-4
NAME = "emotion"


def main(argv: list[str] | None = None) -> None:
    """Serves, asks and compares."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="a run, or an export folder")
    parser.add_argument("--transcript", default="", help="what is said, for a model that reads words")
    parser.add_argument("--environment", type=Path, help="make it here, or take what is here")
    arguments = parser.parse_args(argv)
    predictor, files = Predictor(arguments.model), Predictor(arguments.model, "litert").files
    if "audio" not in predictor.modalities or "video" in predictor.modalities or predictor.num_context_lines:
        raise InputError(f"{arguments.model} reads other things than sound and words, or no sound: name another run.")
    with tempfile.TemporaryDirectory(prefix="mlserver-") as temporary:
        python = environment(arguments.environment or Path(temporary) / "environment")
        port = write_settings(Path(temporary) / "models", files[0].parent)
        given = predictor.read(arguments.clip, arguments.transcript)
        expected = predictor.predict_given(given).probabilities
        with subprocess.Popen([python.with_name("mlserver"), "start", str(Path(temporary) / "models")]) as server:
            try:
                found = ask(port, inputs_of(predictor, given), server)
            finally:
                server.terminate()
    for emotion, probability in zip(expected, found, strict=True):
        print(f"{emotion:12} MLServer {probability:.6f}  predict {expected[emotion]:.6f}")
    worst = max(abs(one - other) for one, other in zip(expected.values(), found, strict=True))
    print(f"largest difference {worst:.1e}")
    if worst > TOLERANCE:
        raise InputError(f"MLServer answers otherwise than predict, by {worst:.1e}.")


def environment(folder: Path) -> Path:
    """Makes an environment with MLServer, or finishes one whose making failed, unless it is there: its Python."""
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        if not python.with_name("mlserver").exists():
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): give another --environment.") from None
    except subprocess.CalledProcessError as error:
        raise InputError(
            f"{' and '.join(PACKAGES)} could not be installed into {folder} (exit status {error.returncode}): see what"
            " pip printed, and run the same command again."
        ) from None
    return python


def write_settings(folder: Path, litert: Path) -> int:
    """Writes what MLServer reads of one model: the port that it will listen at."""
    ports = free_ports(3)
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("emotion_runtime.py"), folder)
    names = ("http_port", "grpc_port", "metrics_port")
    # In one process: a second one would have to find the runtime, too.
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **dict(zip(names, ports, strict=True))}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {"name": NAME, "implementation": "emotion_runtime.Emotion"}
    model["parameters"] = {"uri": str(litert), "version": litert.parent.name}
    (folder / "model-settings.json").write_text(json.dumps(model))
    return ports[0]


def free_ports(count: int) -> list[int]:
    """Finds ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def inputs_of(predictor: Predictor, given) -> list[dict]:
    """Writes a clip as tensors of the Open Inference Protocol."""
    waveform = audio.pad_together([given.clip.waveform])
    inputs = [tensor("waveform", "FP32", waveform[0].tolist())]
    if "text" in predictor.modalities:
        ids = text_python.token_ids(given.transcript, predictor.metadata["max_tokens"])
        inputs.append(tensor("token_ids", "INT32", ids))
    return inputs


def tensor(name: str, datatype: str, values: list) -> dict:
    """Writes a tensor of one row."""
    return {"name": name, "datatype": datatype, "shape": [1, len(values)], "data": values}


def ask(port: int, inputs: list[dict], server: subprocess.Popen, seconds: float = 120.0) -> list[float]:
    """Asks once the model is ready: its probabilities."""
    url, until = f"http://127.0.0.1:{port}/v2/models/{NAME}", time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"{url}/ready", timeout=10).close()
            break
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > until:
                raise InputError("MLServer did not start: see what it printed.") from None
            time.sleep(0.2)
    body = json.dumps({"inputs": inputs}).encode()
    request = urllib.request.Request(f"{url}/infer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        outputs = json.load(answer)["outputs"]
    return next(one["data"] for one in outputs if one["name"] == "probabilities")


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(run_command(main))
