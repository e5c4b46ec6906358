"""Tests of pipelines.records.joined: several corpora as one, speakers never mixed up, corpora balanced."""

import concurrent.futures
import json
import shutil

import corpus_trees
import numpy as np
import pytest
import tensorflow as tf

from emotion_tf import flags
from emotion_tf.config.training_config import BALANCES
from emotion_tf.fit import make_parser
from emotion_tf.training.checks import check
from emotion_tf.training.training_data import training_dataset
from pipelines import fold_audit, folds, prepare, records
from pipelines.command import InputError
from pipelines.files import locked

MAPS = {"speech": "ravdess-six", "crema": "crema-d-six"}


@pytest.fixture(scope="module")
def both(made_once):
    """Records of RAVDESS with song and of CREMA-D, actors of one name in both; the second has more clips."""

    def fill(folder):
        corpus_trees.ravdess(folder / "ravdess", actors=("01", "02", "03"))
        emotions = ("ANG", "HAP", "NEU", "SAD", "DIS")
        corpus_trees.crema_d(folder / "crema-d", actors=("1001", "1002", "1003", "1004"), emotions=emotions)
        for name, corpus, more in (
            ("speech", "ravdess", ("--with-song",)),
            ("song", "ravdess-song", ("--incomplete",)),
            ("crema", "crema-d", ("--incomplete",)),
        ):
            source = folder / ("crema-d" if name == "crema" else "ravdess")
            flags_of = ("--corpus", corpus, *more, "--source", str(source), "--records", str(folder / name))
            prepare.main([*flags_of, "--workers", "1"])

    return made_once("corpora/both", fill)


@pytest.fixture(scope="module")
def joined(both):
    return records.join([both / "speech", both / "crema"], MAPS)


def test_labels_meet_in_one_set_and_speakers_carry_their_corpus(both, joined):
    metadata, index = records.read_metadata(joined), records.read_index(joined)
    assert joined.parent == both / "joined"
    assert joined.name.startswith("speech+crema-")
    assert metadata.emotions == ["angry", "disgust", "happy", "neutral", "sad"]
    assert metadata.corpus == "RAVDESS speech with song + CREMA-D"
    assert metadata.label_map == "RAVDESS speech with song=ravdess-six, CREMA-D=crema-d-six"
    assert set(index["speaker"]) == set(metadata.speakers)
    assert {"RAVDESS/01", "RAVDESS/01 song", "CREMA-D/1001"} <= set(metadata.speakers)
    assert len(index) == metadata.num_utterances == 18 + 20
    assert metadata.only_train["RAVDESS/01 song"] == "RAVDESS/01"
    found = index[index["speaker"] == "CREMA-D/1001"]
    assert sorted(metadata.emotions[label] for label in found["label"]) == metadata.emotions
    assert records.marks_of(metadata) == []


def test_a_record_keeps_its_features_and_says_its_corpus(both, joined):
    examples = {}
    for folder in (both / "crema", joined):
        metadata = records.read_metadata(folder)
        for name in metadata.shards:
            for serialised in tf.data.TFRecordDataset(str(folder / name)):
                fields = ["utterance_id", "log_mel", "attributes", "trial"]
                one = records.parse(serialised, fields, metadata.columns)
                examples[one["utterance_id"].numpy().decode()] = {key: value.numpy() for key, value in one.items()}
    before, after = examples["1001_IEO_SAD_HI"], examples["CREMA-D/1001_IEO_SAD_HI"]
    np.testing.assert_array_equal(before["log_mel"], after["log_mel"])
    assert json.loads(after["attributes"]) == {**json.loads(before["attributes"]), "corpus": "CREMA-D"}
    assert after["trial"].decode() == "CREMA-D/1001_IEO_SAD_HI"


def test_the_same_command_finds_them_and_another_map_makes_others(both, joined):
    times = {path: path.stat().st_mtime_ns for path in joined.iterdir()}
    assert records.join([both / "speech", both / "crema"], MAPS) == joined
    assert {path: path.stat().st_mtime_ns for path in joined.iterdir()} == times
    other = records.join([both / "speech", both / "crema"], {"speech": "ravdess-four", "crema": "crema-d-four"})
    assert other != joined
    metadata = records.read_metadata(other)
    assert metadata.emotions == ["angry", "happy", "neutral", "sad"]
    assert metadata.ignored["left out by crema-d-four (CREMA-D)"] == 4


@pytest.fixture
def copied(both, joined, tmp_path):
    """The records of both, those of the two joined, and a call that joins them: of the test alone."""
    for folder in (both / "speech", both / "crema", joined):
        shutil.copytree(folder, tmp_path / folder.relative_to(both))
    return tmp_path / joined.relative_to(both), lambda: records.join([tmp_path / "speech", tmp_path / "crema"], MAPS)


def test_complete_ones_are_found_without_their_lock(copied):
    folder, join = copied
    with locked(folder, "--records"):
        assert join() == folder


def test_two_commands_make_them_once(copied, capsys):
    folder, join = copied
    (folder / "metadata.json").rename(folder / "kept")
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")}
    with concurrent.futures.ThreadPoolExecutor() as pool, locked(folder, "--records"):
        found = pool.submit(join)
        with pytest.raises(TimeoutError):
            found.result(timeout=1)
        (folder / "kept").rename(folder / "metadata.json")
    assert found.result() == folder
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord")} == times
    assert f"waiting for another process, which is writing to {folder}\n" in capsys.readouterr().err


def test_folds_keep_people_apart_and_songs_in_training(joined):
    index = records.read_index(joined)
    for number, fold in enumerate(folds.make_folds("loso", index)):
        split = fold.splits(index)
        assert fold_audit.audit(fold, index, f"fold {number}").overlaps["speakers"] == 0
        assert set(split[index["only_train"]]) <= {"train", ""}


def test_holdout_cuts_the_speakers_of_each_corpus(joined):
    [fold] = folds.make_folds("holdout", records.read_index(joined))
    for speakers in (fold.train, fold.validation, fold.test):
        assert {speaker.partition("/")[0] for speaker in speakers} == {"RAVDESS", "CREMA-D"}
    few = records.read_index(joined).query("speaker != 'RAVDESS/03' and speaker != 'RAVDESS/03 song'")
    [fold] = folds.make_folds("holdout", few)
    assert {"RAVDESS/01", "RAVDESS/02", "RAVDESS/01 song"} < set(fold.train)
    assert fold_audit.audit(fold, few, "holdout").overlaps["speakers"] == 0


def test_those_who_speak_and_those_who_sing_are_the_same_people(both):
    maps = {"song": "ravdess-six", "crema": "crema-d-six"}
    index = records.read_index(records.join([both / "song", both / "crema"], maps))
    speech = records.read_index(both / "speech")
    assert set(speech["person"]) == {"RAVDESS/01", "RAVDESS/02", "RAVDESS/03"} < set(index["person"])


@pytest.mark.parametrize(
    ("names", "maps", "message"),
    [
        (
            ("speech", "crema"),
            {},
            r"the labels of .*, those of .*crema anger, .* map both to one label set with --la",
        ),
        (("speech", "crema"), {"speech": "ravdess-six", "x": "tess-six"}, "x=tess-six is for none of"),
        (("speech", "crema"), {"crema": "tess-six"}, "crema=tess-six does not know the labels anger"),
        (("speech", "speech"), {}, "names .*speech twice"),
        (("speech", "song"), {}, r"RAVDESS/03-02-01-01-01-01-01 stands in .*speech and in .*song"),
    ],
)
def test_records_that_do_not_meet_are_refused(both, names, maps, message):
    with pytest.raises(InputError, match=message):
        records.join([both / name for name in names], maps)


def test_records_of_other_settings_and_joined_ones_are_refused(both, joined, tmp_path, in_process):
    source = str(both / "crema-d")
    flags_of = ("--corpus", "crema-d", "--incomplete", "--source", source, "--mel-bins", "40")
    prepare.main([*flags_of, "--records", str(tmp_path / "crema40"), "--workers", "1"])
    with pytest.raises(InputError, match=r"crema40 has another front end than .*speech: prepare both"):
        records.join([both / "speech", tmp_path / "crema40"], {"speech": "ravdess-six", "crema40": "crema-d-six"})
    with pytest.raises(InputError, match="holds records of several corpora: name those of each alone"):
        records.join([joined, both / "crema"], {})


def config_of(both, *more):
    maps = (f"{both}/speech=ravdess-six", "crema=crema-d-six")
    given = ("--branch", "audio", "--records", str(both / "speech"), str(both / "crema"), "--label-map", *maps)
    return flags.config_of(make_parser().parse_args([*given, "--num-frames", "16", "--folds", "loso", *more]))


def test_fit_takes_several_records_with_a_map_each(both, joined):
    assert config_of(both).records == str(joined)
    with pytest.raises(SystemExit):
        config_of(both, "--label-map", "crema=no-such-map")
    given = ["--branch", "audio", "--records", str(both / "crema"), "--label-map", "crema=crema-d-six"]
    with pytest.raises(InputError, match="crema=crema-d-six is for several --records: prepare one with --label-map"):
        flags.config_of(make_parser().parse_args(given))


@pytest.mark.parametrize("balance", BALANCES)
def test_corpora_and_emotions_weigh_as_balance_says_and_utterances_one_on_average(both, balance):
    config = config_of(both, "--balance", balance, "--class-weights", "none", "--mixup", "0")
    checked = check(config)
    counts = checked.metadata.corpus_counts
    assert {name: sum(of_one) for name, of_one in counts.items()} == {"CREMA-D": 5, "RAVDESS": 18}
    steps = -(-checked.metadata.num_training // config.training.batch_size)
    epoch = list(training_dataset(config, checked.metadata, checked.inputs, 0).take(steps))
    if balance == "none":
        assert all(len(batch) == 2 for batch in epoch)
        return
    labels, weights = (np.concatenate([batch[place] for batch in epoch]) for place in (1, 2))
    assert (len(weights), weights.sum()) == (23, pytest.approx(23))
    if balance == "corpus":
        assert sorted(set(np.round(weights, 4))) == pytest.approx([11.5 / 18, 11.5 / 5], abs=1e-4)
        return
    share = {name: [11.5 / sum(map(bool, of_one)) * bool(one) for one in of_one] for name, of_one in counts.items()}
    np.testing.assert_allclose((labels * weights[:, None]).sum(axis=0), np.sum(list(share.values()), axis=0), rtol=1e-5)
