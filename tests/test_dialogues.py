"""Tests of pipelines.dialogues: the lines before an utterance are those of its own dialogue, in their order."""

import dataclasses
import random

import pytest

from pipelines.command import InputError
from pipelines.corpora import meld
from pipelines.dialogues import with_context, without_lines


@pytest.fixture
def shuffled(dialogues):
    """The corpus with its utterances in any order."""
    utterances = list(dialogues.utterances)
    random.Random(0).shuffle(utterances)
    return dataclasses.replace(dialogues, utterances=tuple(utterances))


def lines_before(corpus):
    """The contexts by the words of their utterances, which no two share."""
    return {one.transcript: one.context for one in corpus.utterances}


def test_the_lines_before_an_utterance_come_oldest_first(shuffled):
    found = lines_before(with_context(shuffled, 2))
    assert found["train 1 line 10"] == ("train 1 line 8", "train 1 line 9")
    assert found["train 1 line 1"] == ("train 1 line 0",)
    assert found["train 1 line 0"] == ()


def test_no_context_crosses_a_dialogue_or_a_split(shuffled):
    found = with_context(shuffled, 50)
    for utterance in found.utterances:
        *place, _, line = utterance.transcript.split()
        expected = tuple(f"{' '.join(place)} line {number}" for number in range(int(line)))
        assert utterance.context == expected
        assert place[0] == utterance.published_split


def test_equal_names_of_dialogues_in_two_splits_are_two_dialogues(dialogues):
    same = [dataclasses.replace(one, attributes={"dialogue": "7"}) for one in dialogues.utterances if one.line < 1]
    found = with_context(dataclasses.replace(dialogues, utterances=tuple(same)), 3)
    for utterance in found.utterances:
        assert {line.split()[0] for line in utterance.context} <= {utterance.published_split}


def test_a_corpus_without_dialogues_gets_a_sentence(three_speakers):
    with pytest.raises(InputError, match="has no dialogues, so no lines stand before an utterance: leave --context"):
        with_context(three_speakers, 1)


def test_lines_are_taken_out_of_contexts_in_any_spelling(dialogues):
    found = lines_before(without_lines(with_context(dialogues, 2), {"train 1 line 9"}))
    assert found["train 1 line 10"] == ("train 1 line 8",)
    assert without_lines(dialogues, {"x"}) == dialogues


@pytest.mark.real_data
def test_contexts_of_meld_are_lines_of_its_dialogues(real_data):
    corpus = meld.read(real_data / "meld")
    by_dialogue = {}
    for one in corpus.utterances:
        by_dialogue.setdefault(one.attributes["dialogue"], []).append(one)
    found = {one.utterance_id: one.context for one in with_context(corpus, 2).utterances}
    for lines in by_dialogue.values():
        lines.sort(key=lambda one: int(one.utterance_id.split("-")[-1]))
        for place, one in enumerate(lines):
            assert found[one.utterance_id] == tuple(line.transcript for line in lines[max(0, place - 2) : place])
