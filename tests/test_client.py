"""Tests of emotion_tf.serving.client: what a server says reaches Python, over a real socket."""

import contextlib
import socket
import threading
import time
import urllib.parse
import urllib.request

import numpy as np
import pytest
import uvicorn
from test_serve import TOKEN, voice, wav

from emotion_tf.serving import Client, ServerError
from emotion_tf.serving import client as client_module
from emotion_tf.serving.app import create_app
from emotion_tf.serving.batching import Batcher, OverloadedError
from emotion_tf.serving.server_settings import ServerSettings
from emotion_tf.serving.service import Service


@contextlib.contextmanager
def serving(predictor, settings):
    """Serves in a thread; yields the address."""
    app = create_app({"default": predictor}, settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(loud_predictor):
    """The address of a server."""
    with serving(loud_predictor, ServerSettings(tokens=(TOKEN,), max_seconds=5)) as url:
        yield url


@pytest.fixture
def client(url):
    return Client(url, TOKEN)


def test_recordings_get_the_answers_of_the_predictor(client, loud_predictor):
    found = client.classify(wav(1), "oh no", with_embedding=True)
    expected = loud_predictor.predict(wav(1), "oh no", with_embedding=True)
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)
    assert found["embedding"] == pytest.approx(expected.embedding.tolist(), abs=1e-6)
    assert [one.get("seconds") for one in client.batch([wav(1), b"nothing", wav(2)])] == [1, None, 2]
    assert client.timeline(wav(2))["seconds"] == 2
    assert client.timeline(wav(2), "vtt").startswith("WEBVTT")


def test_a_stream_gets_answers_while_it_is_sent(client, loud_predictor):
    content = voice(2)
    answers = list(client.stream(content[start : start + 8000] for start in range(0, len(content), 8000)))
    assert answers[-1]["end"] == 2
    expected = loud_predictor.predict(np.frombuffer(content, "<i2"), sample_rate=16000)
    assert answers[-1]["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)
    with pytest.raises(ServerError, match="states a sample rate of 7 Hz"):
        list(client.stream([content], sample_rate=7))


def test_a_chunk_of_any_length_is_sent(client):
    assert list(client.stream([voice(60)]))[-1]["end"] == 60
    assert list(client.stream([bytearray(voice(1)), b""]))[-1]["end"] == 1


def chunks_that_end_with(error):
    yield voice(1)
    raise error


@pytest.mark.parametrize(
    ("chunks", "error", "sentence"),
    [
        (chunks_that_end_with(OSError("the microphone is gone")), OSError, "the microphone is gone"),
        ([voice(1), np.zeros(100, np.int16)], TypeError, "a chunk is ndarray, and no bytes of int16"),
        (["abc"], TypeError, "a chunk is str"),
    ],
)
def test_what_stops_the_voice_is_raised_where_the_answers_are_read(client, chunks, error, sentence):
    with pytest.raises(error, match=sentence):
        list(client.stream(chunks))


def test_what_the_server_refuses_is_raised_with_its_sentence(client, url):
    for ask, status in ((lambda: client.classify(wav(6)), 413), (lambda: client.classify(b"nothing"), 422)):
        with pytest.raises(ServerError, match="the recording") as refused:
            ask()
        assert refused.value.status == status
    for other in (Client(url), Client(url, TOKEN[:-1])):
        with pytest.raises(ServerError, match="a token lacks"):
            other.classify(wav(1))
        with pytest.raises(ServerError, match="does not accept the stream"):
            list(other.stream([voice(1)]))
    with pytest.raises(ServerError, match="Servable not found") as refused:
        Client(url, TOKEN, model="other").classify(wav(1))
    assert refused.value.status == 404


def test_what_passes_is_asked_again_as_often_as_wanted(loud_predictor, monkeypatch):
    monkeypatch.setattr(client_module, "_PAUSE_SECONDS", 0)
    submit, left = Batcher.submit, ["full", "full"]

    async def full_at_first(self, item):
        if left:
            raise OverloadedError(left.pop())
        return await submit(self, item)

    monkeypatch.setattr(Batcher, "submit", full_at_first)
    with serving(loud_predictor, ServerSettings(num_workers=1)) as url:
        with pytest.raises(ServerError, match="full: ask again in a second") as refused:
            Client(url).classify(transcript="oh")
        assert refused.value.retry_after == 1
        assert Client(url, num_tries=2).classify(transcript="oh")["emotion"] == "calm"
        with pytest.raises(ServerError, match="the recording"):
            Client(url, num_tries=2).classify(b"nothing")
    with pytest.raises(OSError, match="refused"):
        Client(url, num_tries=2).classify(transcript="oh")


def test_a_file_or_words_alone_are_sent_whatever_the_name_of_the_file_is(client, tmp_path):
    file = tmp_path / 'a "b" ü.wav'
    file.write_bytes(wav(0.5))
    assert client.classify(file)["seconds"] == 0.5
    assert client.classify(transcript="oh")["file"] is None


def test_a_client_that_leaves_frees_its_work(loud_predictor, monkeypatch):
    free = threading.Event()
    read = Service._given
    monkeypatch.setattr(Service, "_given", lambda *given: free.wait(30) and read(*given))
    with serving(loud_predictor, ServerSettings(num_workers=1)) as url:
        host = urllib.parse.urlsplit(url)
        content = b"--x\r\nContent-Disposition: form-data; name=transcript\r\n\r\noh\r\n--x--\r\n"
        kind = "Content-Type: multipart/form-data; boundary=x"
        head = f"POST /v1/classify HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        with socket.create_connection((host.hostname, host.port)) as connection:
            connection.sendall(head.encode() + content)
            wait_for(url, "emotion_tf_requests_under_way 2.0")  # The one that asks for this is the other.
        wait_for(url, "emotion_tf_requests_under_way 1.0")
        assert 'route="/v1/classify",status="499"' in page(url)
        free.set()
        assert Client(url).classify(transcript="oh")["emotion"] == "calm"


def page(url):
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        return answer.read().decode()


def wait_for(url, line):
    for _ in range(500):
        if line in page(url):
            return
        time.sleep(0.02)
    raise AssertionError(f"{line} does not come")
