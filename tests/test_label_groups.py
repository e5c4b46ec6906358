"""Tests of benchmarks.label_groups: groups of emotions off a model of finer ones, by hand."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.label_groups import RULES, grouped
from pipelines.command import InputError
from pipelines.emotions import LABEL_MAPS

LABELS = tuple(LABEL_MAPS["goemotions-ekman"].targets)


def table(*comments):
    """Makes predictions of (split, labels, probabilities of labels); all others are improbable."""
    rows = []
    for number, (split, labels, probable) in enumerate(comments):
        row = {
            "utterance_id": str(number),
            "speaker": "",
            "split": split,
            "label": "|".join(labels),
            "predicted": "joy",
        }
        rows.append(row | {f"probability_{label}": probable.get(label, 0.001) for label in LABELS})
    return pd.DataFrame(rows)


RIGHT = [
    (split, labels, dict.fromkeys(labels, 0.9))
    for split in ("validation", "test")
    for labels in (["anger"], ["disgust"], ["fear"], ["joy", "love"], ["neutral"], ["grief", "anger"], ["curiosity"])
]


def test_a_model_that_is_right_about_labels_is_right_about_groups(tmp_path):
    found = grouped(table(*RIGHT), tmp_path)
    assert found["goemotions-ekman"]["macro_f1"] == 1
    assert found["goemotions-seven"]["macro_f1"] == 1
    assert found["goemotions-ekman"]["num_utterances"] == 7
    # Grief and anger are two classes; joy and love are one.
    assert found["goemotions-seven"]["num_utterances"] == 6


def test_another_label_of_the_same_group_is_no_error(tmp_path):
    wrong = [(split, labels, {"love": 0.9} if "joy" in labels else probable) for split, labels, probable in RIGHT]
    assert grouped(table(*wrong), tmp_path)["goemotions-ekman"]["macro_f1"] == 1


def test_rules_are_the_highest_and_the_union_of_independent_labels():
    labels = np.array([[0.5, 0.5], [0.2, 0.0]])
    np.testing.assert_allclose(RULES["highest"](labels), [0.5, 0.2])
    np.testing.assert_allclose(RULES["any"](labels), [0.75, 0.2])


def test_the_rule_is_chosen_on_the_validation_split(tmp_path):
    # Two labels of a group at 0.4 each say more than one of another group at 0.5: "any" alone is right.
    hints = {"sadness": 0.45, "grief": 0.45, "anger": 0.55}
    rows = [
        (split, ["sadness"], hints) if labels == ["grief", "anger"] else (split, labels, probable)
        for split, labels, probable in RIGHT
    ]
    assert grouped(table(*rows), tmp_path)["goemotions-seven"]["rule"] == "any"


def test_an_unread_test_split_and_other_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match="no predictions of the test split"):
        grouped(table(*(row for row in RIGHT if row[0] == "validation")), tmp_path)
    with pytest.raises(InputError, match="name a run of the 28 labels"):
        grouped(table(*RIGHT).drop(columns="probability_grief"), tmp_path)
