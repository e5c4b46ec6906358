"""Tests of the JavaScript of docs/serving.md, in a browser, from a page of another origin."""

import base64

import pytest
from test_client import page as metrics_of
from test_client import serving
from test_serve import wav

from emotion_tf.serving.server_settings import ServerSettings

ORIGIN = "https://example.org"

CLASSIFY = """async ([url, content, headers]) => {
  const form = new FormData();
  form.append("file", new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], "clip.wav"));
  return await (await fetch(`${url}/v1/classify`, {method: "POST", body: form, headers})).json();
}"""

STREAM = """([url, token]) => new Promise((resolve, reject) => {
  const protocols = token ? ["bearer", token] : [];
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/stream?sample_rate=16000`, protocols);
  const found = [];
  socket.onmessage = (message) => found.push(JSON.parse(message.data));
  socket.onerror = () => reject(new Error("refused"));
  socket.onclose = () => resolve(found);
  socket.onopen = () => {
    const samples = Float32Array.from({length: 16000}, (_, number) => Math.sin(number / 10) / 4);
    socket.send(Int16Array.from(samples, (one) => 32767 * Math.max(-1, Math.min(1, one))));
    socket.send("end");
  };
})"""


@pytest.fixture
def page(chromium):
    """A page of another origin, for which no host is asked."""
    browser = chromium()
    context = browser.new_context()
    # Chromium asks people first, and without anybody denies: the server would never be asked, nor refuse.
    context.grant_permissions(["local-network-access"], origin=ORIGIN)
    page = context.new_page()
    page.route(f"{ORIGIN}/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page.goto(f"{ORIGIN}/")
    yield page
    browser.close()


@pytest.mark.slow
def test_a_page_whose_origin_is_named_is_answered_and_no_other(page, loud_predictor):
    content = base64.b64encode(wav(1)).decode()
    with serving(loud_predictor, ServerSettings(num_workers=1, origins=(ORIGIN,))) as url:
        found = page.evaluate(CLASSIFY, [url, content])
        assert (found["file"], found["seconds"]) == ("clip.wav", 1)
        assert page.evaluate(STREAM, [url])[-1]["end"] == 1
    with serving(loud_predictor, ServerSettings(num_workers=1)) as url:
        with pytest.raises(Exception, match="Failed to fetch"):
            page.evaluate(CLASSIFY, [url, content])
        with pytest.raises(Exception, match="refused"):
            page.evaluate(STREAM, [url])
        # By the server, not by the browser.
        assert 'method="POST",route="none",status="403"} 1.0' in metrics_of(url)


@pytest.mark.slow
def test_a_page_sends_a_token(page, loud_predictor):
    content, token = base64.b64encode(wav(1)).decode(), "a-long-token-of-one-client"
    with serving(loud_predictor, ServerSettings(num_workers=1, origins=(ORIGIN,), tokens=(token,))) as url:
        found = page.evaluate(CLASSIFY, [url, content, {"Authorization": f"Bearer {token}"}])
        assert found["seconds"] == 1
        assert "a token lacks" in page.evaluate(CLASSIFY, [url, content, {}])["error"]
        assert page.evaluate(STREAM, [url, token])[-1]["end"] == 1
