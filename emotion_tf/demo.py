"""Shows a page to speak into: `python -m emotion_tf.demo [--model RUN] [--port 8502]`.

It records or takes a file or a generated example, and shows waveform, spectrogram, calibrated bars, what the answer
rests on, a timeline of longer recordings, and a live tab that answers while somebody speaks. It offers the exports in
saved_models/ and asks `emotion_tf.serving.Predictor`. It needs the extra `demo` and listens on this machine alone;
Ctrl-C ends it.
"""

import argparse
import errno
import importlib.util
import os
import socket
import sys
from pathlib import Path

from emotion_tf.serving.loading import find_version, read_metadata
from pipelines.command import InputError, run_command
from pipelines.parsers import add_flag, command_parser

PAGE = Path(__file__).parent / "serving" / "demo_page.py"

HOST = "127.0.0.1"

OPTIONS = (
    f"--server.address={HOST}",
    "--server.headless=true",
    "--server.fileWatcherType=none",
    "--server.showEmailPrompt=false",
    "--browser.gatherUsageStats=false",
    "--client.toolbarMode=minimal",
    "--client.showErrorDetails=none",
    # Its own red is too pale for small letters.
    "--theme.light.primaryColor=#00695c",
    "--theme.dark.primaryColor=#4db6ac",
)
"""Of Streamlit: it opens no browser and asks for no address, sends no statistics, and keeps tracebacks to itself."""


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, and becomes the process of the page.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = make_parser().parse_args(argv)
    for name in ("streamlit", "fastapi", "uvicorn", *(["whisper"] if arguments.whisper_model else [])):
        if importlib.util.find_spec(name) is None:
            extra = "demo,whisper" if name == "whisper" else "demo"
            raise InputError(f"the page needs {name}: python -m pip install 'emotion_tf[{extra}]'.")
    if arguments.model is not None:
        read_metadata(find_version(arguments.model))
    _stop_on_taken(arguments.port)
    print(f"The page is at http://localhost:{arguments.port} until Ctrl-C.", flush=True)
    os.execv(sys.executable, command(arguments))


def command(arguments: argparse.Namespace) -> list[str]:
    """Makes the command line of Streamlit, and behind a -- that of the page."""
    run = [sys.executable, "-m", "streamlit", "run", str(PAGE), f"--server.port={arguments.port}", *OPTIONS, "--"]
    if arguments.whisper_model:
        run += ["--whisper-model", arguments.whisper_model]
    return run if arguments.model is None else [*run, "--model", str(arguments.model.resolve())]


def _stop_on_taken(port: int) -> None:
    """Stops on a port that cannot be taken, before anything is loaded.

    Raises:
      InputError: There is none of that number, or another program has it.
    """
    if not 0 < port < 2**16:
        raise InputError(f"--port {port} is none: give a number from 1 to {2**16 - 1}.")
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        reason = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror
        raise InputError(f"port {port} cannot be taken ({reason}): give another --port.") from None


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.demo", __doc__, "[--model RUN] [--port 8502]")
    sentence = "Show the export of this run, this export folder or this version folder first."
    add_flag(parser, "--model", sentence, type=Path, metavar="RUN", shown="the first of saved_models")
    sentence = "Offer this model of whisper first: tiny, base, small.en, ..., or a checkpoint file."
    add_flag(parser, "--whisper-model", sentence, metavar="NAME", shown="tiny.en")
    add_flag(parser, "--port", "Listen at this port of this machine.", type=int, default=8502, metavar="N")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_command(main, is_server=True))
