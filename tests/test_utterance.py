"""Tests of pipelines.utterance: a label map changes labels, drops what it must, and counts what it drops."""

from pathlib import Path

import pytest

from pipelines.command import InputError
from pipelines.emotions import RAVDESS, SEVEN
from pipelines.utterance import Corpus, Utterance


def corpus_of(*emotions):
    utterances = tuple(Utterance(f"{n}", f"s{n % 2}", emotion) for n, emotion in enumerate(emotions))
    return Corpus("mine", Path("mine.csv"), "mine", RAVDESS, utterances, {"song": 2})


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
    with pytest.raises(InputError, match="there is no label map 'ekman': choose one of crema-d-ravdess"):
        corpus_of("happy").relabelled("ekman")
