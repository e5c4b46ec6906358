"""Tests of pipelines.folds: no speaker in two parts, the published lists as published, the same fold everywhere."""

import json
import os
import subprocess
import sys

import pytest

from pipelines import folds
from pipelines.command import InputError
from pipelines.folds import Fold

ACTORS = [f"{actor:02}" for actor in range(1, 25)]
PRESENT = [actor for actor in ACTORS if actor not in ("09", "12", "17", "20")]


def parts(fold):
    return [set(fold.train), set(fold.validation), set(fold.test)]


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("speakers", [ACTORS, PRESENT, ACTORS[:3], ACTORS[:4], ["b", "a", "c", "ä", " "]])
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_holdout_gives_every_speaker_one_part_and_every_part_a_speaker(speakers, seed):
    (fold,) = folds.make_folds("holdout", speakers, seed)
    assert sum(map(len, parts(fold))) == len(set.union(*parts(fold))) == len(speakers)
    assert all(parts(fold))
    folds.audit(fold, "holdout")


def test_holdout_is_60_20_20():
    assert list(map(len, parts(folds.choose_fold("holdout", 0, PRESENT)))) == [12, 4, 4]


def test_holdout_depends_on_the_seed_and_not_on_the_order_or_repetition_of_speakers():
    fold = folds.choose_fold("holdout", 0, ACTORS)
    assert fold == folds.choose_fold("holdout", 0, ACTORS[::-1] + ACTORS)
    assert fold != folds.choose_fold("holdout", 0, ACTORS, seed=1)


def test_holdout_is_the_same_under_another_hash_seed():
    code = "from pipelines import folds; print(folds.make_folds('holdout', [f'{n:02}' for n in range(1, 25)]))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == str(folds.make_folds("holdout", ACTORS))


@pytest.mark.parametrize("speakers", [[], ["a"], ["a", "b"], ["a", "b", "b"]])
def test_fewer_than_three_speakers_are_refused(speakers):
    with pytest.raises(InputError, match="holdout needs at least three speakers"):
        folds.make_folds("holdout", speakers)


def test_lj5_tests_every_actor_once_and_never_one_that_it_trains_on():
    made = folds.make_folds("lj5", ACTORS)
    assert sorted(sum((fold.test for fold in made), ())) == ACTORS
    assert made[0].test == ("02", "05", "14", "15", "16")
    assert made[0].validation == ("03", "06")
    assert [len(fold.train) for fold in made] == [17, 17, 17, 17, 18]
    for fold in made:
        folds.audit(fold, "lj5")
        assert sorted(fold.train + fold.validation + fold.test) == ACTORS
        assert fold.absent == ()


def test_lj5_drops_absent_actors_and_fills_the_validation_part_from_the_next_folds():
    made = folds.make_folds("lj5", PRESENT)
    # 17 is absent of fold 2's {08, 17}: the first two present test actors of fold 3 take their place.
    assert made[2].validation == ("08", "21")
    assert made[4].test == ("01", "04", "22")
    for fold in made:
        folds.audit(fold, "lj5")
        assert sorted(fold.train + fold.validation + fold.test) == PRESENT
        assert len(fold.validation) == 2
        assert fold.absent == ("09", "12", "17", "20")


def test_the_following_folds_count_cyclically():
    present = [actor for actor in ACTORS if actor not in folds.LJ5_VALIDATION[4]]
    assert folds.make_folds("lj5", present)[4].validation == ("14", "15")


def test_lj5_is_refused_for_speakers_that_it_does_not_list():
    with pytest.raises(InputError, match="the records hold speaker anna: use --folds holdout"):
        folds.make_folds("lj5", ["01", "anna"])


def test_lj5_without_test_actors_fails_the_audit():
    with pytest.raises(InputError, match="fold 0 of lj5 has no test speakers"):
        folds.choose_fold("lj5", 0, [actor for actor in ACTORS if actor not in folds.LJ5_TEST[0]])


def test_a_file_is_read_as_it_stands(tmp_path):
    listed = [{"train": ["c", "a"], "validation": ["b"], "test": ["d"]}]
    fold = folds.choose_fold(write(tmp_path / "mine.json", listed), 0, ["a", "b", "c", "d", "e"])
    assert fold == Fold(("a", "c"), ("b",), ("d",))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "holds no list of folds"),
        ({}, "holds no list of folds"),
        ([5], 'has no list of speakers under "train"'),
        ([{"train": ["a"], "validation": ["b"]}], 'has no list of speakers under "test"'),
        ([{"train": [1], "validation": ["b"], "test": ["c"]}], "write them as strings"),
        ([{"train": ["a"], "validation": ["b"], "test": ["z"]}], "names speaker z under test, whom the records do not"),
        ([{"train": ["a"], "validation": [], "test": ["c"]}], "has no validation speakers"),
        ([{"train": ["a", "c"], "validation": ["b"], "test": ["c"]}], "speaker c is in train and in test"),
        ([{"train": ["a", "b"], "validation": ["b"], "test": ["c"]}], "speaker b is in train and in validation"),
        ([{"train": ["a"], "validation": ["c"], "test": ["c"]}], "speaker c is in validation and in test"),
    ],
)
def test_a_file_that_no_score_could_be_believed_of_is_refused(tmp_path, listed, message):
    with pytest.raises(InputError, match=message):
        folds.choose_fold(write(tmp_path / "mine.json", listed), 0, ["a", "b", "c"])


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json does not exist"):
        folds.make_folds(str(tmp_path / "absent.json"), ["a"])
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(InputError, match="is no readable JSON"):
        folds.make_folds(str(tmp_path / "bad.json"), ["a"])


@pytest.mark.parametrize("index", [-1, 5])
def test_a_fold_that_does_not_exist_is_refused(index):
    with pytest.raises(InputError, match="is none of the 5 folds of lj5"):
        folds.choose_fold("lj5", index, ACTORS)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="there are no folds 'kfold': choose holdout, lj5"):
        folds.make_folds("kfold", ACTORS)
