"""Tests of emotion_tf.serve: its flags, a process that serves, and how it ends."""

import contextlib
import io
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from emotion_tf import serve
from emotion_tf.serving import Client, Predictor, ServerError
from pipelines.command import InputError

ROOT = Path(__file__).parents[1]
TOKEN = "a-long-token-of-one-client"


def voice(seconds):
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16000))
    return np.rint(32767 * samples).astype("<i2").tobytes()


def wav(seconds):
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(voice(seconds))
    return content.getvalue()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def started(model, folder, port, *flags, context=None):
    """A process that serves: its URL and itself; killed at the end, if it still runs."""
    command = [sys.executable, "-m", "emotion_tf.serve", "--model", str(model), "--port", str(port), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
            _wait_until_ready(url, process, context)
            yield url, process
        finally:
            process.kill()


@pytest.fixture
def server(loud_export, tmp_path):
    """A process that serves with a token."""
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(f"# of one client\n{TOKEN}\n")
    with started(loud_export, tmp_path, free_port(), "--tokens", str(tokens), "--max-seconds", "5") as found:
        yield found


def _wait_until_ready(url, process, context):
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5, context=context):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not become ready")


@pytest.mark.slow
def test_a_client_is_answered_by_a_process_that_ends_when_asked(server, loud_export):
    url, process = server
    client = Client(url, TOKEN)
    expected = Predictor(loud_export).predict(wav(1), "oh no").probabilities
    assert client.classify(wav(1), "oh no")["probabilities"] == pytest.approx(expected, abs=2e-6)
    assert list(client.stream([voice(1)]))[-1]["end"] == 1
    with pytest.raises(ServerError, match="a token lacks"):
        Client(url).classify(wav(1))
    _finishes(client, process)


def _finishes(client, process):
    """What is under way when the signal comes is answered."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.batch, [wav(4)] * 32)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert [one["seconds"] for one in slow.result(60)] == [4] * 32
    assert process.wait(30) in (0, -signal.SIGTERM)
    lines = process.stderr.read().splitlines()
    assert re.match(r"http://127\.0\.0\.1:\d+ answers once the models are loaded", lines[0])
    assert re.search(r'"event": "ready", "models": \["default"\]', "\n".join(lines))
    assert re.search(r'"route": "/v1/classify", "status": 200', "\n".join(lines))
    assert not [line for line in lines if "Traceback" in line or TOKEN in line]


@pytest.mark.slow
def test_tls_is_spoken_and_a_killed_server_starts_again(loud_export, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.private_key_pem.write_to_path(str(key))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(cert), append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    port, flags = free_port(), ("--tls-cert", str(cert), "--tls-key", str(key), "--workers", "1")
    for _ in range(2):
        with started(loud_export, tmp_path, port, *flags, context=context) as (url, process):
            client = Client(url, context=context)
            assert client.classify(wav(1))["seconds"] == 1
            assert list(client.stream([voice(1)]))[-1]["end"] == 1
            with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
                Client(url).classify(wav(1))
            with pytest.raises(OSError, match=r"(?i)reset|closed|disconnected"):
                Client(url.replace("https", "http")).classify(wav(1))
            decoders = _children(process.pid)
            assert decoders
            process.kill()
        _wait_until_gone(decoders)


def _children(parent):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True)
    return [int(one) for one in found.stdout.split()]


def _wait_until_gone(processes):
    for _ in range(100):
        if not any(Path(f"/proc/{one}").exists() for one in processes):
            return
        time.sleep(0.1)
    raise AssertionError("the processes that decode are still there")


def test_a_port_that_another_program_has_gets_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} cannot be taken \(Address already in use\)"):
            serve.bound_socket("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("localhost", "localhost")]
)
def test_the_address_that_is_told_has_the_port_that_was_taken(host, written):
    arguments = serve.make_parser().parse_args(["--model", "a", "--host", host])
    with serve.bound_socket("127.0.0.1", 0) as bound:
        assert serve._url(arguments, bound) == f"http://{written}:{bound.getsockname()[1]}"


def test_models_are_named_or_called_default():
    assert serve.models_of(["a", "b=c/d"]) == {"default": Path("a"), "b": Path("c/d")}
    for given, sentence in (
        (["a", "b"], "two models are called default"),
        (["x=a", "x=b"], "two models are called x"),
        (["../x=a"], r"'\.\./x' is no name of a model"),
        (["=a"], "'' is no name of a model"),
    ):
        with pytest.raises(InputError, match=sentence):
            serve.models_of(given)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--tokens", "none.txt"], r"none\.txt does not exist"),
        (["--tokens", "empty.txt"], "holds no token"),
        (["--tokens", "latin.txt"], "more than ASCII"),
        (["--tokens", "short.txt"], "fewer than 16 characters"),
        (["--tls-cert", "empty.txt"], "--tls-cert and --tls-key belong together"),
        (["--tls-cert", "none.pem", "--tls-key", "none.pem"], r"none\.pem does not exist"),
        (["--tls-cert", "empty.txt", "--tls-key", "empty.txt"], r"are no certificate and its key: give both as PEM"),
        (["--tokens", "indented.txt"], "holds no token"),
        (["--tokens", "spaced.txt"], "a token holds more than letters, digits and"),
        (["--max-seconds", "31"], "--max-seconds 31 cannot work"),
        (["--max-mib", "0"], "--max-mib cannot work"),
        (["--max-mib", "inf"], "--max-mib cannot work"),
        (["--max-requests", "0"], "--max-requests cannot work"),
        (["--timeout", "nan"], "--timeout cannot work"),
        (["--batch-wait-ms", "-1"], "--batch-wait-ms"),
        (["--workers", "0"], "--workers cannot work"),
        (["--worker-memory-mib", "0"], "--worker-memory-mib cannot work"),
        (["--poll-seconds", "-1"], "--poll-seconds cannot work"),
        (["--port", "99999"], "--port 99999 is none"),
        (["--port", "-1"], "--port -1 is none"),
        (["--host", "256.0.0.1"], "256.0.0.1, port 8501 cannot be taken"),
        (["--port", "0"], "nowhere holds no exported model"),
    ],
)
def test_flags_that_cannot_work_get_a_sentence(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "short.txt").write_text("short\n")
    (tmp_path / "indented.txt").write_text("  # a remark of some length\n")
    (tmp_path / "spaced.txt").write_text("sixteen or more characters\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe9" * 20)
    with pytest.raises(InputError, match=sentence):
        serve.main(["--model", "nowhere", *flags])


def test_keys_of_another_certificate_or_with_a_password_get_a_sentence(tmp_path):
    authority = trustme.CA()
    cert, key, other, locked = (tmp_path / name for name in ("cert.pem", "key.pem", "other.pem", "locked.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(cert))
    certificate.private_key_pem.write_to_path(str(key))
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(other))
    password = serialization.BestAvailableEncryption(b"secret")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL)
    locked.write_bytes(private.private_bytes(*form, password))
    serve._stop_without_key(cert, key)
    for wrong in (other, locked, cert):
        with pytest.raises(InputError, match="are no certificate and its key"):
            serve._stop_without_key(cert, wrong)
