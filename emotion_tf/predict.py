"""Predicts the emotion of recordings: `python -m emotion_tf.predict --model RUN FILE... [--transcript "..."]`.

Prints one line of JSON a recording or video: file, transcript, emotion (the most probable), emotions (those that reach
their thresholds; of a model of several emotions an utterance), probabilities, seconds (of audio), warnings. A model of
several modalities adds changes_without (by how much the log-probability of that emotion changes without each) and,
where it weighs them, shares. With --explain DIR it also says why: DIR gets a picture, and its numbers as JSON, of each
recording, and the line names the picture under explanation. Recordings that cannot be used are named on stderr, the
others are predicted all the same, and the exit status is 1.
"""

import argparse
import collections
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.serving import Predictor
from emotion_tf.serving.explain import Explainer
from emotion_tf.serving.explanation_plot import save
from emotion_tf.serving.prediction import printable
from pipelines.command import InputError, make_folder, run_command
from pipelines.parsers import add_flag, command_parser
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings, add_whisper_arguments


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and predicts.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = make_parser().parse_args(argv)
    if arguments.enrol and not arguments.files:
        raise InputError("--enrol takes every file behind it, and none is left to predict: name that one before it.")
    transcripts = _transcripts(arguments.files, arguments.transcript)
    settings = _whisper_settings(arguments)
    predictor = Predictor(arguments.model)
    enrolled = predictor.enrol(arguments.enrol or [])
    transcriber = Transcriber(settings) if settings else None
    answer = _answer(predictor, arguments.explain)
    bad = 0
    for file, transcript in zip(arguments.files or [None], transcripts, strict=True):
        try:
            line = answer(file, transcript, transcriber=transcriber, enrolled=enrolled)
            print(json.dumps(line, ensure_ascii=False), flush=True)
        except InputError as error:
            if len(transcripts) == 1:
                raise
            print(f"error: {error}", file=sys.stderr)
            bad += 1
    if bad:
        raise InputError(f"{bad} of {len(transcripts)} inputs could not be used, as said above.")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    usage = "--model RUN [FILE ...] [FLAG ...]"
    parser = command_parser("emotion_tf.predict", __doc__, usage)
    sentence = "Predict the emotion of these recordings or videos; without any, of --transcript alone."
    add_flag(parser, "files", sentence, type=Path, nargs="*", metavar="FILE")
    sentence = "Predict with the export of this run, this export folder or this version folder."
    add_flag(parser, "--model", sentence, type=Path, required=True, metavar="RUN")
    sentence = "Read these words as the transcript: given once for all files, or once a file, in their order."
    add_flag(parser, "--transcript", sentence, action="append", default=[], metavar="WORDS")
    sentence = (
        "Normalise by these other recordings of the same speaker, for a run of --normalise enrolled; put it behind the"
        " files to predict."
    )
    add_flag(parser, "--enrol", sentence, type=Path, nargs="+", metavar="FILE")
    sentence = "Say why, too: write a picture and a JSON file of each to this folder."
    add_flag(parser, "--explain", sentence, type=Path, metavar="DIR")
    group = parser.add_argument_group("transcription")
    add_flag(group, "--transcribe", "Read what whisper transcribes of each file.", action="store_true")
    add_whisper_arguments(group)
    return parser


def _answer(predictor: Predictor, folder: Path | None) -> Callable[..., dict[str, Any]]:
    """Makes the function that returns the line of an utterance, and explains it where a folder for that is given.

    Raises:
      InputError: A folder that cannot be made or written to.
    """
    if folder is None:
        return lambda *given, **options: predictor.predict(*given, **options).to_json()
    make_folder(folder, "--explain")
    explainer, taken = Explainer(predictor), collections.Counter[str]()

    def explain(file: Path | None, transcript: str, **options: Any) -> dict[str, Any]:
        explanation = explainer(file, transcript, **options)
        name = printable(file.stem) if file else "transcript"
        taken[name] += 1
        # Recordings of several folders may have one name.
        picture = save(explanation, folder, name if taken[name] == 1 else f"{name}-{taken[name]}")
        return explanation.prediction.to_json() | {"explanation": printable(str(picture))}

    return explain


def _transcripts(files: Sequence[Path], given: Sequence[str]) -> list[str]:
    """Pairs transcripts with files."""
    count = max(1, len(files))
    if not files and not given:
        raise InputError('there is nothing to predict: name recordings, or give --transcript "...".')
    if len(given) not in (0, 1, count):
        raise InputError(f"{len(given)} transcripts for {count} recordings: give one for all of them, or one for each.")
    transcripts = [printable(transcript) for transcript in given]
    return transcripts if len(transcripts) == count else (transcripts or [""]) * count


def _whisper_settings(arguments: argparse.Namespace) -> WhisperSettings | None:
    """Returns which whisper transcribes, or None where words are given."""
    flags = [name for name in ("whisper_model", "device", "language") if getattr(arguments, name) is not None]
    if flags and not arguments.transcribe:
        raise InputError(f"--{flags[0].replace('_', '-')} belongs to --transcribe: add that, or leave this out.")
    if arguments.transcribe and arguments.transcript:
        raise InputError("--transcript gives the words and --transcribe finds them: leave one of both out.")
    return WhisperSettings.of(arguments) if arguments.transcribe else None


if __name__ == "__main__":
    sys.exit(run_command(main))
