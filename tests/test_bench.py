"""Tests of benchmarks/bench.py and what it is made of: the networks are the same ones, and all parts come out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench_networks, bench_pipeline, bench_rows, side_by_side

ROOT = Path(__file__).parents[1]


def made_calls(number):
    """Calls for a process of their own."""
    if number < 0:
        raise ValueError("a number below 0")

    def fail():
        raise KeyError("nothing there")

    return {"twice": lambda: 2 * number, "fail": fail}


def test_calls_come_in_turn_and_the_first_rounds_do_not_count():
    order = []
    seconds = side_by_side.in_turn({name: lambda name=name: order.append(name) for name in "ab"}, 2, warm_up=1)
    assert order == list("ababab")
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_one_round_each():
    found = side_by_side.compared("x", {"a": [1.0, 2.0, 4.0], "b": [2.0, 2.0, 4.0]}, [("a", "b")], 8, "clips/s")
    assert found["medians"] == {"a": 4.0, "b": 4.0}
    assert found["ratios"] == [{"ours": "a", "theirs": "b", "times_as_fast": 1.0, "least": 1.0, "most": 2.0}]


def test_without_a_count_medians_are_seconds():
    assert side_by_side.compared("x", {"a": [1.0, 2.0, 4.0]}, [], 0, "s")["medians"] == {"a": 2.0}


def test_a_process_of_its_own_answers_and_tells_what_failed_there():
    with side_by_side.in_process(made_calls, 4) as calls:
        assert calls["twice"]() == 8
        with pytest.raises(RuntimeError, match="KeyError: 'nothing there'"):
            calls["fail"]()
        assert calls["twice"]() == 8


@pytest.mark.slow
def test_calls_that_cannot_be_made_say_why():
    with pytest.raises(RuntimeError, match="a number below 0"), side_by_side.in_process(made_calls, -1):
        pass


def test_the_exponent_of_a_cost_that_grows_with_the_corpus_is_one():
    clips = {"start": 90, "1x": 300, "4x": 1200, "16x": 4800}
    found = bench_pipeline._grown("x", {name: [5 + 0.01 * count] for name, count in clips.items()}, clips)
    assert found["exponent"] == 1.0
    found = bench_pipeline._grown("x", {name: [0.01 * (count - 90) ** 2] for name, count in clips.items()}, clips)
    assert found["exponent"] == 2.0


def test_tables_show_pairs_and_growth():
    pair = side_by_side.compared("step", {"a": [1.0], "b": [2.0]}, [("a", "b")], 8, "clips/s")
    clips = {"start": 90, "1x": 300, "4x": 1200}
    grown = bench_pipeline._grown("prepare", {name: [0.01 * count] for name, count in clips.items()}, clips)
    drawn = bench_rows.table({"parts": {"step": {"measured": [pair]}, "growth": {"measured": [grown]}}})
    assert "| step | a: 8 clips/s | b: 4 clips/s | 2.00 (2.00 to 2.00) |" in drawn
    assert "| prepare | 0.90 | 3.00 | 12.00 | 1.00 |" in drawn


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CNN", "GRU", "text GRU"])
def test_pytorch_computes_the_same_logits_from_the_same_weights(name):
    torch = pytest.importorskip("torch")
    from benchmarks import bench_ours, bench_torch
    from benchmarks.torch_networks import num_parameters
    from benchmarks.torch_training import predict

    case = bench_networks.cases(bench_networks.QUICK)[name]
    if name == "CNN":
        case.batch["num_frames"][1] = 20
    model, network = bench_ours.build(case, "float32"), bench_torch.build(case)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "beta", "moving_mean", "bias")):
            weight.assign(weight + 0.1 * rng.standard_normal(weight.shape))
    copy_weights(model, network, case)
    tensors = tuple(torch.from_numpy(values) for values in case.batch.values())
    ours, theirs = np.asarray(model(dict(case.batch), training=False)), predict(network, tensors, "float32")
    assert num_parameters(network) == bench_ours.count_parameters(case)
    assert np.ptp(ours) > 0.01
    np.testing.assert_allclose(theirs, ours, atol=2e-5)


def copy_weights(model, network, case):
    """Carries the weights of our model over to that of PyTorch."""
    import torch

    def put(parameter, values):
        assert parameter.shape == values.shape
        parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def dense(linear, layer):
        put(linear.weight, np.asarray(layer.kernel).T)
        if linear.bias is not None:
            put(linear.bias, np.asarray(layer.bias))

    def conv(theirs, name):
        put(theirs.weight, np.asarray(model.get_layer(name).kernel).transpose(3, 2, 0, 1))

    def norm(theirs, name):
        layer = model.get_layer(name)
        pairs = {"weight": layer.gamma, "bias": layer.beta, "running_mean": layer.moving_mean}
        for key, values in (pairs | {"running_var": layer.moving_variance}).items():
            put(getattr(theirs, key), np.asarray(values))

    def gru(theirs, layer, suffix=""):
        # Keras has the gates z, r, h, and PyTorch r, z, n.
        def gates(values):
            update, reset, new = np.split(np.asarray(values), 3, axis=-1)
            return np.concatenate([reset, update, new], axis=-1)

        cell = layer.cell
        put(getattr(theirs, f"weight_ih_l0{suffix}"), gates(cell.kernel).T)
        put(getattr(theirs, f"weight_hh_l0{suffix}"), gates(cell.recurrent_kernel).T)
        put(getattr(theirs, f"bias_ih_l0{suffix}"), gates(np.asarray(cell.bias)[0]))
        put(getattr(theirs, f"bias_hh_l0{suffix}"), gates(np.asarray(cell.bias)[1]))

    branch = case.config.branch
    pooling = model.get_layer(f"{branch}_pooling")
    dense(network.head.pooling.hidden, pooling.hidden)
    dense(network.head.pooling.score, pooling.score)
    dense(network.head.embedding, model.get_layer(f"{branch}_embedding"))
    dense(network.head.emotions, model.get_layer("emotions"))
    if branch == "text":
        put(network.words.weight, np.asarray(model.get_layer("text_words").embeddings))
        for index, theirs in enumerate(network.layers):
            both = model.get_layer(f"text_bidirectional_{index}")
            gru(theirs, both.forward_layer)
            gru(theirs, both.backward_layer, "_reverse")
    elif case.config.audio.model == "gru":
        for index, theirs in enumerate(network.layers):
            gru(theirs, model.get_layer("audio_gru_layers").stack[index])
    else:
        conv(network.stem, "audio_stem")
        norm(network.stem_norm, "audio_stem_norm")
        for index, stage in enumerate(network.stages):
            for step in ("a", "b"):
                conv(getattr(stage, step), f"audio_{index}_{step}")
                norm(getattr(stage, f"{step}_norm"), f"audio_{index}_{step}_norm")
            if index:
                conv(stage.around, f"audio_{index}_around")


@pytest.mark.slow
def test_parts_of_each_kind_come_out(tmp_path):
    """Runs in a process of its own: what is timed there needs one that has not begun anything."""
    pytest.importorskip("torch")
    pytest.importorskip("ray")
    parts = ("prepare", "step", "crossval", "growth")
    command = [sys.executable, "-m", "benchmarks.bench", "--quick", "--work", str(tmp_path / "work"), "--parts", *parts]
    finished = subprocess.run(
        [*command, "--output", str(tmp_path / "bench.json")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    result = json.loads((tmp_path / "bench.json").read_text())
    assert tuple(result["parts"]) == parts
    assert result["commit"]
    for part in result["parts"].values():
        assert part["quick"]
        assert part["commit"]
        assert part["measured"]
        assert all("exponent" in one or one["ratios"] for one in part["measured"])
    assert all(one["parameters"] for one in result["parts"]["step"]["measured"])
    [crossval] = result["parts"]["crossval"]["measured"]
    assert list(crossval["medians"]) == ["crossval", "fit, fold by fold", "crossval on Ray"]
    assert "times as fast" in finished.stdout
    assert "| cost of |" in finished.stdout


@pytest.mark.slow
def test_large_records_are_copies_under_other_names_and_train(tmp_path, monkeypatch):
    from benchmarks import large_records, result_files
    from pipelines.records import read_index, read_metadata

    monkeypatch.setattr(result_files, "FOLDER", tmp_path)
    once = read_metadata(large_records.grown_records(tmp_path, 3, 0.0))
    gigabytes = 1.5 * sum(shard["num_bytes"] for shard in once.shards.values()) / 1e9
    flags = ["--speakers", "3", "--work", str(tmp_path), "--shuffle-size", "64", "--gigabytes", str(gigabytes)]
    large_records.main([*flags, "--", "--num-frames", "128"])
    result = json.loads((tmp_path / "large_records.json").read_text())
    assert result["clips"] == 180
    assert result["shuffle_size"] == "64"
    assert result["memory_mib_most"] > max(100, result["memory_mib"][0])
    assert np.isfinite(result["slope_mib_a_gigabyte"])
    index = read_index(large_records.grown_records(tmp_path, 3, gigabytes))
    assert index["utterance_id"].is_unique
    assert index["speaker"].nunique() == 6
    assert index["audio_sha256"].is_unique


def test_the_parts_of_a_training_are_told(three_speaker_records, tmp_path, monkeypatch):
    from benchmarks import fit_parts, result_files, rows

    monkeypatch.setattr(result_files, "FOLDER", tmp_path)
    flags = ["--audio-channels", "4", "4", "--num-frames", "64", "--batch-size", "8"]
    fit_parts.main(["--records", str(three_speaker_records), "--epochs", "2", "--", *flags])
    result = json.loads((tmp_path / "fit_parts.json").read_text())
    [(precision, found)] = result["trainings"].items()
    assert precision == "float32"
    assert all(seconds >= 0 for seconds in found["seconds"].values())
    assert found["seconds"]["steps"] > 0
    assert 0 < found["step_gflops"] < found["matrix_gflops"]
    # Two convolutions of 3 x 3 over 64 frames of 64 bands at least, forwards and backwards, of 4 channels.
    assert found["million_operations_a_clip"] >= 3 * 2 * 9 * 64 * 64 * 4 / 1e6
    # Each reads what the one before wrote: 4 channels of 32 x 32 after the stem, forwards and backwards.
    assert 3 * 2 * 2 * 4 * 4 * 32 * 32 / 1e6 < found["megabytes_a_clip"] < 100
    assert min(found["step_gigabytes_a_second"], found["vector_gigabytes_a_second"]) > 0
    assert [row["part"] for row in rows.fit_parts(result)][:8] == list(found["seconds"])


@pytest.mark.slow
def test_whole_trainings_are_set_side_by_side_and_a_finished_one_is_kept(three_speaker_records, tmp_path, monkeypatch):
    from benchmarks import result_files, whole_fits

    monkeypatch.setattr(result_files, "FOLDER", tmp_path)
    monkeypatch.setattr(whole_fits, "_FEWER", 1)
    flags = ["--records", str(three_speaker_records), "--folder", str(tmp_path / "fits"), "--seeds", "1"]
    flags += ["--folds", "holdout", "--", "--audio-channels", "4", "4", "--num-frames", "64", "--epochs", "2"]
    whole_fits.main(flags)
    result = json.loads((tmp_path / "whole_fits.json").read_text())
    written = (tmp_path / "fits" / "auto-seed-0" / "history.csv").stat().st_mtime_ns
    whole_fits.main(flags)
    assert (tmp_path / "fits" / "auto-seed-0" / "history.csv").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "whole_fits.json").read_text())["ways"] == result["ways"]
    auto, single, fewer = whole_fits.table(result)
    names = [row["fit --branch audio"] for row in (auto, single, fewer)]
    assert names == ["--precision auto", "--precision float32", "--epochs 1"]
    assert auto["times as long"].startswith("1.00")
    assert (auto["epochs"], single["epochs"], fewer["epochs"]) == ("2", "2", "1")
