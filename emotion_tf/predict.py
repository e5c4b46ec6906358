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
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings, add_whisper_arguments


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and predicts.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m emotion_tf.predict", description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a run, an export folder or a version folder")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="recordings or videos (none: words alone)")
    parser.add_argument(
        "--transcript",
        action="append",
        default=[],
        metavar="WORDS",
        help="what is said: once for all, or once a file",
    )
    parser.add_argument(
        "--enrol",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="other recordings of the same speaker, for a run of --normalise enrolled; behind those to predict",
    )
    parser.add_argument("--transcribe", action="store_true", help="let whisper hear what is said")
    add_whisper_arguments(parser)
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
    """Returns which whisper hears, or None where words are given."""
    flags = [name for name in ("whisper_model", "device", "language") if getattr(arguments, name) is not None]
    if flags and not arguments.transcribe:
        raise InputError(f"--{flags[0].replace('_', '-')} belongs to --transcribe: add that, or leave this out.")
    if arguments.transcribe and arguments.transcript:
        raise InputError("--transcript gives the words and --transcribe hears them: leave one of both out.")
    return WhisperSettings.of(arguments) if arguments.transcribe else None


if __name__ == "__main__":
    sys.exit(run_command(main))
