"""Tests of pipelines.utterance: a label map changes labels, drops what it must, and counts what it drops."""

import dataclasses
from pathlib import Path

import pytest

from pipelines.command import InputError
from pipelines.emotions import EKMAN, GOEMOTIONS, RAVDESS, SEVEN, LabelMap
from pipelines.utterance import Corpus, Segment, Utterance


def corpus_of(*emotions):
    utterances = tuple(Utterance(f"{n}", f"s{n % 2}", emotion) for n, emotion in enumerate(emotions))
    return Corpus("mine", Path("mine.csv"), "mine", RAVDESS, utterances, {"song": 2})


def comments_of(*emotions):
    return dataclasses.replace(corpus_of(*emotions), emotions=GOEMOTIONS, is_multi_label=True)


def test_speakers_are_sorted_and_counted_once():
    assert corpus_of("happy", "sad", "calm").speakers == ("s0", "s1")


def test_a_map_renames_and_merges():
    mapped = corpus_of("happy", "calm", "fearful", "neutral").relabelled("ravdess-seven-merged")
    assert mapped.emotions == SEVEN
    assert [utterance.emotion for utterance in mapped.utterances] == ["happy", "neutral", "fear", "neutral"]
    assert mapped.ignored == {"song": 2}


def test_what_a_map_drops_is_counted():
    mapped = corpus_of("happy", "calm", "calm").relabelled("ravdess-seven")
    assert [utterance.utterance_id for utterance in mapped.utterances] == ["0"]
    assert mapped.ignored == {"song": 2, "calm (dropped by ravdess-seven)": 2}


def test_a_map_that_does_not_know_a_label_is_refused_with_the_utterance():
    with pytest.raises(InputError, match="crema-d-ravdess does not know the label 'calm' of 1"):
        corpus_of("HAP", "calm").relabelled("crema-d-ravdess")


def test_an_unknown_map_is_refused():
    with pytest.raises(InputError, match="there is no label map 'ekman': choose one of crema-d-four"):
        corpus_of("happy").relabelled("ekman")


def test_the_emotions_of_an_utterance_are_the_names_that_it_joins():
    assert [one.emotions for one in comments_of("joy", "joy|love").utterances] == [("joy",), ("joy", "love")]


def test_a_multi_label_map_keeps_several_emotions_each_once_and_in_its_order():
    mapped = comments_of("joy|sadness", "joy|love", "sadness|surprise|neutral").relabelled("goemotions-ekman")
    assert [one.emotion for one in mapped.utterances] == ["joy|sadness", "joy", "neutral|sadness|surprise"]
    assert (mapped.emotions, mapped.is_multi_label, mapped.ignored) == (EKMAN, True, {"song": 2})


def test_a_map_to_one_emotion_drops_and_counts_utterances_with_several():
    mapped = comments_of("joy|sadness", "joy|love", "anger|fear", "relief").relabelled("goemotions-ravdess")
    assert [one.emotion for one in mapped.utterances] == ["happy", "calm"]
    assert not mapped.is_multi_label
    assert mapped.ignored == {"song": 2, "two or more emotions (dropped by goemotions-ravdess)": 2}


def test_of_several_emotions_only_those_go_that_the_map_drops(monkeypatch):
    chosen = LabelMap(("joy", "love"), {"joy": "joy", "love": "love", "fear": None, "grief": None}, True)
    monkeypatch.setattr("pipelines.utterance.LABEL_MAPS", {"short": chosen})
    mapped = comments_of("fear|joy", "fear|grief", "joy|love", "fear").relabelled("short")
    assert [one.emotion for one in mapped.utterances] == ["joy", "joy|love"]
    assert mapped.ignored == {"song": 2, "fear|grief (dropped by short)": 1, "fear (dropped by short)": 1}


def test_a_single_label_corpus_stays_one_under_any_map():
    assert not corpus_of("joy").relabelled("goemotions-ekman").is_multi_label


def test_an_unknown_label_among_several_is_named():
    with pytest.raises(InputError, match="goemotions-ekman does not know the label 'calm' of 1"):
        comments_of("joy", "joy|calm").relabelled("goemotions-ekman")


def test_labels_that_no_utterance_has_leave_the_label_set_and_its_order_stays():
    present = corpus_of("sad", "neutral", "sad").with_present_emotions()
    assert present.emotions == ("neutral", "sad")
    assert present.absent_emotions == tuple(emotion for emotion in RAVDESS if emotion not in ("neutral", "sad"))
    assert present.utterances == corpus_of("sad", "neutral", "sad").utterances
    assert comments_of("love|joy", "anger").with_present_emotions().emotions == ("anger", "joy", "love")
    everything = corpus_of(*RAVDESS).with_present_emotions()
    assert (everything.emotions, everything.absent_emotions) == (RAVDESS, ())


@pytest.mark.parametrize(
    ("segment", "name"),
    [((1.0, 2.5), "1-2.5"), ((0.0, 10.0), "0-10"), ((12.25, None), "12.25-end"), ((0.000125, 100.0), "0.000125-100")],
)
def test_a_segment_has_a_name_of_its_seconds(segment, name):
    assert str(Segment(*segment)) == name
