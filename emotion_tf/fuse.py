"""Fuses predictions of any toolkit: `python -m emotion_tf.fuse --predictions A.csv B.csv --rule RULE --output F.csv`.

Each file is in the format of predictions.csv, with probabilities; the folder of a run or a crossval stands for its own.
Rows are joined by utterance_id, split and, where present, fold and seed; those that not every file has are left out and
counted. --rule weighted and stacker are fitted within each fold and seed, on rows with split=validation: those of the
files, or of --fit-on A_val.csv B_val.csv. With several emotions an utterance the thresholds are fitted there too, and
are 0.5 where there are no such rows.

Writes F.csv, again in that format, and F.json (rule, files, counts, what was fitted and on whom), and prints the scores
of each file and of the fused rows.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf import late_rules
from emotion_tf.evaluation.counts import UAR
from emotion_tf.evaluation.joined_predictions import Fit, Joined, enumeration, fit_set_of, fuse, join
from emotion_tf.runs.folder import Scored
from emotion_tf.runs.prediction_files import file_of, first_repeated, same_by_name, unique_names
from pipelines.command import InputError, make_folder, run_command
from pipelines.files import write_csv, write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    import pandas as pd


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, fuses, writes and prints.

    Raises:
      InputError: Files that cannot be read or joined, or a rule that they do not serve.
    """
    arguments = make_parser().parse_args(argv)
    paths, fit_on = (tuple(map(file_of, files or [])) for files in (arguments.predictions, arguments.fit_on))
    _check_flags(paths, fit_on, arguments.output)
    joined = join(paths)
    fit_set = fit_set_of(joined, arguments.rule, fit_on)
    fits, fused = fuse(joined, arguments.rule, fit_set)
    make_folder(arguments.output.parent, "--output")
    write_csv(arguments.output, fused)
    write_json(arguments.output.with_suffix(".json"), facts(joined, arguments.rule, fits, fit_on))
    print(report(joined, arguments.rule, fits, fit_set, fused))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    usage = "--predictions FILE.csv FILE.csv ...\n         --rule RULE --output FUSED.csv [FLAG ...]"
    parser = command_parser("emotion_tf.fuse", __doc__, usage)
    sentence = "Join these files in the format of predictions.csv, or those of these runs or cross-validations."
    add_flag(parser, "--predictions", sentence, "two or more", type=Path, nargs="+", required=True, metavar="FILE.csv")
    sentence = "Join probabilities by this rule; weighted and stacker are fitted."
    add_flag(parser, "--rule", sentence, choices=late_rules.RULES, required=True)
    sentence = "Fit on the rows with split=validation of these files, as many and in the same order."
    add_flag(parser, "--fit-on", sentence, type=Path, nargs="+", metavar="FILE.csv", shown="the files of --predictions")
    sentence = "Write the joined predictions to this file, and what was fitted to FUSED.json beside it."
    add_flag(parser, "--output", sentence, type=Path, required=True, metavar="FUSED.csv")
    return parser


def _check_flags(paths: Sequence[Path], fit_on: Sequence[Path], output: Path) -> None:
    if len(paths) < 2:
        raise InputError(f"nothing to fuse {paths[0]} with: give --predictions two files or more.")
    if fit_on and len(fit_on) != len(paths):
        raise InputError(
            f"--fit-on names {len(fit_on)} and --predictions {len(paths)} files: name as many, in the same order."
        )
    for flag, files in (("--predictions", paths), ("--fit-on", fit_on)):
        if twice := first_repeated(files):
            raise InputError(f"{files[twice]} is named twice: give {flag} each file once.")
    _check_order(paths, fit_on)
    _check_output(output, {file.resolve() for file in (*paths, *fit_on)})


def _check_order(paths: Sequence[Path], fit_on: Sequence[Path]) -> None:
    """Refuses files to fit on in another order than the models, as far as names tell."""
    for place, own in enumerate(same_by_name(paths, fit_on) or ()):
        if place != own:
            raise InputError(
                f"--fit-on {fit_on[place]} stands in the place of {paths[place]}, and is named after {paths[own]}:"
                " give the files of both flags in the same order."
            )


def _check_output(output: Path, inputs: set[Path]) -> None:
    if output.is_dir():
        raise InputError(f"{output} is a folder: give --output a file, such as {output / 'fused.csv'}.")
    if output.suffix != ".csv":
        raise InputError(f"{output} does not end in .csv: FUSED.json goes beside FUSED.csv, so end --output in .csv.")
    if {output.resolve(), output.with_suffix(".json").resolve()} & inputs:
        raise InputError(f"{output} is one of the files to read: give --output another name.")
    if Scored(output.parent).scores_path.exists() and any(
        (output.parent / name).exists() for name in ("config.json", "crossval.json")
    ):
        raise InputError(f"{output.parent} holds a run, whose predictions are its own: give --output another folder.")


def facts(joined: Joined, rule: str, fits: Sequence[Fit], fit_on: Sequence[Path] = ()) -> dict[str, Any]:
    """Returns what FUSED.json holds."""
    return {
        "rule": rule,
        "files": [str(path) for path in joined.paths],
        "fit_on": [str(path) for path in fit_on],
        "joined_by": list(joined.key),
        "num_rows": len(joined),
        "without_partner": {str(path): number for path, number in zip(joined.paths, joined.num_alone, strict=True)},
        "emotions": list(joined.emotions),
        "marks": list(joined.all_marks),
        "fits": [_fit_facts(fit, joined) for fit in fits if fit.num_utterances],
    }


def _fit_facts(fit: Fit, joined: Joined) -> dict[str, Any]:
    found: dict[str, Any] = {**fit.place, "num_utterances": fit.num_utterances, "speakers": list(fit.speakers)}
    parameters = {name: values.tolist() for name, values in fit.parameters.items()}
    if "weights" in parameters:
        found["weights"] = dict(zip(map(str, joined.paths), parameters["weights"], strict=True))
    if "kernel" in parameters:
        found |= {"strength": fit.strength, "never_named": list(fit.never_named), **parameters}
    if fit.thresholds is not None:
        found["thresholds"] = dict(zip(joined.emotions, fit.thresholds.tolist(), strict=True))
    return found


def report(joined: Joined, rule: str, fits: Sequence[Fit], fit_set: Joined, fused: "pd.DataFrame") -> str:
    """Says what was joined and fitted, and draws the scores of each file and of the fused rows, a table a split."""
    from emotion_tf.reporting import tables

    blocks = [_counted(joined)]
    if fit_set.paths != joined.paths:
        pairs = zip(joined.paths, fit_set.paths, strict=True)
        blocks[0] += f"\nfit set: {_counted(fit_set)}"
        blocks[0] += "".join(f"\nfit set of {path}: {fitted}" for path, fitted in pairs)
    blocks += [text for text in (_fitted(joined, rule, fits), _warnings(joined, fits, fit_set)) if text]
    scores = _scores(joined, rule, fused)
    splits = [split for split in SPLITS if all(split in found for found in scores.values())]
    return "\n\n".join([*blocks, *(f"{split} split\n{tables.comparison(scores, split)}" for split in splits)])


def _counted(joined: Joined) -> str:
    alone = ", ".join(f"{path} {number}" for path, number in zip(joined.paths, joined.num_alone, strict=True))
    return f"{len(joined)} rows stand in every file, joined by {enumeration(joined.key)}; without partner: {alone}"


def _fitted(joined: Joined, rule: str, fits: Sequence[Fit]) -> str:
    """Draws what was fitted for each fold and seed: weights, or the strength of the stacker; empty for other rules."""
    from emotion_tf.reporting.tables import align

    if rule not in late_rules.FITTED:
        return ""
    heads = [f"weight of {name}" for name in _names(joined.paths)] if rule == "weighted" else ["C of the stacker"]
    rows: list[tuple[str, ...]] = [("fitted for", "utterances", "speakers", *heads)]
    for fit in fits:
        values = (
            [f"{weight:.3f}" for weight in fit.parameters["weights"]] if rule == "weighted" else [f"{fit.strength}"]
        )
        rows.append((fit.name, str(fit.num_utterances), str(len(fit.speakers) or "-"), *values))
    return align(rows)


def _warnings(joined: Joined, fits: Sequence[Fit], fit_set: Joined) -> str:
    lines = [
        f"{fit.name}: no utterance to fit on is labelled {', '.join(fit.never_named)}: the stacker never says so"
        for fit in fits
        if fit.never_named
    ]
    validation = joined.where(split="validation").tables[0]["utterance_id"]
    what = "thresholds" if joined.is_multi_label else "weights"
    if any(fit.num_utterances for fit in fits) and {*validation} & {*fit_set.tables[0]["utterance_id"]}:
        lines.append(f"the {what} were fitted on validation rows that are fused too: scores on these are optimistic")
    elif joined.is_multi_label and not any(fit.num_utterances for fit in fits):
        lines.append("without validation rows to fit thresholds on, emotions of probability 0.5 are named")
    return "\n".join(lines)


def _scores(joined: Joined, rule: str, fused: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    """Scores the rows that every file has: name -> what `tables.comparison` takes."""
    from emotion_tf.evaluation import metrics

    headline = "macro_f1" if joined.is_multi_label else UAR
    named = {
        name: (table, marks)
        for name, table, marks in zip(_names(joined.paths), joined.tables, joined.marks, strict=True)
    }
    named[f"fused ({rule})"] = fused, joined.all_marks
    return {
        name: {"marks": marks, "headline": headline}
        | {split: metrics.scores(rows, joined.emotions) for split, rows in table.groupby("split")}
        for name, (table, marks) in named.items()
    }


def _names(paths: Sequence[Path]) -> list[str]:
    """Gives each file the shortest name that is its own; the predictions of a run are called as the run is."""
    short = [path.resolve().parent.name if path.name == "predictions.csv" else path.stem for path in paths]
    return unique_names(paths, short)


if __name__ == "__main__":
    sys.exit(run_command(main))
