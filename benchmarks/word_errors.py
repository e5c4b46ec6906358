"""Measures the words of whisper on RAVDESS: `python -m benchmarks.word_errors --source data/ravdess`.

Transcribes every recording with each of --models, as `pipelines.prepare --transcripts whisper` does, and compares with
the script. Prints and writes results/word_errors.json beside this file: word error rates with 95 % intervals over
actors, of all clips, by emotion and by intensity, and the processor time that the transcribing took, of all cores
together. Transcripts are kept in --transcript-cache, so a stopped command goes on; of one that went on there is no
time.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_files import read_result, write_result
from benchmarks.rows import markdown, word_errors
from emotion_tf.evaluation.uncertainty import speaker_interval
from pipelines.command import run_command
from pipelines.corpora import ravdess
from pipelines.transcripts.transcriber import WhisperSettings, cache_name, transcribed
from pipelines.transcripts.word_errors import word_error_rate
from pipelines.utterance import Corpus


def main(argv: list[str] | None = None) -> None:
    """Transcribes, writes the result and prints the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/ravdess"))
    parser.add_argument("--models", nargs="+", default=["tiny.en", "base"], help="names or checkpoints")
    parser.add_argument("--transcript-cache", type=Path, default=Path("data/transcripts"))
    arguments = parser.parse_args(argv)
    corpus = ravdess.read(arguments.source)
    for model in arguments.models:
        settings = WhisperSettings(model)
        found = measure(corpus, settings, arguments.transcript_cache)
        models = read_result("word_errors").get("models", {}) | {settings.name.removesuffix(".pt"): found}
        write_result("word_errors", {"num_clips": len(corpus.utterances), "models": models})
    print(markdown(word_errors(read_result("word_errors"))))


def measure(corpus: Corpus, settings: WhisperSettings, folder: Path) -> dict[str, Any]:
    """Transcribes a corpus and counts the errors.

    Returns:
      `minutes` of processor time, None where transcripts were there before; `blank`, how many clips have no words;
      `groups`: "all", emotions and intensities -> `rate`, `interval` over actors, `num_words`.
    """
    is_new = not (folder / cache_name(settings.identity)).exists()
    start = time.process_time()
    filled = transcribed(corpus, settings, folder)
    minutes = (time.process_time() - start) / 60
    pairs = [
        (one.transcript, other.transcript) for one, other in zip(corpus.utterances, filled.utterances, strict=True)
    ]
    return {
        "minutes": round(minutes, 1) if is_new else None,
        "blank": sum(not transcript for _, transcript in pairs),
        "groups": {name: rate(corpus, pairs, members) for name, members in groups_of(corpus).items()},
    }


def groups_of(corpus: Corpus) -> Mapping[str, list[int]]:
    """Places of the utterances: of all, of each emotion, of each intensity."""
    found: dict[str, list[int]] = {"all": list(range(len(corpus.utterances)))}
    emotions = [one.emotion for one in corpus.utterances]
    intensities = [f"{one.attributes['intensity']} intensity" for one in corpus.utterances]
    for column in (emotions, intensities):
        for name in dict.fromkeys(column):
            found[name] = [place for place, other in enumerate(column) if other == name]
    return found


def rate(corpus: Corpus, pairs: Sequence[tuple[str, str]], members: Sequence[int]) -> dict[str, Any]:
    """Counts word errors of some utterances, by speaker for the interval."""
    counted = []
    for speaker in sorted({corpus.utterances[place].speaker for place in members}):
        scripts, transcripts = zip(
            *(pairs[place] for place in members if corpus.utterances[place].speaker == speaker), strict=True
        )
        errors = word_error_rate(scripts, transcripts)
        counted.append((errors.num_errors, errors.num_words))
    by_speaker = np.array(counted)
    sums = by_speaker.sum(axis=0)
    interval = speaker_interval(by_speaker, lambda resampled: resampled[:, 0] / resampled[:, 1])
    return {"rate": float(sums[0] / sums[1]), "interval": interval, "num_words": int(sums[1])}


if __name__ == "__main__":
    sys.exit(run_command(main))
