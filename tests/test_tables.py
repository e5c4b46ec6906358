"""Tests of emotion_tf.reporting.tables: what stands in the lines and tables is what the scores hold."""

import numpy as np
import pandas as pd
import pytest

from emotion_tf.evaluation import metrics
from emotion_tf.reporting import tables
from emotion_tf.runs.predictions import predictions_table

EMOTIONS = ("calm", "happy", "sad", "angry")


@pytest.fixture
def predictions():
    """100 predictions of five speakers; none is angry."""
    rng = np.random.default_rng(0)
    utterances = pd.DataFrame(
        {
            "utterance_id": [f"u{number}" for number in range(100)],
            "speaker": [f"{number % 5:02}" for number in range(100)],
            "label": rng.integers(0, 3, 100),
            "statement": ["kids"] * 30 + ["dogs"] * 70,
        }
    )
    return predictions_table(utterances, rng.dirichlet(np.ones(4), 100), EMOTIONS, "test")


@pytest.fixture
def scores(predictions):
    return metrics.scores(predictions, EMOTIONS)


def shown(number):
    return f"{number:.3f}"


def cells(table):
    """Splits the lines of a table whose cells hold no blank."""
    return [line.split() for line in table.splitlines()]


def test_the_headline_names_chance_majority_marks_and_few_speakers(scores):
    line = tables.headline(scores, "x test", ["synthetic"])
    majority = scores["majority"]
    assert line.startswith(f"x test: UAR {scores['unweighted_average_recall']:.3f} [")
    assert "] (chance 0.333), accuracy " in line
    assert f"] (majority class {majority['emotion']} {majority['accuracy']:.3f}), " in line
    assert line.endswith("100 clips of 5 speakers [synthetic] [few speakers]")
    assert "\n" not in line


def test_ten_speakers_are_not_few(scores):
    names = [f"{number:02}" for number in range(10)]
    assert tables.headline({**scores, "speakers": names}, "x").endswith("clips of 10 speakers")


def test_the_headline_of_one_speaker_has_no_interval(predictions):
    scores = metrics.scores(predictions[predictions["speaker"] == "00"], EMOTIONS)
    line = tables.headline(scores, "x")
    assert line.count("[too few speakers]") == 2
    assert line.endswith("20 clips of 1 speaker [few speakers]")


def test_a_corpus_without_speakers_says_so_and_is_not_called_small(predictions):
    scores = metrics.scores(predictions.assign(speaker=""), EMOTIONS)
    assert tables.headline(scores, "x").endswith("100 clips of unknown speakers")
    assert cells(tables.comparison({"a": {"marks": [], "test": scores}}, "test"))[1][-2:] == ["-", "-"]


def test_seeds_are_counted_where_there_are_several(scores):
    several = {**scores, "num_seeds": 3}
    assert "speakers, mean of 3 seeds [few speakers]" in tables.headline(several, "x")
    runs = {"a": {"marks": [], "test": scores}, "b": {"marks": [], "test": several}}
    assert [row[-2:] for row in cells(tables.comparison(runs, "test"))] == [["seeds", "marks"], ["1", "-"], ["3", "-"]]
    assert "seeds" not in tables.comparison({"a": runs["a"]}, "test")


def test_a_comparison_has_chance_and_majority_beside_the_scores_and_a_line_a_run(scores):
    runs = {"a": {"marks": ["x", "y"], "test": scores}, "longer": {"marks": [], "test": scores}}
    head, first, second = tables.comparison(runs, "test").splitlines()
    assert " ".join(head.split()) == "run UAR 95 % chance accuracy majority macro-F1 clips speakers marks"
    low, high = scores["unweighted_average_recall_interval"]
    expected = f"{scores['unweighted_average_recall']:.3f} [{low:.3f}, {high:.3f}] 0.333 {scores['accuracy']:.3f}"
    expected += f" {scores['majority']['accuracy']:.3f} {scores['macro_f1']:.3f} 100 5"
    assert first.split() == ["a", *expected.split(), "x,", "y"]
    assert second.split() == ["longer", *expected.split(), "-"]
    assert len(head) == len(first) == len(second)


def test_an_emotion_that_does_not_occur_has_no_scores(scores):
    head, *rows = cells(tables.per_emotion(scores))
    assert head == ["emotion", "precision", "recall", "F1", "AUC", "clips"]
    assert [row[0] for row in rows] == list(EMOTIONS)
    calm = scores["per_emotion"]["calm"]
    expected = [shown(calm[name]) for name in ("precision", "recall", "f1", "area_under_curve")]
    assert rows[0][1:] == [*expected, str(calm["count"])]
    assert rows[3][2:] == ["-", "-", "-", "0"]


def test_each_group_has_a_table_with_a_line_a_member(scores):
    by_speaker, by_statement = map(cells, tables.groups(scores).split("\n\n"))
    assert by_speaker[0] == ["speaker", "UAR", "accuracy", "clips"]
    assert [row[0] for row in by_speaker[1:]] == scores["speakers"]
    found = scores["by"]["statement"]["kids"]
    low, high = found["unweighted_average_recall_interval"]
    expected = ["kids", shown(found["unweighted_average_recall"]), f"[{low:.3f},", f"{high:.3f}]"]
    assert by_statement[0] == ["statement", "UAR", "95", "%", "accuracy", "speakers", "clips"]
    assert [*expected, shown(found["accuracy"]), "5", "30"] in by_statement[1:]


def test_groups_that_an_earlier_version_scored_have_no_intervals(scores):
    of_kids = scores["by"]["statement"]["kids"]
    kept = {name: of_kids[name] for name in ("unweighted_average_recall", "accuracy", "num_utterances")}
    [head, row] = cells(tables.groups(scores | {"by": {"statement": {"kids": kept}}}))
    assert head == ["statement", "UAR", "accuracy", "clips"]
    assert row[0] == "kids"


def test_calibration_is_shown_before_and_after(predictions, scores):
    names = ("negative_log_likelihood", "brier", "expected_calibration_error")
    nll, brier, ece = (shown(scores[name]) for name in names)
    assert tables.calibration(scores) == f"NLL {nll}, Brier {brier}, ECE {ece}"
    scores = metrics.scores(predictions, EMOTIONS, temperature=2.0)
    before = [f"({scores['uncalibrated'][name]:.3f} before calibration)" for name in names]
    expected = f"NLL {nll} {before[0]}, Brier {brier} {before[1]}, ECE {ece} {before[2]}"
    assert tables.calibration(scores) == expected


def test_selective_accuracy_starts_with_that_of_all_clips(scores):
    line = tables.selective(scores)
    assert line.startswith(f"accuracy on the most confident 100% {scores['accuracy']:.3f}, 80% ")
    assert line.endswith(f"20% {scores['selective_accuracy']['0.2']:.3f}")


def test_without_probabilities_nothing_is_shown_of_them(predictions):
    bare = predictions.drop(columns=[column for column in predictions if column.startswith("probability_")])
    scores = metrics.scores(bare, EMOTIONS)
    assert (tables.calibration(scores), tables.selective(scores)) == ("", "")
    assert cells(tables.per_emotion(scores))[0] == ["emotion", "precision", "recall", "F1", "clips"]


def test_fits_of_a_crossval_stand_in_folds_and_seeds_with_their_means():
    right = {(0, 0): 4, (0, 1): 2, (10, 0): 3, (2, 0): 0, (2, 1): 4}  # of 4 clips; fold 10, seed 1 is still to come
    rows = [
        {"fold": fold, "seed": seed, "split": "test", "label": "sad", "predicted": "sad" if clip < hits else "calm"}
        for (fold, seed), hits in right.items()
        for clip in range(4)
    ]
    rows.append({"fold": 0, "seed": 0, "split": "validation", "label": "sad", "predicted": "calm"})
    assert tables.fold_by_seed(pd.DataFrame(rows), EMOTIONS, "test").splitlines() == [
        "UAR      seed 0  seed 1   mean",
        "fold 0    1.000   0.500  0.750",
        "fold 2    0.000   1.000  0.500",
        "fold 10   0.750       -  0.750",
        "mean      0.583   0.750  0.667",
    ]


@pytest.fixture
def several():
    """Scores of 40 sentences of 12 dialogues, some of which have two emotions."""
    rng = np.random.default_rng(0)
    names = ["joy", "fear", "joy|fear"]
    rows = {"utterance_id": [f"u{number}" for number in range(40)], "speaker": "", "split": "test"}
    rows |= {name: rng.choice(names, 40) for name in ("label", "predicted")}
    return metrics.scores(pd.DataFrame(rows | {"dialogue": np.arange(40) % 12}).astype(str), ("joy", "fear"))


def test_the_headline_of_several_emotions_is_macro_f1_of_sentences(several):
    line = tables.headline(several, "x test", ["text-overlap 84"], "macro_f1")
    low, high = several["macro_f1_interval"]
    assert line.startswith(f"x test: macro-F1 {several['macro_f1']:.3f} [{low:.3f}, {high:.3f}] (chance ")
    assert f", micro-F1 {several['micro_f1']:.3f} [" in line
    assert line.endswith("40 sentences of 12 dialogues [text-overlap 84]")
    assert tables.headline(several | {"unit": "utterance"}, "x", (), "macro_f1").endswith(" 40 sentences")
    few = several | {"num_units": 2, "macro_f1_interval": None}
    line = tables.headline(few, "x", (), "macro_f1")
    assert "[too few dialogues]" in line
    assert line.endswith("[few dialogues]")


def test_the_headline_of_sentences_of_one_emotion_has_weighted_f1_beside_it(predictions):
    scores = metrics.scores(predictions.assign(speaker=""), EMOTIONS)
    line = tables.headline(scores, "x", (), "macro_f1")
    assert line.startswith(f"x: macro-F1 {scores['macro_f1']:.3f} [")
    assert f", weighted F1 {scores['weighted_f1']:.3f} [" in line
    majority = scores["majority"]
    assert f"(majority class {majority['emotion']} {majority['weighted_f1']:.3f}), 100 sentences" in line


def test_scores_of_unknown_speakers_are_of_clips(scores):
    unknown = scores | {"unit": "utterance", "speakers": []}
    assert tables.headline(unknown, "x").endswith("100 clips of unknown speakers")


def test_a_comparison_shows_macro_f1_where_it_is_the_headline(several):
    head, row = tables.comparison({"a": {"marks": [], "headline": "macro_f1", "test": several}}, "test").splitlines()
    assert " ".join(head.split()) == "run macro-F1 95 % chance majority micro-F1 sentences units marks"
    chance, majority = (shown(several[name]["macro_f1"]) for name in ("chance", "majority"))
    assert row.split()[4:] == [chance, majority, shown(several["micro_f1"]), "40", "12", "-"]


def test_several_emotions_have_groups_without_recall(several):
    assert cells(tables.per_emotion(several, "macro_f1"))[0] == ["emotion", "precision", "recall", "F1", "sentences"]
    member = {"macro_f1": 0.5, "micro_f1": 0.25, "num_utterances": 3}
    assert tables.groups({"unit": "utterance", "by": {"sex": {"female": member}}}, "macro_f1").splitlines() == [
        "sex     macro-F1  micro-F1  sentences",
        "female     0.500     0.250          3",
    ]


def test_sentences_of_one_emotion_each_are_not_called_clips(scores):
    assert cells(tables.per_emotion(scores, "macro_f1"))[0][-1] == "sentences"
    assert all(cells(table)[0][-1] == "sentences" for table in tables.groups(scores, "macro_f1").split("\n\n"))


def test_fits_of_several_emotions_show_macro_f1():
    rows = [{"fold": 0, "seed": 0, "split": "test", "label": "sad|calm", "predicted": "sad"}]
    assert cells(tables.fold_by_seed(pd.DataFrame(rows), EMOTIONS, "test", "macro_f1")) == [
        ["macro-F1", "seed", "0", "mean"],
        ["fold", "0", "0.500", "0.500"],
        ["mean", "0.500", "0.500"],
    ]


def test_columns_line_up():
    assert tables.align([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc   d"
