"""Tests of emotion_tf.serving.tensorflow_rest: what TensorFlow Serving's REST API documents, and odd bodies."""

import base64
import json
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient

from emotion_tf.serving.app import create_app

PREDICT = "/v1/models/default:predict"
SOUND = [0.5, -0.5, 0.25]


@pytest.fixture(scope="module")
def client(loud_predictor):
    with TestClient(create_app({"default": loud_predictor}), raise_server_exceptions=False) as client:
        yield client


def test_state_and_metadata_have_the_documented_shape(client):
    for path in ("/v1/models/default", "/v1/models/default/versions/7"):
        [state] = client.get(path).json()["model_version_status"]
        assert state == {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    found = client.get("/v1/models/default/metadata").json()
    assert found["model_spec"] == {"name": "default", "signature_name": "", "version": "7"}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["waveform"]["dtype"] == "DT_FLOAT"
    assert [one["size"] for one in signature["inputs"]["waveform"]["tensor_shape"]["dim"]] == ["-1", "-1"]
    assert signature["outputs"]["emotions"]["dtype"] == "DT_STRING"
    assert signature["method_name"] == "tensorflow/serving/predict"


def test_rows_and_columns_give_what_the_predictor_gives(client, loud_predictor):
    waveforms = np.array([SOUND, SOUND[::-1]], np.float32)
    expected = loud_predictor.predict_batch(waveforms, ["", "oh"]).probabilities
    words = [{"b64": ""}, {"b64": base64.b64encode(b"oh").decode()}]
    rows = [{"waveform": list(map(float, w)), "transcript": t} for w, t in zip(waveforms, words, strict=True)]
    found = client.post(PREDICT, json={"instances": rows}).json()["predictions"]
    assert [one["probabilities"] for one in found] == [pytest.approx(one, abs=1e-6) for one in expected.tolist()]
    assert found[0]["emotions"] == ["angry", "calm"]
    assert found[0]["predicted"] == [True, False]
    columns = {"waveform": waveforms.tolist(), "transcript": ["", "oh"]}
    path = "/v1/models/default/versions/7:predict"
    found = client.post(path, json={"signature_name": "serving_default", "inputs": columns}).json()["outputs"]
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)


ROW = {"waveform": SOUND, "transcript": ""}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"7", "no object"),
        ({}, "either instances"),
        ({"instances": [ROW], "inputs": {}}, "either instances"),
        ({"instances": []}, "no list of rows"),
        ({"instances": {"a": 1}}, "no list of rows"),
        ({"instances": [SOUND]}, "name the inputs"),
        ({"instances": [ROW, {"waveform": SOUND}]}, "do not have the same inputs"),
        ({"instances": [ROW, {"waveform": [0.5], "transcript": ""}]}, "waveform is no float32"),
        ({"instances": [{"waveform": "abc", "transcript": ""}]}, "waveform is no float32"),
        ({"instances": [{"waveform": None, "transcript": ""}]}, "waveform is no float32"),
        ({"instances": [{"waveform": [[0.5]], "transcript": ""}]}, "has the shape"),
        ({"instances": [{"waveform": SOUND, "transcript": 7}]}, "transcript is no string"),
        (b'{"instances": [{"waveform": [0.5], "transcript": "\\ud800"}]}', "no JSON"),
        (b'{"instances": [{"waveform": [0.5], "transcript": "", "\\uDFFF": 1}]}', "no JSON"),
        (b'{"signature_name": "\xed\xa0\x80", "instances": [{"waveform": [0.5], "transcript": ""}]}', "no JSON"),
        (b'{"signature_name": "\\ud83d\\ude00", "instances": []}', "no signature '\N{GRINNING FACE}'"),
        ('{"instances": []}'.encode("utf-16"), "no JSON"),
        ({"instances": [ROW | {"transcript": "a" * 10_001}]}, "at most 10000 characters a row"),
        ({"instances": [ROW | {"transcript": "ä" * 9_000}] * 12}, "100000 in all"),
        ({"instances": [{"waveform": SOUND, "transcript": {"b64": "?"}}]}, "transcript is no string"),
        ({"instances": [ROW | {"more": 1}]}, "and no more"),
        ({"instances": [{"waveform": SOUND}]}, "transcript of serving_default lacks"),
        ({"inputs": {"waveform": [SOUND] * 2, "transcript": [""]}}, "differ in their number of rows"),
        ({"inputs": {"waveform": [[]] * 200, "transcript": [""] * 200}}, "at most 128 rows"),
        ({"inputs": {"waveform": [[0] * 2_100_000], "transcript": [""]}}, "at most 128 s of sound"),
        ({"instances": [ROW], "signature_name": "train"}, "has no signature 'train': name one of serving_default."),
        ({"instances": [ROW], "signature_name": 7}, "signature_name is no string"),
        (b'{"inputs": {"waveform": [[NaN]], "transcript": [""]}}', "refuses its input"),
        (b'{"inputs": {"waveform": [[1e999]], "transcript": [""]}}', "refuses its input"),
        (b'{"inputs": {"waveform": [[1' + b"0" * 400 + b'.0]], "transcript": [""]}}', "refuses its input"),
        (b'{"inputs": {"waveform": [[1' + b"0" * 400 + b']], "transcript": [""]}}', "waveform is no float32"),
        (b'{"inputs": {"waveform": [[1' + b"0" * 5000 + b']], "transcript": [""]}}', "no JSON"),
    ],
)
def test_odd_bodies_get_400_and_the_next_one_is_answered(client, body, sentence):
    given = {"content": body} if isinstance(body, bytes) else {"json": body}
    response = client.post(PREDICT, **given)
    assert response.status_code == 400, response.text
    assert sentence in response.json()["error"]
    assert client.post(PREDICT, json={"instances": [ROW]}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/models/other", "/v1/models/default/versions/8", "/v1/models/default/versions/x/metadata"]
)
def test_what_is_not_served_is_not_found(client, path):
    response = client.get(path)
    assert response.status_code == 404
    assert "Servable not found" in response.json()["error"]


@pytest.mark.parametrize("values", [b"1," * 2**22 + b"1,1", b"[]," * 2**19 + b"[]", b'{"a":1},' * 2**18 + b"1"])
def test_a_body_of_more_values_than_any_model_takes_is_not_even_read(client, values, monkeypatch):
    monkeypatch.setattr("json.loads", None)
    response = client.post(PREDICT, content=b'{"instances": [' + values + b"]}")
    assert response.status_code == 413
    assert "at most 4194304 values, in at most 524288 lists" in response.text


def test_the_objects_of_large_bodies_are_made_one_at_a_time(client, monkeypatch):
    from emotion_tf.serving import bodies

    made, read = [], bodies._object
    monkeypatch.setattr(bodies, "_object", lambda body: made.append(threading.current_thread().name) or read(body))
    for space in (b"", b" " * 2**20):
        assert client.post(PREDICT, content=json.dumps({"instances": [ROW]}).encode() + space).status_code == 200
    assert [name.split("_")[0] for name in made] == ["helper", "model"]


def test_ids_that_lie_behind_their_type_or_are_too_many_are_refused():
    import tensorflow as tf

    from emotion_tf.serving import tensors
    from pipelines.command import InputError

    spec = tf.TensorSpec([None, None], tf.int32)
    np.testing.assert_array_equal(tensors._array("token_ids", [[2**31 - 1, -(2**31)]], spec), [[2**31 - 1, -(2**31)]])
    for values in ([[2**31]], [[-(2**31) - 1]], [[2**63]]):
        with pytest.raises(InputError, match="token_ids is no int32"):
            tensors._array("token_ids", values, spec)
    tensors._check_sizes({"token_ids": np.zeros((10, 10_000), np.int32)})
    for shape in ((1, 10_001), (11, 10_000)):
        with pytest.raises(InputError, match="token_ids has at most 10000 ids a row, and 100000 in all"):
            tensors._check_sizes({"token_ids": np.zeros(shape, np.int32)})


def test_sounds_are_padded_to_few_lengths(loud_predictor):
    from emotion_tf.serving import tensors

    padded = tensors._padded(np.ones((2, 4001), np.float32))
    assert padded.shape == (2, 8000)
    assert padded.sum() == 2 * 4001
