"""Tests of emotion_tf.serving.docs_page: every route has an example that is answered, and no other host is asked."""

import io
import re
import types
import urllib.request

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from test_client import serving

from emotion_tf.serving import tensors
from emotion_tf.serving.docs_page import Example, write_page
from emotion_tf.serving.server_settings import ServerSettings


@pytest.fixture(scope="module")
def url(loud_predictor):
    with serving(loud_predictor, ServerSettings(num_workers=1)) as url:
        yield url


def test_each_route_has_a_command_of_this_server(url):
    page = urllib.request.urlopen(f"{url}/docs").read().decode()
    commands = re.findall(r"<pre>(.*?)</pre>", page)
    assert len(commands) == page.count("<h2>") > 20
    assert all(command.startswith("curl ") and url in command for command in commands)
    assert f"curl {url}/v1/models/default/versions/7/metadata" in commands
    assert "{name}" not in "".join(commands)
    assert "src=" not in page
    assert set(re.findall(r"https?://[^/\s<]+", page)) == {url}


def test_a_model_of_another_name_is_named():
    document = {"components": {"schemas": {"Body": {"properties": {"model": {"type": "string"}}}}}}
    content = {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Body"}}}
    route = {"summary": "<s>", "description": "`curl -F a=b http://127.0.0.1:8501/x`"}
    document["paths"] = {"/x": {"post": route | {"requestBody": {"content": content}}}}
    page = write_page(document, Example("http://a<b", "voice", "3"))
    assert "<pre>curl -F model=voice -F a=b http://a&lt;b/x</pre>" in page
    assert '<input name=model value="voice">' in page
    assert "&lt;s&gt;" in page


def spec(*shape):
    return tf.TensorSpec(shape, tf.float32)


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        ({"waveform": spec(None, None)}, {"waveform": [0.01, -0.02, 0.03]}),
        ({"transcript": spec(None), "speaker_mean": spec(None, 2)}, {"transcript": str, "speaker_mean": [0.0, 0.0]}),
        ({"waveform": spec(None, None), "video_frames": spec(None, 8, 64, 64, 1)}, {}),
        ({"log_mel": spec(None, None, 64)}, {}),
    ],
)
def test_examples_hold_what_the_model_takes(specs, expected):
    signature = types.SimpleNamespace(structured_input_signature=((), specs))
    facts = {"metadata": {"signatures": ["serving_default"]}, "model_format": "savedmodel"}
    predictor = types.SimpleNamespace(**facts, signature=lambda name: signature)
    row = tensors.example_row(predictor)
    assert {name: str if isinstance(value, str) else value for name, value in row.items()} == expected


@pytest.mark.slow
def test_every_example_of_the_page_is_answered_in_a_browser_that_reaches_no_other_host(chromium, url):
    content = io.BytesIO()
    soundfile.write(content, 0.1 * np.random.default_rng(0).standard_normal(16000), 16000, format="WAV")
    browser = chromium()
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{url}/docs")
    for section in page.query_selector_all("section"):
        if (file := section.query_selector("input[type=file]")) is not None:
            file.set_input_files({"name": "clip.wav", "mimeType": "audio/wav", "buffer": content.getvalue()})
        section.query_selector("button").click()
        output = section.query_selector("output")
        page.wait_for_function("one => one.textContent.length > 3", arg=output)
        assert output.text_content().startswith("200 "), section.inner_text()
    assert all(one.startswith((url, "data:")) for one in asked)
    browser.close()
