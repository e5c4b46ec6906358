"""Writes a report to hand on: `python -m emotion_tf.report saved_models/NAME... [--output DIR]`.

Each RUN is the folder of a finished run or cross-validation. Writes report.html, one page that loads nothing from the
network, and report.docx, which says the same, into DIR, by default into the first RUN: what was trained on what,
scores of the test split where every RUN has them (else of validation), what fusion adds, why the first RUN with an
export answered as it did (`--explain-all`: every one), models, training, confusion, calibration, errors with their
spectrograms, words and sound, and the commands that make it again. `--no-audio` leaves the sound out.
"""

import argparse
import sys
from pathlib import Path

from pipelines.command import InputError, folder_for, import_tensorflow, run_command
from pipelines.files import replacing
from pipelines.parsers import add_flag, command_parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, writes the report and says where it is.

    Raises:
      InputError: What is no finished run or cross-validation, or a folder that cannot be written to.
    """
    arguments = make_parser().parse_args(argv)
    output = arguments.output or arguments.runs[0]
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: give --output a folder.")
    options = {"has_audio": not arguments.no_audio, "explains_every": arguments.explain_all}
    print("\n".join(map(str, write(arguments.runs, output, **options))))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.report", __doc__, "RUN [RUN ...] [--output DIR]")
    sentence = "Report these folders of runs or cross-validations."
    add_flag(parser, "runs", sentence, type=Path, nargs="+", metavar="RUN")
    sentence = "Write report.html and report.docx to this folder."
    add_flag(parser, "--output", sentence, type=Path, metavar="DIR", shown="the first RUN")
    add_flag(parser, "--no-audio", "Leave the sound of clips out of report.html.", action="store_true")
    sentence = "Explain answers of every RUN that has an export, not of the first alone."
    add_flag(parser, "--explain-all", sentence, action="store_true")
    return parser


def write(folders: list[Path], output: Path, *, has_audio: bool = True, explains_every: bool = False) -> list[Path]:
    """Writes both files of a report.

    Args:
      folders: Of runs or cross-validations.
      output: Where they go.
      has_audio: Whether report.html holds the sound of clips.
      explains_every: Whether answers of every run with an export are explained, or of the first alone.

    Returns:
      Their paths.
    """
    from emotion_tf.reporting.subjects import read_subjects

    subjects = read_subjects(folders)
    import_tensorflow(with_keras=False)
    from emotion_tf.reporting import docx, html, pictures
    from emotion_tf.reporting.content import gather

    with folder_for(output, "--output"), pictures.theme():
        report = gather(subjects, has_audio=has_audio, explains_every=explains_every)
        with replacing(output / "report.html") as temporary:
            temporary.write_text(html.page(report), encoding="utf-8")
        with replacing(output / "report.docx") as temporary:
            docx.write(report, temporary)
    return [output / "report.html", output / "report.docx"]


if __name__ == "__main__":
    sys.exit(run_command(main))
