"""Tests of pipelines.emotions: every map ends in its own label set."""

import pytest

from pipelines.emotions import LABEL_MAPS, RAVDESS, SEVEN


def test_ravdess_counts_its_emotions_as_its_file_names_do():
    assert RAVDESS[0] == "neutral"
    assert RAVDESS[5 - 1] == "angry"
    assert len(RAVDESS) == len(set(RAVDESS)) == 8


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_every_map_leads_into_its_label_set(name):
    label_map = LABEL_MAPS[name]
    assert len(set(label_map.emotions)) == len(label_map.emotions)
    assert {target for target in label_map.targets.values() if target} <= set(label_map.emotions)


def test_the_maps_to_seven_differ_in_calm_alone():
    dropped, merged = LABEL_MAPS["ravdess-seven"].targets, LABEL_MAPS["ravdess-seven-merged"].targets
    assert set(dropped) == set(merged) == set(RAVDESS)
    assert {label for label in RAVDESS if dropped[label] != merged[label]} == {"calm"}
    assert (dropped["calm"], merged["calm"]) == (None, "neutral")
    assert set(merged.values()) == set(SEVEN)
