"""Measures what fusion adds to its branches: `python -m benchmarks.fusion --records data/records/ravdess-paired`.

Cross-validates audio alone, text alone, every rule of late and every join of early fusion over the same folds, early
fusion with modality dropout, and fusion under the control of shuffled transcripts. All early fusions start from the
branches of their fold. `paired` transcripts are the bench: two noisy and independent modalities; on `script` nothing
can be gained. The test split of every fit is read once, when all are trained; which system is called the best, and
which branch the better one, the validation split says, but of rules that are fitted on it, whose scores there are too
good. Differences are over speakers, by `emotion_tf.compare`.
Folders go to --work (default: data/fusion/<records>). A stopped command goes on where it was when it is given again.
Prints a table, and adds what it found to results/fusion.json beside this file, under the transcript source.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_files import commit, read_result, write_result
from emotion_tf import crossval
from emotion_tf.evaluation import comparison
from emotion_tf.evaluation.counts import UAR
from emotion_tf.late_rules import FITTED, RULES
from emotion_tf.runs.folder import Scored
from pipelines.command import run_command
from pipelines.records import read_metadata

JOINS = ("concat", "gated", "cross_attention")

LATE = "--branch fusion --fusion late --runs {audio} {text}"
EARLY = "--branch fusion --init-audio {audio} --init-text {text} --epochs 8 --warm-up-epochs 1 --learning-rate 5e-4"
SHUFFLED = "--control shuffled-transcripts"

SYSTEMS = {
    "audio": "--branch audio",
    "text": "--branch text --epochs 10",
    **{f"late-{rule}": f"{LATE} --rule {rule}" for rule in RULES},
    **{f"early-{join}": f"{EARLY} --join {join}" for join in JOINS},
    "early-gated-dropout": f"{EARLY} --join gated --modality-dropout 0.3",
    "late-mean-shuffled": f"{LATE} --rule mean {SHUFFLED}",
    "late-weighted-shuffled": f"{LATE} --rule weighted {SHUFFLED}",
    "early-concat-shuffled": f"{EARLY} --join concat {SHUFFLED}",
}
"""Name -> flags of `emotion_tf.crossval`, in an order in which sources come first."""

BRANCHES = ("audio", "text")


def main(argv: list[str] | None = None) -> None:
    """Trains what is missing, reads the test splits, prints the table and writes the result.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = _parser().parse_args(argv)
    work = arguments.work or Path("data/fusion") / arguments.records.resolve().name
    names = list(dict.fromkeys([*BRANCHES, *arguments.systems]))
    for split in ("validation", "test"):
        for name in names:
            print(f"--- {name}, {split} split", flush=True)
            crossval.main(_command(name, arguments, work, split))
    found = results({name: Scored(work / name) for name in names})
    source = read_metadata(arguments.records).transcript_source
    flags = {name: SYSTEMS[name] for name in names}
    about = {"folds": arguments.folds, "num_seeds": arguments.seeds, "audio_epochs": arguments.audio_epochs}
    write_result("fusion", read_result("fusion") | {source: {**about, "flags": flags, **found, "commit": commit()}})
    print(table(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, required=True, help="of audio and text")
    parser.add_argument("--work", type=Path, help="of the runs (default: data/fusion/<records>)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME",
                        help=f"beside the branches, of {', '.join(SYSTEMS)} (default: all)")  # fmt: skip
    parser.add_argument("--folds", default="lj5", help="as crossval takes them (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each fold (%(default)s)")
    parser.add_argument("--audio-epochs", type=int, default=60, help="of audio alone (%(default)s)")
    return parser


def _command(name: str, arguments: argparse.Namespace, work: Path, split: str) -> list[str]:
    """Writes the command line of a system for `emotion_tf.crossval`."""
    flags = SYSTEMS[name].format(**{branch: work / branch for branch in BRANCHES}).split()
    flags += ["--epochs", str(arguments.audio_epochs)] if name == "audio" else []
    shared = ["--records", str(arguments.records), "--folds", arguments.folds, "--seeds", str(arguments.seeds)]
    return [*flags, *shared, "--split", split, "--run", str(work / name)]


def results(systems: Mapping[str, Scored]) -> dict[str, Any]:
    """Scores systems and holds each against the better branch; one without a modality against the other branch alone.

    Returns:
      better_branch and best_fusion (names, by validation; no rule that is fitted there), and systems. Scores and
      differences are shares in [-1, 1].
    """
    scores = {name: system.scores() for name, system in systems.items()}
    by_validation = {name: found["validation"][UAR] for name, found in scores.items()}
    better = max(BRANCHES, key=lambda name: by_validation[name])
    fitted = {f"late-{rule}" for rule in FITTED}
    fused = [name for name in systems if name not in (*BRANCHES, *fitted) and not name.endswith("shuffled")]
    found = {}
    for name, system in systems.items():
        test = scores[name]["test"]
        found[name] = {
            "validation": by_validation[name],
            "test": test[UAR],
            "interval": test[f"{UAR}_interval"],
            "expected_calibration_error": test["expected_calibration_error"],
            "speakers": len(test["by"]["speaker"]),
            "marks": scores[name]["marks"],
        }
        if name not in BRANCHES:
            found[name]["above_better"] = difference(system.folder, systems[better].folder)
            found[name]["without"] = _without(system, systems)
    return {"better_branch": better, "best_fusion": max(fused, key=lambda name: by_validation[name]), "systems": found}


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
    return "\n".join([*lines, "", f"Best fusion by validation, fitted rules aside: {found['best_fusion']}."])


def _row(name: str, system: Mapping[str, Any]) -> tuple[str, ...]:
    above = _signed(system["above_better"]) if "above_better" in system else ""
    without = system.get("without", {})
    rests = [f"{without[modality]['test']:.3f}" if modality in without else "" for modality in BRANCHES]
    scored = (f"{system['validation']:.3f}", f"{system['test']:.3f}", _range(system["interval"]))
    return (name, *scored, above, *rests, f"{system['expected_calibration_error']:.3f}")


def _range(interval: Sequence[float] | None) -> str:
    return "too few" if interval is None else " to ".join(f"{end:.3f}" for end in interval)


def _signed(found: Mapping[str, Any]) -> str:
    points, interval = f"{100 * found['difference']:+.1f}", found["interval"]
    return points if interval is None else f"{points} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


if __name__ == "__main__":
    sys.exit(run_command(main))
