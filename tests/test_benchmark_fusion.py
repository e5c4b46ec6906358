"""Tests of benchmarks/fusion.py and late_joins.py: what is run, what is joined of whom, and what is called the best."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import fusion, late_joins, result_files
from benchmarks.fusion import BRANCHES, SYSTEMS
from benchmarks.late_joins import Late
from emotion_tf import crossval, late_rules
from emotion_tf.evaluation import joined_predictions, metrics
from emotion_tf.runs.folder import Scored
from pipelines.command import InputError
from pipelines.folds import Fold, make_folds

EMOTIONS = ("calm", "happy", "sad")
COLUMNS = [f"probability_{emotion}" for emotion in EMOTIONS]
SPEAKERS = tuple(f"{number:02}" for number in range(1, 9))
FOLDS = [Fold(SPEAKERS[4:], SPEAKERS[2:4], SPEAKERS[:2]), Fold(SPEAKERS[:4], SPEAKERS[4:6], SPEAKERS[6:])]


def predictions_of(known, seeds=1, folds=FOLDS, modality=0):
    """Rows as a cross-validation writes them; a modality is often right where the emotion is among the known ones."""
    rows = []
    for (fold, splits), seed in itertools.product(enumerate(folds), range(seeds)):
        for split, speaker, clip in itertools.product(("validation", "test"), SPEAKERS, range(12)):
            if speaker not in getattr(splits, split):
                continue
            label = EMOTIONS[clip % 3]
            rng = np.random.default_rng([modality, fold, seed, int(speaker), clip])
            scores = rng.random(3) + 3 * (np.array(EMOTIONS) == label) * (label in known)
            probabilities = np.exp(scores) / np.exp(scores).sum()
            row = {"utterance_id": f"{speaker}-{clip:02}", "speaker": speaker, "split": split, "label": label}
            row |= {"predicted": EMOTIONS[probabilities.argmax()], **dict(zip(COLUMNS, probabilities, strict=True))}
            rows.append(row | {"fold": fold, "seed": seed})
    return pd.DataFrame(rows)


def write_crossval(folder, predictions):
    """Makes the files of a cross-validation."""
    folder.mkdir(parents=True, exist_ok=True)
    scored = Scored(folder)
    scored.write_predictions(predictions)
    splits = {split: metrics.scores(rows, EMOTIONS) for split, rows in predictions.groupby("split")}
    lesser = {"without": dict.fromkeys(BRANCHES, splits["test"])}
    if "early" in folder.name:
        splits = {split: found | lesser for split, found in splits.items()}
        for name in BRANCHES:
            scored.write_predictions(predictions, name)
    scored.write_scores({"marks": ["paired"], **splits, "test_reads": 1})
    return folder


@pytest.fixture
def branches(tmp_path):
    """Audio knows two emotions, text the other one."""
    return {
        "audio": write_crossval(tmp_path / "audio", predictions_of(EMOTIONS[:2], seeds=2)),
        "text": write_crossval(tmp_path / "text", predictions_of(EMOTIONS[2:], seeds=2, modality=1)),
    }


def fused(system, branches, fit_on=()):
    output = Scored(branches["audio"].with_name("fused"))
    output.folder.mkdir(exist_ok=True)
    late_joins.join_late(system, branches, fit_on, output)
    return output


@pytest.fixture
def fit_on(branches, tmp_path):
    """Cross-fitted predictions of the training speakers of both folds."""
    paths = []
    for place, (name, known) in enumerate({"audio": EMOTIONS[:2], "text": EMOTIONS[2:]}.items()):
        parts = zip(*map(late_joins.parts_of, FOLDS), strict=True)
        runs = [
            write_crossval(
                tmp_path / f"{name}-{part}", predictions_of(known, 1, [Fold(**fold) for fold in of_folds], place)
            )
            for part, of_folds in enumerate(parts)
        ]
        paths.append(tmp_path / f"{name}.csv")
        late_joins.crossfitted(runs, range(2)).to_csv(paths[-1], index=False)
    return paths


def test_every_command_is_understood():
    parser = crossval.make_parser()
    for flags in SYSTEMS.values():
        if isinstance(flags, str):
            words = flags.format(audio="a", text="t", text_run="r").split()
            arguments = parser.parse_args([*words, "--run", "x", "--records", "y"])
            crossval.config_of(arguments)


def test_sources_come_before_what_joins_them():
    names = list(SYSTEMS)
    assert names[:2] == list(BRANCHES)
    assert set(late_rules.RULES) == {system.rule for system in SYSTEMS.values() if isinstance(system, Late)}


def test_parts_test_each_training_speaker_once_and_know_no_test_speaker():
    index = pd.DataFrame({"speaker": [f"{number:02}" for number in range(1, 25)]})
    for fold in make_folds("lj5", index):
        parts = late_joins.parts_of(fold)
        assert sorted(speaker for part in parts for speaker in part["test"]) == list(fold.train)
        for part in parts:
            assert {*part["train"], *part["test"]} == set(fold.train)
            assert not {*part["train"]} & {*part["test"]}
            assert part["validation"] == fold.validation


def test_a_crossfitted_join_trains_on_clips_that_its_branches_do_not_know():
    index = pd.DataFrame({"speaker": [f"{number:02}" for number in range(1, 25)]})
    for fold in make_folds("lj5", index):
        join, branches = late_joins.join_fold(fold), late_joins.parts_of(fold)[0]
        assert {*join["train"], *branches["train"]} == set(fold.train)
        assert not {*join["train"]} & {*branches["train"]}
        assert (join["validation"], join["test"]) == (fold.validation, fold.test)


def test_crossfitted_rows_are_of_the_training_speakers_of_each_fold(fit_on):
    rows = pd.read_csv(fit_on[0], dtype={"speaker": str})
    assert set(rows["split"]) == {"validation"}
    for (fold, seed), found in rows.groupby(["fold", "seed"]):
        assert set(found["speaker"]) == set(FOLDS[fold].train), seed
        assert not found["utterance_id"].duplicated().any()


@pytest.mark.parametrize("rule", late_rules.RULES)
def test_without_a_modality_the_other_branch_is_left(rule, branches):
    output, rest = fused(Late(rule), branches), {"audio": "text", "text": "audio"}
    if rule == "stacker":
        return
    for modality, other in rest.items():
        alone = Scored(branches[other]).predictions()
        without = output.predictions(modality)
        paired = without.merge(alone, on=["utterance_id", "split", "fold", "seed"])
        assert len(paired) == len(alone)
        assert (paired["predicted_x"] == paired["predicted_y"]).all()


def test_fusion_knows_what_either_branch_knows(branches):
    output = fused(Late("product"), branches)
    alone = [Scored(folder).scores()["test"]["unweighted_average_recall"] for folder in branches.values()]
    assert output.scores()["test"]["unweighted_average_recall"] > max(alone) + 0.1
    assert output.scores()["marks"] == ["paired"]


def test_shuffled_words_are_those_of_other_utterances_of_the_split(branches, monkeypatch):
    seen = []
    monkeypatch.setattr(late_joins, "fuse", lambda joined, *rest: seen.append(joined) or real(joined, *rest))
    real = joined_predictions.fuse
    honest = fused(Late("product"), branches).scores()
    shuffled = fused(Late("product", is_shuffled=True), branches).scores()
    first, other = seen
    assert first.tables[0].equals(other.tables[0])
    for place, rows in first.tables[1].groupby(["split", "fold", "seed"]):
        found = other.tables[1].loc[rows.index, COLUMNS]
        assert sorted(map(tuple, found.to_numpy())) == sorted(map(tuple, rows[COLUMNS].to_numpy())), place
        assert not found.equals(rows[COLUMNS])
    uar = "unweighted_average_recall"
    assert shuffled["test"][uar] < honest["test"][uar] - 0.1
    assert shuffled["test"]["without"]["text"][uar] == honest["test"]["without"]["text"][uar]


def test_a_crossfitted_rule_is_fitted_on_training_speakers_alone(branches, fit_on, monkeypatch):
    fits = []
    real = joined_predictions.fuse

    def fuse(*arguments):
        found = real(*arguments)
        fits.extend(found[0])
        return found

    monkeypatch.setattr(late_joins, "fuse", fuse)
    fused(Late("stacker", is_crossfit=True), branches, fit_on)
    fused(Late("stacker"), branches, fit_on)
    assert [fit.speakers for fit in fits[:4]] == [FOLDS[fit.place["fold"]].train for fit in fits[:4]]
    assert [fit.speakers for fit in fits[4:]] == [FOLDS[fit.place["fold"]].validation for fit in fits[4:]]


def test_only_rules_fitted_on_validation_are_optimistic():
    optimistic = {name for name, system in SYSTEMS.items() if isinstance(system, Late) and system.is_optimistic}
    assert optimistic == {"late-weighted", "late-stacker", "late-weighted-shuffled"}


def test_the_best_fusion_is_chosen_on_validation_and_never_one_that_is_fitted_there(branches, tmp_path):
    systems = {name: Scored(folder) for name, folder in branches.items()}
    for name in ("late-product", "late-stacker"):
        systems[name] = Scored(tmp_path / name)
        systems[name].folder.mkdir()
        late_joins.join_late(SYSTEMS[name], branches, (), systems[name])
    scores = systems["late-stacker"].scores()
    scores["validation"]["unweighted_average_recall"] = 1.0
    systems["late-stacker"].write_scores(scores)
    found = fusion.results(systems)
    assert found["best_fusion"] == "late-product"
    assert found["better_branch"] == "audio"
    product = found["systems"]["late-product"]
    assert product["above_better"]["difference"] == pytest.approx(
        product["test"] - found["systems"]["audio"]["test"], abs=1e-9
    )
    assert product["without"]["text"]["above_branch"]["difference"] == 0
    assert product["seeds"] == 2
    assert "| late-product | 2 |" in fusion.table(found)


@pytest.fixture
def records(tmp_path, monkeypatch):
    """What the bench asks of records and cross-validations, without any."""
    called = []

    def train(words):
        arguments = crossval.make_parser().parse_args(words)
        called.append(arguments)
        is_listed = arguments.folds.endswith(".json")
        parts = [Fold(**part) for part in json.loads(Path(arguments.folds).read_text())] if is_listed else FOLDS
        known, place = (EMOTIONS[2:], 1) if "text" in arguments.run.name else (EMOTIONS[:2], 0)
        write_crossval(arguments.run, predictions_of(known, arguments.seeds, parts, place))

    class Metadata:
        transcript_source = "paired"

    monkeypatch.setattr(crossval, "main", train)
    monkeypatch.setattr(fusion, "read_metadata", lambda folder: Metadata())
    monkeypatch.setattr(fusion, "read_index", lambda folder: None)
    monkeypatch.setattr(fusion.folds, "make_folds", lambda name, index: FOLDS)
    monkeypatch.setattr(fusion.Run, "require_finished", lambda run: run)
    monkeypatch.setattr(result_files, "FOLDER", tmp_path / "results")
    return called


def test_the_bench_trains_what_it_needs_and_writes_a_result_of_all_that_is_done(records, tmp_path, monkeypatch):
    chosen = (*BRANCHES, "late-mean", "late-weighted-crossfit", "early-gated", "early-concat-crossfit")
    monkeypatch.setattr(fusion, "SYSTEMS", {name: SYSTEMS[name] for name in chosen})
    flags = ["--records", "records", "--text-run", "run", "--work", str(tmp_path / "work"), "--seeds", "2"]
    fusion.main([*flags, "--systems", "late-mean"])
    assert [arguments.run.name for arguments in records] == ["audio", "text"]
    result = json.loads((tmp_path / "results" / "fusion.json").read_text())
    assert list(result["paired"]["systems"]) == ["audio", "text", "late-mean"]
    records.clear()
    fusion.main(flags)
    called = {arguments.run.name: arguments for arguments in records}
    assert called["audio"].seeds == 2
    assert called["early-gated"].seeds == called["audio-part-0"].seeds == 1
    assert {name for name in called if "-part-" in name} == {
        f"{branch}-part-{part}" for branch in BRANCHES for part in range(late_joins.NUM_PARTS)
    }
    join = called["early-concat-crossfit"]
    assert (Path(join.init_audio).name, Path(join.init_text).name) == ("audio-part-0", "text-part-0")
    made = [json.loads(Path(one.folds).read_text()) for one in (join, called["audio-part-0"])]
    for of_join, of_branch, fold in zip(*made, FOLDS, strict=True):
        assert sorted(of_join["train"]) == sorted({*fold.train} - {*of_branch["train"]})
        assert tuple(of_join["test"]) == fold.test
    result = json.loads((tmp_path / "results" / "fusion.json").read_text())
    assert list(result["paired"]["systems"]) == list(chosen)


@pytest.mark.parametrize("number", ["0", "4"])
def test_early_fusion_has_no_more_seeds_than_its_branches(number, tmp_path):
    flags = ["--records", "records", "--text-run", "run", "--work", str(tmp_path / "work")]
    with pytest.raises(InputError, match=f"--early-seeds {number} cannot work: give 1 to 3"):
        fusion.main([*flags, "--early-seeds", number])
    assert not (tmp_path / "work").exists()
