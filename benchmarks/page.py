"""Measures the page to speak into: `python -m benchmarks.page --model RUN --source DIR`.

DIR holds `ravdess/` (default: what EMOTION_TF_REAL_DATA names). Starts `python -m emotion_tf.demo` --starts times and
takes the time until Chromium shows a page whose controls work. The last one is asked about --clips clips of 3 s that
are uploaded and about those of the gallery: the time until bars are shown, and until the picture of what the answer
rests on is. On a fresh page the microphone, into which Chromium plays a clip in a loop, is then streamed for --minutes:
how far apart answers come, and each minute what the page and the processes behind it hold. Writes results/page.json
beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import children_of, resident_mib
from benchmarks.result_files import write_result
from benchmarks.served import Server
from pipelines.command import InputError, run_command

CLIP_SECONDS = 3.0

_FLAGS = ("--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_GALLERY = ".st-key-example button"
_ROW = ".etf-bars .most"
_PICTURE = "img[alt^='What speaks for']"
_IS_IDLE = """() => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState !== "running"
  && !document.querySelector("[data-testid=stSpinner]")"""
_WATCH = """root => {
  root.times = [];
  new MutationObserver(() => root.times.push(performance.now() / 1000))
    .observe(root, { attributeFilter: ["data-num-answers"] });
}"""


def main(argv: list[str] | None = None) -> None:
    """Measures, prints and writes the result.

    Raises:
      InputError: No Chromium, no recordings, or a model that cannot be shown.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run that reads sound, or an export folder")
    parser.add_argument("--source", type=Path, default=os.environ.get("EMOTION_TF_REAL_DATA"))
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args(argv)
    if arguments.source is None:
        raise InputError("there is no folder of recordings: give --source, or set EMOTION_TF_REAL_DATA.")
    files = sorted((Path(arguments.source) / "ravdess").rglob("*.flac"))[: arguments.clips]
    if not files:
        raise InputError(f"{arguments.source} holds no ravdess/ with .flac files: name the folder above it.")
    result: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "load_average": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as folder:
        clips = [_cut(path, Path(folder)) for path in files]
        with _chromium(clips[0]) as browser:
            result["starts"] = [_start(browser, arguments.model) for _ in range(arguments.starts - 1)]
            result["starts"].append(_start(browser, arguments.model, clips, result))
            result["live"] = _live(browser, arguments.model, arguments.minutes)
    write_result("page", result)
    print(json.dumps(result, indent=1))


def _cut(path: Path, folder: Path) -> Path:
    """Writes the first seconds of a recording, its first channel at its own rate, as a wav file."""
    import soundfile

    samples, sample_rate = soundfile.read(path, always_2d=True)
    cut = folder / f"{path.stem}.wav"
    soundfile.write(cut, np.resize(samples[:, 0], round(CLIP_SECONDS * sample_rate)), sample_rate)
    return cut


@contextlib.contextmanager
def _chromium(microphone: Path) -> Iterator[Any]:
    """Opens Debian's Chromium, which plays a file into the microphone in a loop."""
    from playwright.sync_api import sync_playwright

    if (path := shutil.which("chromium")) is None:
        raise InputError("there is no chromium: apt-get install chromium.")
    flags = [*_FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=flags) as browser:
        yield browser


@contextlib.contextmanager
def _opened(browser: Any, server: Server) -> Iterator[Any]:
    """Opens the page and waits until it takes a clip."""
    with browser.new_context(permissions=["microphone"]) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.get_by_role("button", name="Record").first.wait_for()
        yield page


def _start(browser: Any, model: Path, clips: Sequence[Path] = (), result: dict[str, Any] | None = None) -> float:
    """Returns the seconds from the start of the command until a choice on the page takes effect.

    Args:
      browser: A running Chromium.
      model: What the page shows.
      clips: What is then asked.
      result: Takes the times of the answers.
    """
    begin = time.perf_counter()
    with _demo(model) as server, _opened(browser, server) as page:
        page.get_by_role("radio", name="Example").click()
        page.locator(_GALLERY).first.wait_for()
        seconds = time.perf_counter() - begin
        if result is not None:
            result |= {"gallery": _choose(page)} | {"upload": _upload(page, clips)}
    return round(seconds, 2)


def _demo(model: Path) -> Server:
    return Server(model, module="emotion_tf.demo", ready="_stcore/health")


def _choose(page: Any) -> list[dict[str, float]]:
    """Chooses each clip of the gallery, and takes the times of what comes."""
    found = []
    for pill in page.locator(_GALLERY).all():
        begin = time.perf_counter()
        pill.click()
        found.append(_wait(page, begin))
        pill.click()
        _clear(page)
    return found


def _upload(page: Any, clips: Sequence[Path]) -> list[dict[str, float]]:
    """Uploads each clip, and takes the times of what comes."""
    page.get_by_role("radio", name="File").click()
    found = []
    for clip in clips:
        begin = time.perf_counter()
        page.locator("input[type=file]").set_input_files(clip)
        found.append(_wait(page, begin))
        page.get_by_test_id("stFileUploader").get_by_role("button", name="Remove").click()
        _clear(page)
    return found


def _wait(page: Any, begin: float) -> dict[str, float]:
    """Waits for bars and picture, and returns how many seconds after the begin they came."""
    page.locator(_ROW).first.wait_for()
    bars = time.perf_counter()
    page.locator(_PICTURE).wait_for()
    return {"bars": round(bars - begin, 3), "picture": round(time.perf_counter() - begin, 3)}


def _clear(page: Any) -> None:
    """Waits until nothing is left of the clip before."""
    page.locator(_ROW).first.wait_for(state="detached")
    page.wait_for_function(_IS_IDLE)


def _live(browser: Any, model: Path, minutes: float) -> dict[str, Any]:
    """Streams the microphone of a fresh page."""
    with _demo(model) as server, _opened(browser, server) as page:
        page.get_by_role("tab", name="Live").click()
        page.get_by_role("button", name="Start the microphone").click()
        root = page.locator(".etf-live[data-num-answers]")
        root.wait_for(state="attached")
        root.evaluate(_WATCH)
        times, held = [], [_held(browser, page, server)]
        for _ in range(round(minutes)):
            page.wait_for_timeout(60_000)
            times += root.evaluate("root => root.times.splice(0)")
            held.append(_held(browser, page, server))
    return _gaps(times, 60 * round(minutes)) | {name: [one[name] for one in held] for name in held[0]}


def _gaps(times: Sequence[float], seconds: float) -> dict[str, Any]:
    """Tells how far apart answers came."""
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    median, p99, longest = np.quantile(gaps, (0.5, 0.99, 1.0)).round(3).tolist()
    return {"seconds": seconds, "answers": len(times), "median_gap": median, "p99_gap": p99, "longest_gap": longest}


def _held(browser: Any, page: Any, server: Server) -> dict[str, float]:
    """Measures what the page holds behind a collection of garbage, and what its processes do."""
    session = page.context.new_cdp_session(page)
    for command in ("HeapProfiler.collectGarbage", "Performance.enable"):
        session.send(command)
    counts = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    shown = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    return {
        "heap_mib": round(counts["JSHeapUsedSize"] / 2**20, 2),
        "nodes": counts["Nodes"],
        "listeners": counts["JSEventListeners"],
        "tab_mib": round(sum(resident_mib(one["id"]) for one in shown if one["type"] == "renderer")),
        "page_mib": round(resident_mib(server.process.pid)),
        "server_mib": round(sum(map(resident_mib, children_of(server.process.pid)))),
    }


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    sys.exit(run_command(main))
