"""Answers over HTTP and WebSockets: `python -m emotion_tf.serve --model RUN [--model NAME=RUN ...]`.

Routes: /v1/classify, /v1/batch and /v1/timeline take recordings, /v1/stream a voice as it comes in; TensorFlow
Serving's REST API and the Open Inference Protocol take arrays; /healthz, /readyz and /metrics are for what watches the
server; /docs lists all. SIGTERM and Ctrl-C finish what is under way.
"""

import argparse
import contextlib
import ipaddress
import logging
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.serving.loading import FORMATS, find_model
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.ray_cluster import Cluster, serve_until_signal
from emotion_tf.serving.server_settings import DEFAULT_MODEL, ServerSettings
from pipelines.command import InputError, run_command
from pipelines.files import stop_on_unreadable
from pipelines.parsers import Group, add_flag, command_parser
from pipelines.processes import num_cores
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings, add_whisper_arguments

if TYPE_CHECKING:
    from fastapi import FastAPI

_MIB = 2**20


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, loads the models and serves until a signal ends it.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = make_parser().parse_args(argv)
    settings, models = settings_of(arguments), models_of(arguments.model)
    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise InputError("--tls-cert and --tls-key belong together: give both, or none.")
    if arguments.replicas < 1:
        raise InputError("--replicas cannot work: give at least 1.")
    if arguments.tls_cert is not None:
        _stop_without_key(arguments.tls_cert, arguments.tls_key)
    try:
        from emotion_tf.serving.app import create_app
    except ImportError as error:
        raise InputError(f"the server needs {error.name}: python -m pip install 'emotion_tf[serve]'.") from None
    if not settings.tokens and not _is_loopback(arguments.host):
        print(f"note: {arguments.host} may be reached by others, and no --tokens are asked for.", file=sys.stderr)
    if arguments.ray is not None:
        _serve_on_ray(arguments, models, settings)
        return
    # Before models are loaded, which takes seconds.
    with bound_socket(arguments.host, arguments.port) as bound:
        print(
            f"{_url(arguments, bound)} answers once the models are loaded; its page /docs has examples.",
            file=sys.stderr,
        )
        predictors = {name: Predictor(path, settings.model_format) for name, path in models.items()}
        app = create_app(predictors, settings, _transcriber(arguments))
        _run(app, bound, arguments, settings)


def _serve_on_ray(arguments: argparse.Namespace, models: dict[str, Path], settings: ServerSettings) -> None:
    """Serves on a cluster until a signal comes."""
    if arguments.whisper_model or arguments.language or arguments.device:
        raise InputError("--ray transcribes with whisper's usual model: leave the flags of transcription out.")
    for path in models.values():
        find_model(path, settings.model_format)
    tls = (str(arguments.tls_cert), str(arguments.tls_key)) if arguments.tls_cert else None
    cluster = Cluster(arguments.ray, arguments.replicas, host=arguments.host, port=arguments.port, tls=tls)
    serve_until_signal(models, settings, cluster)


def bound_socket(host: str, port: int) -> socket.socket:
    """Takes a port.

    Raises:
      InputError: It cannot be taken: there is none of that number, another program has it, or the address is not one of
        this machine.
    """
    # getaddrinfo takes a larger number for what its 16 lower bits say.
    if not 0 <= port < 2**16:
        raise InputError(f"--port {port} is none: give a number from 0 to {2**16 - 1}.")
    with contextlib.ExitStack() as stack:
        try:
            family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            bound = stack.enter_context(socket.socket(family, kind))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError as error:
            what = f"{host}, port {port} cannot be taken ({error.strerror})"
            raise InputError(f"{what}: give another --port or --host.") from None
        stack.pop_all()
    return bound


def _run(app: "FastAPI", bound: socket.socket, arguments: argparse.Namespace, settings: ServerSettings) -> None:
    """Serves until a signal comes, and finishes what is under way."""
    import uvicorn

    from emotion_tf.serving.connections import Connection
    from emotion_tf.serving.live import MAX_MESSAGE_BYTES

    log = logging.getLogger("emotion_tf.serve")
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    options: dict[str, Any] = {"ssl_certfile": arguments.tls_cert, "ssl_keyfile": arguments.tls_key}
    config = uvicorn.Config(
        app,
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_MESSAGE_BYTES,
        timeout_graceful_shutdown=int(settings.timeout_seconds) + 1,
        **options,
    )
    uvicorn.Server(config).run(sockets=[bound])


def _transcriber(arguments: argparse.Namespace) -> Transcriber | None:
    """Loads the whisper model that is named; the usual one waits until somebody asks for it."""
    named = (arguments.whisper_model, arguments.language, arguments.device)
    return Transcriber(WhisperSettings.of(arguments)) if any(named) else None


def models_of(given: list[str]) -> dict[str, Path]:
    """Reads `NAME=DIR` and `DIR`, which is called `default`.

    Raises:
      InputError: A name twice, or one that fits into no path of a URL.
    """
    models: dict[str, Path] = {}
    for one in given:
        name, has_name, path = one.partition("=")
        name, path = (name, path) if has_name else (DEFAULT_MODEL, one)
        if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
            raise InputError(f"{name!r} is no name of a model: take letters, digits, - and _.")
        if name in models:
            raise InputError(f"two models are called {name}: give each a name of its own, --model NAME=DIR.")
        models[name] = Path(path)
    return models


def settings_of(arguments: argparse.Namespace) -> ServerSettings:
    """Makes the settings of the flags.

    Raises:
      InputError: Limits that cannot work, or a file of tokens that cannot be read.
    """
    return ServerSettings(
        model_format=arguments.format,
        max_bytes=arguments.max_mib * _MIB,
        max_seconds=arguments.max_seconds,
        max_timeline_seconds=arguments.max_timeline_seconds,
        max_requests=arguments.max_requests,
        max_streams=arguments.max_streams,
        timeout_seconds=arguments.timeout,
        batch_wait_seconds=arguments.batch_wait_ms / 1000,
        max_waiting=arguments.max_waiting,
        num_workers=num_cores() if arguments.workers is None else arguments.workers,
        worker_memory_bytes=arguments.worker_memory_mib * _MIB,
        poll_seconds=arguments.poll_seconds,
        tokens=_tokens(arguments.tokens) if arguments.tokens else (),
        origins=tuple(arguments.allow_origin),
    )


def _tokens(path: Path) -> tuple[str, ...]:
    """Reads tokens, one a line; lines that begin with # are remarks."""
    stop_on_unreadable(path)
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} holds more than ASCII: make tokens of letters and digits.") from None
    tokens = tuple(line for line in map(str.strip, lines) if line and not line.startswith("#"))
    if not tokens:
        raise InputError(f"{path} holds no token: write one a line.")
    return tokens


def _url(arguments: argparse.Namespace, bound: socket.socket) -> str:
    """Writes where the server is reached."""
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    return f"{'https' if arguments.tls_cert else 'http'}://{host}:{bound.getsockname()[1]}"


def _stop_without_key(cert: Path, key: Path) -> None:
    """Stops on files that are no certificate and its key."""
    for path in (cert, key):
        stop_on_unreadable(path)
    try:
        # An empty password, or OpenSSL would ask for one.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError:
        sentence = "are no certificate and its key: give both as PEM, the key without a password."
        raise InputError(f"--tls-cert {cert} and --tls-key {key} {sentence}") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.serve", __doc__, "--model RUN [FLAG ...]")
    sentence = f"Serve the export of this run or folder; without a name it is called {DEFAULT_MODEL}; may be repeated."
    add_flag(parser, "--model", sentence, action="append", required=True, metavar="[NAME=]RUN")
    sentence = (
        "Answer with this format of the exports; litert needs no TensorFlow, but takes recordings and words alone."
    )
    add_flag(parser, "--format", sentence, choices=FORMATS, shown="what --model names, else savedmodel")
    add_flag(parser, "--host", "Listen at this address.", default="127.0.0.1", metavar="ADDRESS")
    add_flag(parser, "--port", "Listen at this port.", type=int, default=8501, metavar="N")
    add_flag(
        parser, "--workers", "Decode in so many processes.", type=int, default=None, metavar="N", shown="one a core"
    )
    sentence = "Look for a new version of each model so often; 0: never."
    add_flag(parser, "--poll-seconds", sentence, type=float, default=ServerSettings().poll_seconds, metavar="SECONDS")
    sentence = "Serve on this Ray cluster: local starts one on this machine; auto finds one; or the address of a head."
    add_flag(parser, "--ray", sentence, metavar="local|auto|ADDRESS", shown="without Ray")
    sentence = "With --ray: run at most so many replicas, as many as are needed."
    add_flag(parser, "--replicas", sentence, "at least 1", type=int, default=1, metavar="N")
    add_whisper_arguments(parser.add_argument_group("transcription, where a request asks for it"))
    _add_access_flags(parser.add_argument_group("access"))
    _add_limit_flags(parser.add_argument_group("limits"))
    return parser


def _add_access_flags(group: Group) -> None:
    sentence = "Ask for one of the tokens in this file, one a line."
    add_flag(group, "--tokens", sentence, type=Path, metavar="FILE")
    add_flag(group, "--tls-cert", "Serve over TLS with this certificate (PEM).", type=Path, metavar="FILE")
    add_flag(group, "--tls-key", "Its private key (PEM).", type=Path, metavar="FILE")
    sentence = "Let scripts of pages of this origin ask, such as https://example.org; may be repeated."
    add_flag(group, "--allow-origin", sentence, action="append", default=[], metavar="ORIGIN", shown="none")


def _add_limit_flags(group: Group) -> None:
    usual = ServerSettings()
    above = "above 0"
    for flag, sentence, default, unit in (
        ("--max-mib", "Refuse larger bodies.", usual.max_bytes / _MIB, "MIB"),
        ("--max-seconds", "Refuse longer utterances, of at most 30 s.", usual.max_seconds, "SECONDS"),
        ("--max-timeline-seconds", "Refuse longer recordings.", usual.max_timeline_seconds, "SECONDS"),
        ("--timeout", "Answer 504 after this time.", usual.timeout_seconds, "SECONDS"),
        ("--worker-memory-mib", "End the decoding of what takes more memory.", usual.worker_memory_bytes / _MIB, "MIB"),
        ("--batch-wait-ms", "Wait so long for utterances to predict together.", 1000 * usual.batch_wait_seconds, "MS"),
    ):
        add_flag(group, flag, sentence, above, type=float, default=default, metavar=unit)
    for flag, sentence, count in (
        ("--max-requests", "Answer 503 to more requests at once.", usual.max_requests),
        ("--max-streams", "Refuse more streams at once.", usual.max_streams),
        ("--max-waiting", "Answer 503 where more utterances wait for a model.", usual.max_waiting),
    ):
        add_flag(group, flag, sentence, "at least 1", type=int, default=count, metavar="N")


if __name__ == "__main__":
    raise SystemExit(run_command(main, is_server=True))
