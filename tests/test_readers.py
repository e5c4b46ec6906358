"""Tests of pipelines.corpora.readers: every corpus by its flag, into records, and flags of other corpora refused."""

import json

import corpus_trees
import pytest
import test_emobox
import test_kaldi

from pipelines import fold_audit, folds, prepare, records
from pipelines.command import InputError
from pipelines.corpora import readers

TREES = {
    "crema-d": corpus_trees.crema_d,
    "tess": corpus_trees.tess,
    "emodb": corpus_trees.emodb,
    "savee": corpus_trees.savee,
    "iemocap": corpus_trees.iemocap,
    "kaldi": lambda folder: test_kaldi.data(folder / "data"),
    "folders": lambda folder: corpus_trees.place(folder, "Anger/a_1.wav", "SAD/b_1.wav", "Joy/c_1.wav"),
}


def prepared(tmp_path, *flags):
    """Runs the command without decoding processes; returns the metadata."""
    prepare.main([*map(str, flags), "--records", str(tmp_path / "r"), "--workers", "1"])
    return records.read_metadata(tmp_path / "r")


@pytest.mark.parametrize("name", ["crema-d", "tess", "emodb", "savee", "iemocap"])
def test_each_corpus_becomes_records_of_four_classes(tmp_path, in_process, name):
    source = TREES[name](tmp_path / name)
    flags = ("--corpus", name, "--source", source, "--incomplete", "--label-map", f"{name}-four")
    metadata = prepared(tmp_path, *flags)
    assert set(metadata.emotions) <= {"angry", "happy", "neutral", "sad"}
    assert metadata.num_utterances == sum(metadata.emotion_counts(metadata.speakers)) > 0
    assert metadata.skipped == []
    assert sum(metadata.ignored.values()) > 0


def test_folders_in_any_spelling_meet_the_eight_of_ravdess(tmp_path, in_process):
    source = TREES["folders"](tmp_path / "mine")
    flags = ("--corpus", "folders", "--source", source, "--speaker-regex", r"/(\w)_\d", "--label-map")
    metadata = prepared(tmp_path, *flags, "spellings-ravdess")
    assert metadata.counts == {"a": {"angry": 1}, "b": {"sad": 1}, "c": {"happy": 1}}
    assert records.marks_of(metadata) == []


def test_records_without_speakers_are_split_at_random_alone_and_marked(tmp_path, in_process):
    source = TREES["folders"](tmp_path / "mine")
    metadata = prepared(tmp_path, "--corpus", "folders", "--source", source, "--no-speakers")
    assert records.marks_of(metadata) == ["speakers-unknown"]
    index = records.read_index(tmp_path / "r")
    with pytest.raises(InputError, match="the records hold utterances without one: use --folds published or random"):
        folds.make_folds("holdout", index)
    assert folds.make_folds("random", index)[0].by == "utterance_id"


def test_published_folds_of_speakers_lie_beside_the_records(tmp_path, in_process, capsys):
    data = test_emobox.clone(tmp_path / "EmoBox", test_emobox.CLEAN)
    prepared(tmp_path, "--corpus", "emobox", "--source", data)
    path = tmp_path / "r" / "folds.json"
    assert f"4 published folds of speakers: fit --folds {path}" in capsys.readouterr().out
    assert len(json.loads(path.read_text())) == 4
    index = records.read_index(tmp_path / "r")
    for number, fold in enumerate(folds.make_folds(str(path), index)):
        assert fold_audit.audit(fold, index, f"fold {number}").marks == ()


def test_a_fold_that_leaks_is_marked_by_the_audit(tmp_path, in_process):
    data = test_emobox.clone(tmp_path / "EmoBox", test_emobox.LEAKING)
    prepared(tmp_path, "--corpus", "emobox", "--source", data, "--speaker-leaking", "1")
    index = records.read_index(tmp_path / "r")
    [fold] = folds.make_folds("published", index)
    assert fold_audit.audit(fold, index, "published").marks == ("speaker-leaking",)
    assert not (tmp_path / "r" / "folds.json").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--corpus tess --emotions a,b", "--emotions declares the labels of a corpus of your own; tess has its own"),
        ("--corpus tess --columns path=file", "--columns is for --corpus manifest or hf or audformat, not tess"),
        ("--corpus ravdess --speaker-regex (x)", "--speaker-regex is for --corpus folders or hf or audformat or kaldi"),
        ("--corpus manifest --no-speakers", "--no-speakers is for"),
        ("--corpus ravdess --incomplete", "--incomplete is for --corpus ravdess-song or crema-d or"),
        ("--corpus tess --with-song", "--with-song is for --corpus ravdess, not tess"),
        ("--corpus tess --speaker-leaking 1", "--speaker-leaking is for --corpus emobox, not tess"),
        ("--corpus folders --no-speakers --speaker-regex (x)", "give one of them"),
        ("--corpus folders --emotions a", "must name two or more different labels"),
        ("--corpus manifest --source x.csv --columns who=a", "'who=a' is not NAME=COLUMN with a NAME of path, emotion"),
    ],
)
def test_flags_of_other_corpora_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        prepare.main(flags.split())


def test_list_label_maps_needs_no_corpus(capsys):
    with pytest.raises(SystemExit) as raised:
        prepare.main(["--list-label-maps"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert "emodb-four: 4 emotions\n  angry <- anger\n" in shown
    assert "  dropped: boredom, disgust, fear\n  source: Burkhardt et al. 2005" in shown


def test_each_corpus_has_a_reader_and_flags_belong_to_some():
    wanted = {"crema-d", "tess", "emodb", "savee", "ravdess-song", "iemocap", "folders", "audformat", "hf", "emobox"}
    assert wanted | {"kaldi", "ravdess", "meld", "goemotions", "manifest", "synthetic"} == set(readers.READERS)
