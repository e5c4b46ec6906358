"""Compares runs over the same utterances: `python -m emotion_tf.compare saved_models/A saved_models/B ...`.

Each RUN is the folder of a run or of a crossval, or a CSV file in the format of predictions.csv, of any toolkit.
Prints the scores of each, and for each pair the difference with its 95 % interval over speakers, the p-value of a
permutation test over speakers, before and after Holm's correction, and a plain sentence. Where no speakers are named,
dialogues or utterances take their place.
`--split validation|test` chooses the split, `--metric uar|macro_f1|weighted_f1` the score (default: the one that the
runs put first), `--output FOLDER` writes compare.json and compare.png there. `--format markdown|latex|csv` prints the
tables for a paper or a spreadsheet, with the p-values and intervals of the text.
"""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion_tf.evaluation.comparison import choose_metric, choose_split, compare, pair_up, read_entries
from emotion_tf.evaluation.counts import TITLES, UAR
from emotion_tf.reporting.wording import format_count, format_interval, format_p, with_sentences
from pipelines.command import InputError, run_command
from pipelines.files import write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.utterance import SPLITS

METRICS = {"uar": UAR, "macro_f1": "macro_f1", "weighted_f1": "weighted_f1"}
"""What --metric takes -> name of the score."""

_MARKS = {mark: f"\\{mark}" for mark in "|*_<>[]`"}
_LATEX = {mark: f"\\{mark}" for mark in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
}


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, compares and prints.

    Raises:
      InputError: What cannot be compared.
    """
    arguments = make_parser().parse_args(argv)
    if arguments.output and arguments.output.exists() and not arguments.output.is_dir():
        raise InputError(f"{arguments.output} is a file: give --output a folder.")
    entries = read_entries(arguments.runs)
    split = choose_split(entries, arguments.split)
    metric = choose_metric(entries, METRICS.get(arguments.metric))
    compared = with_sentences(compare(entries, pair_up(entries, split), split, metric))
    if arguments.output:
        write(compared, arguments.output)
    print(report(compared) if arguments.format == "text" else FORMATS[arguments.format](compared))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.compare", __doc__, "RUN RUN [RUN ...] [FLAG ...]")
    sentence = "Compare these folders of runs or cross-validations, or CSV files in the format of predictions.csv."
    add_flag(parser, "runs", sentence, "two or more", type=Path, nargs="+", metavar="RUN")
    shown = "test where every RUN has it, else validation"
    add_flag(parser, "--split", "Compare the predictions of this split.", choices=SPLITS[1:], shown=shown)
    shown = "the one that the runs put first"
    add_flag(parser, "--metric", "Compare by this score.", choices=METRICS, shown=shown)
    sentence = "Print in this format."
    add_flag(parser, "--format", sentence, choices=("text", *FORMATS), default="text")
    add_flag(parser, "--output", "Write compare.json and compare.png to this folder.", type=Path, metavar="DIR")
    return parser


def report(compared: dict[str, Any]) -> str:
    """Draws the scores, the differences and the sentences of what compare.json holds."""
    from emotion_tf.reporting.tables import align

    sentences = [pair["sentence"] for pair in compared["pairs"]]
    tables = [align(_score_rows(compared)), "", align(_pair_rows(compared))]
    return "\n".join([_head(compared), "", *tables, "", *sentences])


def _head(compared: dict[str, Any]) -> str:
    """Says what was compared."""
    head = f"{compared['split']} split: {format_count(compared['num_utterances'], 'utterance')} that every run has"
    if compared["unit"] != "utterance":
        head += f", of {format_count(compared['num_units'], compared['unit'])}"
    else:
        head += ", which name no speakers, so that each counts on its own"
    if compared["num_left_out"]:
        head += f"; left out because only some runs have them: {compared['num_left_out']}"
    return head


def markdown(compared: dict[str, Any]) -> str:
    """Writes the head, both tables and the sentences in Markdown."""
    tables = ["\n".join(_markdown_rows(rows)) for rows in (_score_rows(compared), _pair_rows(compared))]
    sentences = [f"- {_escaped(pair['sentence'], _MARKS)}" for pair in compared["pairs"]]
    return "\n\n".join([f"{_head(compared)}.", *tables, "\n".join(sentences)])


def _markdown_rows(rows: list[tuple[str, ...]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(_escaped(cell, _MARKS) for cell in row)} |"
        if not number:
            yield f"| --- |{' ---: |' * (len(row) - 1)}"


def latex(compared: dict[str, Any]) -> str:
    """Writes both tables as LaTeX of the package booktabs, each with a caption."""
    captions = (_head(compared), "Differences, with a permutation test and Holm's correction")
    tables = (_score_rows(compared), _pair_rows(compared))
    return "\n\n".join(_latex_table(*one) for one in zip(tables, captions, strict=True))


def _latex_table(rows: list[tuple[str, ...]], caption: str) -> str:
    lines = [f"{' & '.join(_escaped(cell, _LATEX) for cell in row)} \\\\" for row in rows]
    # A bracket or star at the start of a row would be read as an argument of the row's end above.
    lines = [f"{{}}{line}" if line.startswith(("[", "*")) else line for line in lines]
    # At the size of text nine columns are wider than it.
    small = ["\\footnotesize", "\\setlength{\\tabcolsep}{2pt}"]
    head = ["\\begin{table}", "\\centering", *small, f"\\caption{{{_escaped(caption, _LATEX)}.}}"]
    columns = f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
    rules = ["\\toprule", lines[0], "\\midrule", *lines[1:], "\\bottomrule"]
    return "\n".join([*head, columns, *rules, "\\end{tabular}", "\\end{table}"])


def _escaped(text: str, marks: Mapping[str, str]) -> str:
    return "".join(marks.get(letter, letter) for letter in text)


def as_csv(compared: dict[str, Any]) -> str:
    """Writes a row for each run, and one for each difference, with numbers as they are: shares, not points."""
    metric, rows = compared["metric"], io.StringIO(newline="")
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(("kind", "first", "second", "split", "metric", "value", "low", "high", "p", "p_holm"))
    shared = (compared["split"], metric)
    for run in compared["runs"]:
        writer.writerow(("score", run["name"], "", *shared, run[metric], *_ends(run, metric), "", ""))
    for pair in compared["pairs"]:
        numbers = (pair[metric], *_ends(pair, metric), pair["p"], pair["p_holm"])
        writer.writerow(("difference", pair["first"], pair["second"], *shared, *numbers))
    return rows.getvalue().rstrip("\n")


def _ends(row: Mapping[str, Any], metric: str) -> Sequence[float | str]:
    return row[f"{metric}_interval"] or ("", "")


FORMATS = {"markdown": markdown, "latex": latex, "csv": as_csv}
"""What --format takes beside text -> how a comparison is written."""


def _score_rows(compared: dict[str, Any]) -> list[tuple[str, ...]]:
    majority, unit, metric, second = (compared[name] for name in ("majority", "unit", "metric", "second"))
    head = (TITLES[metric], "95 %", "chance", TITLES[second], f"majority ({majority['emotion']})", f"{unit}s", "seeds")
    rows: list[tuple[str, ...]] = [("run", *head, "marks")]
    for run in compared["runs"]:
        rows.append(
            (
                run["name"],
                f"{run[metric]:.3f}",
                format_interval(run[f"{metric}_interval"], unit, scale=1, digits=3),
                f"{compared['chance'][metric]:.3f}",
                f"{run[second]:.3f}",
                f"{majority[second]:.3f}",
                str(compared["num_units"]),
                str(run["num_seeds"]),
                ", ".join(run["marks"]) or "-",
            )
        )
    return rows


def _pair_rows(compared: dict[str, Any]) -> list[tuple[str, ...]]:
    metric, second = compared["metric"], compared["second"]
    rows: list[tuple[str, ...]] = [("difference in points", TITLES[metric], "95 %", "p", "p (Holm)", TITLES[second])]
    for pair in compared["pairs"]:
        rows.append(
            (
                f"{pair['first']} - {pair['second']}",
                f"{100 * pair[metric]:+.1f}",
                format_interval(pair[f"{metric}_interval"], compared["unit"]),
                format_p(pair["p"]),
                format_p(pair["p_holm"]),
                f"{100 * pair[second]:+.1f}",
            )
        )
    return rows


def write(compared: dict[str, Any], folder: Path) -> None:
    """Writes compare.json and compare.png."""
    from emotion_tf.reporting import plots

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", compared)
    plots.save(plots.forest(compared), folder / "compare.png")


if __name__ == "__main__":
    sys.exit(run_command(main))
