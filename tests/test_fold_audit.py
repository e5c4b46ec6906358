"""Tests of pipelines.fold_audit: what stands in two splits stops, or marks, and is named."""

import numpy as np
import pytest
import soundfile
from test_folds import index_of

from pipelines import audio, fold_audit, folds, records
from pipelines.command import InputError
from pipelines.corpora import manifest
from pipelines.folds import Fold
from pipelines.records import writer

FOLD = Fold(("a",), ("b",), ("c",))


def changed(index, **cells):
    """Sets cells of an index: column -> {utterance_id: value}."""
    index = index.set_index("utterance_id", drop=False)
    for column, values in cells.items():
        for utterance, value in values.items():
            index.loc[utterance, column] = value
    return index.reset_index(drop=True)


def test_one_trial_in_two_splits_stops_and_both_utterances_are_named():
    index = changed(index_of("abc", 3), trial={"a-1": "T", "a-2": "T", "c-0": "T"})
    with pytest.raises(InputError, match=r"^here: a-1 in train and c-0 in test are one trial \(T\);"):
        fold_audit.audit(FOLD, index, "here")


def test_identical_samples_in_two_splits_stop_and_the_others_are_counted():
    index = changed(index_of("abc", 3), audio_sha256={"b-2": "x", "c-1": "x", "a-0": "y", "b-0": "y", "c-0": "y"})
    with pytest.raises(InputError, match=r"b-2 in validation and c-1 in test \(and 1 more\) hold identical samples"):
        fold_audit.audit(FOLD, index, "here")


def test_identical_pictures_in_two_splits_are_refused_whatever_their_audio():
    index = changed(index_of("abc", 2), video_sha256={"a-1": "x", "c-0": "x"})
    with pytest.raises(InputError, match=r"a-1 in train and c-0 in test hold identical pictures; remove the copy"):
        fold_audit.audit(FOLD, index, "here")
    assert fold_audit.audit(FOLD, changed(index, video_sha256={"c-0": ""}), "here").overlaps["videos"] == 0


def test_absent_and_silent_sound_is_no_copy():
    index = changed(index_of("abc", 2), audio_sha256={"a-0": "x", "c-1": "x", "b-0": "", "c-0": ""})
    index = changed(index, has_audio={"a-0": False, "c-1": False}, trial={"a-0": "", "c-0": ""})
    assert fold_audit.audit(FOLD, index, "here").overlaps == dict.fromkeys(
        ("speakers", "trials", "recordings", "videos", "sentences"), 0
    )


def test_twins_within_one_part_and_among_the_left_out_are_fine():
    index = changed(
        index_of("abcd", 2), trial={"a-0": "T", "a-1": "T", "d-0": "T"}, audio_sha256={"c-0": "x", "c-1": "x"}
    )
    found = fold_audit.audit(FOLD, index, "here")
    assert found.left_out == 2
    assert found.splits["train"] == {"speakers": ["a"], "num_utterances": 2}


def test_sentences_may_stand_in_all_splits_of_a_fold_of_speakers():
    found = fold_audit.audit(FOLD, index_of("abc", 2, transcript="Kids are talking"), "here")
    assert found.overlaps["sentences"] == 1
    assert found.marks == ()


def test_under_published_and_random_overlaps_are_marked_and_stop_nothing():
    split = ["train", "train", "validation", "validation", "test", "test"]
    words = ["One, two", "Three", "one,  TWO", "Four", " ", "three"]
    index = index_of("abc", 2, published_split=split, transcript=words, trial="T", audio_sha256="x")
    (fold,) = folds.make_folds("published", index)
    found = fold_audit.audit(fold, index, "published")
    assert found.marks == ("text-overlap 2",)
    assert found.overlaps == {"speakers": 0, "trials": 1, "recordings": 1, "videos": 0, "sentences": 2}
    index = index.assign(speaker="a", transcript="")
    assert fold_audit.audit(fold, index, "published").marks == ("speaker-leaking",)
    (fold,) = folds.make_folds("random", index_of("a", 9))
    assert fold_audit.audit(fold, index_of("a", 9), "random").marks == ("speaker-leaking",)


def test_published_sentences_without_speakers_leak_none():
    index = index_of([""], 3, published_split=["train", "validation", "test"], transcript=["a", "b", "c"])
    found = fold_audit.audit(folds.make_folds("published", index)[0], index, "published")
    assert found.marks == ()
    assert found.splits["test"] == {"speakers": [], "num_utterances": 1}


def test_a_part_that_lost_its_utterances_stops():
    index = index_of("abc", 2)
    with pytest.raises(InputError, match="here has no test utterances"):
        fold_audit.audit(FOLD, index[index["speaker"] != "c"], "here")


@pytest.fixture
def prepared(tmp_path):
    """Prepares a manifest of noise: from rows (file, speaker, trial, seed of the noise) to the index of its records."""

    def prepare_rows(rows):
        for name, _, _, seed in rows:
            soundfile.write(tmp_path / f"{name}.wav", 0.1 * np.random.default_rng(seed).standard_normal(4000), 16000)
        lines = [f"{name}.wav,happy,{speaker},{trial}" for name, speaker, trial, _ in rows]
        (tmp_path / "mine.csv").write_text("\n".join(["path,emotion,speaker,trial", *lines]) + "\n")
        corpus = manifest.read(tmp_path / "mine.csv", ("happy",))
        writer.prepare(writer.Preparation(corpus, tmp_path / "records", audio.FrontEnd()), 1)
        return records.read_index(tmp_path / "records")

    return prepare_rows


def test_a_file_copied_under_another_speakers_name_stops(prepared):
    index = prepared([("one", "a", "", 1), ("two", "b", "", 2), ("copy", "c", "", 1)])
    with pytest.raises(InputError, match="copy in test and one in train hold identical samples"):
        fold_audit.audit(FOLD, index, "here")


def test_twin_trials_of_two_modalities_stop(prepared):
    index = prepared([("01-x", "a", "x", 1), ("two", "b", "", 2), ("03-x", "c", "x", 3)])
    with pytest.raises(InputError, match=r"01-x in train and 03-x in test are one trial \(x\)"):
        fold_audit.audit(FOLD, index, "here")
