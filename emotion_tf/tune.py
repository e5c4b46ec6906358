"""Searches for settings: `python -m emotion_tf.tune --space FILE.yaml --branch audio --run DIR`.

FILE.yaml names flags of fit and what each may be: a list, or a range {from: 0.0003, to: 0.01, scale: log}. Each trial
draws its settings and is a run in DIR/trials/; all train on one fold and are compared by its validation split. Ray Tune
stops the worse ones early. DIR gets tune.json, trials.csv and plots/. A stopped command goes on where it was when it is
given again, and --trials may then be more. Test splits are not read: cross-validate what was found.
"""

import argparse
import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion_tf import fit
from emotion_tf.evaluation.counts import HEADLINES
from emotion_tf.flags import add_data_arguments, add_model_arguments, config_of
from emotion_tf.runs.folder import Run
from emotion_tf.training.checks import check, with_branches
from emotion_tf.tuning.importance import FEWEST, importances
from emotion_tf.tuning.search import Trial, search
from emotion_tf.tuning.space import Space, read_space, words_of
from pipelines import processes
from pipelines.cluster import ADDRESS_HELP, LOCAL, connected
from pipelines.command import InputError, import_tensorflow, make_folder, run_command
from pipelines.files import locked, read_json, write_csv, write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.records import read_metadata
from pipelines.settings import at_least, require

NUM_SHOWN = 10
"""Trials that are printed."""


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, searches and prints the best trials and what mattered.

    Raises:
      InputError: Whatever the user can mend; no trial that came to its end.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = make_parser().parse_args(argv)
    for name in ("trials", "processes", "fewest_epochs"):
        if (given := getattr(arguments, name)) is not None and given < 1:
            raise InputError(f"--{name.replace('_', '-')} {given} cannot work: give 1 or more.")
    require("seed", [arguments.seed], fit.SEEDS)
    space = read_space(arguments.space, fit.make_parser())
    tuning = Tuning(arguments.run.absolute())
    base = config_of(arguments)
    if base.is_late:
        raise InputError("--fusion late trains nothing: search for settings of the runs that it joins.")
    read_metadata(Path(base.records))  # Complains in no time; TensorFlow takes seconds.
    trials = tuning.trials(space, _fit_words(argv), arguments.seed, arguments.trials)
    import_tensorflow()
    checked = [check(one.config) for one in trials]
    headline = checked[0].metadata.headline
    # An address that does not answer must not cost the search that is there.
    with connected(arguments.ray):
        tuning.start(space, base, arguments.seed, overwrite=arguments.overwrite)
        with locked(tuning.folder, "--run"):
            for one, found in zip(trials, checked, strict=True):
                if one.run.is_finished:
                    one.run.refuse_changed(found.metadata)
            shared = arguments.processes or min(processes.MOST_SIDE_BY_SIDE, processes.num_cores())
            search(trials, headline, shared, arguments.fewest_epochs, tuning.folder)
            print(tuning.report(space, trials, headline))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    usage = "--space FILE --branch BRANCH --run DIR ..."
    parser = command_parser("emotion_tf.tune", __doc__, usage, allow_abbrev=False)
    _add_own_arguments(parser)
    add_data_arguments(parser)
    add_model_arguments(parser)
    return parser


def _add_own_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    sentence = "Try what this file lists: flags of fit, each with a list of values or a range."
    add_flag(group, "--space", sentence, type=Path, metavar="FILE.yaml", required=True)
    add_flag(group, "--run", "Write the trials to this folder.", type=Path, metavar="DIR", required=True)
    add_flag(group, "--overwrite", "Replace another search in that folder.", action="store_true")
    add_flag(group, "--trials", "Try N settings.", at_least(1), type=int, metavar="N", default=20)
    sentence = "Let each trial train for N epochs before it may be stopped; from then on, after thrice as many each."
    add_flag(group, "--fewest-epochs", sentence, at_least(1), type=int, metavar="N", default=5)
    sentence = "Draw settings and first weights with this seed."
    add_flag(group, "--seed", sentence, fit.SEEDS, type=int, metavar="SEED", default=0)
    sentence = "Train by this one of the folds, counted from 0."
    add_flag(group, "--fold", sentence, type=int, metavar="N", default=0)
    sentence = "Train N trials side by side on a machine."
    add_flag(group, "--processes", sentence, at_least(1), type=int, metavar="N", shown=str(processes.MOST_SIDE_BY_SIDE))
    add_flag(group, "--ray", ADDRESS_HELP, metavar="local|auto|ADDRESS", default=LOCAL)


def _fit_words(argv: Sequence[str]) -> list[str]:
    """Takes the arguments of the search out of a command line: what is left is for fit, --fold and --seed among it."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_own_arguments(own)
    arguments, left = own.parse_known_args(argv)
    return [*left, "--fold", str(arguments.fold), "--seed", str(arguments.seed)]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A folder of trials."""

    folder: Path

    settings_path = property(lambda self: self.folder / "tune.json")
    trials_path = property(lambda self: self.folder / "trials.csv")
    plots = property(lambda self: self.folder / "plots")

    def trials(self, space: Space, words: Sequence[str], seed: int, count: int) -> list[Trial]:
        """Draws the settings of trials; a space with fewer than were asked for gives those.

        Args:
          space: What to draw from.
          words: Arguments of fit that all share.
          seed: Of the search.
          count: How many.

        Raises:
          InputError: Settings that do not go together; names what was drawn.
        """
        parser, found = fit.make_parser(), []
        for number, drawn in enumerate(space.distinct(seed, count)):
            given = [*words, *words_of(drawn)]
            try:
                config = with_branches(config_of(parser.parse_args(given)))
            except InputError as error:
                raise InputError(f"the space draws {shlex.join(words_of(drawn))}: {error}") from None
            found.append(Trial(drawn, config, Run(self.folder / "trials" / f"trial-{number:03d}")))
        return found

    def start(self, space: Space, base: Any, seed: int, *, overwrite: bool) -> None:
        """Makes the folder, or finds the same search in it, perhaps with fewer trials.

        Raises:
          InputError: A folder of something else, or of another search.
        """
        asked = {"seed": seed, "space": _written(space), "config": json.loads(base.to_json())}
        asked = json.loads(json.dumps(asked))  # As it will be read.
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: give --run a folder.")
        if self.folder.exists() and not self.settings_path.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} holds files that are no search: give --run another folder.")
        if self.settings_path.exists():
            found = read_json(self.settings_path, keys={"seed": int, "space": dict, "config": dict})
            differing = [name for name, value in asked.items() if found[name] != value]
            if differing and not overwrite:
                raise InputError(
                    f"{self.folder} holds a search with another {' and '.join(differing)}: give another --run, or"
                    " --overwrite to replace it."
                )
            if differing:
                self._remove()
        make_folder(self.folder, "--run")
        if not self.settings_path.exists():
            write_json(self.settings_path, asked)

    def _remove(self) -> None:
        """Removes the trials of another search, and nothing else."""
        import shutil

        with locked(self.folder, "--run"):
            for path in (self.folder / "trials", self.plots):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.trials_path, self.settings_path):
                path.unlink(missing_ok=True)

    def report(self, space: Space, trials: Sequence[Trial], headline: str) -> str:
        """Writes trials.csv, tune.json and plots/tune.png; returns the lines to print.

        Raises:
          InputError: No trial came to its end.
        """
        import pandas as pd

        from emotion_tf.reporting import plots
        from emotion_tf.tuning.picture import draw

        found = [one.scores(headline) for one in trials]
        rows = [
            {
                "trial": one.run.folder.name,
                "state": one.state,
                "epochs": len(scores),
                f"validation_{headline}": scores[-1] if scores else None,
                **{flag.removeprefix("--"): " ".join(words) for flag, words in one.drawn.items()},
            }
            for one, scores in zip(trials, found, strict=True)
        ]
        write_csv(self.trials_path, pd.DataFrame(rows))
        with_scores = [(one, scores) for one, scores in zip(trials, found, strict=True) if scores]
        finished = [(scores[-1], one) for one, scores in with_scores if one.run.is_finished]
        if not finished:
            failed = [one for one in trials if one.state == "failed"]
            why = f"; {failed[0].run.folder.name} ({failed[0].log_path}): {failed[0].reason}" if failed else "."
            raise InputError(f"no trial came to its end{why}")
        score, best = max(finished, key=lambda pair: pair[0])
        # Stopped trials trained for fewer epochs: all are compared after those that every one had.
        common = min(len(scores) for _, scores in with_scores)
        drawn = [one.drawn for one, _ in with_scores]
        mattered = importances(space, drawn, [scores[common - 1] for _, scores in with_scores])
        about = {"best": best.run.folder.name, "score": score, "headline": headline}
        about |= {"compared_after_epochs": common, **mattered}
        settings = read_json(self.settings_path)
        write_json(self.settings_path, settings | {"found": about, "trials": rows})
        plots.save(draw(space, drawn, [scores[-1] for _, scores in with_scores],
                        [one.run.is_finished for one, _ in with_scores], mattered["flags"], HEADLINES[headline]),
                   self.plots / "tune.png")  # fmt: skip
        return "\n".join(_lines(trials, found, headline, best, score, common, mattered))


def _written(space: Space) -> dict[str, Any]:
    return {flag: dataclasses.asdict(values) | {"kind": type(values).__name__} for flag, values in space.flags.items()}


def _lines(
    trials: Sequence[Trial],
    found: Sequence[list[float]],
    headline: str,
    best: Trial,
    score: float,
    common: int,
    mattered: dict[str, Any],
) -> list[str]:
    """Writes what is printed: the best trials, what mattered, and what to do next."""
    order = sorted(zip(trials, found, strict=True), key=lambda pair: -(pair[1][-1] if pair[1] else -1.0))
    lines = [f"{'trial':<12}{'state':<10}{'epochs':>6}  {HEADLINES[headline]:>8}  settings"]
    for one, scores in order[:NUM_SHOWN]:
        shown = f"{scores[-1]:.3f}" if scores else "-"
        settings = shlex.join(words_of(one.drawn))
        lines.append(f"{one.run.folder.name:<12}{one.state:<10}{len(scores):>6}  {shown:>8}  {settings}")
    if mattered["flags"] is None:
        lines.append(f"what mattered cannot be told: that takes {FEWEST} trials whose scores differ.")
    elif mattered["explained"] <= 0:
        lines.append(f"none of the flags explains the scores after {common} epochs better than their mean does.")
    else:
        ranked = sorted(mattered["flags"].items(), key=lambda pair: -pair[1])
        shown = ", ".join(f"{flag} {loss:.2f}" for flag, loss in ranked)
        lines.append(
            f"the flags explain {mattered['explained']:.2f} of the variance of the scores after {common} epochs; error"
            f" that shuffling one adds, in variances: {shown}"
        )
    lines.append(
        f"best: {best.run.folder}, validation {HEADLINES[headline]} {score:.3f}, the highest of {len(trials)} and so"
        f" above what it will be for others; cross-validate it with {shlex.join(words_of(best.drawn))}"
    )
    return lines


if __name__ == "__main__":
    sys.exit(run_command(main))
