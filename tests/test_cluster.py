"""Tests of pipelines.cluster, and of prepare and a cross-validation on a cluster one of whose machines goes."""

import contextlib
import dataclasses
import functools
import os
import platform
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pandas as pd
import pytest

from emotion_tf import crossval
from emotion_tf.config import Config
from pipelines import prepare
from pipelines.cluster import connected, share_of_machine
from pipelines.command import InputError

ROOT = Path(__file__).parents[1]


def test_without_ray_its_installation_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InputError, match=r"Ray is not installed: python -m pip install 'emotion_tf\[ray\]'"),
        connected("local"),
    ):
        pass


@pytest.mark.slow
def test_an_address_without_a_cluster_is_said_in_a_sentence():
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="--ray auto: no cluster answers there"), connected("auto"):
        pass


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_said_at_once(scheme):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(InputError, match=f"--ray {address}: no cluster answers there .*refused"), connected(address):
        pass
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("address", ["lokal", "head:", ":6379", "head:port", "ray://head"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match=f"--ray {address} is no address: give local, auto, or"), connected(address):
        pass


WAITING = """
import sys, time
from pipelines.cluster import connected, share_of_machine
from pipelines.command import run_command

def main(argv):
    with connected("local"):
        import ray
        print("waits", flush=True)
        ray.get(ray.remote(lambda: time.sleep(300)).remote())

sys.exit(run_command(main))
"""


@pytest.mark.slow
def test_sigterm_ends_a_command_on_ray_in_a_sentence():
    pytest.importorskip("ray")
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waits\n"
        time.sleep(2)
        process.terminate()
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 143, said
    assert said == "error: terminated; the same command again continues where it stopped.\n"


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A head and two nodes of one core each, on loopback, started in another folder than commands are."""
    utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with contextlib.chdir(tmp_path):
        cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster, nodes
    cluster.shutdown()


def test_workers_of_this_machine_are_none_of_ray(tmp_path):
    with pytest.raises(InputError, match="--workers are processes of this machine, and --ray has its own"):
        prepare.main(["--corpus", "ravdess", "--source", str(tmp_path), "--workers", "2", "--ray", "local"])


def test_a_cluster_that_does_not_answer_costs_no_records(noise_clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    kept = {tmp_path / name: name for name in ("00000-of-00001.tfrecord", "00000-of-00001.tfrecord.json")}
    kept[tmp_path / "metadata.json"] = "{}"
    for path, content in kept.items():
        path.write_text(content)
    flags = ["--corpus", "ravdess", "--source", str(noise_clips), "--records", str(tmp_path), "--overwrite"]
    with pytest.raises(InputError, match="Ray is not installed"):
        prepare.main([*flags, "--ray", "local"])
    assert {path: path.read_text() for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("missing", ["records", "corpus"])
def test_a_machine_that_does_not_reach_a_folder_says_so(noise_clips, tmp_path, monkeypatch, missing):
    from pipelines import audio
    from pipelines.corpora import ravdess
    from pipelines.records import cluster_writer
    from pipelines.records.preparation import Preparation

    monkeypatch.chdir(tmp_path)
    corpus = dataclasses.replace(ravdess.read(noise_clips), source=Path("corpus"))
    preparation = Preparation(corpus, Path("records"), audio.FrontEnd())
    for name in {"records", "corpus"} - {missing}:
        Path(name).mkdir()
    name, shard = next(iter(preparation.shards.items()))
    found = cluster_writer._write(preparation, name, shard, str(tmp_path))
    assert found == f"{missing} does not exist on {platform.node()}, and every machine must reach it under this path"


def test_a_machine_that_may_not_write_says_so(noise_clips, tmp_path):
    from pipelines import audio
    from pipelines.corpora import ravdess
    from pipelines.records import cluster_writer
    from pipelines.records.preparation import Preparation

    preparation = Preparation(ravdess.read(noise_clips), tmp_path / "records", audio.FrontEnd())
    preparation.folder.mkdir()
    name, shard = next(iter(preparation.shards.items()))
    (preparation.folder / name).mkdir()
    found = cluster_writer._write(preparation, name, shard, str(tmp_path))
    assert found.startswith(f"{preparation.folder / name} could not be written on {platform.node()} (")


def test_a_machine_where_tensorflow_may_not_write_says_so(noise_clips, tmp_path, monkeypatch):
    import tensorflow as tf

    from pipelines import audio
    from pipelines.corpora import ravdess
    from pipelines.records import cluster_writer
    from pipelines.records.preparation import Preparation

    def refuse(*_, **__):
        raise tf.errors.PermissionDeniedError(None, None, "Permission denied\nin C++")

    monkeypatch.setattr(cluster_writer, "write_shard", refuse)
    preparation = Preparation(ravdess.read(noise_clips), tmp_path, audio.FrontEnd())
    name, shard = next(iter(preparation.shards.items()))
    found = cluster_writer._write(preparation, name, shard, str(tmp_path))
    assert found == f"{tmp_path / name} could not be written on {platform.node()} (Permission denied)"


FAILING = """
import sys
from pipelines import prepare
from pipelines.command import run_command
from pipelines.records import cluster_writer

write = cluster_writer._write

def write_but_the_first(preparation, name, *more):
    if name.startswith("00000-"):
        raise RuntimeError("failed to import on the worker:\\na traceback")
    return write(preparation, name, *more)

cluster_writer._write = write_but_the_first
sys.exit(run_command(prepare.main))
"""


@pytest.mark.slow
def test_a_task_that_fails_is_said_once_the_others_are_done(noise_clips, tmp_path):
    pytest.importorskip("ray")
    flags = ["--corpus", "ravdess", "--source", str(noise_clips), "--records", str(tmp_path), "--ray", "local"]
    command = [sys.executable, "-c", FAILING, *flags]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: 00000-of-00004.tfrecord was not written, for its task failed (failed to import on the worker):"
        " run the same command again, which goes on where it stopped."
    )
    assert {path.name[:5] for path in tmp_path.glob("*.tfrecord")} == {"00001", "00002", "00003"}


@pytest.mark.slow
def test_records_that_a_node_was_lost_over_are_those_of_one_machine(cluster, noise_clips, encoder_checkpoint, tmp_path):
    cluster, nodes = cluster
    flags = [
        *("--corpus", "ravdess", "--source", str(noise_clips), "--store-waveform"),
        *("--encoder", "whisper", "--encoder-model", str(encoder_checkpoint), "--device", "cpu"),
    ]

    def prepared(name, *more):
        command = [sys.executable, "-m", "pipelines.prepare", *flags, "--records", str(tmp_path / name), *more]
        subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True)
        paths = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in paths}

    def kill_one_in_the_middle():
        while not list((tmp_path / "cluster").glob("*tfrecord")):
            time.sleep(0.02)
        cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill_one_in_the_middle, daemon=True)
    killer.start()
    found = prepared("cluster", "--ray", cluster.address)
    killer.join(timeout=5)
    assert not killer.is_alive()
    expected = prepared("here", "--workers", "1")
    assert found.keys() == expected.keys()
    assert len([name for name in found if name.endswith(".tfrecord")]) == 4
    assert [name for name in found if found[name] != expected[name]] == []


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([{}, {"CPU": 2.0}, {"CPU": 4.0}], (4, 0)),
        ([{"CPU": 64.0}], (8, 0)),
        ([{"CPU": 64.0}, {"CPU": 4.0, "GPU": 2.0}], (4, 1)),
        ([{}], (1, 0)),
    ],
)
def test_fits_ask_for_what_a_machine_of_the_cluster_has(nodes, expected):
    alive = [{"Alive": True, "Resources": resources} for resources in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 16.0, "GPU": 1.0}}
    assert share_of_machine([*alive, gone], 8) == expected


class FakeRay:
    """A cluster of one machine that runs each task when its result is asked for."""

    class RayError(Exception):
        cause = None

    class RayTaskError(RayError):
        pass

    exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}]

    def remote(self, **resources):
        return lambda work: types.SimpleNamespace(remote=lambda *arguments: functools.partial(work, *arguments))

    def wait(self, tasks, timeout):
        return tasks, []

    def get(self, task):
        return task()


@pytest.fixture
def one(tmp_path, monkeypatch):
    """A fit that fails on a cluster as a test lets it."""
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return crossval.Fit(0, 0, Config("text", "x"), crossval.Crossval(Path("run")).run(0, 0))


@pytest.mark.parametrize(
    ("raised", "cause", "reason"),
    [
        (FakeRay.RayTaskError, ImportError("no module x\n\nTraceback:"), "on the cluster: no module x$"),
        (FakeRay.RayTaskError, PermissionError(), "on the cluster: PermissionError$"),
        (FakeRay.RayError, None, ".*it was killed, perhaps for lack of memory"),
    ],
)
def test_what_a_task_raises_is_no_lack_of_memory(one, monkeypatch, raised, cause, reason):
    def work(*arguments):
        error = raised("x")
        error.cause = cause
        raise error

    monkeypatch.setattr(crossval, "_work_on_cluster", work)
    with pytest.raises(InputError, match=rf"^run/fold-0-seed-0 failed {reason}"):
        crossval.run_on_cluster([one], "validation", 1)


def test_relative_paths_begin_where_the_command_was_given(one, tmp_path, monkeypatch):
    """Also in workers that were started elsewhere."""

    def start(one, *rest):
        one.run.folder.mkdir()
        one.run.write_scores({"validation": {}, "marks": []})
        return types.SimpleNamespace(join=lambda: None, exitcode=0), one

    def get(self, task):
        os.chdir(tmp_path)
        return task()

    monkeypatch.setattr(FakeRay, "get", get)
    monkeypatch.setattr(crossval, "_start", start)
    monkeypatch.setattr(crossval, "_say", lambda *rest: None)
    crossval.run_on_cluster([one], "validation", 1)
    assert (tmp_path / "here" / "run" / "fold-0-seed-0").is_dir()


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_fit_on_a_machine_that_shares_no_folder_is_missed(one, monkeypatch, exit_code):
    monkeypatch.setattr(crossval, "_work_on_cluster", lambda *rest: exit_code)
    sentence = "fold-0-seed-0 was trained where this machine does not see it: give --run a folder that all machines"
    with pytest.raises(InputError, match=sentence):
        crossval.run_on_cluster([one], "validation", 1)


@pytest.mark.slow
def test_a_cross_validation_survives_a_node_and_scores_as_without_ray(cluster, three_speaker_records, tmp_path):
    cluster, nodes = cluster
    flags = [
        *("--branch", "text", "--records", str(three_speaker_records), "--folds", "group-kfold", "--num-folds", "3"),
        *("--epochs", "2", "--max-tokens", "4", "--batch-size", "30", "--processes", "1"),
    ]

    def cross_validate(name, *more):
        run = os.path.relpath(tmp_path / name, ROOT)
        command = [sys.executable, "-m", "emotion_tf.crossval", *flags, "--run", run, *more]
        subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True)

    def kill_one_in_the_middle():
        while not list((tmp_path / "cluster").glob("fold-*-seed-0/config.json")):
            time.sleep(0.2)
        cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill_one_in_the_middle, daemon=True)
    killer.start()
    cross_validate("cluster", "--ray", cluster.address)
    killer.join(timeout=5)
    assert not killer.is_alive()
    cross_validate("here")
    found, expected = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("cluster", "here"))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
