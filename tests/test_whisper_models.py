"""Tests of pipelines.whisper_models: names and checkpoints of whisper's own, and a sentence for what is neither."""

import hashlib
import pickle
import sys
import urllib.error

import pytest

from pipelines.command import InputError
from pipelines.whisper_models import checkpoint_sha256, device_of, load, name_of, read_checkpoint


def test_a_file_called_like_a_model_is_that_file(tmp_path, whisper_checkpoint, monkeypatch):
    (tmp_path / "base").write_bytes(whisper_checkpoint.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert load("base", "cpu", "--whisper-model").dims.n_audio_state == 24
    assert checkpoint_sha256("base") == hashlib.sha256(whisper_checkpoint.read_bytes()).hexdigest()


def test_a_checkpoint_is_named_without_its_folder_and_a_model_has_no_hash(whisper_checkpoint):
    assert (name_of(str(whisper_checkpoint)), name_of("base")) == ("tiny.pt", "base")
    assert checkpoint_sha256("large-v3") == ""


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of a checkpoint ran')",))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps({"dims": 1}), pickle.dumps(Malicious())])
def test_a_file_that_is_no_checkpoint_gets_a_sentence_and_its_code_never_runs(tmp_path, content):
    pytest.importorskip("whisper")
    (tmp_path / "bad.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.pt is no whisper checkpoint \(.+\): give a \.pt file") as caught:
        load(str(tmp_path / "bad.pt"), "cpu", "--whisper-model")
    assert "weights_only" not in str(caught.value)


def test_the_sentence_says_in_what_way_a_file_is_broken(tmp_path, whisper_checkpoint):
    pytest.importorskip("torch")
    whole, broken = whisper_checkpoint.read_bytes(), tmp_path / "broken.pt"
    third = len(whole) // 3
    # Cut off, cut out of the middle, and a text, on which torch says 101 (the letter e).
    for content in (whole[:third], whole[:third] + whole[2 * third :], b"hello world"):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.pt is no .* \(it is cut off, damaged or no file of torch's\): "):
            read_checkpoint(broken)
    broken.write_bytes(b"")
    with pytest.raises(InputError, match=r"broken\.pt is no whisper checkpoint \(it is empty\): "):
        read_checkpoint(broken)


@pytest.mark.parametrize("lacking", ["dims", "model_state_dict", "weight", "malicious"])
def test_a_checkpoint_of_other_contents_gets_a_sentence(tmp_path, whisper_checkpoint, lacking):
    import torch

    content = torch.load(whisper_checkpoint, weights_only=True)
    content.pop(lacking, None)
    if lacking == "weight":
        del content["model_state_dict"]["decoder.ln.weight"]
    if lacking == "malicious":
        content["more"] = Malicious()
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt is no whisper checkpoint"):
        load(str(tmp_path / "other.pt"), "cpu", "--whisper-model")


def test_a_name_that_is_no_model_gets_the_names(tmp_path):
    pytest.importorskip("whisper")
    for model in ("basic", str(tmp_path)):
        with pytest.raises(InputError, match=r"--flag .* is neither a checkpoint file nor one of tiny\.en, .*large"):
            load(model, "cpu", "--flag")


def test_a_download_that_fails_gets_a_sentence(monkeypatch):
    whisper = pytest.importorskip("whisper")

    def fail(*arguments, **settings):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(whisper, "load_model", fail)
    with pytest.raises(InputError, match=r"model base could not be .*no route to host.*or give a .* to --flag"):
        load("base", "cpu", "--flag")


def test_cuda_where_there_is_none_gets_a_sentence(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="--device cuda finds no GPU that torch can use"):
        device_of("cuda")


def test_whisper_that_is_not_installed_gets_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(InputError, match=r"whisper is not installed: .*pip install -e '\.\[whisper\]'"):
        load("base", "cpu", "--flag")
