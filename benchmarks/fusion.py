"""Measures what fusion adds to its branches: `python -m benchmarks.fusion --records DIR --text-run RUN`.

DIR holds RAVDESS with `paired` transcripts and the states of a speech encoder (docs/fusion.md has the command): two
noisy and independent modalities; on `script` nothing can be gained. RUN is a text run on GoEmotions, from whose
encoder the text branch of every fold starts; it was trained on none of the paired sentences.

Cross-validates audio alone, text alone, every rule of late and every join of early fusion over the same folds, early
fusion with modality dropout, and fusion under the control of shuffled transcripts. Early fusion joins the frozen
branches of its fold, with fewer seeds. Late fusion needs no training, and joins predictions. Cross-fitting (`crossfit`)
joins what branches make of clips that they do not know: fitted rules, else fitted on the validation split, are fitted
on predictions of training speakers by branches that were trained without them; joins of early fusion learn on the third
of the training speakers without which their branches were trained.

Which fusion is called the best, and which branch the better one, the validation split says, but of rules that are
fitted on it, whose scores there are too good; the test split is read as soon as a fit is done, and chooses nothing.
Differences are over speakers, by `emotion_tf.compare`. Folders go to --work (default: data/fusion/<records>). A stopped
command goes on where it was when it is given again. Prints a table, and writes results/fusion.json beside this file:
of all systems that --work holds.
"""

import argparse
import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import late_joins
from benchmarks.late_joins import Late
from benchmarks.result_files import commit, read_result, write_result
from emotion_tf import crossval
from emotion_tf.evaluation import comparison
from emotion_tf.evaluation.counts import UAR
from emotion_tf.late_rules import FITTED, RULES
from emotion_tf.runs.folder import Run, Scored
from pipelines import folds
from pipelines.command import InputError, run_command
from pipelines.files import write_csv, write_json
from pipelines.records import read_index, read_metadata

JOINS = ("concat", "gated", "cross_attention")

BRANCHES = {
    "audio": "--branch audio --audio-features encoder --normalise training --epochs 15",
    "text": "--branch text --init-text {text_run} --epochs 6 --freeze-epochs 6 --warm-up-epochs 1 --learning-rate 5e-3",
}
"""Name -> flags of `emotion_tf.crossval`."""

EARLY = (
    "--branch fusion --init-audio {audio} --init-text {text} --epochs 4 --freeze-epochs 4 --warm-up-epochs 1"
    " --learning-rate 1e-3"
)

CROSSFIT_EARLY = EARLY.replace("epochs 4", "epochs 12")
"""On a third of the clips: as many steps."""

CROSSFIT_JOINS = {
    "early-concat-crossfit": f"{CROSSFIT_EARLY} --join concat",
    "early-gated-dropout-crossfit": f"{CROSSFIT_EARLY} --join gated --modality-dropout 0.3",
}
"""Name -> flags of early fusion whose branches were trained on other clips."""

SYSTEMS: Mapping[str, str | Late] = {
    **BRANCHES,
    **{f"late-{rule}": Late(rule) for rule in RULES},
    **{f"late-{rule}-crossfit": Late(rule, is_crossfit=True) for rule in FITTED},
    **{f"early-{join}": f"{EARLY} --join {join}" for join in JOINS},
    "early-gated-dropout": f"{EARLY} --join gated --modality-dropout 0.3",
    **CROSSFIT_JOINS,
    "late-product-shuffled": Late("product", is_shuffled=True),
    "late-weighted-shuffled": Late("weighted", is_shuffled=True),
    "late-stacker-crossfit-shuffled": Late("stacker", is_crossfit=True, is_shuffled=True),
    "early-concat-shuffled": f"{EARLY} --join concat --control shuffled-transcripts",
}
"""Name -> flags of `emotion_tf.crossval`, or a late fusion, in an order in which sources come first."""


ABOUT = (
    "RAVDESS with paired sentences, 1166 clips of 20 actors, folds lj5, each clip tested once. Audio is a head on"
    " frozen Whisper base, text a head on MiniLM fine-tuned on GoEmotions and frozen: 131 of the sentences"
    " stand in the split that chose its epoch, none in what trained it."
    " `weighted` and `stacker` are fitted on the validation split, where their scores are then too good,"
    " or (`crossfit`) on predictions of the training speakers by branches that were trained without them. Early joins"
    " of `crossfit` learn on the third of the training speakers without which their branches were trained."
)

COMMANDS = (
    "python -m pipelines.prepare --corpus meld",
    "python -m pipelines.prepare --corpus goemotions --exclude-sentences data/records/meld"
    " --records data/records/goemotions-for-meld",
    "python -m emotion_tf.fit --branch text --records data/records/goemotions-for-meld --folds published"
    " --text-model pretrained --text-preset MINILM --max-tokens 64 --layer-decay 0.9 --text-preset-rate 1e-4"
    " --batch-size 32 --learning-rate 1e-3 --epochs 4 --warm-up-epochs 1 --run saved_models/minilm-for-meld",
    "python -m pipelines.prepare --corpus ravdess --transcripts paired --sentences data/goemotions --encoder whisper"
    " --encoder-model base --records data/records/ravdess-paired",
    "python -m benchmarks.fusion --records data/records/ravdess-paired --text-run saved_models/minilm-for-meld",
)


def main(argv: list[str] | None = None) -> None:
    """Trains what is missing, reads the test splits, prints the table and writes the result.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = _parser().parse_args(argv)
    if not 1 <= arguments.early_seeds <= arguments.seeds:
        raise InputError(f"--early-seeds {arguments.early_seeds} cannot work: give 1 to {arguments.seeds}, as --seeds.")
    bench = Bench(arguments)
    Run(arguments.text_run).require_finished()
    names = list(dict.fromkeys([*BRANCHES, *arguments.systems]))
    for number, name in enumerate(names, start=1):
        print(f"--- {name}, {number} of {len(names)}, after {bench.minutes:.0f} minutes", flush=True)
        bench.measure(name)
    done = {name: Scored(bench.work / name) for name in SYSTEMS}
    found = results({name: system for name, system in done.items() if _is_scored(system)})
    source = read_metadata(arguments.records).transcript_source
    kept = {key: value for key, value in read_result("fusion").items() if key != "note"}
    write_result("fusion", kept | {"about": ABOUT, "commands": COMMANDS, source: bench.about() | found})
    print(table(found))


def _is_scored(system: Scored) -> bool:
    return system.scores_path.exists() and "test" in system.scores()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, required=True, help="of audio and text, with an encoder's states")
    parser.add_argument("--text-run", type=Path, required=True, help="text on GoEmotions, to start from")
    parser.add_argument("--work", type=Path, help="of the runs (default: data/fusion/<records>)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME",
                        help=f"beside the branches, of {', '.join(SYSTEMS)} (default: all); the result holds"
                        " these and what --work holds already")  # fmt: skip
    parser.add_argument("--folds", default="lj5", help="as crossval takes them (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="fits of each branch and fold (%(default)s)")
    parser.add_argument("--early-seeds", type=int, default=1, help="the same of early fusion, at most --seeds"
                        " (%(default)s): it reads every sentence anew in each epoch")  # fmt: skip
    return parser


class Bench:
    """Runs the systems of one command line.

    Args:
      arguments: Of the command line.

    Attributes:
      work: Where folders go.
    """

    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments
        self.work: Path = arguments.work or Path("data/fusion") / arguments.records.resolve().name
        self._start = time.perf_counter()

    minutes = property(lambda self: (time.perf_counter() - self._start) / 60)

    def measure(self, name: str) -> None:
        """Trains and scores a system, or finds that done."""
        system = SYSTEMS[name]
        branches = {branch: self.work / branch for branch in BRANCHES}
        if name in CROSSFIT_JOINS:
            branches = {branch: self._without_part(branch, 0) for branch in BRANCHES}
            folds_of_joins = self._folds("joins", [late_joins.join_fold(fold) for fold in self._made_folds])
            self._crossval(str(system), branches, self.work / name, folds_of_joins, self._arguments.early_seeds)
        elif isinstance(system, str):
            seeds = self._arguments.seeds if name in BRANCHES else self._arguments.early_seeds
            self._crossval(system, branches, self.work / name, self._arguments.folds, seeds)
        else:
            fit_on = [self._crossfitted(branch) for branch in BRANCHES] if system.is_crossfit else []
            (self.work / name).mkdir(exist_ok=True)
            late_joins.join_late(system, branches, fit_on, Scored(self.work / name))

    def _crossval(self, flags: str, branches: Mapping[str, Path], run: Path, name_of_folds: str, seeds: int) -> None:
        filled = flags.format(**branches, text_run=self._arguments.text_run)
        shared = ["--records", str(self._arguments.records), "--folds", name_of_folds, "--seeds", str(seeds)]
        crossval.main([*filled.split(), *shared, "--split", "test", "--run", str(run)])

    @functools.cached_property
    def _made_folds(self) -> list[folds.Fold]:
        return folds.make_folds(self._arguments.folds, read_index(self._arguments.records))

    def _folds(self, name: str, made: Sequence[Mapping[str, Sequence[str]]]) -> str:
        """Writes a file of folds, and returns its path."""
        path = self.work / "crossfit" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, made)
        return str(path)

    def _without_part(self, branch: str, part: int) -> Path:
        """Trains a branch without a part of the training speakers of each fold, one seed, or finds that done.

        Early fusion starts from as many seeds as it has.
        """
        run = self.work / "crossfit" / f"{branch}-part-{part}"
        made = [late_joins.parts_of(fold)[part] for fold in self._made_folds]
        seeds = self._arguments.early_seeds if part == 0 else 1
        self._crossval(BRANCHES[branch], {}, run, self._folds(f"part-{part}", made), seeds)
        return run

    def _crossfitted(self, branch: str) -> Path:
        """Makes cross-fitted predictions of a branch: each part of the training speakers by what the others train."""
        path = self.work / "crossfit" / f"{branch}-{self._arguments.seeds}.csv"
        if not path.exists():
            parts = [self._without_part(branch, part) for part in range(late_joins.NUM_PARTS)]
            write_csv(path, late_joins.crossfitted(parts, range(self._arguments.seeds)))
        return path

    def about(self) -> dict[str, Any]:
        """Says what was measured, for the result."""
        return {
            "branches": {"audio": "head on Whisper base", "text": "MiniLM, from GoEmotions"},
            "folds": self._arguments.folds,
            "num_seeds": self._arguments.seeds,
            "num_early_seeds": self._arguments.early_seeds,
            "flags": {name: system for name, system in SYSTEMS.items() if isinstance(system, str)},
            "commit": commit(),
        }


def results(systems: Mapping[str, Scored]) -> dict[str, Any]:
    """Scores systems and holds each against the better branch; one without a modality against the other branch alone.

    Returns:
      better_branch and best_fusion (names, by validation; no rule that is fitted there), and systems. Scores and
      differences are shares in [-1, 1].
    """
    scores = {name: system.scores() for name, system in systems.items()}
    by_validation = {name: found["validation"][UAR] for name, found in scores.items()}
    better = max(BRANCHES, key=by_validation.__getitem__)
    fused = [name for name in systems if name not in BRANCHES and not name.endswith("shuffled")]
    fused = [name for name in fused if not _is_optimistic(SYSTEMS[name])]
    found = {}
    for name, system in systems.items():
        test = scores[name]["test"]
        found[name] = {
            "validation": by_validation[name],
            "test": test[UAR],
            "interval": test[f"{UAR}_interval"],
            "expected_calibration_error": test["expected_calibration_error"],
            "speakers": len(test["by"]["speaker"]),
            "seeds": int(system.predictions()["seed"].nunique()),
            "marks": scores[name]["marks"],
        }
        if name not in BRANCHES:
            found[name]["above_better"] = difference(system.folder, systems[better].folder)
            found[name]["without"] = _without(system, systems)
    return {
        "better_branch": better,
        "best_fusion": max(fused, key=by_validation.__getitem__, default=None),
        "systems": found,
    }


def _is_optimistic(system: str | Late) -> bool:
    return isinstance(system, Late) and system.is_optimistic


def _without(system: Scored, systems: Mapping[str, Scored]) -> dict[str, Any]:
    """Holds a system without one modality against the other branch alone."""
    rest = {"audio": "text", "text": "audio"}
    return {
        modality: {
            "test": scores[UAR],
            "above_branch": difference(system.without_path(modality), systems[rest[modality]].folder),
        }
        for modality, scores in system.scores()["test"]["without"].items()
    }


def difference(one: Path, other: Path) -> dict[str, Any]:
    """Compares the test splits of two folders or files.

    Returns:
      UAR of the first less that of the second, its 95 % interval over speakers and the p-value of exchanging these.
    """
    entries = comparison.read_entries([one, other])
    [pair] = comparison.compare(entries, comparison.pair_up(entries, "test"), "test")["pairs"]
    sign = 1 if pair["first"] == entries[0].name else -1
    interval = pair[f"{UAR}_interval"]
    ends = None if interval is None else sorted(sign * end for end in interval)
    return {"difference": sign * pair[UAR], "interval": ends, "p": pair["p"]}


def table(found: Mapping[str, Any]) -> str:
    """Draws the Markdown table."""
    better = found["better_branch"]
    head = (
        "system",
        "seeds",
        "validation",
        "test UAR",
        "95 %",
        f"points above {better}",
        "without audio",
        "without text",
        "ECE",
    )
    rows = [head, ("---",) * len(head), *(_row(name, system) for name, system in found["systems"].items())]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", f"Best fusion by validation, rules fitted there aside: {found['best_fusion']}."])


def _row(name: str, system: Mapping[str, Any]) -> tuple[str, ...]:
    above = _signed(system["above_better"]) if "above_better" in system else ""
    without = system.get("without", {})
    rests = [f"{without[modality]['test']:.3f}" if modality in without else "" for modality in BRANCHES]
    scored = (f"{system['validation']:.3f}", f"{system['test']:.3f}", _range(system["interval"]))
    return (name, str(system.get("seeds", 1)), *scored, above, *rests, f"{system['expected_calibration_error']:.3f}")


def _range(interval: Sequence[float] | None) -> str:
    return "too few" if interval is None else " to ".join(f"{end:.3f}" for end in interval)


def _signed(found: Mapping[str, Any]) -> str:
    points, interval = f"{100 * found['difference']:+.1f}", found["interval"]
    return points if interval is None else f"{points} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


if __name__ == "__main__":
    sys.exit(run_command(main))
