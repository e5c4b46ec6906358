"""Tests of pipelines.corpora.meld: every line of dialogue once; a line number for a row that cannot be used."""

from collections import Counter

import pytest
from test_file_kinds import POINTER

from pipelines.command import InputError
from pipelines.corpora import meld
from pipelines.emotions import MELD

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"


def row(utterance="Hi!", speaker="Joey", emotion="joy", dialogue=7, number=3):
    return f'1,"{utterance}",{speaker},{emotion},positive,{dialogue},{number},8,21,"00:16:16,059","00:16:21,731"\n'


def write(folder, *rows, encoding="utf-8"):
    """Writes three splits, the rows in the first and one row each in the others."""
    for name, content in zip(meld.FILES.values(), ("".join(rows) or row(), row(), row()), strict=True):
        (folder / name).write_bytes((HEADER + content).encode(encoding))
    return folder


def test_characters_are_attributes_and_no_speakers(tmp_path):
    corpus = meld.read(write(tmp_path, row("Well, “yes”")))
    assert (corpus.emotions, corpus.is_multi_label, corpus.has_audio) == (MELD, False, False)
    one = corpus.utterances[1]
    assert (one.utterance_id, one.trial) == ("train-dialogue-0007-utterance-03",) * 2
    assert (one.speaker, one.emotion, one.transcript, one.published_split) == ("", "joy", "Well, “yes”", "train")
    about = {"dialogue": "train-0007", "character": "Joey", "sentiment": "positive", "season": "8", "episode": "21"}
    assert one.attributes == about


def test_the_same_numbers_in_another_split_are_another_dialogue(tmp_path):
    utterances = meld.read(write(tmp_path)).utterances
    assert [one.attributes["dialogue"] for one in utterances] == ["test-0007", "train-0007", "validation-0007"]
    assert [one.published_split for one in utterances] == ["test", "train", "validation"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_files_of_a_spreadsheet_are_read_in_its_encoding(tmp_path, encoding):
    one = meld.read(write(tmp_path, row("You’re late…"), encoding=encoding)).utterances[1]
    assert one.transcript == "You’re late…"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (row(emotion="calm"), r"train_sent_emo\.csv, line 3: the emotion 'calm' is none of neutral, surprise"),
        (row(utterance=" "), "line 3: the cell Utterance is empty"),
        (row(speaker=""), "line 3: the cell Speaker is empty"),
        (row(dialogue="x", number=4), "line 3: Dialogue_ID and Utterance_ID must be numbers"),
        (row(emotion="anger"), r"train_sent_emo\.csv, line 3 repeats train_sent_emo\.csv, line 2 with another emotion"),
        ("1,Hi,Joey\n", "line 3 has fewer cells than the header"),
        (row().replace('"Hi!"', "Hi, you"), "line 3 has more cells than the header"),
        ('1,"Hi\n', "line 3 is no row of a CSV"),
        (row().replace('"Hi!"', '"Hi" there'), r"train_sent_emo\.csv, line 3 is no row of a CSV"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_file_and_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        meld.read(write(tmp_path, row(), content))


def test_a_row_twice_counts_once_and_blank_rows_as_none(tmp_path):
    corpus = meld.read(write(tmp_path, row(), ",,,,,,,,,,\n", row(), row(emotion=" joy ", number=4)))
    assert [one.emotion for one in corpus.utterances if one.published_split == "train"] == ["joy", "joy"]
    assert corpus.ignored == {"rows that repeat another one": 1}


def test_a_column_twice_and_a_pointer_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "dev_sent_emo.csv").write_text(HEADER.replace("Sr No.", "Emotion"))
    with pytest.raises(InputError, match=r"dev_sent_emo\.csv has the column Emotion twice: keep one"):
        meld.read(tmp_path)
    (tmp_path / "dev_sent_emo.csv").write_text(POINTER)
    with pytest.raises(InputError, match=r"dev_sent_emo\.csv is a git-lfs pointer"):
        meld.read(tmp_path)


def test_missing_files_and_other_csvs_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent is not a folder: name the one that holds train_sent_emo\.csv"):
        meld.read(tmp_path / "absent")
    write(tmp_path)
    (tmp_path / "dev_sent_emo.csv").write_text("Utterance,Emotion\n")
    with pytest.raises(InputError, match=r"dev_sent_emo\.csv has no column Speaker, .*found: Utterance, Emotion"):
        meld.read(tmp_path)
    (tmp_path / "dev_sent_emo.csv").unlink()
    with pytest.raises(InputError, match=r"cannot read .*dev_sent_emo\.csv"):
        meld.read(tmp_path)
    for name in meld.FILES.values():
        (tmp_path / name).write_text(HEADER)
    with pytest.raises(InputError, match="holds headers and no rows"):
        meld.read(tmp_path)


@pytest.mark.real_data
def test_the_published_corpus_is_read_whole(real_data):
    corpus = meld.read(real_data / "meld")
    counts = Counter(one.published_split for one in corpus.utterances)
    assert counts == {"train": 9_989, "validation": 1_109, "test": 2_610}
    assert Counter(one.emotion for one in corpus.utterances)["neutral"] == 4_710 + 470 + 1_256
    assert not any("�" in one.transcript for one in corpus.utterances)
