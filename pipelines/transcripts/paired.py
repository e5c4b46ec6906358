"""Paired words: each clip of acted speech gets one real sentence of GoEmotions with the clip's emotion.

Audio and text are then two noisy, independent modalities, as fusion should be tested on.
"""

import dataclasses
import hashlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipelines import text
from pipelines.command import InputError, import_tensorflow
from pipelines.corpora import goemotions
from pipelines.emotions import LABEL_MAPS
from pipelines.utterance import Corpus, Utterance

LABEL_MAPS_TO_PAIR = ("goemotions-ravdess", "goemotions-seven")
"""The maps that lead from GoEmotions to the labels of acted speech."""

_SPLITS = ("test", "validation")


def paired(corpus: Corpus, sentences: Path, seed: int, label_map: str = "") -> tuple[Corpus, list[dict[str, str]]]:
    """Gives each clip a sentence of its own, as far as the sentences go; names the map on stderr.

    Sentences come from GoEmotions' test split first, then from dev; none that also stands in the training split, none
    twice (in normalised spelling). Where sentences are scarce, speakers get them in turn.

    Args:
      corpus: Acted speech, labelled as one of `LABEL_MAPS_TO_PAIR` labels.
      sentences: The folder of GoEmotions.
      seed: Of the order in which sentences and clips are drawn.
      label_map: Name of the map that relabelled the corpus, or empty; for messages.

    Returns:
      The corpus with those clips that got a sentence, the others counted in `ignored`; and a row for each clip.

    Raises:
      InputError: Labels that no map leads to, or a folder that is not GoEmotions.
    """
    chosen = _map_to(corpus, label_map)
    comments = goemotions.read(sentences)
    pools = _pools(comments, chosen, seed)
    assigned: dict[str, Utterance] = {}
    for emotion in corpus.emotions:
        clips = [utterance for utterance in corpus.utterances if utterance.emotion == emotion]
        pairs = zip(_in_turn(clips, f"{seed} {emotion}"), pools.get(emotion, []), strict=False)
        assigned |= {clip.utterance_id: sentence for clip, sentence in pairs}
    _name_the_map(chosen, assigned.values(), len(corpus.utterances) - len(assigned))
    filled = with_sentences(corpus, {name: sentence.transcript for name, sentence in assigned.items()})
    labels = {sentence.utterance_id: sentence.emotion for sentence in comments.utterances}
    return filled, [_row(clip, assigned[clip.utterance_id], labels) for clip in filled.utterances]


def fingerprint(corpus: Corpus, sentences: Path, seed: int) -> str:
    """Hashes all that the drawing depends on: the clips and their labels, the files of GoEmotions, the seed."""
    clips = [(clip.utterance_id, clip.speaker, clip.emotion) for clip in corpus.utterances]
    files = [sentences / name for name in goemotions.FILES.values()]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in files]
    return hashlib.sha256(json.dumps([seed, clips, hashes]).encode()).hexdigest()


def with_sentences(corpus: Corpus, sentences: Mapping[str, str]) -> Corpus:
    """Puts sentences, by utterance_id, into a corpus; clips without one are dropped and counted in `ignored`."""
    dropped: Counter[str] = Counter()
    kept = []
    for clip in corpus.utterances:
        if clip.utterance_id in sentences:
            kept.append(dataclasses.replace(clip, transcript=sentences[clip.utterance_id]))
        else:
            dropped[f"{clip.emotion} without a sentence (paired)"] += 1
    return dataclasses.replace(
        corpus,
        licence=f"{corpus.licence}; words of GoEmotions, {goemotions.LICENCE}",
        utterances=tuple(kept),
        ignored={**corpus.ignored, **dropped},
    )


def _map_to(corpus: Corpus, label_map: str) -> str:
    present = corpus.with_present_emotions().emotions
    for labels, name in itertools.product((corpus.emotions, present), LABEL_MAPS_TO_PAIR):
        if set(labels) <= set(LABEL_MAPS[name].emotions):
            return name
    source = f" (through {label_map})" if label_map else ""
    known = " or ".join(", ".join(LABEL_MAPS[name].emotions) for name in LABEL_MAPS_TO_PAIR)
    raise InputError(
        f"no map leads from GoEmotions to the labels {', '.join(present)} of {corpus.name}{source}:"
        f" pair words with {known}, mapped with --label-map where need be."
    )


def _pools(comments: Corpus, label_map: str, seed: int) -> dict[str, list[Utterance]]:
    """Sorts the sentences that may be used by emotion, those of the test split first, in a seeded order."""
    spelling = _spellings(comments.utterances)
    used = {spelling[one.utterance_id] for one in comments.utterances if one.published_split not in _SPLITS} | {""}
    pools: dict[str, list[Utterance]] = {}
    usable = [one for one in comments.relabelled(label_map).utterances if one.published_split in _SPLITS]
    for sentence in _shuffled(usable, str(seed), key=lambda one: (_SPLITS.index(one.published_split),)):
        if spelling[sentence.utterance_id] not in used:
            used.add(spelling[sentence.utterance_id])
            pools.setdefault(sentence.emotion, []).append(sentence)
    return pools


def _spellings(comments: Sequence[Utterance]) -> dict[str, str]:
    """Returns utterance_id -> normalised sentence."""
    import_tensorflow()
    normalised = text.normalise([one.transcript for one in comments]).numpy()
    return {one.utterance_id: spelling.decode() for one, spelling in zip(comments, normalised, strict=True)}


def _in_turn(clips: Iterable[Utterance], salt: str) -> Iterator[Utterance]:
    """Yields one clip of each speaker, then a second of each, and so on, all in a seeded order."""
    by_speaker: dict[str, list[Utterance]] = {}
    for clip in _shuffled(clips, salt):
        by_speaker.setdefault(clip.speaker, []).append(clip)
    # Speakers in the order in which their first clips came: seeded, and another one for each emotion.
    rounds = itertools.zip_longest(*by_speaker.values())
    return (clip for one_each in rounds for clip in one_each if clip is not None)


def _shuffled(
    utterances: Iterable[Utterance], salt: str, key: Callable[[Utterance], tuple[int, ...]] = lambda one: ()
) -> list[Utterance]:
    """Sorts by a key, then by hashes: the same in any process and version, whatever else the corpus holds."""
    return sorted(
        utterances, key=lambda one: (*key(one), hashlib.sha256(f"{salt} {one.utterance_id}".encode()).hexdigest())
    )


def _name_the_map(label_map: str, used: Iterable[Utterance], num_dropped: int) -> None:
    counts = Counter(sentence.published_split for sentence in used)
    print(
        f"paired: label map {label_map}, {counts['test']} sentences from test, {counts['validation']} from dev,"
        f" {num_dropped} clips without one dropped",
        file=sys.stderr,
    )


def _row(clip: Utterance, sentence: Utterance, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        "utterance_id": clip.utterance_id,
        "speaker": clip.speaker,
        "emotion": clip.emotion,
        "comment_id": sentence.utterance_id,
        "split": sentence.published_split,
        "labels": labels[sentence.utterance_id],
        "transcript": clip.transcript,
    }
