"""Tests of emotion_tf.training.replicas and placement: several devices or workers train what one would."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from emotion_tf import fit
from emotion_tf.training import restarts
from emotion_tf.training.placement import Placement
from emotion_tf.training.replicas import share_of
from pipelines.command import InputError
from pipelines.files import UNFINISHED

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("num_rows", "count"), [(8, 2), (7, 3), (2, 3), (1, 2)])
def test_shares_are_neighbouring_rows_and_add_up_to_the_batch(num_rows, count):
    features = {"x": tf.range(num_rows), "y": tf.reshape(tf.range(2 * num_rows), (num_rows, 2))}
    weight = tf.range(1.0, num_rows + 1)
    shares = [share_of((features, tf.one_hot([0] * num_rows, 3), weight), number, count) for number in range(count)]
    counts = [int(share[3]) for share in shares]
    assert sum(counts) == num_rows
    assert max(counts) - min(counts) <= 1
    assert sum(float(share[4]) for share in shares) == pytest.approx(1)
    kept = [share for share, found in zip(shares, counts, strict=True) if found]
    np.testing.assert_array_equal(np.concatenate([share[0]["x"] for share in kept]), range(num_rows))
    np.testing.assert_array_equal(np.concatenate([share[0]["y"] for share in kept]), features["y"])
    np.testing.assert_array_equal(np.concatenate([share[2] for share in kept]), weight)
    for share in [share for share, found in zip(shares, counts, strict=True) if not found]:
        assert share[2].numpy().tolist() == [0.0]


def test_rows_without_weights_weigh_the_same():
    assert share_of(({"x": tf.range(3)}, tf.range(3)), 0, 1)[2].numpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--devices 0", "--devices 0 cannot work: give a number of at least 1"),
        ("--devices 40", "--batch-size 32 is less than an utterance a device"),
        (
            "--devices 17 --workers a:1,b:2 --worker-index 0 --run r",
            "--batch-size 32 is less than an utterance a device",
        ),
        ("--workers a:1,b:2 --run r", "--workers and --worker-index belong together"),
        ("--worker-index 0", "--workers and --worker-index belong together"),
        ("--workers a:1,b:2 --worker-index 0", "--workers share one run: give each the same --run"),
        ("--workers a:1 --worker-index 0 --run r", "--workers a:1 is one worker: name two or more"),
        ("--workers a:1,b --worker-index 0 --run r", "--workers b cannot work: give HOST:PORT of each"),
        ("--workers a:1,b:70000 --worker-index 0 --run r", "--workers b:70000 cannot work"),
        ("--workers a:1,a:1 --worker-index 0 --run r", "--workers names one of them twice"),
        ("--workers a:1,b:1 --worker-index 2 --run r", "--worker-index 2 cannot work: give a number from 0 to 1"),
    ],
)
def test_flags_that_cannot_work_are_refused_in_a_sentence(flags, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        fit.main(["--branch", "text", "--records", str(tmp_path), *flags.split()])


def test_late_fusion_has_nothing_to_share_out():
    with pytest.raises(InputError, match="are of a training, and late fusion has none"):
        Placement(2).require_training(is_late=True, batch_size=32)


def test_a_port_that_is_taken_gets_a_sentence(monkeypatch):
    def refused():
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", refused)
    with pytest.raises(InputError, match="this one, b:4001, cannot listen at port 4001"):
        Placement(1, ("a:4000", "b:4001"), 1).start()


SAME = """
import sys
from pathlib import Path
from pipelines.command import import_tensorflow
import_tensorflow()
from emotion_tf.config import AudioConfig, Config, TextConfig, TrainingConfig, VideoConfig
from emotion_tf.fit import fit
from emotion_tf.runs.folder import Run
from emotion_tf.training.placement import Placement
branch, records, folder = sys.argv[1:]
training = TrainingConfig(epochs=2, batch_size=7, num_frames=32, max_tokens=8, precision="float32")
config = Config(branch, records, "group-kfold", num_folds=3, audio=AudioConfig(channels=(4,), dropout=0.0),
    text=TextConfig(dropout=0.0), video=VideoConfig(dropout=0.0), training=training)
placement = Placement(2)
placement.start()
fit(config, Run(Path(folder, "one")))
fit(config, Run(Path(folder, "two")), placement=placement)
"""


@pytest.mark.slow
@pytest.mark.parametrize("branch", ["audio", "text", "video"])
def test_two_devices_train_what_one_does(branch, request, tmp_path):
    records = request.getfixturevalue("video_records" if branch == "video" else "three_speaker_records")
    subprocess.run([sys.executable, "-c", SAME, branch, str(records), str(tmp_path)], cwd=ROOT, check=True)
    one, two = (pd.read_csv(tmp_path / name / "history.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(two, one, rtol=1e-4)
    one, two = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(two, one, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_sigterm_ends_the_chief_in_a_sentence_and_the_others_at_once(three_speaker_records, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "emotion_tf.fit", "--branch", "audio", "--records", str(three_speaker_records)]
    command += ["--folds", "group-kfold", "--num-folds", "3", "--audio-channels", "4", "--num-frames", "32"]
    command += ["--epochs", "999", "--run", str(run), "--workers", two_free_ports(), "--worker-index"]
    with (tmp_path / "log").open("w+") as log:
        options = {"cwd": ROOT, "stdout": log, "stderr": subprocess.STDOUT}
        chief, other = (subprocess.Popen([*command, index], **options) for index in "01")
        try:
            deadline = time.monotonic() + 600
            while not list(run.glob("checkpoints/last-*.h5")):
                assert time.monotonic() < deadline
                assert chief.poll() is other.poll() is None
                time.sleep(0.05)
            chief.terminate(), other.terminate()
            assert (other.wait(60), chief.wait(60)) == (-signal.SIGTERM, 143)
        finally:
            for one in (chief, other):
                one.kill()
                one.wait()
        log.seek(0)
        said = log.read()
    assert "error: terminated; the same command again continues where it stopped.\n" in said
    assert "Traceback" not in said
    assert not list(run.rglob(f"{UNFINISHED}*"))


WORKER = """
import os, runpy, sys
folder = sys.argv.pop(1)
def say(event, arguments):
    is_written = event in ("os.rename", "os.mkdir", "os.remove") or (event == "open" and arguments[2] & os.O_ACCMODE)
    if is_written and str(arguments[0]).startswith(folder):
        print("WRITES", event, arguments[0], flush=True)
sys.addaudithook(say)
sys.argv[0] = "fit"
runpy.run_module("emotion_tf.fit", run_name="__main__")
"""


def two_free_ports():
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0)), two.bind(("127.0.0.1", 0))
        return ",".join(f"127.0.0.1:{found.getsockname()[1]}" for found in (one, two))


@pytest.mark.slow
def test_a_worker_whose_chief_fails_each_time_stops_with_a_sentence(three_speaker_records, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("no run")
    command = [sys.executable, "-m", "emotion_tf.fit", "--branch", "audio", "--records", str(three_speaker_records)]
    command += ["--run", str(tmp_path / "run"), "--workers", two_free_ports(), "--worker-index"]
    # It has been started again as often as it may be, but for once.
    environment = os.environ | {restarts._VARIABLE: f"-1 {restarts.MOST_IN_VAIN - 1}"}
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "1"], env=environment, **options) as worker:
        for _ in range(2):
            chief = subprocess.run([*command, "0"], **options, check=False, timeout=600)
            assert chief.returncode == 1
            assert "holds files that are no run" in chief.stderr
        output, errors = worker.communicate(timeout=600)
    assert worker.returncode == 1, errors
    assert output.count("starts again and waits for it") == 1
    assert f"ended {restarts.MOST_IN_VAIN + 1} times before an epoch was finished" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_worker_that_is_killed_and_started_again_goes_on_from_the_checkpoint(three_speaker_records, tmp_path):
    run = tmp_path / "run"
    workers = two_free_ports()
    flags = [
        *("--branch", "audio", "--records", str(three_speaker_records), "--folds", "group-kfold", "--num-folds", "3"),
        *("--audio-channels", "4", "--num-frames", "32", "--epochs", "4", "--batch-size", "8", "--run", str(run)),
    ]

    def start(index, log):
        code = ["-m", "emotion_tf.fit"] if index == 0 else ["-c", WORKER, str(run)]
        command = [sys.executable, *code, *flags, "--workers", workers, "--worker-index", str(index)]
        with (tmp_path / log).open("w") as out:
            return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    started = [start(0, "chief.log"), start(1, "killed.log")]
    try:
        deadline = time.monotonic() + 1500
        while not list(run.glob("checkpoints/last-*.h5")):
            assert time.monotonic() < deadline
            assert all(one.poll() is None for one in started)
            time.sleep(0.05)
        os.kill(started[1].pid, signal.SIGKILL)
        started.append(start(1, "again.log"))
        assert [one.wait(timeout=deadline - time.monotonic()) for one in (started[0], started[2])] == [0, 0]
    finally:
        for one in started:
            one.kill()
            one.wait()
    chief, killed, again = ((tmp_path / f"{name}.log").read_text() for name in ("chief", "killed", "again"))
    assert "another worker is gone; starts again and waits for it" in chief
    assert "goes on with epoch" in chief
    digest_of_chief, digest = (text.split(": weights ")[1].split()[0] for text in (chief, again))
    assert digest_of_chief == digest
    assert "WRITES" not in killed + again
    assert len(pd.read_csv(run / "history.csv")) == 4
    assert (run / "scores.json").exists()
