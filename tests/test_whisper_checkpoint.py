"""Tests of pipelines.audio.whisper_checkpoint: checkpoints and folders that hold the same weights, and what is none."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from pipelines import whisper_models
from pipelines.audio import whisper_checkpoint as module
from pipelines.audio.whisper_checkpoint import NAMED, Sizes, find
from pipelines.command import InputError

whisper = pytest.importorskip("whisper")
import torch  # noqa: E402  (installed with whisper)


@pytest.fixture(scope="module")
def folder(encoder_checkpoint, tmp_path_factory):
    """The random checkpoint as Keras weights."""
    folder, found = tmp_path_factory.mktemp("encoder") / "random", find(str(encoder_checkpoint))
    found.save(found.load(), folder)
    return folder


def changed(checkpoint, path, **dims):
    """Writes the checkpoint with other dimensions; None takes one out."""
    content = torch.load(checkpoint, weights_only=True)
    content["dims"] = {name: value for name, value in (content["dims"] | dims).items() if value is not None}
    torch.save(content, path)
    return path


def test_a_checkpoint_is_found_with_sizes_and_hash(encoder_checkpoint):
    found = find(str(encoder_checkpoint))
    sha256 = hashlib.sha256(encoder_checkpoint.read_bytes()).hexdigest()
    assert (found.name, found.sha256, found.sizes) == ("random.pt", sha256, Sizes(80, 8, 2, 4))


def test_sizes_count_the_weights(encoder_checkpoint):
    found = find(str(encoder_checkpoint))
    assert found.load().count_params() == found.sizes.num_parameters
    assert 19e6 < NAMED["base"].num_parameters < 21e6
    assert 630e6 < NAMED["large-v3"].num_parameters < 640e6


def test_a_name_stands_for_the_file_that_whisper_would_download(monkeypatch, encoder_checkpoint):
    found = find("tiny")
    assert (found.sha256[:8], len(found.sha256), found.sizes) == ("65147644", 64, NAMED["tiny"])
    assert set(NAMED) == set(whisper.available_models())
    monkeypatch.setattr(whisper, "_download", lambda url, root, in_memory: str(encoder_checkpoint))
    with pytest.raises(InputError, match=r"random\.pt changed while it was read"):
        found.load()


def test_a_model_that_cannot_be_downloaded_gets_a_sentence(monkeypatch):
    def fail(url, root, in_memory):
        raise OSError("no route to host")

    monkeypatch.setattr(whisper, "_download", fail)
    with pytest.raises(InputError, match=r"tiny could not be loaded or downloaded \(no route to host\): connect"):
        find("tiny").load()


def test_a_folder_holds_the_same_weights_under_the_same_hash(encoder_checkpoint, folder):
    original, kept = find(str(encoder_checkpoint)), find(str(folder))
    assert (kept.name, kept.sha256, kept.sizes) == (original.name, original.sha256, original.sizes)
    for one, other in zip(original.load().weights, kept.load().weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_is_read_without_torch_and_whisper(folder):
    code = (
        "import sys\n"
        "from pipelines.audio.whisper_checkpoint import find\n"
        "assert find(sys.argv[1]).load().count_params()\n"
        "assert not {'torch', 'whisper'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_a_folder_is_written_once_and_never_over_something_else(encoder_checkpoint, folder, tmp_path):
    found = find(str(encoder_checkpoint))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    found.save(None, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"--encoder-save .* holds something else: give a new folder"):
        found.save(found.load(), tmp_path)
    with pytest.raises(InputError, match="holds something else"):
        dataclasses.replace(found, sha256="0").save(None, folder)


def copied(folder, target, **facts):
    target.mkdir()
    (target / "model.weights.h5").write_bytes((folder / "model.weights.h5").read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({key: config[key] for key in config} | facts))
    return target


def test_folders_that_are_none_get_a_sentence_each(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no weights of an encoder \(config\.json is missing\)"):
        find(str(tmp_path / "empty"))
    without = copied(folder, tmp_path / "without")
    (without / "model.weights.h5").unlink()
    with pytest.raises(InputError, match=r"without holds no weights \(model\.weights\.h5 is missing\)"):
        find(str(without))
    for number, facts in enumerate(({"width": "wide"}, {"kind": "other"}, {"num_heads": 3}, {"num_blocks": 0})):
        with pytest.raises(InputError, match=r"config\.json is corrupt"):
            find(str(copied(folder, tmp_path / f"{number}", **facts)))
    cut = copied(folder, tmp_path / "cut")
    (cut / "model.weights.h5").write_bytes((folder / "model.weights.h5").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"model\.weights\.h5 is corrupt or not the file that config\.json"):
        find(str(cut)).load()


def test_what_is_no_checkpoint_gets_a_sentence(encoder_checkpoint, tmp_path):
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"dims": {}, "model_state_dict": {}}, tmp_path / "bare.pt")
    for name in ("text", "list", "bare"):
        with pytest.raises(InputError, match=rf"{name}\.pt is no whisper checkpoint"):
            find(str(tmp_path / f"{name}.pt"))
    for change, sentence in {
        "n_audio_layer=5": r"encoder\.blocks\.4\.\S+ is missing or does not fit its dims",
        "n_audio_state=16": r"encoder\.conv1\.weight is missing or does not fit its dims",
        "n_audio_head=3": "numbers of heads and blocks",
        "n_mels=None": "its dims lack or garble 'n_mels'",
        "n_audio_ctx=100": "does not read 30 s",
    }.items():
        name, value = change.split("=")
        path = changed(encoder_checkpoint, tmp_path / "odd.pt", **{name: None if value == "None" else int(value)})
        with pytest.raises(InputError, match=sentence):
            find(str(path))
    with pytest.raises(InputError, match="--encoder-model basic is neither a checkpoint file, nor a folder of prepare"):
        find("basic")


def test_a_checkpoint_of_another_size_than_its_name_is_refused(encoder_checkpoint, tmp_path):
    path = changed(encoder_checkpoint, tmp_path / "base.pt")
    with pytest.raises(InputError, match=r"base\.pt holds 4 blocks 8 wide, and whisper's base has 6 blocks 512 wide"):
        find(str(path))


def test_weights_that_are_not_finite_are_refused(encoder_checkpoint, tmp_path):
    content = torch.load(encoder_checkpoint, weights_only=True)
    content["model_state_dict"]["encoder.blocks.1.mlp.0.weight"][3, 2] = torch.nan
    torch.save(content, tmp_path / "broken.pt")
    with pytest.raises(InputError, match=r"broken\.pt holds NaN or infinite values in encoder\.blocks\.1\.mlp\.0"):
        find(str(tmp_path / "broken.pt")).load()


def test_a_checkpoint_without_torch_gets_the_command_and_the_other_way(encoder_checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"torch is not installed, which reads .*: install it .* or give a folder"):
        find(str(encoder_checkpoint))


def test_an_old_checkpoint_of_torch_is_read_too(encoder_checkpoint, tmp_path):
    content = torch.load(encoder_checkpoint, weights_only=True)
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert find(str(tmp_path / "old.pt")).sizes == Sizes(80, 8, 2, 4)


def test_a_model_larger_than_memory_is_refused_before_it_is_loaded(monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 2**30)
    monkeypatch.setattr(whisper_models, "download", None)
    sentence = r"whisper large-v3 takes about 5\.2 GiB of memory, and this machine has 1\.0 GiB free: give a smaller"
    with pytest.raises(InputError, match=sentence):
        find("large-v3").load()


def test_a_large_model_says_what_memory_it_takes(monkeypatch, encoder_checkpoint, capsys):
    monkeypatch.setattr(module, "_WORTH_A_WARNING", 2**10)
    find(str(encoder_checkpoint)).load()
    assert "the encoder of whisper random.pt takes about 0.1 GiB of memory" in capsys.readouterr().err


def test_free_memory_is_known_here():
    assert module.available_memory() > 2**20
