"""Tests that songs train, and never validate or test, in every kind of folds, and that audits know who sings."""

import corpus_trees
import pytest

from emotion_tf.config import Config
from emotion_tf.runs.audit import audit_cross_corpus
from emotion_tf.runs.folder import Run
from pipelines import fold_audit, folds, prepare, records
from pipelines.command import InputError


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return corpus_trees.ravdess(tmp_path_factory.mktemp("ravdess"))


def prepared(tree, folder, *flags):
    prepare.main([*flags, "--source", str(tree), "--records", str(folder), "--workers", "1"])
    return records.read_index(folder)


@pytest.fixture
def index(tree, tmp_path, in_process):
    return prepared(tree, tmp_path / "r", "--corpus", "ravdess", "--with-song")


@pytest.mark.parametrize(
    ("name", "count"), [("holdout", 1), ("loso", 4), ("group-kfold", 3), ("lj5", 5), ("random", 1)]
)
def test_songs_of_people_who_train_join_them_and_are_in_no_other_split(index, name, count):
    made = folds.make_folds(name, index, num_folds=3)
    assert len(made) == count
    for fold in made:
        if not all((fold.train, fold.validation, fold.test)):
            continue  # A list of the literature, whose actors are not all here.
        split = fold.splits(index)
        songs = index["only_train"]
        assert set(split[songs]) <= {"train", ""}
        if name != "random":
            assert {"train"} <= set(split[songs])
            people = {one: set(index["person"][split == one]) for one in ("train", "validation", "test")}
            assert not people["train"] & (people["validation"] | people["test"])
            assert set(index["person"][songs & (split == "train")]) <= set(index["person"][~songs & (split == "train")])
            assert fold_audit.audit(fold, index, name).overlaps["speakers"] == 0


def test_the_audit_stops_songs_of_those_who_are_tested_and_songs_that_test(index):
    leaking = folds.Fold(("01", "03 song"), ("02",), ("03",))
    with pytest.raises(
        InputError, match=r"03-01-.*-03 in test and 03-02-.*-03 in train are of one person \(RAVDESS/03"
    ):
        fold_audit.audit(leaking, index, "fold 0")
    with pytest.raises(InputError, match=r"03-02-.*-02 is in test .*and what its speaker sings may train alone"):
        fold_audit.audit(folds.Fold(("01",), ("03",), ("02 song",)), index, "fold 0")


def test_metadata_and_table_say_who_trains_alone(index, tmp_path, tree, capsys, in_process):
    assert records.read_metadata(tmp_path / "r").only_train["01 song"] == "01"
    prepared(tree, tmp_path / "r", "--corpus", "ravdess", "--with-song")
    assert "speakers  4: 01, 02, 03, 04; 12 songs of 4 of them train alone" in capsys.readouterr().out


def test_a_run_on_speech_with_song_is_not_scored_on_actors_whom_it_knows(index, tree, tmp_path, make_run_metadata):
    run = Run(tmp_path / "run")
    run.start(Config("audio", str(tmp_path / "r")))
    fold = folds.Fold(("01", "01 song"), ("02",), ("03",))
    run.write_metadata(make_run_metadata(corpus="RAVDESS speech with song", fold=fold))
    run.write_scores({"marks": []})
    songs = prepared(tree, tmp_path / "s", "--corpus", "ravdess-song", "--incomplete")
    with pytest.raises(InputError, match=r"has speaker 01( song)? in its train split, whom these records hold"):
        audit_cross_corpus(run, songs, "RAVDESS song", "run on songs")
    unknown = songs[songs["speaker"].isin(["03", "04"])]
    assert audit_cross_corpus(run, unknown, "RAVDESS song", "run on songs")["marks"] == []
