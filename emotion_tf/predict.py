"""Predicts the emotion of recordings: `python -m emotion_tf.predict --model RUN FILE... [--transcript "..."]`.

Prints one line of JSON a recording or video: file, transcript, emotion (the most probable), emotions (those that reach
their thresholds; of a model of several emotions an utterance), probabilities, seconds (of audio), warnings. A model of
several modalities adds changes_without (by how much the log-probability of that emotion changes without each) and,
where it weighs them, shares. With --explain DIR it also says why: DIR gets a picture, and its numbers as JSON, of each
recording, and the line names the picture under explanation. Recordings that cannot be used are named on stderr, the
others are predicted all the same, and the exit status is 1.
With --output FILE whole folders and tables are predicted into one file, .csv, .jsonl or .parquet: a row a recording,
with file, emotion, probability_<emotion> of each, seconds, warnings, and error of what cannot be used. The same command
again goes on where it was stopped. A table has the column path, relative to its folder, and optionally transcript.
With --format litert, or where --model names the folder litert of an export, TensorFlow is not imported.
With --timeline a recording of any length is answered stretch by stretch: lines of file, start, end, emotion and
probability_<emotion> of each, or files for --output: .jsonl, .csv, .png, .TextGrid, .eaf, .rttm, .vtt; then one line
on the whole is printed. With --reference it also holds the emotion diarisation error rate.
"""

import argparse
import collections
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.serving import Predictor
from emotion_tf.serving.annotations import WRITERS, read_reference, rows, stop_on_unknown, write_annotations
from emotion_tf.serving.diarisation import diarisation_errors
from emotion_tf.serving.embedding_file import check_name
from emotion_tf.serving.explain import Explainer
from emotion_tf.serving.explanation_plot import save
from emotion_tf.serving.listing import TABLE_SUFFIX, Item, find_items
from emotion_tf.serving.loading import FORMATS, LITERT, model_sha256
from emotion_tf.serving.many_files import predict_files
from emotion_tf.serving.prediction import Given, printable, stop_on_lines
from emotion_tf.serving.table import NOT_SURE, Settings, open_table
from emotion_tf.serving.timeline import TimelineSettings, find_timeline
from pipelines.clips import Clip
from pipelines.command import InputError, make_folder, run_command
from pipelines.parsers import Group, add_flag, command_parser
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings, add_whisper_arguments


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and predicts.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = _sorted_out(make_parser().parse_args(argv))
    _check(arguments)
    if arguments.enrol and not arguments.files:
        raise InputError("--enrol takes every file behind it, and none is left to predict: name that one before it.")
    if arguments.timeline:
        _predict_timeline(arguments)
    elif arguments.output:
        _predict_table(arguments)
    else:
        _predict_files(arguments)


def _sorted_out(arguments: argparse.Namespace) -> argparse.Namespace:
    """Tells files to write from files to predict where both stand behind --output: a table is one, by its place."""
    given = arguments.output or []
    outputs = [path for path in given if path.suffix.lower() in WRITERS] if arguments.timeline else given[:1]
    inputs = [path for path in given if path not in outputs]
    return argparse.Namespace(**vars(arguments) | {"files": [*inputs, *arguments.files], "output": outputs})


def _check(arguments: argparse.Namespace) -> None:
    """Stops on flags that do not fit each other."""
    for name in () if arguments.timeline else ("window", "hop", "smooth", "reference"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} belongs to --timeline: add that, or leave this out.")
    if arguments.timeline:
        _check_timeline(arguments)
        return
    for name in ("embeddings", "workers"):
        if getattr(arguments, name) is not None and not arguments.output:
            raise InputError(f"--{name} belongs to --output: add that, or leave this out.")
    if arguments.output and arguments.explain:
        raise InputError("--explain draws one recording after the other: leave it or --output out.")
    if arguments.output and arguments.context:
        raise InputError("--context stands before one utterance: leave it or --output out.")
    if arguments.output and arguments.transcript:
        raise InputError(
            "--transcript is for single files: with --output give a table (.csv) with the columns path and transcript."
        )
    if arguments.output and not arguments.files:
        raise InputError("there is nothing to predict: name folders, tables (.csv) with the column path, or files.")
    for file in arguments.files:
        if not arguments.output and (file.is_dir() or file.suffix.lower() == TABLE_SUFFIX):
            raise InputError(
                f"{file} is a {'folder' if file.is_dir() else 'table'}: say with --output FILE.csv where its rows go."
            )
    if arguments.reject_below is not None and not 0 <= arguments.reject_below <= 1:
        raise InputError(f"--reject-below {arguments.reject_below:g} is no probability: give one from 0 to 1.")
    if arguments.workers is not None and arguments.workers < 1:
        raise InputError(f"--workers {arguments.workers} decode nothing: give 1 or more.")


def _check_timeline(arguments: argparse.Namespace) -> None:
    """Stops on flags that a timeline does not take."""
    for name in ("transcript", "context", "transcribe", "explain", "embeddings", "workers", "reject_below"):
        if getattr(arguments, name):
            raise InputError(f"--timeline reads sound alone, stretch by stretch: leave --{name.replace('_', '-')} out.")
    if len(arguments.files) != 1:
        raise InputError(f"--timeline takes one recording, and {len(arguments.files)} are given: name one.")
    stop_on_unknown(arguments.output)
    if arguments.files[0].absolute() in {path.absolute() for path in arguments.output}:
        raise InputError(f"{arguments.files[0]} is what is to be predicted: give --output another name.")


def _predict_timeline(arguments: argparse.Namespace) -> None:
    """Finds which emotion appears when in one recording."""
    [file] = arguments.files
    given = {"window_seconds": arguments.window, "hop_seconds": arguments.hop, "smooth_seconds": arguments.smooth}
    settings = TimelineSettings(**{name: seconds for name, seconds in given.items() if seconds is not None})
    predictor = Predictor(arguments.model, arguments.format)
    reference = arguments.reference and read_reference(arguments.reference, predictor.emotions, file.stem)
    timeline = find_timeline(predictor, file, settings, enrolled=predictor.enrol(arguments.enrol or []))
    write_annotations(timeline, arguments.output)
    summary = timeline.summary()
    if reference:
        summary["diarisation"] = diarisation_errors(reference, timeline.segments, timeline.seconds).to_json()
    lines = [] if arguments.output else rows(timeline)
    for line in (*lines, summary):
        print(json.dumps(line, ensure_ascii=False), flush=True)


def _predict_table(arguments: argparse.Namespace) -> None:
    """Predicts folders, tables and files into one file."""
    [output], items = arguments.output, find_items(arguments.files)
    if output.absolute() in {path.absolute() for path in (*arguments.files, *(item.path for item in items))}:
        raise InputError(f"{output} is what is to be predicted: give --output another name.")
    settings, predictor = _whisper_settings(arguments), Predictor(arguments.model, arguments.format)
    if arguments.embeddings:
        check_name(arguments.embeddings)
        predictor.stop_without_embedding()
    enrolled = predictor.enrol(arguments.enrol or [])
    transcriber = Transcriber(settings) if settings else None

    def take(clip: Clip, item: Item) -> Given:
        return predictor.take(
            clip, printable(item.transcript), file=item.path, transcriber=transcriber, enrolled=enrolled
        )

    of_rows = Settings(
        model_sha256(predictor.folder, predictor.files),
        predictor.emotions,
        arguments.reject_below,
        arguments.embeddings is not None,
    )
    with open_table(output, of_rows) as table:
        predict_files(predictor, items, table, take, embeddings=arguments.embeddings, num_workers=arguments.workers)
    for error in table.errors:
        print(f"error: {error}", file=sys.stderr)
    if bad := len(table.errors):
        raise InputError(f"{bad} of {len(table.rows)} inputs could not be used, as said above and in {output}.")


def _predict_files(arguments: argparse.Namespace) -> None:
    """Predicts files one after the other, and prints their lines."""
    transcripts = _transcripts(arguments.files, arguments.transcript)
    settings, context = _whisper_settings(arguments), _context(arguments)
    predictor = Predictor(arguments.model, arguments.format)
    stop_on_lines(context, predictor.num_context_lines)
    enrolled = predictor.enrol(arguments.enrol or [])
    transcriber = Transcriber(settings) if settings else None
    answer, least = _answer(predictor, arguments.explain), arguments.reject_below
    bad = 0
    for file, transcript in zip(arguments.files or [None], transcripts, strict=True):
        try:
            line = answer(file, transcript, context=context, transcriber=transcriber, enrolled=enrolled)
            if least is not None and max(line["probabilities"].values()) < least:
                line["emotion"] = NOT_SURE
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
    sentence = (
        "Predict the emotion of these recordings or videos; without any, of --transcript alone; with --output also of"
        " folders, and of tables (.csv) with the column path and optionally transcript."
    )
    add_flag(parser, "files", sentence, type=Path, nargs="*", metavar="FILE")
    sentence = (
        "Predict with the export of this run, this export folder or this version folder; or with the folder litert or"
        " the .tflite file in one."
    )
    add_flag(parser, "--model", sentence, type=Path, required=True, metavar="RUN")
    sentence = "Predict with this format of the export; litert needs no TensorFlow, and gives its first answer at once."
    add_flag(parser, "--format", sentence, choices=FORMATS, shown="what --model names, else savedmodel")
    sentence = "Read these words as the transcript: given once for all files, or once a file, in their order."
    add_flag(parser, "--transcript", sentence, action="append", default=[], metavar="WORDS")
    sentence = (
        "Read these lines as what was said before in the dialogue, the oldest first, for a run on records of prepare"
        " --context; put it behind the file to predict."
    )
    add_flag(parser, "--context", sentence, nargs="+", default=[], metavar="LINE")
    sentence = (
        "Normalise by these other recordings of the same speaker, for a run of --normalise enrolled; put it behind the"
        " files to predict."
    )
    add_flag(parser, "--enrol", sentence, type=Path, nargs="+", metavar="FILE")
    sentence = "Say why, too: write a picture and a JSON file of each to this folder."
    add_flag(parser, "--explain", sentence, type=Path, metavar="DIR")
    sentence = f"Say {NOT_SURE!r} in place of an emotion whose calibrated probability is lower."
    add_flag(parser, "--reject-below", sentence, "from 0 to 1", type=float, metavar="P", shown="off")
    _add_table_flags(parser.add_argument_group("many files"))
    _add_timeline_flags(parser.add_argument_group("long recordings"))
    group = parser.add_argument_group("transcription")
    add_flag(group, "--transcribe", "Read what whisper transcribes of each file.", action="store_true")
    add_whisper_arguments(group)
    return parser


def _add_table_flags(group: Group) -> None:
    sentence = (
        "Write a row of each recording to this file (.csv, .jsonl, .parquet); one that was begun is continued. With"
        f" --timeline: write the stretches to these files ({', '.join(WRITERS)})."
    )
    add_flag(group, "--output", sentence, type=Path, nargs="+", metavar="FILE")
    sentence = "Write what the last layer reads of each recording to this file (.npz): files and embeddings."
    add_flag(group, "--embeddings", sentence, type=Path, metavar="FILE")
    sentence = "Decode in this many processes."
    add_flag(group, "--workers", sentence, "at least 1", type=int, metavar="N", shown="one a core")


def _add_timeline_flags(group: Group) -> None:
    usual = TimelineSettings()
    sentence = "Say which emotion appears when in a recording of any length."
    add_flag(group, "--timeline", sentence, action="store_true")
    sentence = "Ask the model about windows of this length."
    add_flag(group, "--window", sentence, type=float, metavar="SECONDS", shown=f"{usual.window_seconds:g}")
    sentence = "Begin a window this long after the one before: the grain of the answer."
    add_flag(group, "--hop", sentence, type=float, metavar="SECONDS", shown=f"{usual.hop_seconds:g}")
    sentence = "Average the answers over this time; 0: not."
    add_flag(group, "--smooth", sentence, type=float, metavar="SECONDS", shown=f"{usual.smooth_seconds:g}")
    sentence = "Hold the stretches against those of this file (.TextGrid, .rttm): emotion diarisation error rate."
    add_flag(group, "--reference", sentence, type=Path, metavar="FILE")


def _answer(predictor: Predictor, folder: Path | None) -> Callable[..., dict[str, Any]]:
    """Makes the function that returns the line of an utterance, and explains it where a folder for that is given.

    Raises:
      InputError: A folder that cannot be made or written to.
    """
    if folder is None:
        return lambda *given, **options: predictor.predict(*given, **options).to_json()
    if predictor.model_format == LITERT:
        raise InputError("--explain takes gradients, which LiteRT has none of: leave it or --format litert out.")
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
    if not files and len(given) > 1:
        raise InputError(f"--transcript takes one without recordings, and there are {len(given)}: give one.")
    if len(given) not in (0, 1, count):
        raise InputError(f"{len(given)} transcripts for {count} recordings: give one for all of them, or one for each.")
    transcripts = [printable(transcript) for transcript in given]
    return transcripts if len(transcripts) == count else (transcripts or [""]) * count


def _context(arguments: argparse.Namespace) -> list[str]:
    """Returns the lines before the one utterance that they belong to."""
    if arguments.context and len(arguments.files) > 1:
        raise InputError(f"--context stands before one utterance, and {len(arguments.files)} are given: name one file.")
    return [printable(line) for line in arguments.context]


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
