"""Tests of emotion_tf.serving.ray_cluster: a cluster of two nodes, one replica of which is killed under load."""

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_serve import ROOT, free_port, voice, wav

from emotion_tf.serving import Client, Predictor
from emotion_tf.serving.ray_cluster import Cluster, deployed
from emotion_tf.serving.server_settings import ServerSettings
from pipelines.command import InputError

NUM_REQUESTS = 60


@pytest.fixture
def two_nodes(tmp_path, monkeypatch):
    """The address of a cluster of two nodes on this machine."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        nodes.add_node(num_cpus=2)
        nodes.wait_for_nodes()
        yield nodes.address
    finally:
        nodes.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_replica_that_is_killed_under_load_loses_no_request_that_is_repeated(two_nodes, loud_export):
    settings, port = ServerSettings(num_workers=1), free_port()
    cluster = Cluster(two_nodes, num_replicas=2, least_replicas=2, port=port)
    with deployed({"default": loud_export}, settings, cluster):
        client = Client(f"http://127.0.0.1:{port}", num_tries=20)
        expected = Predictor(loud_export).predict(wav(1), "oh no").probabilities
        assert client.classify(wav(1), "oh no")["probabilities"] == pytest.approx(expected, abs=2e-6)
        replicas = _replicas()
        assert len(replicas) == 2
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(client.classify, wav(1)) for _ in range(NUM_REQUESTS)]
            while sum(one.done() for one in answers) < NUM_REQUESTS // 4:
                time.sleep(0.01)
            os.kill(replicas[0], signal.SIGKILL)
            assert {one.result()["seconds"] for one in answers} == {1}
        assert replicas[0] not in _replicas()
        assert list(client.stream([voice(1)]))[-1]["end"] == 1


def _replicas():
    """Finds the processes of replicas by the name that Ray gives them."""
    names = {int(path.name): (path / "cmdline") for path in Path("/proc").glob("[0-9]*")}
    found = []
    for number, path in names.items():
        try:
            if b"ray::ServeReplica:emotion_tf" in path.read_bytes():
                found.append(number)
        except OSError:
            continue
    return found


def test_without_ray_there_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InputError, match="Ray is not installed"),
        deployed({"default": tmp_path}, ServerSettings(), Cluster("local")),
    ):
        raise AssertionError
