"""Tests of emotion_tf.serving.app: routes for recordings, limits and pages, each fault with its status and sentence."""

import asyncio
import collections
import functools
import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from test_isolation import end

from emotion_tf.serving import Predictor
from emotion_tf.serving.app import create_app
from emotion_tf.serving.server_settings import ServerSettings
from pipelines.clips import read_inspected
from pipelines.command import InputError
from pipelines.transcripts.transcriber import Transcription


def wav(seconds=1.0, sample_rate=16000, loudness=0.1):
    samples = loudness * np.random.default_rng(0).standard_normal(round(seconds * sample_rate))
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, sample_rate, 0, "NONE", ""))
        file.writeframes(np.rint(32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())
    return content.getvalue()


@pytest.fixture(scope="module")
def client(loud_predictor):
    settings = ServerSettings(max_bytes=300_000, max_seconds=5, max_timeline_seconds=6)
    with TestClient(create_app({"default": loud_predictor}, settings), raise_server_exceptions=False) as client:
        yield client


def one_sentence(response, status):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_classify_answers_what_predict_prints(client, loud_predictor):
    response = client.post("/v1/classify", files={"file": ("a.wav", wav())}, data={"transcript": "oh no"})
    assert response.status_code == 200
    expected = loud_predictor.predict(wav(), "oh no").to_json() | {"file": "a.wav"}
    found = response.json()
    assert found.pop("probabilities") == pytest.approx(expected.pop("probabilities"), abs=2e-6)
    assert found.pop("changes_without") == pytest.approx(expected.pop("changes_without"), abs=2e-5)
    assert found == expected


def test_a_transcript_alone_and_an_embedding_are_answered(client):
    found = client.post("/v1/classify", files={"transcript": (None, "oh"), "embedding": (None, "true")}).json()
    assert found["file"] is None
    assert found["emotion"] == "calm"
    assert found["embedding"] == pytest.approx([0, 2 / 1000])


def test_a_batch_answers_each_file_or_says_why_not(client):
    files = [("files", ("a.wav", wav(0.5))), ("files", ("b.wav", b"nothing")), ("files", ("c.wav", wav(2)))]
    found = client.post("/v1/batch", files=files).json()["predictions"]
    assert [one["file"] for one in found] == ["a.wav", "b.wav", "c.wav"]
    assert [one.get("seconds") for one in found] == [0.5, None, 2]
    assert "the recording" in found[1]["error"]


def test_a_timeline_comes_as_json_text_grid_and_captions(client):
    found = client.post("/v1/timeline", files={"file": ("a.wav", wav(2))}).json()
    assert (found["file"], found["seconds"], found["segments"]) == ("a.wav", 2, [])
    for accept, begins in (("text/vtt", "WEBVTT"), ("text/x-textgrid;q=1, */*", 'File type = "ooTextFile"')):
        response = client.post("/v1/timeline", files={"file": ("a.wav", wav(2))}, headers={"Accept": accept})
        assert response.text.startswith(begins)
        assert response.headers["content-type"].startswith(accept.partition(";")[0])
    refused = client.post("/v1/timeline", files={"file": ("a.wav", wav(2))}, headers={"Accept": "image/png"})
    assert "a timeline is application/json, text/vtt" in one_sentence(refused, 406)


@pytest.mark.parametrize("route", ["classify", "timeline"])
def test_limits_have_their_status_and_sentence(client, route):
    path = f"/v1/{route}"
    assert "larger than 300000 bytes" in one_sentence(client.post(path, files={"file": wav(20)}), 413)
    chunks = (b"x" * 100_000 for _ in range(5))
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert "larger than 300000 bytes" in one_sentence(client.post(path, content=chunks, headers=kind), 413)
    assert "the recording" in one_sentence(client.post(path, files={"file": wav(7)}), 413)
    assert "no multipart/form-data" in one_sentence(client.post(path, json={"file": "a.wav"}), 415)
    assert "nothing to predict" in one_sentence(client.post(path, files={"other": b"x"}), 422)
    sent_as_text = client.post(path, files={"file": (None, "clip.wav")})
    assert one_sentence(sent_as_text, 422).startswith("the recording is sent as text")


@pytest.mark.parametrize(
    "content", [b"", b"nothing", wav()[:60], b"RIFF" + bytes(100), wav()[:20000], bytes(5000)], ids=range(6)
)
def test_what_is_no_recording_gets_a_sentence(client, content):
    sentence = one_sentence(client.post("/v1/classify", files={"file": ("../../etc/x.wav", content)}), 422)
    assert sentence.startswith("the recording")
    assert "/tmp" not in sentence


def test_refusals_name_the_model_and_not_its_folder(loud_predictor, monkeypatch):
    monkeypatch.setitem(loud_predictor.metadata, "modalities", ["text"])
    monkeypatch.setitem(loud_predictor.metadata, "embedding_dim", None)
    sound, wanted = {"file": ("a.wav", wav())}, {"embedding": "true"}
    with TestClient(create_app({"default": loud_predictor})) as client:
        found = client.post("/v1/timeline", files=sound)
        assert one_sentence(found, 422).startswith("the model default reads no sound")
        found = client.post("/v1/classify", files=sound, data=wanted)
        assert one_sentence(found, 422).startswith("the model default has no embedding")
        [found] = client.post("/v1/batch", files={"files": ("a.wav", wav())}, data=wanted).json()["predictions"]
        assert found["error"].startswith("the model default has no embedding")


def test_a_client_that_leaves_within_its_body_is_no_fault(loud_predictor, caplog):
    app, sent = create_app({"default": loud_predictor}), []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message):
        sent.append(message)

    path = "/v1/models/default:predict"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "app": app}
    with caplog.at_level("INFO"):
        asyncio.run(app(scope, receive, send))
    assert "fault" not in caplog.text
    assert json.loads(caplog.messages[-1])["status"] == 499


MULTIPART = "multipart/form-data; boundary=x"
WORDS = b'--x\r\nContent-Disposition: form-data; name="transcript"\r\n\r\noh\r\n'
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


# Starlette leaves the file of a form that is cut off to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("path", "kind", "body", "statuses"),
    [
        ("/v1/classify", MULTIPART, WORDS + PART + wav(), {400}),
        ("/v1/classify", MULTIPART, b"--x\r\n", {400}),
        ("/v1/classify", "multipart/form-data", PART, {400}),
        ("/v1/classify", MULTIPART, b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n--x--', {422}),
        (
            "/v1/classify",
            MULTIPART,
            b'--x\r\nContent-Disposition: form-data; name="embedding"\r\n\r\n7x\r\n--x--',
            {422},
        ),
        ("/v1/batch", MULTIPART, b"--x--", {400, 422}),
        ("/v1/timeline", "text/plain", b"\xff\xfe", {415}),
    ],
)
def test_odd_forms_are_refused_and_the_next_request_is_answered(client, path, kind, body, statuses):
    response = client.post(path, content=body, headers={"Content-Type": kind})
    assert response.status_code in statuses, response.text
    assert list(response.json()) == ["error"]
    assert client.post("/v1/classify", files={"file": wav()}).status_code == 200


def test_an_unknown_model_route_or_method_is_said(client):
    data = {"transcript": (None, "oh"), "model": (None, "../x")}
    assert "Servable not found" in one_sentence(client.post("/v1/classify", files=data), 404)
    assert one_sentence(client.get("/v1/nothing"), 404)
    assert one_sentence(client.get("/v1/classify"), 405)


def test_a_request_that_takes_too_long_gets_504(loud_predictor, monkeypatch):
    app = create_app({"default": loud_predictor}, ServerSettings(timeout_seconds=0.2))
    with TestClient(app) as client:
        monkeypatch.setattr(app.state.service, "_given", lambda *given: time.sleep(0.5))
        assert "within 0.2 s" in one_sentence(client.post("/v1/classify", files={"file": wav()}), 504)


def test_more_requests_than_allowed_get_503_at_once(loud_predictor, monkeypatch):
    app = create_app({"default": loud_predictor}, ServerSettings(max_requests=1))
    read, free = app.state.service._given, threading.Event()
    monkeypatch.setattr(app.state.service, "_given", lambda *given: free.wait(10) and read(*given))
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.post, "/v1/classify", files={"file": wav()})
        while "emotion_tf_requests_under_way 1.0" not in app.state.service.metrics.page().decode():
            time.sleep(0.01)
        response = client.post("/v1/classify", files={"file": wav()})
        assert "too many requests" in one_sentence(response, 503)
        assert response.headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == 200
        free.set()
        assert slow.result().status_code == 200
        assert client.post("/v1/classify", files={"file": wav()}).status_code == 200


def test_a_full_queue_gets_503_at_once(loud_predictor):
    app = create_app({"default": loud_predictor}, ServerSettings(max_waiting=1))
    with TestClient(app) as client:
        app.state.service.model("default").queue._num_running = 1
        response = client.post("/v1/classify", files={"file": wav()})
        assert "wait for the model" in one_sentence(response, 503)
        assert response.headers["retry-after"] == "1"


def test_uploads_are_decoded_side_by_side_and_one_that_ends_its_process_costs_one_request(loud_predictor, monkeypatch):
    """Each of two decoders waits until the other one has begun."""
    app = create_app({"default": loud_predictor}, ServerSettings(num_workers=2))
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool, tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("emotion_tf.serving.sources.read_inspected", functools.partial(meet_and_read, folder))
        found = list(pool.map(lambda _: client.post("/v1/classify", files={"file": wav()}), range(2)))
        assert [one.json()["seconds"] for one in found] == [1, 1]
        monkeypatch.setattr("emotion_tf.serving.sources.read_inspected", end)
        assert "ended the process that decodes it" in one_sentence(
            client.post("/v1/classify", files={"file": b"x"}), 422
        )
        monkeypatch.undo()
        assert client.post("/v1/classify", files={"file": wav()}).status_code == 200


def meet_and_read(folder, path, *arguments):
    """Reads a file once two processes have begun to read one."""
    (Path(folder) / str(os.getpid())).touch()
    for _ in range(1000):
        if len(list(Path(folder).iterdir())) == 2:
            return read_inspected(path, *arguments)
        time.sleep(0.01)
    raise InputError("nobody else came")


def test_a_recording_that_takes_too_much_memory_gets_a_sentence(loud_predictor, monkeypatch):
    app = create_app({"default": loud_predictor}, ServerSettings(num_workers=1, worker_memory_bytes=2**28))
    with TestClient(app) as client:
        assert client.post("/v1/classify", files={"file": wav()}).status_code == 200
        monkeypatch.setattr("emotion_tf.serving.sources.read_inspected", fill_memory)
        sentence = one_sentence(client.post("/v1/classify", files={"file": wav()}), 422)
        assert sentence.startswith("the recording does not fit into the 256 MiB of memory")
        monkeypatch.undo()
        assert client.post("/v1/classify", files={"file": wav()}).status_code == 200


def fill_memory(*arguments):
    return len(np.ones(2**29, np.uint8))


def words(waveform, peak=None):
    """A transcriber that finds two words."""
    return Transcription("oh no", len(waveform) / 16000)


words.remarks = lambda found: ["transcribed by nobody"]


def test_words_are_found_where_a_request_asks_for_them(loud_predictor):
    with TestClient(create_app({"default": loud_predictor}, transcriber=words)) as client:
        found = client.post("/v1/classify", files={"file": wav()}, data={"transcribe": "true"}).json()
        assert (found["transcript"], found["warnings"][0]) == ("oh no", "transcribed by nobody")
        assert client.post("/v1/classify", files={"file": wav()}).json()["transcript"] == ""
        for files in ({"file": wav(), "transcript": (None, "oh")}, {"transcript": (None, "oh")}):
            refused = client.post("/v1/classify", files={**files, "transcribe": (None, "true")})
            assert "transcribe finds the words of file" in one_sentence(refused, 422)


def test_a_server_without_whisper_says_so(loud_predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper", None)
    with TestClient(create_app({"default": loud_predictor})) as client:
        refused = client.post("/v1/classify", files={"file": wav()}, data={"transcribe": "true"})
        assert "cannot transcribe: whisper is not installed" in one_sentence(refused, 501)


def test_a_new_version_is_served_and_none_of_the_requests_of_the_old_one_is_lost(loud_export, tmp_path, caplog):
    shutil.copytree(loud_export, tmp_path / "export")
    app = create_app({"default": Predictor(tmp_path / "export")}, ServerSettings(poll_seconds=0.05))
    with TestClient(app) as client, client.websocket_connect("/v1/stream") as socket, caplog.at_level("INFO"):
        (tmp_path / "export" / "8").mkdir()
        (tmp_path / "export" / "8" / "saved_model.pb").write_bytes(b"nothing")  # Does not load: the old one stays.
        statuses = collections.Counter()
        while "version refused" not in caplog.text:
            statuses[client.post("/v1/classify", files={"file": wav()}).status_code] += 1
        assert client.get("/v1/models/default").json()["model_version_status"][0]["version"] == "7"
        shutil.copytree(loud_export / "7", tmp_path / "export" / "10")
        while client.get("/v1/models/default").json()["model_version_status"][0]["version"] != "10":
            statuses[client.post("/v1/classify", files={"file": wav()}).status_code] += 1
        assert set(statuses) == {200}
        assert 'emotion_tf_model_version{model="default"} 10.0' in client.get("/metrics").text
        assert client.get("/v1/models/default/versions/7").status_code == 404
        socket.send_bytes(bytes(16000))
        assert socket.receive_json()["end"] == 0.5


TOKEN = "a-long-token-of-one-client"


def test_tokens_are_asked_for_but_by_health(loud_predictor):
    app = create_app({"default": loud_predictor}, ServerSettings(tokens=("another-one-of-these", TOKEN)))
    with TestClient(app) as client:
        for headers in (
            {},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer \xff"},
        ):
            response = client.get("/v1/models/default", headers={k: v.encode("latin-1") for k, v in headers.items()})
            assert "a token lacks" in one_sentence(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/models/default", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert client.get("/metrics").status_code == 401
    with pytest.raises(InputError, match="fewer than 16 characters"):
        ServerSettings(tokens=("short",))


def test_scripts_of_other_pages_may_not_ask_unless_their_origin_is_named(loud_predictor):
    origin = {"Origin": "https://example.org"}
    with TestClient(create_app({"default": loud_predictor})) as client:
        assert "other pages may not ask" in one_sentence(client.get("/v1/models/default", headers=origin), 403)
        assert client.get("/v1/models/default", headers={"Origin": "http://testserver"}).status_code == 200
    app = create_app({"default": loud_predictor}, ServerSettings(origins=("https://example.org",)))
    with TestClient(app) as client:
        response = client.get("/v1/models/default", headers=origin)
        assert response.headers["access-control-allow-origin"] == "https://example.org"
        assert client.get("/v1/models/default", headers={"Origin": "https://example.com"}).status_code == 403


def test_a_browser_may_send_tokens_and_json_from_a_page_whose_origin_is_named(loud_predictor):
    settings = ServerSettings(origins=("https://example.org",), tokens=(TOKEN,))
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    asked |= {
        "Access-Control-Request-Headers": "authorization,content-type",
        "Access-Control-Request-Private-Network": "true",
    }
    with TestClient(create_app({"default": loud_predictor}, settings)) as client:
        response = client.options("/v1/classify", headers=asked)
        assert response.status_code == 200
        assert "POST" in response.headers["access-control-allow-methods"]
        assert response.headers["access-control-allow-private-network"] == "true"
        assert client.options("/v1/classify", headers=asked | {"Origin": "https://example.com"}).status_code == 400


@pytest.mark.parametrize(
    "origin",
    ["https://example.org/", "*", "example.org", "null", "https://Example.org", "http://a:80", "http://a:b", ""],
)
def test_an_origin_that_no_browser_names_is_refused(origin):
    with pytest.raises(InputError, match="give scheme and host"):
        ServerSettings(origins=(origin,))
    for known in ("https://example.org", "http://127.0.0.1:8502", "http://[::1]:8080", "chrome-extension://abc"):
        assert ServerSettings(origins=(known,)).origins == (known,)


def test_readiness_comes_with_the_first_answer_and_goes_with_the_end(loud_predictor):
    app = create_app({"default": loud_predictor})
    client = TestClient(app)
    assert "not loaded yet" in one_sentence(client.get("/readyz"), 503)
    assert client.get("/healthz").status_code == 200
    with client:
        assert client.get("/readyz").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_metrics_count_by_route_and_logs_hold_no_content(client, caplog):
    with caplog.at_level("INFO", "emotion_tf.serve"):
        client.post("/v1/classify?secret=1", files={"file": ("secret.wav", wav())}, data={"transcript": "secret"})
    page = client.get("/metrics").text
    assert 'emotion_tf_requests_total{method="POST",route="/v1/classify",status="200"}' in page
    assert 'emotion_tf_model_version{model="default"} 7.0' in page
    assert 'emotion_tf_waiting{model="default"} 0.0' in page
    assert "emotion_tf_batch_size_bucket" in page
    logged = json.loads(caplog.messages[-1])
    assert (logged["route"], logged["status"], logged["method"]) == ("/v1/classify", 200, "POST")
    assert "secret" not in caplog.text


def test_openapi_names_the_routes_and_its_examples_are_answered(client):
    found = client.get("/openapi.json").json()
    for path, methods in found["paths"].items():
        if "post" in methods and "application/json" in methods["post"]["requestBody"]["content"]:
            example = methods["post"]["requestBody"]["content"]["application/json"]["example"]
            url = path.replace("{name}", "default").replace("{version}", "7")
            answer = client.post(url, json=example)
            assert answer.status_code == 200, answer.text
