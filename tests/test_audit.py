"""Tests of emotion_tf.runs.audit: no run may start from, average or be scored on what was tested, or will be."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from emotion_tf.config import Config, TrainingConfig
from emotion_tf.runs.audit import audit_cross_corpus, audit_run
from emotion_tf.runs.folder import Run
from pipelines import folds, records
from pipelines.audio import FrontEnd
from pipelines.command import InputError
from pipelines.folds import Fold

FOLD = Fold(("a", "b"), ("c",), ("d",))
FACTS = {"corpus": "mine", "vocabulary_sha256": "v", "is_multi_label": False, "has_audio": True, "video": None}


class House:
    """A folder of records and runs, as small as they can be."""

    def __init__(self, folder, make_run_metadata):
        self.folder, self.make_run_metadata = folder, make_run_metadata

    def write_records(self, name, rows, corpus="mine"):
        """Writes records of rows; each is a dict with an utterance_id and whatever is not its default."""
        folder = self.folder / name
        folder.mkdir()
        written = [
            dict.fromkeys(("attributes", "transcript", "published_split"), "")
            | {"speaker": row["utterance_id"][0], "trial": row["utterance_id"], "audio_sha256": row["utterance_id"]}
            | {"label": [0], "token_ids": np.array([2]), "log_mel": np.zeros((1, 64), np.float32)}
            | row
            for row in rows
        ]
        records.write_shard(folder / "0.tfrecord", written)
        size = (folder / "0.tfrecord").stat().st_size
        shards = {"0.tfrecord": {"speakers": [], "num_utterances": len(rows), "num_bytes": size}}
        facts = dict.fromkeys((field.name for field in dataclasses.fields(records.Metadata)), "")
        facts |= {"schema_version": records.SCHEMA_VERSION, "corpus": corpus, "emotions": ["happy"], "counts": {}}
        facts |= {"front_end": dataclasses.asdict(FrontEnd()), "acoustic": [], "shards": shards}
        facts |= {"only_train": {}, "corpora": {}}
        records.write_metadata(folder, records.Metadata(**facts))
        return folder

    def write_run(self, name, folder, fold, *, corpus="mine", marks=(), **values):
        """Writes a finished run as far as an audit reads it."""
        run = Run(self.folder / name)
        run.start(Config("audio", str(folder), **values))
        run.write_metadata(self.make_run_metadata(corpus=corpus, marks=list(marks), fold=fold))
        run.write_scores({})
        return run


@pytest.fixture
def house(tmp_path, make_run_metadata):
    return House(tmp_path, make_run_metadata)


@pytest.fixture
def ours(house):
    return house.write_records("ours", rows_of("abcd"))


def rows_of(speakers, prefix="", **fields):
    return [{"utterance_id": f"{speaker}{prefix}{n}", **fields} for speaker in speakers for n in range(2)]


def text_rows(**sentences):
    """Records without speakers and audio: utterance_id -> published split and sentence."""
    return [
        {"utterance_id": name, "speaker": "", "audio_sha256": "", "log_mel": np.zeros((0, 64), np.float32)}
        | {"published_split": split, "transcript": words}
        for name, (split, words) in sentences.items()
    ]


def audit(folder, *sources, fold=FOLD):
    values = {"fusion": "late", "runs": tuple(str(source.folder) for source in sources)} if sources else {}
    config = Config("fusion", str(folder), folds="lj5", fold=3, **values)
    return audit_run(config, records.read_index(folder), SimpleNamespace(**FACTS), fold, "fold 3 of lj5")


def audit_other(run, folder, corpus="mine"):
    return audit_cross_corpus(run, records.read_index(folder), corpus, "other")


def test_an_audit_says_what_it_found_and_can_be_written_as_json(ours):
    found = audit(ours)
    assert json.loads(json.dumps(found)) == found
    assert (found["folds"], found["fold"], found["by"], found["left_out"]) == ("lj5", 3, "speaker", 0)
    assert found["splits"]["train"] == {"speakers": ["a", "b"], "num_utterances": 4}
    assert (found["sources"], found["marks"]) == ([], [])
    assert found["overlaps"] == dict.fromkeys(("speakers", "trials", "recordings", "videos", "sentences"), 0)


def test_every_fitted_number_names_the_split_that_it_came_from(ours, house):
    config, facts = Config("audio", str(ours)), SimpleNamespace(**FACTS)
    alone = audit_run(config, records.read_index(ours), facts, FOLD, "x")["fitted"]
    for name in ("class_weights", "prior", "weights"):
        assert alone[name] == "training split, 4 utterances"
    for name in ("kept_epoch", "temperature"):
        assert alone[name] == "validation split, 2 utterances"
    assert alone["vocabulary"].endswith("sha256 v")
    late = audit(ours, run := house.write_run("run", ours, FOLD))["fitted"]
    assert late["weights"] == f"none trained; those of {run.folder}"
    assert late["class_weights"] == late["kept_epoch"] == "none"
    assert late["temperature"] == alone["temperature"]
    assert late["thresholds"] == alone["thresholds"] == "none"


@pytest.mark.parametrize(
    ("training", "is_multi_label", "weighs"),
    [
        ({"class_weights": "none"}, False, False),
        ({}, False, True),
        ({}, True, True),
        ({"rare_weight": 0}, True, False),
    ],
)
def test_words_alone_say_whether_emotions_weigh_and_where_thresholds_come_from(ours, training, is_multi_label, weighs):
    config = Config("text", str(ours), training=TrainingConfig(**training))
    facts = SimpleNamespace(**FACTS | {"has_audio": False, "is_multi_label": is_multi_label})
    fitted = audit_run(config, records.read_index(ours), facts, FOLD, "x")["fitted"]
    assert fitted["class_weights"] == ("training split, 4 utterances" if weighs else "none")
    assert fitted["thresholds"] == ("validation split, 2 utterances" if is_multi_label else "none")


def test_a_fold_that_cannot_be_believed_stops_first(ours):
    with pytest.raises(InputError, match="fold 3 of lj5: speaker a is in train and in test"):
        audit(ours, fold=Fold(("a", "b"), ("c",), ("a", "d")))


def test_a_run_of_the_same_fold_may_be_fused_and_hands_on_its_marks(ours, house):
    run = house.write_run("run", ours, FOLD, marks=["paired"])
    found = audit(ours, run)
    assert found["marks"] == ["paired"]
    checked = "speakers, trials and recordings"
    assert found["sources"] == [{"run": str(run.folder), "shared_speakers": [], "checked": checked}]


@pytest.mark.parametrize(
    ("fold", "split"),
    [(Fold(("a", "d"), ("c",), ("b",)), "train"), (Fold(("a", "b"), ("d",), ("c",)), "validation")],
)
def test_a_source_that_was_fitted_on_a_test_speaker_stops(ours, house, fold, split):
    run = house.write_run("run", ours, fold)
    message = (
        f"{run.folder} has speaker d in its {split} split, whom this fold tests, for instance with d0 there and d0"
    )
    with pytest.raises(InputError, match=message):
        audit(ours, run)


def test_the_source_of_a_source_counts(ours, house):
    bad = house.write_run("bad", ours, Fold(("a", "d"), ("c",), ("b",)))
    good = house.write_run("good", ours, FOLD, init_audio=str(bad.folder))
    with pytest.raises(InputError, match=f"{bad.folder} has speaker d in its train split"):
        audit(ours, good)


def test_sources_that_start_from_each_other_are_checked_once(ours, house):
    one = house.write_run("one", ours, FOLD, init_audio=str(house.folder / "other"))
    other = house.write_run("other", ours, FOLD, init_audio=str(one.folder))
    assert [entry["run"] for entry in audit(ours, one)["sources"]] == [str(one.folder), str(other.folder)]


def test_a_source_that_is_gone_is_named_and_marked(ours, house):
    run = house.write_run("run", ours, FOLD, init_audio=str(house.folder / "gone"))
    found = audit(ours, run)
    assert found["sources"][1]["checked"] == "nothing (the run is gone)"
    assert found["marks"] == ["source-unchecked"]


def test_records_prepared_anew_with_fewer_speakers_hide_no_speaker(ours, house):
    swapped = Fold((FOLD.test[0],), FOLD.validation, FOLD.train)
    fewer = house.write_records("fewer", rows_of(FOLD.validation))
    with pytest.raises(InputError, match=f"has speaker {FOLD.test[0]} in its train split"):
        audit(ours, house.write_run("run", fewer, swapped))


def test_a_source_whose_records_are_gone_is_checked_by_the_lists_of_its_fold(ours, house):
    gone = house.folder / "gone"
    good = house.write_run("good", gone, FOLD)
    assert audit(ours, good)["sources"][0]["checked"] == "speakers (its records are gone)"
    bad = house.write_run("bad", gone, Fold(("a", "d"), ("c",), ("b",)))
    with pytest.raises(InputError, match="has speaker d in its train split"):
        audit(ours, bad)
    random = house.write_run("random", gone, Fold(("a0", "d1"), ("c1",), ("b0",), by="utterance_id"))
    with pytest.raises(InputError, match="has speaker d in its train split"):
        audit(ours, random)
    other = house.write_run("other", gone, Fold(("d",), ("c",), ("b",)), corpus="another")
    assert audit(ours, other)["sources"][0]["checked"] == "nothing (its records are gone)"


def test_records_that_became_those_of_another_corpus_are_gone(ours, house):
    now = house.write_records("now", rows_of("wxyz"), corpus="another")
    found = audit(ours, house.write_run("run", now, FOLD))
    assert found["sources"][0]["checked"] == "speakers (its records are gone)"


def test_a_speaker_of_the_same_name_in_another_corpus_is_another_but_a_copied_file_is_the_same(ours, house):
    others = house.write_records("others", rows_of("abcd", "-other-"), corpus="another")
    fold = Fold(("a", "d"), ("c",), ("b",))
    run = house.write_run("run", others, fold, corpus="another")
    assert audit(ours, run)["sources"][0]["checked"] == "recordings (another corpus)"
    copied = house.write_records("copied", rows_of("ab") + rows_of("c", "-", audio_sha256="d1"), corpus="another")
    run = house.write_run("copier", copied, Fold(("a",), ("c",), ("b",)), corpus="another")
    with pytest.raises(
        InputError, match="has c-0 in its validation split, the same samples as d1, which this fold tests"
    ):
        audit(ours, run)


def test_a_twin_of_a_test_trial_in_other_records_of_the_corpus_stops(ours, house):
    video = house.write_records("video", rows_of("ac") + rows_of("b", "-video-", trial="d0"))
    run = house.write_run("run", video, Fold(("a", "b"), ("c",), ()))
    with pytest.raises(InputError, match="has b-video-0 in its train split, the same trial as d0"):
        audit(ours, run)


def test_silence_is_no_copy(ours, house):
    silent = {"log_mel": np.zeros((0, 64), np.float32), "audio_sha256": "d0"}
    run = house.write_run(
        "run", house.write_records("silent", rows_of("abc", "-", **silent), "another"), FOLD, corpus="another"
    )
    assert audit(ours, run)["sources"][0]["shared_speakers"] == []


def test_under_random_the_same_fold_may_be_fused_and_another_may_not(house):
    rows = rows_of("abcdefgh", transcript="Kids are talking")
    # Twins, which the fold itself may have in two splits: marked there, and no leak of a source.
    folder = house.write_records("ours", [row | {"trial": row["utterance_id"][0]} for row in rows])
    index = records.read_index(folder)
    one, other = (folds.make_folds("random", index, seed=seed)[0] for seed in (0, 1))
    found = audit(folder, house.write_run("one", folder, one), fold=one)
    assert found["marks"] == ["speaker-leaking", "text-overlap 1"]
    assert found["sources"][0]["checked"] == "utterances, trials and recordings"
    with pytest.raises(InputError, match=r"has \w\d in its (train|validation) split, which this fold tests"):
        audit(folder, house.write_run("other", folder, other), fold=one)


def test_where_there_are_no_speakers_a_trained_sentence_stops_and_a_validated_one_is_counted(house):
    ours = house.write_records("ours", rows_of("abc") + rows_of("d", transcript="I  feel GREAT"))
    validated = text_rows(x=("train", "Well"), y=("validation", "i feel great"), z=("test", "No"))
    folder = house.write_records("validated", validated, corpus="text")
    published = Fold(("train",), ("validation",), ("test",), by="published_split")
    run = house.write_run("run", folder, published, corpus="text", marks=["text-overlap 5", "paired"])
    found = audit(ours, run)
    assert [entry["validated_sentences"] for entry in found["sources"]] == [1]
    assert found["marks"] == ["paired"]  # Sentences that its own fold repeats say nothing of this one.
    trained = text_rows(x=("train", "i feel great"), y=("validation", "Well"), z=("test", "No"))
    run = house.write_run("bad", house.write_records("trained", trained, "text"), published, corpus="text")
    with pytest.raises(
        InputError, match="has x in its train split, the same sentence as d0, which this fold tests"
    ) as e:
        audit(ours, run)
    assert f"prepare text again with --exclude-sentences {ours} and train on that" in str(e.value)


def test_sentences_that_a_published_fold_repeats_itself_are_marked_and_may_be_fused(house):
    rows = text_rows(w=("train", "Thanks"), x=("train", "Well"), y=("validation", "So"), z=("test", "Thanks"))
    ours = house.write_records("ours", rows)
    published = Fold(("train",), ("validation",), ("test",), by="published_split")
    found = audit(ours, house.write_run("run", ours, published), fold=published)
    assert found["marks"] == ["text-overlap 1"]


def test_a_run_may_be_scored_on_what_it_was_not_fitted_on(ours, house):
    others = house.write_records("others", rows_of("ef"))
    run = house.write_run("run", ours, FOLD, marks=["synthetic", "speaker-leaking", "text-overlap 5"])
    found = audit_other(run, others)
    assert found["splits"] == {"test": {"speakers": ["e", "f"], "num_utterances": 4}}
    # How the run's own fold leaks says nothing of other records.
    assert found["marks"] == ["synthetic"]
    assert found["sources"][0]["checked"] == "speakers, trials and recordings"
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("rows", "corpus", "message"),
    [
        (rows_of("c", "-new-"), "mine", "has speaker c in its validation split, whom these records hold"),
        (rows_of("x", trial="a0"), "mine", "has a0 in its train split, the same trial as x0"),
        (rows_of("x", audio_sha256="a1"), "mine", "has a1 in its train split, the same samples as x0"),
        (rows_of("x", audio_sha256="a1"), "another", "has a1 in its train split, the same samples as x0"),
    ],
)
def test_a_run_is_not_scored_on_records_that_it_was_fitted_on(ours, house, rows, corpus, message):
    run = house.write_run("run", ours, FOLD)
    with pytest.raises(InputError, match=message):
        audit_other(run, house.write_records("others", rows, corpus), corpus)


def test_nor_on_what_its_sources_were_fitted_on(ours, house):
    source = house.write_run("source", ours, Fold(("a", "d"), ("c",), ("b",)))
    run = house.write_run("run", ours, FOLD, init_audio=str(source.folder))
    with pytest.raises(InputError, match=f"{source.folder} has speaker d in its train split"):
        audit_other(run, house.write_records("others", rows_of("d", "-new-")))


def test_scores_on_other_sentences_are_marked_by_those_that_the_run_was_fitted_on(ours, house):
    published = Fold(("train",), ("validation",), ("test",), by="published_split")
    fitted = text_rows(x=("train", "Thanks"), y=("validation", "So"), z=("test", "Well"))
    run = house.write_run("run", house.write_records("fitted", fitted, "text"), published, corpus="text")
    others = house.write_records("others", text_rows(p=("", "thanks"), q=("", "so"), r=("", "well")), "other text")
    assert audit_other(run, others, "other text")["marks"] == ["text-overlap 2"]


def test_records_that_runs_share_are_read_once(ours, house, monkeypatch):
    runs = [house.write_run(name, ours, FOLD) for name in ("one", "two")]
    index = records.read_index(ours)
    monkeypatch.setattr("emotion_tf.runs.audit.read_index", lambda folder: pytest.fail("read again"))
    config = Config("fusion", str(ours), fusion="late", runs=tuple(str(run.folder) for run in runs))
    assert len(audit_run(config, index, SimpleNamespace(**FACTS), FOLD, "x")["sources"]) == 2
