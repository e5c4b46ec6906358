"""Tests of pipelines.corpora.audformat_database: tables of files and of segments, made by audformat itself."""

import corpus_trees
import pytest

from pipelines.command import InputError
from pipelines.corpora import audformat_database
from pipelines.corpora.recordings import Speakers
from pipelines.utterance import Segment

audformat = pytest.importorskip("audformat")

# audformat 1.4 calls what pandas 3.1 will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FILES = ["wav/a.wav", "wav/b.wav", "wav/c.wav"]


def database(folder, storage="csv", raters=("gold",), split=None):
    """A database in the form of audformat's own example of EMO-DB: a table of speakers behind a scheme."""
    import pandas as pd

    corpus_trees.place(folder, *FILES)
    db = audformat.Database("mini", license="CC0-1.0")
    db.schemes["emotion"] = audformat.Scheme(labels=["happiness", "anger"])
    db.schemes["gender"] = audformat.Scheme(labels=["female", "male"])
    db.schemes["transcription"] = audformat.Scheme(labels={"a01": "Der Lappen", "a02": "Das will sie"})
    db["speaker"] = audformat.MiscTable(pd.Index([3, 8], name="speaker", dtype="Int64"))
    db["speaker"]["gender"] = audformat.Column(scheme_id="gender")
    db["speaker"]["gender"].set(["male", "female"])
    db.schemes["speaker"] = audformat.Scheme("int", labels="speaker")
    if split:
        db.splits[split] = audformat.Split(split)
    index = audformat.filewise_index(FILES)
    db["files"] = audformat.Table(index, split_id=split)
    db["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    db["files"]["speaker"].set([3, 3, 8])
    db["files"]["transcription"] = audformat.Column(scheme_id="transcription")
    db["files"]["transcription"].set(["a01", "a02", "a01"])
    db["emotion"] = audformat.Table(index)
    for number, rater in enumerate(raters):
        db.raters[rater] = audformat.Rater()
        db["emotion"][rater] = audformat.Column(scheme_id="emotion", rater_id=rater)
        db["emotion"][rater].set([("happiness", "anger")[number], "anger", None])
    db.save(str(folder), storage_format=storage)
    return folder


def read(folder, speakers=Speakers(), **columns):  # noqa: B008
    return audformat_database.read(folder, (), speakers, columns)


@pytest.mark.parametrize("storage", ["csv", "parquet"])
def test_schemes_give_emotion_speaker_words_and_sex(tmp_path, storage):
    corpus = read(database(tmp_path, storage))
    one, other = corpus.utterances
    assert (one.utterance_id, one.speaker, one.emotion) == ("wav/a", "3", "happiness")
    assert (one.transcript, one.attributes, one.segment) == ("Der Lappen", {"sex": "male"}, None)
    assert (other.emotion, other.transcript) == ("anger", "Das will sie")
    assert (corpus.name, corpus.licence) == ("audformat mini", "CC0-1.0")
    assert corpus.emotions == ("happiness", "anger")


def test_pickles_are_neither_read_nor_written(tmp_path):
    folder = database(tmp_path)
    for name in ("emotion", "files", "speaker"):
        (folder / f"db.{name}.pkl").write_bytes(b"no pickle at all")
    before = sorted(folder.iterdir())
    assert len(read(folder).utterances) == 2
    assert sorted(folder.iterdir()) == before
    for path in folder.glob("db.*.csv"):
        path.unlink()
    with pytest.raises(InputError, match="cannot be read as audformat"):
        read(folder)


def test_segments_of_a_file_are_utterances(tmp_path):
    folder = database(tmp_path)
    db = audformat.Database.load(str(folder))
    index = audformat.segmented_index(["wav/a.wav", "wav/a.wav", "wav/b.wav"], [0, 0.05, 0], [0.05, 0.1, None])
    db["turns"] = audformat.Table(index)
    db["turns"]["mood"] = audformat.Column(scheme_id="emotion")
    db["turns"]["mood"].set(["anger", "happiness", "anger"])
    db.drop_tables("emotion")
    db.save(str(folder), storage_format="csv")
    found = read(folder).utterances
    assert [one.utterance_id for one in found] == ["wav/a@0-0.05", "wav/a@0.05-0.1", "wav/b"]
    assert [one.segment for one in found] == [Segment(0.0, 0.05), Segment(0.05, 0.1), None]
    assert [one.speaker for one in found] == ["3", "3", "3"]


def test_splits_are_published_ones(tmp_path):
    assert {one.published_split for one in read(database(tmp_path, split="dev")).utterances} == {"validation"}


def test_raters_who_contradict_each_other_need_a_choice(tmp_path):
    folder = database(tmp_path, raters=("gold", "crowd"))
    with pytest.raises(InputError, match=r"the labels of 'emotion' contradict each other, .* --columns emotion=COLUMN"):
        read(folder)
    assert [one.emotion for one in read(folder, emotion="gold").utterances] == ["happiness", "anger"]


def test_other_folders_schemes_and_missing_media_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no db\.yaml"):
        read(tmp_path)
    folder = database(tmp_path / "a")
    with pytest.raises(InputError, match=r"has no labels under 'mood' \(its schemes and columns are .*emotion"):
        read(folder, emotion="mood")
    with pytest.raises(InputError, match="nothing says who speaks"):
        read(folder, speaker="nobody")
    (folder / "wav/a.wav").unlink()
    with pytest.raises(InputError, match=r"a\.wav is not there: download the media, too"):
        read(folder)
    (folder / "db.yaml").write_text("name: [")
    with pytest.raises(InputError, match="cannot be read as audformat"):
        read(folder)
