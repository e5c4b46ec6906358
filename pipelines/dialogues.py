"""Dialogues: the lines before an utterance, as context for models of text."""

import dataclasses
from collections.abc import Collection

from pipelines import fold_audit
from pipelines.command import InputError
from pipelines.utterance import Corpus, Utterance


def with_context(corpus: Corpus, num_lines: int) -> Corpus:
    """Gives each utterance the lines before it in its dialogue: never those of another dialogue or published split.

    Args:
      corpus: With transcripts.
      num_lines: How many lines at most, 1 or more.

    Raises:
      InputError: A corpus without dialogues.
    """
    dialogues: dict[tuple[str, str], list[Utterance]] = {}
    lines = [utterance for utterance in corpus.utterances if utterance.line is not None]
    if not lines:
        raise InputError(f"{corpus.name} has no dialogues, so no lines stand before an utterance: leave --context out.")
    for utterance in sorted(lines, key=lambda utterance: utterance.line or 0):
        key = (utterance.published_split, utterance.attributes["dialogue"])
        dialogues.setdefault(key, []).append(utterance)
    contexts = {
        utterance.utterance_id: tuple(before.transcript for before in dialogue[max(0, place - num_lines) : place])
        for dialogue in dialogues.values()
        for place, utterance in enumerate(dialogue)
    }
    utterances = (
        dataclasses.replace(utterance, context=contexts.get(utterance.utterance_id, ()))
        for utterance in corpus.utterances
    )
    return dataclasses.replace(corpus, utterances=tuple(utterances))


def without_lines(corpus: Corpus, sentences: Collection[str]) -> Corpus:
    """Takes lines out of all contexts.

    Args:
      corpus: Its contexts are there.
      sentences: Which lines, in the spelling of `pipelines.fold_audit.sentences_of`.
    """
    different = sorted({line for utterance in corpus.utterances for line in utterance.context})
    if not different:
        return corpus
    pairs = zip(different, fold_audit.sentences_of(different), strict=True)
    excluded = {line for line, sentence in pairs if sentence in sentences}
    utterances = (
        dataclasses.replace(utterance, context=tuple(line for line in utterance.context if line not in excluded))
        for utterance in corpus.utterances
    )
    return dataclasses.replace(corpus, utterances=tuple(utterances))
