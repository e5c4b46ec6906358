"""Tests of pipelines.corpora.hugging_face: metadata beside recordings, and Parquet with recordings inside."""

import json

import corpus_trees
import pytest

from pipelines import audio
from pipelines.command import InputError
from pipelines.corpora import hugging_face
from pipelines.corpora.recordings import Speakers

NO_SPEAKERS = Speakers(is_unknown=True)


def read(folder, emotions=(), speakers=Speakers(), **columns):  # noqa: B008
    return hugging_face.read(folder, emotions, speakers, columns)


def csv_folder(folder):
    corpus_trees.place(folder, "train/a.wav", "test/b.wav")
    rows = "file_name,label,speaker_id,transcription,age\na.wav,happy,s1,well done,30\n"
    (folder / "train" / "metadata.csv").write_text(rows)
    (folder / "test" / "metadata.jsonl").write_text('{"file_name": "b.wav", "label": "sad", "speaker_id": 7}\n')
    return folder


def test_metadata_of_each_split_names_recordings_beside_it(tmp_path):
    corpus = read(csv_folder(tmp_path / "mine"))
    one, other = corpus.utterances
    assert (one.utterance_id, one.speaker, one.emotion, one.published_split) == ("test/b", "7", "sad", "test")
    assert (other.transcript, other.attributes) == ("well done", {"age": "30"})
    assert (corpus.name, corpus.emotions) == ("mine", ("happy", "sad"))
    assert all(utterance.audio.is_file() for utterance in corpus.utterances)


def test_columns_of_other_names_are_named(tmp_path):
    corpus_trees.place(tmp_path, "a.wav")
    (tmp_path / "metadata.csv").write_text("file_name,mood,who\na.wav,happy,anna\n")
    with pytest.raises(InputError, match=r"none of emotion, label, .* for the emotion: name it"):
        read(tmp_path)
    [utterance] = read(tmp_path, emotion="mood", speaker="who").utterances
    assert (utterance.emotion, utterance.speaker) == ("happy", "anna")
    with pytest.raises(InputError, match="--columns speaker=nobody among them"):
        read(tmp_path, emotion="mood", speaker="nobody")


def parquet_folder(folder, **columns):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    corpus_trees.place(folder / "raw", "a.wav", "b.wav")
    content = [(folder / "raw" / name).read_bytes() for name in ("a.wav", "b.wav")]
    sounds = [{"bytes": one, "path": name} for one, name in zip(content, ("a.wav", None), strict=True)]
    table = pa.table({"audio": sounds, "label": [1, 0], **columns})
    label = {"names": ["angry", "happy"], "_type": "ClassLabel"}
    about = {"info": {"features": {"label": label, "audio": {"_type": "Audio"}}}}
    (folder / "data").mkdir()
    path = folder / "data" / "train-00000-of-00001.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path)
    return folder


def test_recordings_inside_of_parquet_are_unpacked_once_and_labels_named(tmp_path):
    folder = parquet_folder(tmp_path, speaker=["s1", "s2"])
    corpus = read(folder)
    one, other = corpus.utterances
    assert (one.utterance_id, one.emotion) == ("data/train-00000-of-00001/00000_a", "happy")
    assert (other.emotion, other.speaker, other.published_split) == ("angry", "s2", "train")
    assert len(audio.read_recording(other.audio).waveform) == 2400
    written = {path: path.stat().st_mtime_ns for path in (folder / "unpacked_audio").rglob("*.wav")}
    assert len(written) == 2
    assert read(folder).utterances == corpus.utterances
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_without_speakers_a_folder_is_refused_or_marked(tmp_path):
    folder = parquet_folder(tmp_path)
    with pytest.raises(InputError, match=r"train-00000-of-00001\.parquet, row 1: nothing says who speaks"):
        read(folder)
    assert {one.speaker for one in read(folder, speakers=NO_SPEAKERS).utterances} == {""}


def test_rows_that_cannot_be_used_are_named_in_one_pass(tmp_path):
    folder = csv_folder(tmp_path)
    (folder / "train" / "metadata.csv").write_text("file_name,label,speaker_id\n,happy,s1\na.wav,,s1\n")
    with pytest.raises(InputError, match=r"2 rows .*\n.*line 2: the cell file_name is.*\n.*line 3: the cell label"):
        read(folder)


def test_other_folders_broken_files_and_other_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither metadata\.csv, .* --corpus folders"):
        read(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        read(tmp_path / "absent")
    with pytest.raises(InputError, match="has the labels sad, which are none of happy, calm"):
        read(csv_folder(tmp_path / "a"), ("happy", "calm"))
    folder = parquet_folder(tmp_path / "b")
    path = folder / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"\.parquet is no Parquet file, or cut off"):
        read(folder, speakers=NO_SPEAKERS)
