"""Tests of emotion_tf.serving.connections: a connection that sends no head in time is closed, and no other."""

import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from emotion_tf.serving import connections

ANSWER = b"HTTP/1.1 200 OK"


async def app(scope, receive, send):
    """Echoes the body of a request, or the messages of a WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def address():
    """Where a server listens that gives half a second for a head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "HEAD_SECONDS", 0.5)
        options = {"lifespan": "off", "log_config": None, "timeout_keep_alive": 60}
        server = uvicorn.Server(uvicorn.Config(app, port=0, http=connections.Connection, **options))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def connected(address):
    with socket.create_connection(address, timeout=10) as connection:
        yield connection


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nX: "])
def test_who_sends_no_head_is_closed(address, start):
    with connected(address) as connection:
        connection.sendall(start)
        assert connection.recv(1000) == b""


def test_who_sends_no_second_head_is_closed(address):
    with connected(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(1000).startswith(ANSWER)
        connection.sendall(b"GET / ")
        assert connection.recv(1000) == b""


def test_a_slow_body_and_one_request_after_the_other_are_answered(address):
    with connected(address) as connection:
        for _ in range(3):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            for letter in (b"o", b"h"):
                time.sleep(0.4)
                connection.sendall(letter)
            assert connection.recv(1000).endswith(b"\r\n\r\noh")


def test_a_websocket_stays_open(address):
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{address[1]}/") as stream:
        time.sleep(0.8)
        stream.send("oh")
        assert stream.recv(10) == "oh"
