"""Tests of folders and tables by emotion_tf.predict: each file once, killed or not, and none of them lost."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_predictor import tone

from emotion_tf.predict import main
from emotion_tf.serving import Predictor, table
from emotion_tf.serving.many_files import _AT_ONCE
from pipelines.command import run_command

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def predictor(early_export):
    return Predictor(early_export)


@pytest.fixture
def predict(early_export, capsys, predictor, monkeypatch, in_process):
    """Runs the command in this process; the model is loaded once for all."""
    monkeypatch.setattr("emotion_tf.predict.Predictor", lambda *_: predictor)

    def run(*arguments):
        status = run_command(main, ["--model", str(early_export), *map(str, arguments)])
        output = capsys.readouterr()
        errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
        return status, output.out, errors

    return run


def rows_in(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def clips(tmp_path, noise_clips):
    """A folder of forty clips and two files that cannot be used."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for path in noise_clips.rglob("*.wav"):
        (folder / path.name).symlink_to(path)
    (folder / "bad.wav").write_text("no sound")
    (folder / "empty.mp3").touch()
    return folder


def test_a_folder_becomes_the_rows_that_its_files_have_alone(predict, predictor, clips, tmp_path):
    status, printed, errors = predict(clips, "--output", tmp_path / "out.csv", "--embeddings", tmp_path / "e.npz")
    assert (status, printed) == (1, "")
    rows = rows_in(tmp_path / "out.csv")
    assert [row["file"] for row in rows] == sorted(map(str, clips.iterdir()))
    bad = {Path(row["file"]).name: row["error"] for row in rows if row["error"]}
    assert set(bad) == {"bad.wav", "empty.mp3"}
    assert errors[:2] == [f"error: {sentence}" for sentence in bad.values()]
    assert errors[2:] == [f"error: 2 of 42 inputs could not be used, as said above and in {tmp_path / 'out.csv'}."]
    good = [row for row in rows if not row["error"]]
    with np.load(tmp_path / "e.npz", allow_pickle=False) as stored:
        assert stored["files"].tolist() == [row["file"] for row in good]
        embeddings = stored["embeddings"]
    for row, embedding in list(zip(good, embeddings, strict=True))[::9]:
        alone = predictor.predict(row["file"], with_embedding=True)
        found = {emotion: float(row[f"probability_{emotion}"]) for emotion in alone.probabilities}
        assert found == pytest.approx(alone.probabilities, abs=1e-5)
        assert (row["emotion"], float(row["seconds"])) == (alone.emotion, pytest.approx(alone.seconds, abs=1e-3))
        assert row["warnings"] == "; ".join(alone.warnings)
        np.testing.assert_allclose(embedding, alone.embedding, atol=1e-4)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_table_of_paths_is_predicted_with_its_words(predict, predictor, tmp_path, suffix):
    tone(tmp_path / "a.wav")
    (tmp_path / "files.csv").write_text("transcript,path\noh no,a.wav\n,none.wav\n", encoding="utf-8")
    output = tmp_path / f"out{suffix}"
    status, _, errors = predict(tmp_path / "files.csv", "--output", output)
    assert (status, len(errors)) == (1, 2)
    if suffix == ".jsonl":
        found, lost = (json.loads(line) for line in output.read_text().splitlines())
    else:
        found, lost = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
    alone = predictor.predict(tmp_path / "a.wav", "oh no")
    assert (found["emotion"], found["error"], found["warnings"]) == (alone.emotion, None, list(alone.warnings))
    assert found[f"probability_{alone.emotion}"] == pytest.approx(alone.probabilities[alone.emotion], abs=1e-5)
    assert (lost["error"], lost["emotion"]) == (f"{tmp_path / 'none.wav'} does not exist: correct the path.", None)


def test_the_same_command_again_does_no_file_twice_and_takes_new_ones(predict, clips, tmp_path, monkeypatch):
    flags = (clips, "--output", tmp_path / "out.csv")
    predict(*flags)
    first = (tmp_path / "out.csv").read_text()
    tone(clips / "new.wav")
    status, _, errors = predict(*flags)
    assert (status, len(errors)) == (1, 3)  # What could not be used is named again.
    found = (tmp_path / "out.csv").read_text()
    assert found.startswith(first)
    assert len(rows_in(tmp_path / "out.csv")) == 43


def test_a_killed_process_loses_no_file_and_does_none_twice(early_export, noise_clips, tmp_path, predict):
    folder, output, embeddings = tmp_path / "clips", tmp_path / "out.jsonl", tmp_path / "e.npz"
    folder.mkdir()
    paths = sorted(noise_clips.rglob("*.wav"))
    for number in range(600):
        (folder / f"{number:03}.wav").symlink_to(paths[number % len(paths)])
    flags = ["--model", early_export, folder, "--output", output, "--embeddings", embeddings]
    command = [sys.executable, "-m", "emotion_tf.predict", *map(str, flags)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (output.exists() and output.stat().st_size):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = output.read_text().splitlines()
    assert _AT_ONCE <= len(before) < 600
    assert not embeddings.exists()
    with output.open("a") as file:
        file.write('{"file": "')  # As if the last row had been in the middle of its way to the disk.
    assert predict(*flags[2:])[0] == 0
    after = output.read_text().splitlines()
    assert after[: len(before)] == before
    assert [json.loads(line)["file"] for line in after] == [str(folder / f"{number:03}.wav") for number in range(600)]
    with np.load(embeddings, allow_pickle=False) as stored:
        assert stored["files"].tolist() == [str(folder / f"{number:03}.wav") for number in range(600)]
        vectors = stored["embeddings"]
    # Clips repeat, before the kill and after it.
    np.testing.assert_allclose(vectors, np.resize(vectors[: len(paths)], vectors.shape), atol=1e-4)


def test_decoding_processes_give_the_same_rows(early_export, clips, tmp_path, capsys, predictor, monkeypatch):
    monkeypatch.setattr("emotion_tf.predict.Predictor", lambda *_: predictor)
    for workers in (1, 2):
        flags = ["--output", str(tmp_path / f"{workers}.csv"), "--workers", str(workers)]
        assert run_command(main, ["--model", str(early_export), str(clips), *flags]) == 1
    capsys.readouterr()
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()


def test_an_emotion_below_the_least_probability_is_not_sure(predict, tmp_path):
    file = tone(tmp_path / "a.wav")
    for least, is_sure in ((0, True), (1, False)):
        output = tmp_path / f"{least}.csv"
        assert predict(file, "--output", output, "--reject-below", least)[0] == 0
        assert (rows_in(output)[0]["emotion"] == "not sure") is not is_sure
        line = json.loads(predict(file, "--reject-below", least)[1])
        assert (line["emotion"] == "not sure") is not is_sure


class FullDisk:
    """A file on a disk that is full in the middle of the second write."""

    def __init__(self, file):
        self.file, self.lengths = file, iter((None, 100))

    def write(self, content):
        try:
            return self.file.write(content[: next(self.lengths)])
        except StopIteration:
            raise OSError(errno.ENOSPC, "No space left on device") from None

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_full_disk_leaves_whole_rows_to_go_on_from(predict, clips, tmp_path, monkeypatch, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    output, written = tmp_path / f"out{suffix}", tmp_path / f"out{suffix}{'.rows' if suffix == '.parquet' else ''}"
    flags = (clips, "--output", output, "--embeddings", tmp_path / "e.npz")
    with monkeypatch.context() as full:
        made = table.Table.__init__
        full.setattr(table.Table, "__init__", lambda self, path, settings, file, rows: made(
            self, path, settings, FullDisk(file), rows
        ))  # fmt: skip
        status, _, [error] = predict(*flags)
    assert status == 1
    assert f"the disk is full ([Errno 28] No space left on device: '{output}'); free some space" in error
    before = written.read_bytes()
    assert before.endswith(b"\n")
    assert before.count(b"\n") == _AT_ONCE + (suffix == ".csv")
    assert not (tmp_path / "e.npz").exists()
    status, _, errors = predict(*flags)
    assert (status, len(errors)) == (1, 3)  # Two files cannot be used.
    if suffix != ".parquet":
        assert output.read_bytes().startswith(before)
    with np.load(tmp_path / "e.npz", allow_pickle=False) as stored:
        assert len(stored["files"]) == len(stored["embeddings"]) == 40
    assert not list(tmp_path.glob("*.rows"))


def test_a_table_of_another_model_is_refused(predict, tmp_path, predictor, monkeypatch):
    file = tone(tmp_path / "a.wav")
    flags = (file, "--output", tmp_path / "out.csv")
    predict(*flags)
    monkeypatch.setattr("emotion_tf.predict.model_sha256", lambda *_: "another")
    status, _, [error] = predict(*flags)
    assert status == 1
    assert "holds predictions of another model" in error


def test_input_that_makes_no_sense_gets_one_sentence_and_writes_nothing(predict, tmp_path):
    file = tone(tmp_path / "a.wav")
    folder, output = tmp_path / "empty", tmp_path / "out.csv"
    folder.mkdir()
    files = tmp_path / "files.csv"
    files.write_text(f"path\n{file.name}\n")
    (tmp_path / "bad.csv").write_text(f"file\n{file.name}\n")
    before = sorted(tmp_path.iterdir())
    for flags, sentence in (
        ((folder, "--output", output), "holds no recordings"),
        ((tmp_path / "bad.csv", "--output", output), "has no column path"),
        ((tmp_path / "none.csv", "--output", output), "does not exist"),
        ((files, "--output", files), "is what is to be predicted: give --output another name"),
        ((file, "--output", file), "is what is to be predicted"),
        ((file, "--output", tmp_path / "out.xlsx"), "no suffix that is known"),
        ((file, "--output", file / "out.csv"), "give another folder to --output"),
        ((file, "--output", output, "--embeddings", tmp_path / "e.csv"), r"does not end in .npz"),
        ((file, "--output", output, "--transcript", "oh"), "give a table (.csv) with the columns path and transcript"),
        ((file, "--output", output, "--explain", folder), "leave it or --output out"),
        ((file, "--output", output, "--reject-below", "1.5"), "is no probability"),
        ((file, "--output", output, "--workers", "0"), "--workers 0 decode nothing"),
        ((file, "--workers", "2"), "--workers belongs to --output"),
        ((file, "--embeddings", tmp_path / "e.npz"), "--embeddings belongs to --output"),
        (("--output", output), "there is nothing to predict"),
        ((folder,), "is a folder: say with --output FILE.csv where its rows go"),
        ((files,), "is a table: say with --output"),
    ):
        status, printed, [error] = predict(*flags)
        assert (status, printed) == (1, "")
        assert sentence in error
    assert sorted(tmp_path.iterdir()) == before
