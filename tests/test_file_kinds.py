"""Tests of pipelines.file_kinds: pointers and pages are called that, and nothing else is."""

import numpy as np
import pytest
import soundfile

from pipelines import audio
from pipelines.command import InputError
from pipelines.file_kinds import foreign_kind

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 96044\n"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (POINTER, "is a git-lfs pointer, .*git lfs pull"),
        ("/annex/objects/MD5E-s96044--0123.wav\n", "is a git-annex pointer"),
        ("<!DOCTYPE html>\n<html><title>Sign in</title></html>", "is a web page"),
        ("\ufeff\n  <html lang=en>", "is a web page"),
        ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is an answer in XML or JSON"),
        ('{"message": "Not Found"}', "is an answer in XML or JSON"),
    ],
)
@pytest.mark.parametrize("name", ["clip.wav", "clip.mp4"])
def test_what_a_download_left_is_called_that(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name} {kind}"):
        audio.decode(path)


def test_anything_else_keeps_its_own_sentence(tmp_path):
    soundfile.write(tmp_path / "good.wav", np.zeros(16), 16000)
    (tmp_path / "text.wav").write_text("Kids are talking by the door")
    (tmp_path / "empty.wav").touch()
    for path in (*tmp_path.iterdir(), tmp_path / "absent.wav", tmp_path):
        assert foreign_kind(path) == ""
    with pytest.raises(InputError, match="cannot be read as audio"):
        audio.decode(tmp_path / "text.wav")
