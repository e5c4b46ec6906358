"""Tests of emotion_tf.serving.guard: what stands before every route. Its statuses are tested with the routes."""

import asyncio

from starlette.datastructures import Headers

from emotion_tf.serving.guard import Guard, Tokens
from emotion_tf.serving.metrics import Metrics
from emotion_tf.serving.server_settings import ServerSettings


def ask(app, incoming, headers=(), **settings):
    """Sends a POST whose messages come as they are given, and then nothing; returns what was answered."""
    sent, messages = [], incoming

    async def receive():
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    async def main():
        guard = Guard(app, ServerSettings(timeout_seconds=5, **settings), Metrics())
        scope = {"type": "http", "method": "POST", "path": "/v1/classify", "headers": list(headers)}
        await asyncio.wait_for(guard(scope, receive, send), 10)

    asyncio.run(main())
    return sent


BODY = {"type": "http.request", "body": b"x", "more_body": False}


def test_a_client_that_leaves_frees_its_work():
    given_up = []

    async def app(scope, receive, send):
        await receive()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            given_up.append(scope["path"])
            raise

    assert ask(app, [BODY, {"type": "http.disconnect"}]) == []
    assert given_up == ["/v1/classify"]


def test_a_client_that_leaves_with_its_answer_stops_nothing():
    done = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"y"})
        done.append(True)

    sent = ask(app, [BODY, {"type": "http.disconnect"}])
    assert [one["type"] for one in sent] == ["http.response.start", "http.response.body"]
    assert done == [True]


def test_large_headers_are_refused_before_the_app_is_asked():
    async def app(scope, receive, send):
        raise AssertionError

    [start, _] = ask(app, [BODY], [(b"x", b"a" * 40_000)])
    assert start["status"] == 431


def test_any_of_the_tokens_is_known_by_all_of_its_characters():
    tokens = Tokens(["one-of-two-tokens", "two-of-two-tokens"])
    for token in ("one-of-two-tokens", "two-of-two-tokens"):
        assert tokens.allow(Headers({"Authorization": f"Bearer {token}"}))
        assert tokens.allow(Headers({"Authorization": f"bearer  {token}"}))
        assert tokens.allow(Headers({"Sec-WebSocket-Protocol": f"bearer, {token}"}))
        assert not tokens.allow(Headers({"Authorization": f"Basic {token}"}))
        assert not tokens.allow(Headers({"Authorization": f"Bearer {token}s"}))
    assert not tokens.allow(Headers({}))
    assert Tokens([]).allow(Headers({}))


FORM = b"multipart/form-data; boundary=x; charset="


def test_a_form_in_utf_8_alone_is_read():
    read = []

    async def app(scope, receive, send):
        read.append(await receive())

    for charset in (b"UTF-8", b'"utf-8"'):
        assert ask(app, [BODY | {"body": b"--x--"}], [(b"content-type", FORM + charset)]) == []
    assert len(read) == 2
    # Python knows a hundred more, which Starlette would take; some make half characters.
    for charset in (b"utf-7", b"utf-16", b"unicode_escape", b"latin-1", b""):
        start, body = ask(app, [BODY], [(b"content-type", FORM + charset)])
        assert start["status"] == 415
        assert b"another charset than utf-8" in body["body"]
    assert ask(app, [BODY], [(b"content-encoding", b"gzip")])[0]["status"] == 415
    assert len(read) == 2


LENGTH = (b"content-length", b"999999999")


def parts(count, size):
    """The parts of a body that goes on."""
    return [{"type": "http.request", "body": bytes(size), "more_body": True} for _ in range(count)]


def test_what_is_refused_is_read_first_or_the_answer_might_be_lost():
    incoming = [*parts(3, 1000), BODY]
    start, _ = ask(None, incoming, [LENGTH])
    assert (start["status"], incoming) == (413, [])


def test_of_what_is_refused_little_is_read_and_not_for_long():
    incoming = parts(40, 2**16)
    assert ask(None, incoming, [LENGTH])[0]["status"] == 413
    assert len(incoming) == 40 - 16
    assert ask(None, parts(1, 10), [LENGTH])[0]["status"] == 413  # The rest never comes.


def test_a_client_that_waits_for_leave_gets_none():
    incoming = [BODY]
    assert ask(None, incoming, [LENGTH, (b"expect", b"100-continue")])[0]["status"] == 413
    assert incoming == [BODY]
