"""Tests of pipelines.corpora.goemotions: every comment once, with all of its labels; a line number for a broken row."""

from collections import Counter

import pytest
from test_file_kinds import POINTER

from pipelines.command import InputError
from pipelines.corpora import goemotions
from pipelines.emotions import GOEMOTIONS


def write(folder, train="good\t0\ta\n", dev="bad\t2\tb\n", test="so so\t27\tc\n", **others):
    for name, content in {"train.tsv": train, "dev.tsv": dev, "test.tsv": test, **others}.items():
        (folder / name.replace("_", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def comments(folder):
    return {one.utterance_id: one.transcript for one in goemotions.read(folder).utterances}


def test_every_comment_has_its_part_and_no_speaker(tmp_path):
    corpus = goemotions.read(write(tmp_path))
    assert (corpus.emotions, corpus.is_multi_label, corpus.has_audio) == (GOEMOTIONS, True, False)
    assert {one.utterance_id: one.published_split for one in corpus.utterances} == {
        "a": "train",
        "b": "validation",
        "c": "test",
    }
    (one, *_) = corpus.utterances
    assert (one.speaker, one.emotion, one.transcript, one.trial) == ("", "admiration", "good", "a")


def test_several_labels_are_joined_in_label_order_each_once(tmp_path):
    (one, *_) = goemotions.read(write(tmp_path, train="oh\t27,4,0,4\ta\n")).utterances
    assert one.emotions == ("admiration", "approval", "neutral")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + "“so”\t0\ta\n".encode(),
        "“so”\t0\ta\r\n".encode(),
        "“so”\t0\ta".encode(),
        "\n“so”\t0\ta\n\n\n".encode(),
    ],
)
def test_byte_order_marks_and_any_end_of_line_are_read(tmp_path, content):
    assert comments(write(tmp_path, train=content))["a"] == "“so”"


@pytest.mark.parametrize(
    "comment", ['"a quote that never ends', "one\u2028line\x85to\x0call", "😂😂", "да, 好的", "word " * 10_000]
)
def test_a_comment_is_kept_to_the_letter(tmp_path, comment):
    assert comments(write(tmp_path, train=f"{comment}\t0\ta\n"))["a"] == comment


@pytest.mark.parametrize("name", ["labels_txt", "emotions_txt"])
def test_the_list_of_labels_is_read_under_both_names(tmp_path, name):
    write(tmp_path, **{name: "\n".join(GOEMOTIONS) + "\n"})
    assert len(comments(tmp_path)) == 3
    write(tmp_path, **{name: "\n".join(sorted(GOEMOTIONS)) + "\n"})
    with pytest.raises(InputError, match=r"txt does not list the 28 labels of GoEmotions, admiration to neutral"):
        goemotions.read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("good\t0", r"train\.tsv, line 2 has 2 columns, not a comment"),
        ("good\tso\t0\tx", r"train\.tsv, line 2 has 4 columns"),
        ("good", r"line 2 has 1 columns"),
        ("good\t28\tx", r"line 2: '28' is no label id from 0 to 27"),
        ("good\t-1\tx", r"line 2: '-1' is no label id"),
        ("good\tjoy\tx", r"line 2: 'joy' is no label id"),
        ("good\t1,\tx", r"line 2: '' is no label id"),
        ("good\t\tx", r"line 2: '' is no label id"),
        (" \t1\tx", r"line 2 has an empty comment or id"),
        ("good\t1\t", r"line 2 has an empty comment or id"),
        ("good\t1\ta", r"train\.tsv, line 2 repeats train\.tsv, line 1 with another emotion"),
        ("again\t0\ta", r"train\.tsv, line 2 repeats train\.tsv, line 1 with another transcript"),
        (b"caf\xe9\t1\tx", r"train\.tsv, line 2 is not UTF-8 text"),
    ],
)
def test_a_broken_row_is_named_with_its_file_and_line(tmp_path, row, message):
    row = row if isinstance(row, bytes) else row.encode()
    write(tmp_path, train=b"good\t0\ta\n" + row + b"\n")
    with pytest.raises(InputError, match=message):
        goemotions.read(tmp_path)


def test_a_row_twice_counts_once_and_a_pointer_is_called_that(tmp_path):
    corpus = goemotions.read(write(tmp_path, train="good\t0\ta\n\t\t\ngood\t0\ta\n"))
    assert [one.utterance_id for one in corpus.utterances].count("a") == 1
    assert corpus.ignored == {"rows that repeat another one": 1}
    (tmp_path / "dev.tsv").write_text(POINTER)
    with pytest.raises(InputError, match=r"dev\.tsv is a git-lfs pointer, not the file itself"):
        goemotions.read(tmp_path)


def test_a_missing_folder_or_part_and_an_empty_corpus_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent is not a folder: name the one that holds train\.tsv"):
        goemotions.read(tmp_path / "absent")
    write(tmp_path, "", "", "")
    with pytest.raises(InputError, match="holds no comment"):
        goemotions.read(tmp_path)
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(InputError, match=r"cannot read .*dev\.tsv \(No such file"):
        goemotions.read(tmp_path)


@pytest.mark.real_data
def test_the_published_corpus_is_read_whole(real_data):
    corpus = goemotions.read(real_data / "goemotions")
    counts = Counter(one.published_split for one in corpus.utterances)
    assert counts == {"train": 43_410, "validation": 5_426, "test": 5_427}
    assert Counter(len(one.emotions) for one in corpus.utterances)[1] == 36_308 + 4_548 + 4_590
    mapped = corpus.relabelled("goemotions-ravdess")
    assert len(mapped.utterances) + sum(mapped.ignored.values()) == len(corpus.utterances)
