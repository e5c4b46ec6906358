"""Tests of pipelines.folds: no speaker in two splits, the published lists as published, the same fold everywhere."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from pipelines import fold_audit, folds
from pipelines.command import InputError
from pipelines.folds import Fold

ACTORS = [f"{actor:02}" for actor in range(1, 25)]
PRESENT = [actor for actor in ACTORS if actor not in ("09", "12", "17", "20")]


def index_of(speakers, num_clips=1, **columns):
    """An index of some speakers, each clip a trial and a recording of its own."""
    clips = [(speaker, f"{speaker}-{clip}") for speaker in speakers for clip in range(num_clips)]
    index = pd.DataFrame(clips, columns=["speaker", "utterance_id"], dtype=str)
    index = index.assign(trial=index["utterance_id"], audio_sha256=index["utterance_id"], has_audio=True)
    index = index.assign(video_sha256="")
    return index.assign(**{"label": 0, "published_split": "", "transcript": "", **columns})


def make(name, speakers, **settings):
    return folds.make_folds(name, index_of(speakers), **settings)


def splits_of(fold):
    return [set(fold.train), set(fold.validation), set(fold.test)]


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("name", "speakers"),
    [
        *(
            (name, speakers)
            for name in ("holdout", "lj5", "emobox6", "loso", "group-kfold")
            for speakers in (ACTORS, PRESENT)
        ),
        *(("holdout", speakers) for speakers in (ACTORS[:3], ACTORS[:4], ["b", "a", "c", "ä", " "])),
        *((name, ["b", "a", "c", "ä", " "]) for name in ("loso", "group-kfold")),
    ],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_every_speaker_has_one_part_and_every_part_a_speaker(name, speakers, seed):
    index = index_of(speakers, 2)
    for fold in folds.make_folds(name, index, seed=seed):
        assert sum(map(len, splits_of(fold))) == len(set.union(*splits_of(fold))) == len(speakers)
        found = fold_audit.audit(fold, index, name)
        assert [found.splits[split]["num_utterances"] for split in folds.SPLITS] == [
            2 * len(p) for p in splits_of(fold)
        ]
        assert (found.marks, found.left_out) == ((), 0)


@pytest.mark.parametrize("name", ["lj5", "emobox6", "loso", "group-kfold"])
@pytest.mark.parametrize("speakers", [ACTORS, PRESENT])
def test_all_folds_together_test_every_speaker_once(name, speakers):
    assert sorted(sum((fold.test for fold in make(name, speakers)), ())) == speakers


def test_holdout_is_60_20_20():
    assert list(map(len, splits_of(folds.choose_fold("holdout", 0, index_of(PRESENT))))) == [12, 4, 4]


@pytest.mark.parametrize("name", ["holdout", "group-kfold", "random"])
def test_drawn_folds_depend_on_the_seed_and_not_on_the_order_of_the_records(name):
    index = index_of(ACTORS, 3)
    made = folds.make_folds(name, index)
    assert made == folds.make_folds(name, index[::-1])
    assert made != folds.make_folds(name, index, seed=1)


def test_drawn_folds_are_the_same_under_another_hash_seed():
    code = (
        "import pandas as pd; from pipelines import folds; names = [f'{n:02}' for n in range(1, 25)]\n"
        "index = pd.DataFrame({'speaker': names, 'utterance_id': names})\n"
        "print([folds.make_folds(name, index) for name in ('holdout', 'group-kfold', 'random', 'loso')])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    index = pd.DataFrame({"speaker": ACTORS, "utterance_id": ACTORS})
    made = [folds.make_folds(name, index) for name in ("holdout", "group-kfold", "random", "loso")]
    assert printed.stdout.strip() == str(made)


@pytest.mark.parametrize("speakers", [[], ["a"], ["a", "b"]])
@pytest.mark.parametrize(("name", "least"), [("holdout", 3), ("loso", 4), ("group-kfold", 3)])
def test_too_few_speakers_are_refused_with_the_folds_that_need_none(name, least, speakers):
    sentence = f"{name} needs at least {least} speakers, .* hold {len(speakers)}: .* --folds random, or published"
    with pytest.raises(InputError, match=sentence):
        make(name, speakers)


def test_lj5_is_the_published_list():
    made = make("lj5", ACTORS)
    assert made[0].test == ("02", "05", "14", "15", "16")
    assert made[0].validation == ("03", "06")
    assert [len(fold.train) for fold in made] == [17, 17, 17, 17, 18]
    assert {fold.absent for fold in made} == {()}


def test_lj5_drops_absent_actors_and_fills_the_validation_part_from_the_next_folds():
    made = make("lj5", PRESENT)
    # 17 is absent of fold 2's {08, 17}: the first two present test actors of fold 3 take their place.
    assert made[2].validation == ("08", "21")
    assert made[4].test == ("01", "04", "22")
    assert {len(fold.validation) for fold in made} == {2}
    assert {fold.absent for fold in made} == {("09", "12", "17", "20")}


def test_the_following_folds_count_cyclically():
    present = [actor for actor in ACTORS if actor not in folds.LJ5_VALIDATION[4]]
    assert make("lj5", present)[4].validation == ("14", "15")


def test_emobox6_validates_on_the_first_test_actors_of_the_next_fold():
    made = make("emobox6", ACTORS)
    assert [fold.validation for fold in made] == [
        ("04", "10"), ("08", "09"), ("03", "05"), ("02", "15"), ("06", "13"), ("01", "11"),
    ]  # fmt: skip
    assert make("emobox6", PRESENT)[1].validation == ("08", "19")


def test_loso_tests_one_speaker_and_validates_on_the_next_two():
    made = make("loso", ["d", "c", "b", "a"])
    assert made[0] == Fold(("d",), ("b", "c"), ("a",))
    assert made[3] == Fold(("c",), ("a", "b"), ("d",))
    with pytest.raises(InputError, match="loso needs at least 4 speakers"):
        make("loso", ["a", "b", "c"])


@pytest.mark.parametrize(("num_speakers", "num_folds"), [(20, 3), (20, 7), (5, 5), (3, 3)])
def test_group_kfold_makes_equal_groups_and_validates_on_the_next(num_speakers, num_folds):
    made = make("group-kfold", ACTORS[:num_speakers], num_folds=num_folds)
    assert len(made) == num_folds
    assert {len(fold.test) for fold in made} <= {num_speakers // num_folds, -(-num_speakers // num_folds)}
    assert [fold.validation for fold in made] == [fold.test for fold in [*made[1:], made[0]]]
    assert all(fold.train for fold in made)


@pytest.mark.parametrize("num_folds", [-1, 0, 2, 6])
def test_group_kfold_refuses_numbers_that_leave_a_part_empty(num_folds):
    with pytest.raises(InputError, match=f"--num-folds {num_folds} cannot work for the 5 speakers"):
        make("group-kfold", ACTORS[:5], num_folds=num_folds)


def test_a_literature_list_is_refused_for_speakers_that_it_does_not_name():
    with pytest.raises(InputError, match="the records hold speaker anna: use --folds holdout"):
        make("lj5", ["01", "anna"])


def test_lj5_without_test_actors_fails_the_audit():
    index = index_of([actor for actor in ACTORS if actor not in folds.LJ5_TEST[0]])
    with pytest.raises(InputError, match="fold 0 of lj5 has no test speakers"):
        fold_audit.audit(folds.choose_fold("lj5", 0, index), index, "fold 0 of lj5")


def test_published_reads_the_split_of_the_corpus():
    split = ["train", "train", "validation", "test", ""]
    index = index_of([""], 5, published_split=split)
    (fold,) = folds.make_folds("published", index)
    assert fold.splits(index).tolist() == split
    assert fold_audit.audit(fold, index, "published").left_out == 1
    with pytest.raises(InputError, match="no utterance of a published split validation"):
        folds.make_folds("published", index[index["published_split"] != "validation"])


def test_random_cuts_utterances_60_20_20():
    index = index_of(["", "a"], 10)
    (fold,) = folds.make_folds("random", index)
    assert list(map(len, splits_of(fold))) == [12, 4, 4]
    assert fold.splits(index).value_counts().to_dict() == {"train": 12, "validation": 4, "test": 4}
    with pytest.raises(InputError, match="random needs at least three utterances"):
        folds.make_folds("random", index[:2])


@pytest.mark.parametrize("name", ["holdout", "lj5", "emobox6", "loso", "group-kfold", "mine.json"])
def test_corpora_without_speakers_take_published_and_random_only(name):
    with pytest.raises(InputError, match="without one: use --folds published or random"):
        folds.make_folds(name, index_of([""], 9))


def test_a_file_is_read_as_it_stands(tmp_path):
    listed = [{"train": ["c", "a"], "validation": ["b"], "test": ["d"]}]
    index = index_of("abcde", 2)
    fold = folds.choose_fold(write(tmp_path / "mine.json", listed), 0, index)
    assert fold == Fold(("a", "c"), ("b",), ("d",))
    assert fold_audit.audit(fold, index, "mine").left_out == 2


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
        ([{"train": ["a", "c"], "validation": ["b"], "test": ["c"]}], "speaker c is in train and in test.* with c-0;"),
        ([{"train": ["a", "b"], "validation": ["b"], "test": ["c"]}], "speaker b is in train and in validation"),
        ([{"train": ["a"], "validation": ["c"], "test": ["c"]}], "speaker c is in validation and in test"),
        ([{"train": ["a", "b"], "validation": ["b"], "test": ["a", "c"]}], r"speaker b .* with b-0 \(and 1 more\)"),
    ],
)
def test_a_file_that_no_score_could_be_believed_of_is_refused(tmp_path, listed, message):
    index = index_of("abc", 2)
    with pytest.raises(InputError, match=message):
        fold_audit.audit(
            folds.choose_fold(write(tmp_path / "mine.json", listed), 0, index), index, "fold 0 of mine.json"
        )


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json does not exist"):
        make(str(tmp_path / "absent.json"), ["a"])
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(InputError, match="is no readable JSON"):
        make(str(tmp_path / "bad.json"), ["a"])


@pytest.mark.parametrize("number", [-1, 5])
def test_a_fold_that_does_not_exist_is_refused(number):
    with pytest.raises(InputError, match="is none of the 5 folds of lj5"):
        folds.choose_fold("lj5", number, index_of(ACTORS))


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="there are no folds 'kfold': choose holdout, lj5"):
        make("kfold", ACTORS)


# The audit.
