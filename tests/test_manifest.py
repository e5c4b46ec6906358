"""Tests of pipelines.corpora.manifest: anyone's CSV, and a sentence with the line where it cannot be used."""

from pathlib import Path

import pytest

from pipelines.command import InputError
from pipelines.corpora import manifest
from pipelines.emotions import RAVDESS

HEADER = "path,emotion,speaker\n"


def read(folder, content, emotions=RAVDESS):
    path = folder / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return manifest.read(path, emotions)


def test_three_columns_are_enough(tmp_path):
    corpus = read(tmp_path, HEADER + "b.wav,happy,anna\nclips/a.wav,sad,ben\n")
    one, two = corpus.utterances
    assert (one.utterance_id, one.emotion, one.speaker, one.transcript) == ("b", "happy", "anna", "")
    assert (one.audio, one.trial, one.published_split) == (tmp_path / "b.wav", "b", "")
    assert two.utterance_id == "clips/a"
    assert (corpus.name, corpus.source, corpus.emotions) == ("mine", tmp_path / "mine.csv", RAVDESS)


def test_optional_columns_are_kept_and_others_become_attributes(tmp_path):
    content = "speaker,path,split,emotion,transcript,trial,age\nanna,a.wav,test,happy,Hello,t1,30\n"
    (utterance,) = read(tmp_path, content).utterances
    assert utterance.published_split == "test"
    assert (utterance.transcript, utterance.trial, utterance.attributes) == ("Hello", "t1", {"age": "30"})


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER.encode() + b"a.wav,happy,anna\n",
        HEADER.replace("\n", "\r\n").encode() + b"a.wav,happy,anna\r\n",
        HEADER.encode() + b"a.wav,happy,anna",
        HEADER.encode() + b"\na.wav,happy,anna\n\n",
        b"path, emotion, speaker\na.wav, happy, anna\n",
        b"path,emotion,speaker,,\na.wav,happy,anna,,\n",
        HEADER.encode() + b"a.wav,happy,anna,,\n",
        b'"path","emotion","speaker"\n"a.wav","happy","anna"\n',
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, content):
    (utterance,) = read(tmp_path, content).utterances
    assert (utterance.audio, utterance.emotion, utterance.speaker) == (tmp_path / "a.wav", "happy", "anna")
    assert utterance.attributes == {}


def test_quoted_transcripts_may_hold_commas_quotes_and_lines(tmp_path):
    content = 'path,emotion,speaker,transcript\na.wav,happy,anna,"Well, ""yes"",\nI do"\nb.wav,sad,anna,\n'
    one, two = read(tmp_path, content).utterances
    assert one.transcript == 'Well, "yes",\nI do'
    assert two.transcript == ""


def test_paths_may_be_absolute_and_names_may_hold_spaces_and_any_script(tmp_path):
    absolute, relative = read(tmp_path, HEADER + "/far/a b.wav,happy,anna\nКлипы/ä 1.wav,sad,Zoë\n").utterances
    assert absolute.audio == Path("/far/a b.wav")
    assert (relative.audio, relative.utterance_id, relative.speaker) == (tmp_path / "Клипы/ä 1.wav", "Клипы/ä 1", "Zoë")


def test_other_labels_can_be_declared(tmp_path):
    assert read(tmp_path, HEADER + "a.wav,bored,anna\n", ("bored", "keen")).emotions == ("bored", "keen")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"has no column path, emotion, speaker \(found: nothing\)"),
        ("path;emotion;speaker\na.wav;happy;anna\n", r"has no column .* separated by commas"),
        ("path,label,speaker\n", r"has no column emotion \(found: path, label, speaker\)"),
        (HEADER, "holds a header and no rows"),
        (
            HEADER + "a.wav,happy,anna\nb.wav,Happy,anna\n",
            "line 3: the emotion 'Happy' is none of neutral, .*--emotions",
        ),
        (HEADER + "a.wav,happy\n", "line 2: the cell speaker is empty"),
        (HEADER + ",happy,anna\n", "line 2: the cell path is empty"),
        (HEADER + "a.wav,happy,anna,Well, yes\n", "line 2 has more cells than the header: .* double quotes"),
        (HEADER + "a.wav,happy,anna\na.wav,sad,anna\n", r"line 3: a\.wav has the name of line 2"),
        (HEADER + "a.wav,happy,anna\na.mp3,sad,anna\n", r"line 3: a\.mp3 has the name of line 2"),
        (HEADER + "./a.wav,happy,anna\na.wav,sad,anna\n", r"line 3: a\.wav has the name of line 2"),
        (HEADER + ".,happy,anna\n", "line 2: the path '.' names no file"),
        (HEADER + "a\0b.wav,happy,anna\n", "names no file|is no CSV"),
        ("path,emotion,speaker,split\na.wav,happy,anna,dev\n", "line 2: the split 'dev' is none of train, validation"),
        (HEADER + 'a.wav,happy,"anna\n', "is no CSV"),
        (HEADER.encode() + "a.wav,happy,Zoë\n".encode("latin-1"), "is not UTF-8 text"),
        (HEADER.encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_a_missing_manifest_and_a_folder_are_refused(tmp_path):
    for source in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(InputError, match="is not a file: name a CSV with the columns path, emotion, speaker"):
            manifest.read(source, RAVDESS)
