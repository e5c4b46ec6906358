"""Tests of emotion_tf.serving.open_inference: the documented shapes of version 2, and odd bodies."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient

from emotion_tf.serving.app import create_app

INFER = "/v2/models/default/infer"
WAVEFORM = {"name": "waveform", "shape": [2, 2], "datatype": "FP32", "data": [0.5, -0.5, 0.25, 0.0]}
TRANSCRIPT = {"name": "transcript", "shape": [2], "datatype": "BYTES", "data": ["", "oh"]}


@pytest.fixture(scope="module")
def client(loud_predictor):
    with TestClient(create_app({"default": loud_predictor}), raise_server_exceptions=False) as client:
        yield client


def test_health_and_metadata_have_the_documented_shape(client):
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/default/ready").status_code == 200
    assert client.get("/v2").json()["name"] == "emotion_tf"
    found = client.get("/v2/models/default/versions/7").json()
    assert found["versions"] == ["7"]
    assert {"name": "waveform", "datatype": "FP32", "shape": [-1, -1]} in found["inputs"]
    assert {"name": "emotions", "datatype": "BYTES", "shape": [-1, 2]} in found["outputs"]
    assert client.get("/v2/models/other").status_code == 404


def test_infer_gives_what_the_predictor_gives_flat_or_nested(client, loud_predictor):
    waveforms = np.reshape(WAVEFORM["data"], (2, 2)).astype(np.float32)
    expected = loud_predictor.predict_batch(waveforms, ["", "oh"]).probabilities
    for data in (WAVEFORM["data"], waveforms.tolist()):
        wanted = [{"name": "probabilities"}]
        body = {"id": "7", "inputs": [WAVEFORM | {"data": data}, TRANSCRIPT], "outputs": wanted}
        found = client.post(INFER, json=body).json()
        assert (found["id"], found["model_name"], found["model_version"]) == ("7", "default", "7")
        [output] = found["outputs"]
        assert (output["name"], output["shape"], output["datatype"]) == ("probabilities", [2, 2], "FP32")
        np.testing.assert_allclose(np.reshape(output["data"], (2, 2)), expected, atol=1e-6)
    named = {one["name"]: one for one in client.post(INFER, json={"inputs": [WAVEFORM, TRANSCRIPT]}).json()["outputs"]}
    assert named["emotions"]["data"] == ["angry", "calm"] * 2


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "inputs is no list"),
        ({"inputs": [7]}, "inputs is no list"),
        ({"inputs": [{"name": 7}]}, "inputs is no list"),
        ({"inputs": [WAVEFORM]}, "transcript of serving_default lacks"),
        ({"inputs": [WAVEFORM, TRANSCRIPT, TRANSCRIPT | {"name": "more"}]}, "and no more"),
        ({"inputs": [WAVEFORM | {"datatype": "INT8"}, TRANSCRIPT]}, "another datatype than FP32"),
        ({"inputs": [WAVEFORM | {"shape": [3, 3]}, TRANSCRIPT]}, "waveform needs a shape"),
        ({"inputs": [WAVEFORM | {"shape": [-1, 2]}, TRANSCRIPT]}, "waveform needs a shape"),
        ({"inputs": [WAVEFORM | {"shape": [10**30, 2]}, TRANSCRIPT]}, "waveform needs a shape"),
        ({"inputs": [WAVEFORM | {"shape": "2,2"}, TRANSCRIPT]}, "waveform needs a shape"),
        ({"inputs": [WAVEFORM | {"data": ["a", "b", "c", "d"]}, TRANSCRIPT]}, "waveform is no float32"),
        ({"inputs": [WAVEFORM | {"data": None}, TRANSCRIPT]}, "waveform needs a shape"),
        ({"inputs": [WAVEFORM, TRANSCRIPT | {"data": [1, 2]}]}, "transcript is no string"),
        ({"inputs": [WAVEFORM, TRANSCRIPT], "outputs": [{"name": "x"}]}, "and no 'x'"),
        ({"inputs": [WAVEFORM, TRANSCRIPT], "outputs": 7}, "outputs is no list"),
        ({"inputs": [WAVEFORM, TRANSCRIPT], "outputs": [{"name": "emotions"}] * 2}, "a name stands twice"),
        ({"inputs": [WAVEFORM, TRANSCRIPT, TRANSCRIPT]}, "a name stands twice"),
        ({"inputs": [WAVEFORM, TRANSCRIPT], "id": "\ud800"}, "no JSON"),
    ],
)
def test_odd_bodies_get_400(client, body, sentence):
    response = client.post(INFER, content=json.dumps(body))
    assert response.status_code == 400, response.text
    assert sentence in response.json()["error"]


def test_binary_data_is_refused_with_a_sentence(client):
    headers = {"Inference-Header-Content-Length": "2"}
    response = client.post(INFER, content=b"{}\x00\x00", headers=headers)
    assert response.status_code == 400
    assert "send data as JSON" in response.json()["error"]
