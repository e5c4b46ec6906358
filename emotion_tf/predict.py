"""Tells the emotion of recordings and videos: `python -m emotion_tf.predict --model RUN FILE... [--transcript "..."]`.

Prints one line of JSON a recording: file, transcript, emotion (the most probable), emotions (those that reach their
thresholds; of a model that knows several an utterance), probabilities, seconds (of sound), warnings. A model of several
modalities adds changes_without (by how much the log-probability of that emotion changes when one is left out) and,
where it weighs them, shares. Recordings that cannot be used are named on stderr, the others are told all the same, and
the exit status is 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from emotion_tf.serving.predictor import Predictor, enrol, predict, printable
from pipelines.command import InputError, run_command
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
    model = Predictor(arguments.model)
    enrolled = enrol(model, arguments.enrol or [])
    transcriber = Transcriber(settings) if settings else None
    bad = 0
    for file, transcript in zip(arguments.files or [None], transcripts, strict=True):
        try:
            found = predict(model, file, transcript, transcriber, enrolled)
            print(json.dumps(found, ensure_ascii=False), flush=True)
        except InputError as error:
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
    group = parser.add_argument_group("transcription")
    add_flag(group, "--transcribe", "Read what whisper transcribes of each file.", action="store_true")
    add_whisper_arguments(group)
    return parser


def _transcripts(files: Sequence[Path], given: Sequence[str]) -> list[str]:
    """Pairs words with files."""
    count = max(1, len(files))
    if not files and not given:
        raise InputError('there is nothing to predict: name recordings, or give --transcript "...".')
    if len(given) not in (0, 1, count):
        raise InputError(f"{len(given)} transcripts for {count} recordings: give one for all of them, or one for each.")
    # Bytes of an argument that are no UTF-8 fit neither into the model nor into JSON.
    words = [printable(transcript) for transcript in given]
    return words if len(words) == count else (words or [""]) * count


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
