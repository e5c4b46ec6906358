"""Tests of pipelines.corpora.manifest: anyone's CSV, and a sentence with the line where it cannot be used."""

import os
import unicodedata
from pathlib import Path

import pytest
from test_file_kinds import POINTER

from pipelines.command import InputError
from pipelines.corpora import manifest
from pipelines.emotions import RAVDESS
from pipelines.utterance import Segment

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
        "path ,\u00a0emotion,speaker\u00a0\na.wav ,happy\u00a0,anna \n".encode(),
        HEADER.replace("\n", "\r").encode() + b"a.wav,happy,anna\r",
        HEADER.encode() + b"a.wav,happy,anna\n,,\n , ,\n",
        b",path,emotion,speaker\n0,a.wav,happy,anna\n",
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


@pytest.mark.skipif(os.name == "nt", reason="there a backslash is a slash")
def test_backslashes_are_slashes_unless_a_file_is_named_so(tmp_path):
    (tmp_path / r"odd\name.wav").touch()
    content = HEADER + r"clips\a.wav,happy,anna" + "\n" + r"odd\name.wav,sad,bo" + "\n"
    one, other = read(tmp_path, content).utterances
    assert (one.utterance_id, one.audio) == ("clips/a", tmp_path / "clips" / "a.wav")
    assert (other.utterance_id, other.audio) == (r"odd\name", tmp_path / r"odd\name.wav")


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_a_file_is_found_whose_name_is_in_another_unicode_form(tmp_path, on_disk, in_table):
    folder, name = (unicodedata.normalize(on_disk, text) for text in ("Z\u00fcrich", "caf\u00e9 1.wav"))
    (tmp_path / folder).mkdir()
    (tmp_path / folder / name).touch()
    written = unicodedata.normalize(in_table, "Z\u00fcrich/caf\u00e9 1.wav,\u00e4rgerlich,Zo\u00eb")
    [utterance] = read(tmp_path, f"{HEADER}{written}\n", ("\u00e4rgerlich", "froh")).utterances
    assert utterance.audio.is_file()
    assert (utterance.utterance_id, utterance.emotion) == ("Z\u00fcrich/caf\u00e9 1", "\u00e4rgerlich")
    assert utterance.speaker == "Zo\u00eb"


def test_a_row_twice_is_dropped_and_counted_in_any_unicode_form(tmp_path):
    row = "caf\u00e9.wav,happy,Zo\u00eb\n"
    corpus = read(tmp_path, HEADER + row + unicodedata.normalize("NFD", row) + "./" + row)
    assert len(corpus.utterances) == 1
    assert corpus.ignored == {"rows that repeat another one": 2}


def test_start_and_end_cut_segments_several_of_a_file(tmp_path):
    content = (
        "path,start,end,emotion,speaker\na.mp4,4,6.50,sad,y\na.mp4,1.0,2.5,happy,x\na.mp4,30,,sad,x\nb.wav,,,sad,y\n"
    )
    found = {one.utterance_id: one for one in read(tmp_path, content).utterances}
    assert list(found) == ["a@1-2.5", "a@30-end", "a@4-6.5", "b"]
    assert {name: one.segment for name, one in found.items()} == {
        "a@1-2.5": Segment(1.0, 2.5),
        "a@30-end": Segment(30.0, None),
        "a@4-6.5": Segment(4.0, 6.5),
        "b": None,
    }
    first = found["a@1-2.5"]
    assert (first.audio, first.video, first.trial, first.attributes) == (tmp_path / "a.mp4",) * 2 + ("a@1-2.5", {})
    assert first.place == f"{tmp_path / 'mine.csv'}, line 3"


@pytest.mark.parametrize(
    "content",
    [
        "path;emotion;speaker;start;end\na.wav;sad;01;0,5;1,5\n",
        "path\temotion\tspeaker\tstart\tend\r\na.wav\tsad\t01\t0.5\t1.5\r\n".encode("utf-16"),
        "File Name ,label,Who,from,to\na.wav,sad,01,.5,1.5\n",
    ],
)
def test_other_separators_encodings_and_names_of_columns_make_the_same_utterance(tmp_path, content):
    path = tmp_path / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    columns = {"path": "File Name", "emotion": "label", "speaker": "Who", "start": "from", "end": "to"}
    [utterance] = manifest.read(path, RAVDESS, columns if "label" in str(content) else {}).utterances
    assert (utterance.utterance_id, utterance.speaker, utterance.emotion) == ("a@0.5-1.5", "01", "sad")
    assert (utterance.segment, utterance.attributes) == (Segment(0.5, 1.5), {})


def test_a_suffix_in_capitals_finds_its_file(tmp_path):
    (tmp_path / "a.WAV").touch()
    (tmp_path / "b.flac").touch()
    one, other = read(tmp_path, HEADER + "a.wav,sad,x\nb.FLAC,sad,x\n").utterances
    assert (one.audio.name, other.audio.name) == ("a.WAV", "b.flac")


def test_an_end_alone_begins_at_the_beginning_and_a_segment_twice_is_dropped(tmp_path):
    corpus = read(tmp_path, HEADER.replace("\n", ",end\n") + "a.wav,sad,x,2\na.wav,sad,x,2.0\na.wav,happy,x,3\n")
    assert [one.segment for one in corpus.utterances] == [Segment(0.0, 2.0), Segment(0.0, 3.0)]
    assert corpus.ignored == {"rows that repeat another one": 1}


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2", "1", r"mine\.csv, line 2: the segment ends at 1 s and starts at 2 s: correct start or end"),
        ("2", "2.0", "line 2: the segment ends at 2 s and starts at 2 s"),
        ("", "0", "line 2: the segment ends at 0 s and starts at 0 s"),
        ("-1", "2", "line 2: the start '-1' is no number of seconds: write one such as 12.5"),
        ("0:01", "2", "line 2: the start '0:01' is no number of seconds"),
        ("1", "nan", "line 2: the end 'nan' is no number of seconds"),
        ("1", "inf", "the end 'inf' is no number"),
        ("1_0", "20", "the start '1_0' is no number"),
        ('"1,5"', "2", "the start '1,5' is no number"),
    ],
)
def test_a_segment_that_cannot_be_is_refused_with_the_line(tmp_path, start, end, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, f"path,emotion,speaker,start,end\na.wav,happy,anna,{start},{end}\n")


def test_other_labels_can_be_declared(tmp_path):
    assert read(tmp_path, HEADER + "a.wav,bored,anna\n", ("bored", "keen")).emotions == ("bored", "keen")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"has no column path, emotion, speaker \(found: nothing\)"),
        ("path|emotion|speaker\na.wav|happy|anna\n", r"has no column .* or say with --columns"),
        ("path,label,speaker\n", r"has no column emotion \(found: path, label, speaker\)"),
        (HEADER, "holds a header and no rows"),
        (
            HEADER + "a.wav,happy,anna\nb.wav,Happy,anna\n",
            "line 3: the emotion 'Happy' is none of neutral, .*--emotions",
        ),
        (HEADER + "a.wav,happy\n", "line 2: the cell speaker is empty"),
        (HEADER + ",happy,anna\n", "line 2: the cell path is empty"),
        (HEADER + "a.wav,happy,anna,Well, yes\n", "line 2 has more cells than the header: .* double quotes"),
        (HEADER + "a.wav,happy,anna\na.wav,sad,anna\n", r"mine\.csv, line 3 repeats line 2 with another emotion"),
        (HEADER + "a.wav,happy,anna\na.wav,happy,bo\n", r"line 3 repeats line 2 with another speaker"),
        (HEADER + "a.wav,happy,anna\na.mp3,sad,anna\n", r"line 3: a\.mp3 has the name of line 2"),
        (HEADER + "./a.wav,happy,anna\na.wav,sad,anna\n", r"line 3 repeats line 2 with another emotion"),
        ("path,emotion,speaker,speaker\n", "has the column speaker twice: keep one of them"),
        (HEADER + 'a.wav,happy,anna\nb.wav,sad,"no" she\n', "line 3 is no row of a CSV"),
        (HEADER + r"C:\me\a.wav,happy,anna" + "\n", r"line 2: the path 'C:\\me\\a\.wav' is one of a Windows drive"),
        (HEADER + "D:/a.wav,happy,anna\n", "line 2: the path 'D:/a.wav' is one of a Windows drive"),
        (HEADER + r"\\server\me\a.wav,happy,anna" + "\n", "is one of a Windows drive"),
        (POINTER, r"mine\.csv is a git-lfs pointer, not the file itself: fetch that with git lfs pull"),
        ("<!doctype html><html>", r"mine\.csv is a web page"),
        (HEADER + ".,happy,anna\n", "line 2: the path '.' names no file"),
        (HEADER + "a\0b.wav,happy,anna\n", "names no file|is no CSV"),
        ("path,emotion,speaker,split\na.wav,happy,anna,dev\n", "line 2: the split 'dev' is none of train, validation"),
        (HEADER + 'a.wav,happy,"anna\n', "line 2 is no row of a CSV"),
        (HEADER.encode() + "a.wav,happy,Zoë\n".encode("latin-1"), "is not UTF-8 text"),
        (HEADER.encode("utf-16"), "holds a header and no rows"),
        (
            HEADER + 'a.wav,glad,anna\nb.wav,sad\nc.wav,sad,bo,x\nd.wav,sad,"no" she\n',
            r"4 rows of .*\n.*line 2: the emotion .*\n.*line 3: the cell .*\n.*line 4 has more .*\n.*line 5 is no row",
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_a_missing_manifest_and_a_folder_are_refused(tmp_path):
    for source in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(InputError, match="is not a file: name a table with the columns path, emotion, speaker"):
            manifest.read(source, RAVDESS)
