"""Tests of pipelines.transcripts.simulated: enough sentences, none that names its emotion, the same for each clip."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.command import InputError
from pipelines.emotions import RAVDESS, SEVEN
from pipelines.transcripts.simulated import SENTENCES, sentence_for, simulated
from pipelines.transcripts.word_errors import words
from pipelines.utterance import Corpus, Utterance

NAMES = {*RAVDESS, *SEVEN, "anger", "fears", "sadness", "happiness", "surprising", "disgusting", "afraid", "scared"}


def corpus_of(emotions, count=40):
    utterances = [
        Utterance(f"{emotion}-{number}", "01", emotion, Path("none.wav"), "a script")
        for emotion in emotions
        for number in range(count)
    ]
    return Corpus("acted", Path("acted"), "", tuple(emotions), tuple(utterances))


def test_every_emotion_has_a_dozen_sentences_of_its_own():
    assert set(SENTENCES) == {*RAVDESS, *SEVEN}
    for emotion, sentences in SENTENCES.items():
        assert len(set(sentences)) >= 12, emotion
    for emotions in (RAVDESS, SEVEN):
        together = [sentence for emotion in emotions for sentence in SENTENCES[emotion]]
        assert len(set(together)) == len(together)


def test_no_sentence_names_an_emotion():
    for sentences in SENTENCES.values():
        for sentence in sentences:
            assert not NAMES & set(words(sentence)), sentence


def test_each_clip_gets_a_sentence_of_its_emotion_and_keeps_the_rest():
    corpus = corpus_of(RAVDESS)
    filled, rows = simulated(corpus, 0)
    assert all(one.transcript in SENTENCES[one.emotion] for one in filled.utterances)
    assert [one.utterance_id for one in filled.utterances] == [one.utterance_id for one in corpus.utterances]
    assert rows[0] == {
        "utterance_id": "neutral-0",
        "speaker": "01",
        "emotion": "neutral",
        "transcript": filled.utterances[0].transcript,
    }
    used = {one.transcript for one in filled.utterances if one.emotion == "sad"}
    assert len(used) > len(SENTENCES["sad"]) / 2


def test_a_clip_keeps_its_sentence_whatever_else_the_corpus_holds():
    whole, few = simulated(corpus_of(RAVDESS), 3)[0], simulated(corpus_of(("sad", "happy"), 5), 3)[0]
    kept = {one.utterance_id: one.transcript for one in whole.utterances}
    assert all(kept[one.utterance_id] == one.transcript for one in few.utterances)


def test_another_seed_chooses_others_and_another_process_the_same():
    found = [sentence_for(f"clip {number}", "happy", 0) for number in range(30)]
    assert found != [sentence_for(f"clip {number}", "happy", 1) for number in range(30)]
    code = (
        "from pipelines.transcripts.simulated import sentence_for\n"
        "print(*(sentence_for(f'clip {number}', 'happy', 0) for number in range(30)), sep='\\n')"
    )
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    finished = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert finished.stdout.splitlines() == found


def test_a_label_without_sentences_is_named():
    with pytest.raises(InputError, match=r"no simulated sentences are written for bored of acted: .* --label-map"):
        simulated(corpus_of(("happy", "bored")), 0)


def test_a_label_that_no_clip_has_needs_no_sentences():
    corpus = corpus_of(("happy", "sad"))
    simulated(dataclasses.replace(corpus, emotions=("happy", "bored", "sad")), 0)
