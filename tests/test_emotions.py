"""Tests of pipelines.emotions: every map ends in its own label set."""

import pytest

from pipelines.corpora import meld, ravdess
from pipelines.emotions import (
    CREMA_D,
    EKMAN,
    EMODB,
    FOUR,
    GOEMOTIONS,
    IEMOCAP,
    LABEL_MAPS,
    MELD,
    RAVDESS,
    SAVEE,
    SEVEN,
    SIX,
    TESS,
    describe_label_maps,
)


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


def test_goemotions_numbers_its_labels_in_alphabetical_order_with_neutral_last():
    assert list(GOEMOTIONS[:-1]) == sorted(GOEMOTIONS[:-1])
    assert (len(GOEMOTIONS), GOEMOTIONS[27], GOEMOTIONS[25]) == (28, "neutral", "sadness")


@pytest.mark.parametrize("name", ["goemotions-ekman", "goemotions-ravdess", "goemotions-seven"])
def test_maps_of_goemotions_know_each_label_drop_none_and_reach_every_emotion(name):
    targets = LABEL_MAPS[name].targets
    assert set(targets) == set(GOEMOTIONS)
    assert set(targets.values()) == set(LABEL_MAPS[name].emotions)


def test_ekman_groups_have_the_sizes_of_the_paper_and_keep_several_emotions():
    chosen = LABEL_MAPS["goemotions-ekman"]
    sizes = [list(chosen.targets.values()).count(emotion) for emotion in EKMAN]
    assert sizes == [3, 1, 2, 12, 1, 5, 4]
    assert chosen.is_multi_label
    assert not any(LABEL_MAPS[name].is_multi_label for name in LABEL_MAPS if name != "goemotions-ekman")
    assert [chosen.targets[emotion] for emotion in EKMAN] == list(EKMAN)


def test_approval_caring_and_relief_are_calm_on_the_way_to_ravdess_and_happy_on_the_way_to_seven():
    calm = {label for label, target in LABEL_MAPS["goemotions-ravdess"].targets.items() if target == "calm"}
    assert calm == {"approval", "caring", "relief"}
    assert {LABEL_MAPS["goemotions-seven"].targets[label] for label in calm} == {"happy"}


def test_seven_is_one_order_for_goemotions_meld_and_ravdess():
    assert set(LABEL_MAPS["meld-seven"].targets) == set(MELD)
    for name in ("goemotions-seven", "meld-seven", "ravdess-seven", "ravdess-seven-merged"):
        assert LABEL_MAPS[name].emotions == SEVEN == tuple(sorted(SEVEN))
    joint = {label: LABEL_MAPS["meld-seven"].targets[label] for label in MELD}
    assert {label: LABEL_MAPS["goemotions-seven"].targets[label] for label in MELD} == joint


CORPORA = {"crema-d": CREMA_D, "tess": TESS, "emodb": EMODB, "savee": SAVEE, "iemocap": IEMOCAP, "meld": MELD}


@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize(("name", "emotions"), [("ravdess", RAVDESS), ("six", SIX), ("four", FOUR)])
def test_every_corpus_has_maps_to_eight_six_and_four(corpus, name, emotions):
    chosen = LABEL_MAPS[f"{corpus}-{name}"]
    assert chosen.emotions == emotions
    assert set(CORPORA[corpus]) <= set(chosen.targets)
    assert {chosen.targets[label] for label in CORPORA[corpus]} - {None} >= set(emotions) - {"calm", "surprised"}


def test_six_and_four_drop_and_never_move_what_eight_keep():
    for corpus in (*CORPORA, "spellings"):
        eight = LABEL_MAPS[f"{corpus}-ravdess"].targets
        for name in ("six", "four"):
            chosen = LABEL_MAPS[f"{corpus}-{name}"]
            assert chosen.targets == {one: to if to in chosen.emotions else None for one, to in eight.items()}


def test_spellings_are_known_in_any_case_and_others_in_their_own_alone():
    targets = LABEL_MAPS["spellings-six"].targets
    assert {targets[one] for one in ("anger", "Angry", "ANG")} == {"angry"}
    assert targets["Boredom"] is None
    assert "Anger" not in LABEL_MAPS["emodb-six"].targets


def test_the_list_names_every_map_with_its_source():
    shown = describe_label_maps()
    for name, found in LABEL_MAPS.items():
        assert f"{name}: {len(found.emotions)} emotions" in shown
        assert found.source
        assert f"  source: {found.source}" in shown


@pytest.mark.real_data
def test_real_corpora_meet_in_four_classes(real_data):
    words = meld.read(real_data / "meld").relabelled("meld-four")
    voices = ravdess.read(real_data / "ravdess").relabelled("ravdess-four")
    assert words.emotions == voices.emotions == FOUR
    assert len(voices.utterances) == 20 * (8 * 3 + 4)
    assert voices.ignored["calm (dropped by ravdess-four)"] == 160
    assert {one.emotion for one in words.utterances} == set(FOUR)
