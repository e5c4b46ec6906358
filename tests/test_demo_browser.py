"""Tests of the page in a browser: upload, microphone, live tab, accessibility, and what goes wrong.

Chromium plays a wav into the microphone. The model is trained here: on recordings of RAVDESS where they are at hand,
else on the built-in corpus; the emotion is the one that `predict` gives for clips of which it is at least 0.8 sure.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import soundfile

from emotion_tf.config import AudioConfig, Config, TrainingConfig
from emotion_tf.fit import fit
from emotion_tf.runs.folder import Run
from emotion_tf.serving import Predictor
from emotion_tf.serving.demo_answer import wav_of
from pipelines import audio, prepare
from pipelines.corpora import synthetic

pytestmark = pytest.mark.slow

MICROPHONE = "--use-fake-device-for-media-stream"
SURE = 0.8
CODES = {"02": "calm", "05": "angry"}
TIMEOUT = 120_000

OF_STREAMLIT = {"scrollable-region-focusable"}
"""Rules of axe-core that elements of Streamlit 1.67 itself break: tables and code of a card that scroll."""

SETTLED = """() => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState !== "running"
  && !document.querySelector("[data-testid=stSpinner]")"""


@pytest.fixture(scope="module")
def recordings(made_once):
    """Calm and angry clips of many speakers, in the layout of RAVDESS: so different that a model is soon sure."""
    if "EMOTION_TF_REAL_DATA" in os.environ:
        folder = Path(os.environ["EMOTION_TF_REAL_DATA"]) / "ravdess"
    else:
        folder = made_once("corpora/page", lambda folder: synthetic._make(folder, 0, 12))
    return sorted(path for code in CODES for path in folder.glob(f"Actor_*/03-01-{code}-*"))


@pytest.fixture(scope="module")
def model(recordings, made_once, exported):
    """An export that was trained on them."""

    def train(folder):
        table = folder.with_name("page.csv")
        rows = [f"{path},{CODES[path.stem[6:8]]},{path.stem[-2:]}\n" for path in recordings]
        table.write_text("path,emotion,speaker\n" + "".join(rows))
        records = str(folder.with_name("page-records"))
        prepare.main(["--corpus", "manifest", "--source", str(table), "--workers", "1", "--records", records])
        training = TrainingConfig(epochs=15, num_frames=128)
        fit(Config("audio", records, audio=AudioConfig((16, 32), 32, 32), training=training), Run(folder))

    return exported(Run(made_once("runs/page", train)))


@pytest.fixture(scope="module")
def sure_clips(recordings, model, made_once):
    """Of each emotion the clip, as a wav file, of which `predict` is surest: path -> emotion."""
    predictor, surest = Predictor(model), {}
    folder = made_once("page-clips", Path.mkdir)
    for source in recordings[:: len(recordings) // 40]:
        path = folder / f"{source.stem}.wav"
        path.write_bytes(wav_of(audio.read_recording(source).waveform))
        prediction = predictor.predict(path)
        most = max(prediction.probabilities.values())
        if most >= max(SURE, surest.get(prediction.emotion, (0.0,))[0]):
            surest[prediction.emotion] = (most, path)
    found = {path: emotion for emotion, (_, path) in surest.items()}
    assert found, "the model is sure of no clip"
    return found


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    """Of a running page, started as its user starts it."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    command = [sys.executable, "-m", "emotion_tf.demo", "--model", str(model), "--port", str(port)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("page"), env=env)
    url = f"http://localhost:{port}"
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
            break
        time.sleep(0.2)
    yield url
    process.terminate()
    process.wait()


@contextlib.contextmanager
def opened(browser, address, *, width=1200, scheme="light", may_record=True):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.grant_permissions(["microphone"] if may_record else [])
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.get_by_text("Record yourself", exact=True).first.wait_for()
    settle(page)
    yield page
    context.close()


def settle(page):
    page.wait_for_timeout(700)
    for _ in range(3):
        page.wait_for_function(SETTLED)
        page.wait_for_timeout(300)


def give(page, path):
    page.get_by_text("File", exact=True).first.click()
    settle(page)
    page.locator("input[type=file]").set_input_files(path)
    page.locator(".etf-bars, [data-testid=stAlert]").first.wait_for()
    settle(page)


def most_of(page):
    return page.locator(".etf-bars .most th").first.inner_text()


def test_an_upload_is_answered_as_predict_does(chromium, address, sure_clips):
    browser = chromium(MICROPHONE)
    with opened(browser, address) as page:
        for path, emotion in list(sure_clips.items())[:3]:
            give(page, path)
            page.get_by_role("heading", name=emotion).wait_for()
            assert most_of(page) == emotion
        assert [url for url in page.asked if not url.startswith((address, "blob:", "data:", "ws:"))] == []
    browser.close()


def test_the_microphone_is_answered_as_predict_does(chromium, address, sure_clips):
    for path, emotion in list(sure_clips.items())[:2]:
        browser = chromium(
            MICROPHONE, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={path}%noloop"
        )
        with opened(browser, address) as page:
            # Streamlit records with the gain control of the browser on, so that probabilities differ.
            page.get_by_role("button", name="Record").first.click()
            page.wait_for_timeout(1000 * soundfile.info(path).duration + 1500)
            page.get_by_role("button", name="Stop recording").click()
            page.locator(".etf-bars").first.wait_for()
            settle(page)
            assert most_of(page) == emotion
        browser.close()


def test_the_live_tab_answers_as_predict_does_and_starts_again(chromium, address, sure_clips):
    path, emotion = next(iter(sure_clips.items()))
    browser = chromium(MICROPHONE, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={path}")
    with opened(browser, address) as page:
        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start the microphone").click()
        page.locator(".etf-live[data-num-answers]").wait_for(state="attached")
        # The clip plays in a loop: of the windows that come by, some hold it from its start.
        answers = set()
        for _ in range(40):
            page.wait_for_timeout(250)
            if (now := page.locator(".etf-now").inner_text()) and page.locator(".etf-live .most").count():
                answers.add(now)
        assert emotion in answers
        _kill_server_of(page)
        page.get_by_role("alert").filter(has_text="server of the live tab has ended").wait_for()
        page.get_by_role("button", name="Start the server again").click()
        settle(page)
        page.locator(".etf-live").evaluate("root => delete root.dataset.numAnswers")
        page.get_by_role("button", name="Start the microphone").click()
        page.locator(".etf-live[data-num-answers]").wait_for(state="attached")
    browser.close()


def _kill_server_of(page):
    """Finds the process behind the port of the stream, and kills it."""
    port = int(page.locator(".etf-live").evaluate("root => root.live.data.url").split(":")[2].split("/")[0])
    inodes = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if int(line.split()[1].split(":")[1], 16) == port and line.split()[3] == "0A"
    }
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            held = {str(one.readlink()) for one in (folder / "fd").iterdir()}
            if held & {f"socket:[{inode}]" for inode in inodes}:
                os.kill(int(folder.name), signal.SIGKILL)
                return
    pytest.fail(f"no process listens at port {port}")


def test_a_microphone_that_is_refused_gets_a_sentence(chromium, address):
    browser = chromium(MICROPHONE, "--deny-permission-prompts")
    with opened(browser, address, may_record=False) as page:
        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start the microphone").click()
        page.get_by_role("alert").filter(has_text="microphone was refused").wait_for()
    browser.close()


def test_two_tabs_answer_each_for_itself(chromium, address, sure_clips, tmp_path):
    soundfile.write(tmp_path / "silence.wav", [0.0] * 16000, 16000)
    path, emotion = next(iter(sure_clips.items()))
    browser = chromium(MICROPHONE)
    with opened(browser, address) as one, opened(browser, address) as other:
        give(one, path)
        give(other, tmp_path / "silence.wav")
        assert most_of(one) == emotion
        assert other.get_by_text("nothing here that this model reads").count() == 1
    browser.close()


def test_a_click_at_the_picture_plays_from_there(chromium, address, sure_clips):
    path = next(iter(sure_clips))
    browser = chromium(MICROPHONE, "--autoplay-policy=no-user-gesture-required")
    with opened(browser, address) as page:
        give(page, path)
        plot = page.locator(".etf-wave").first
        width = plot.bounding_box()["width"]
        plot.click(position={"x": width / 2, "y": 20})
        page.wait_for_timeout(300)
        at = page.locator("audio").first.evaluate("audio => audio.currentTime")
        assert at >= 0.45 * soundfile.info(path).duration
    browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1200, "dark")])
def test_nothing_sticks_out_and_axe_finds_nothing_serious(chromium, address, sure_clips, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    browser = chromium(MICROPHONE, "--use-fake-ui-for-media-stream")
    with opened(browser, address, width=width, scheme=scheme) as page:
        give(page, next(iter(sure_clips)))
        for tab in ("Recording", "Live", "Models"):
            page.get_by_role("tab", name=tab).click()
            settle(page)
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            found = Axe().run(page).response["violations"]
            serious = {one["id"]: one["nodes"][0]["html"] for one in found if one["impact"] in ("serious", "critical")}
            assert {rule: html for rule, html in serious.items() if rule not in OF_STREAMLIT} == {}, json.dumps(serious)
    browser.close()
