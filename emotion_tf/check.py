"""Says what is wrong with a corpus: `python -m emotion_tf.check --corpus NAME --source DIR [--output DIR]`.

Reads every recording once, and no label into a model. `--records DIR` checks records instead, of what they still tell.
Prints findings, the most severe first, then clips by speaker and emotion, lengths, loudness and noise floor by emotion,
kinds of files, and how well a classifier tells the label by such measures alone, on speakers that it was not trained
on. `--output DIR` writes the same to check.json and, with pictures, to check.html, which loads nothing from the
network.
"""

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from pipelines import prepare
from pipelines.command import InputError, folder_for, run_command
from pipelines.corpora import readers
from pipelines.files import replacing, write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.records import remote
from pipelines.settings import at_least


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, checks, prints and writes.

    Raises:
      InputError: Flags that do not go together, or a corpus or records that cannot be read.
    """
    arguments = make_parser().parse_args(argv)
    if (arguments.corpus is None) == (arguments.records is None):
        raise InputError("give either --corpus NAME, with --source, or --records DIR.")
    if arguments.output and arguments.output.exists() and not arguments.output.is_dir():
        raise InputError(f"{arguments.output} is a file: give --output a folder.")
    # What is wrong with it must not cost the reading.
    with folder_for(arguments.output, "--output") if arguments.output else contextlib.nullcontext():
        _check(arguments)


def _check(arguments: argparse.Namespace) -> None:
    from emotion_tf.evaluation.corpus import summarise
    from pipelines import survey

    if arguments.records is not None:
        summary = summarise(survey.survey_records(remote.local(arguments.records)))
    else:
        summary = summarise(survey.survey_corpus(prepare.read_corpus(arguments, with_video=False), arguments.workers))
    from emotion_tf.reporting import corpus

    print(corpus.text(summary))
    if arguments.output:
        write_json(arguments.output / "check.json", summary.to_json())
        with replacing(arguments.output / "check.html") as temporary:
            temporary.write_text(corpus.page(summary), encoding="utf-8")
        print("\n".join(str(arguments.output / name) for name in ("check.json", "check.html")))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.check", __doc__, "--corpus NAME --source DIR | --records DIR")
    parser.set_defaults(context=0, with_video=False)
    readers.add_arguments(parser.add_argument_group("corpus"), is_required=False)
    group = parser.add_argument_group("check")
    add_flag(group, "--records", "Check these records instead.", type=remote.location, metavar="DIR")
    add_flag(group, "--output", "Write check.json and check.html to this folder.", type=Path, metavar="DIR")
    options: dict[str, Any] = {"type": prepare.number_of_processes, "metavar": "N"}
    add_flag(group, "--workers", "Decode with N processes.", at_least(1), shown="one a core", **options)
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
