"""Tests of emotion_tf.serving.live: answers and events while samples come in, and what ends a stream."""

import numpy as np
import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from emotion_tf.serving.app import create_app
from emotion_tf.serving.server_settings import ServerSettings

PATH = "/v1/stream?sample_rate=16000"
TOKEN = "a-long-token-of-one-client"


def voice(seconds, sample_rate=16000):
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * sample_rate))
    return np.rint(32767 * samples).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def client(loud_predictor):
    settings = ServerSettings(max_streams=1, origins=("https://example.org",))
    with TestClient(create_app({"default": loud_predictor}, settings)) as client:
        yield client


def until_closed(socket):
    """Reads messages until the server closes; returns them, and the code."""
    messages = []
    while True:
        try:
            messages.append(socket.receive_json())
        except WebSocketDisconnect as error:
            return messages, error.code


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_answers_come_every_half_second_about_the_last_seconds(client, loud_predictor, sample_rate):
    content = voice(2, sample_rate)
    step, answers = sample_rate, []  # Half a second of int16.
    with client.websocket_connect(f"/v1/stream?sample_rate={sample_rate}") as socket:
        for start in range(0, len(content), step):
            socket.send_bytes(content[start : start + step])
            answers.append(socket.receive_json())
        socket.send_text("end")
        messages, code = until_closed(socket)
    assert (messages, code) == ([], 1000)
    assert [one["end"] for one in answers] == [0.5, 1.0, 1.5, 2.0]
    assert {one["type"] for one in answers} == {"answer"}
    expected = loud_predictor.predict(np.frombuffer(content, "<i2"), sample_rate=sample_rate)
    assert answers[-1]["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)


def test_what_comes_faster_than_it_is_answered_is_skipped_and_told(client):
    with client.websocket_connect(PATH) as socket:
        socket.send_bytes(voice(5))
        found = socket.receive_json()
        assert (found["end"], found["skipped"]) == (5, 9)
        socket.send_bytes(voice(0.1))
        socket.send_text("end")
        messages, code = until_closed(socket)
    assert ([one["end"] for one in messages], code) == ([5.1], 1000)


def test_what_came_before_the_end_is_answered_however_fast_it_came(client):
    for _ in range(5):
        with client.websocket_connect(PATH) as socket:
            for _ in range(4):
                socket.send_bytes(voice(0.5))
            socket.send_text("end")
            messages, code = until_closed(socket)
        assert (messages[-1]["end"], code) == (2, 1000)
    with client.websocket_connect(PATH) as socket:
        socket.send_text("end")
        assert until_closed(socket) == ([], 1000)


def test_events_tell_where_speech_starts_and_stops(client, monkeypatch):
    from emotion_tf.serving import live

    class Gate:
        """Takes for speech what is no zero."""

        def __call__(self, waveform):
            return np.array([float(chunk.any()) for chunk in np.split(waveform, len(waveform) // 512)])

    monkeypatch.setattr(live, "VoiceGate", Gate)
    speech, silence = voice(512 * 20 / 16000), bytes(2 * 512 * 20)
    monkeypatch.setattr(live.soxr.ResampleStream, "resample_chunk", lambda self, x, last=False: x, raising=False)
    with client.websocket_connect(PATH) as socket:
        for content in (silence, speech, silence):
            socket.send_bytes(content)
        events = []
        while len(events) < 2:
            message = socket.receive_json()
            events += [message] if message["type"].startswith("speech") else []
    assert events[0] == {"type": "speech_started", "seconds": 0.64}
    assert events[1] == {"type": "speech_stopped", "seconds": 1.28}


@pytest.mark.parametrize(
    ("path", "send", "sentence"),
    [
        ("/v1/stream?sample_rate=200", None, "the stream states a sample rate of 200 Hz"),
        ("/v1/stream?sample_rate=nan", None, "sample_rate is no number"),
        ("/v1/stream?sample_rate=fast", None, "sample_rate is no number"),
        ("/v1/stream?model=other", None, "Servable not found"),
        (PATH, b"abc", "ends within a sample"),
        (PATH, "hello", "a text message is none that is known"),
    ],
)
def test_what_is_no_stream_gets_a_sentence_and_a_close(client, path, send, sentence):
    with client.websocket_connect(path) as socket:
        if send is not None:
            (socket.send_bytes if isinstance(send, bytes) else socket.send_text)(send)
        [message], code = until_closed(socket)
    assert sentence in message["error"]
    assert code == 1008


def test_a_client_that_leaves_before_it_is_told_the_end_is_no_fault(client, monkeypatch):
    async def left(self, *arguments):
        raise WebSocketDisconnect(1006)

    monkeypatch.setattr("starlette.websockets.WebSocket.close", left)
    for message in ("end", "hello"):
        with client.websocket_connect(PATH) as socket:
            socket.send_text(message)  # What the server raises is raised here.


def test_more_streams_than_allowed_are_sent_away(client):
    with client.websocket_connect(PATH) as first:
        with client.websocket_connect(PATH) as second:
            [message], code = until_closed(second)
        assert "too many streams" in message["error"]
        assert code == 1013
        first.send_text("end")
        assert until_closed(first) == ([], 1000)
    with client.websocket_connect(PATH) as third:
        third.send_bytes(voice(0.5))
        assert third.receive_json()["end"] == 0.5


def test_pages_of_other_origins_are_refused_and_tokens_come_as_a_protocol(client, loud_predictor):
    with client.websocket_connect(PATH, headers={"Origin": "https://example.org"}):
        pass
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(PATH, headers={"Origin": "https://example.com"}):
        pass
    with TestClient(create_app({"default": loud_predictor}, ServerSettings(tokens=(TOKEN,)))) as client:
        with client.websocket_connect(PATH, subprotocols=["bearer", TOKEN]) as socket:
            assert socket.accepted_subprotocol == "bearer"
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(PATH, subprotocols=["bearer", TOKEN + "x"]):
            pass
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(PATH):
            pass
