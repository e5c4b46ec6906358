"""Sets whole trainings side by side: `python -m benchmarks.whole_fits --records DIR [--older CHECKOUT RECORDS]`.

Trains the CNN (`python -m emotion_tf.fit --branch audio`) on a fold with some seeds, in what `--precision auto` takes,
in single precision, for fewer epochs, and with the code of an older checkout on records that this prepared. Seed by
seed in turn, a process each, with its start and all that it writes. Scores are those of the validation split. Every
finished training stays in --folder, so that a stopped call goes on. Prints, and writes results/whole_fits.json beside
this file.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import rows
from benchmarks.result_files import commit, write_result
from pipelines.command import InputError, make_folder, run_command
from pipelines.files import read_json, write_json

_SCORE = "unweighted_average_recall"

_FEWER = 40
"""Epochs, of the usual 60."""


def main(argv: list[str] | None = None) -> None:
    """Trains what is missing, prints the table and writes the result.

    Raises:
      InputError: A training failed.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.whole_fits", description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, default=Path("data/records/ravdess"))
    parser.add_argument("--older", nargs=2, type=Path, metavar=("CHECKOUT", "RECORDS"), help="of the older code")
    parser.add_argument("--folder", type=Path, default=Path("saved_models/whole_fits"), help="for fits (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--older-seeds", type=int, help="of them for the older code (all)")
    parser.add_argument("--folds", default="lj5", help="(%(default)s)")
    parser.add_argument("--fold", type=int, default=0, help="of them (%(default)s)")
    parser.add_argument("flags", nargs="*", metavar="FLAGS", help="of fit, behind --")
    arguments = parser.parse_args(argv)
    make_folder(arguments.folder, "--folder")
    here = Path(__file__).parents[1]
    ways = {
        "--precision auto": (here, arguments.records, ["--precision", "auto"]),
        "--precision float32": (here, arguments.records, ["--precision", "float32"]),
        f"--epochs {_FEWER}": (here, arguments.records, ["--epochs", str(_FEWER)]),
    }
    if arguments.older:
        checkout, records = arguments.older
        ways[f"the build at {_commit_of(checkout)}"] = (checkout, records, [])
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for seed in range(arguments.seeds):
        for name, (checkout, records, flags) in ways.items():
            if checkout != here and arguments.older_seeds is not None and seed >= arguments.older_seeds:
                continue
            fold = ["--folds", arguments.folds, "--fold", str(arguments.fold)]
            flags = [*fold, "--seed", str(seed), *arguments.flags, *flags]
            run = arguments.folder / f"{name.split()[-1]}-seed-{seed}"
            found[name].append(train(checkout.resolve(), records.resolve(), run.resolve(), flags))
            print(f"{name}, seed {seed}: {found[name][-1]}", file=sys.stderr, flush=True)
    result = {"ways": found, "fold": arguments.fold, "flags": " ".join(arguments.flags)}
    write_result("whole_fits", result)
    print(rows.markdown(table(result)))


def train(checkout: Path, records: Path, run: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Trains, unless that is done.

    Returns:
      `minutes` of the process, `uar` of the validation split, `epochs`, the `commit` of the code, and the `flags`.

    Raises:
      InputError: The training failed.
    """
    kept = run.with_suffix(".json")
    if kept.exists() and (found := read_json(kept))["flags"] == list(flags):
        return found
    command = [sys.executable, "-m", "emotion_tf.fit", "--branch", "audio", "--records", str(records), *flags]
    start = time.perf_counter()
    with run.with_suffix(".log").open("w") as log:
        status = subprocess.run(
            [*command, "--run", str(run), "--overwrite"],
            cwd=checkout,
            env=os.environ | {"PYTHONPATH": str(checkout)},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    minutes = (time.perf_counter() - start) / 60
    if status:
        raise InputError(f"{' '.join(command)} failed: {log.name} says why.")
    epochs = len((run / "history.csv").read_text().splitlines()) - 1
    uar = read_json(run / "scores.json")["validation"][_SCORE]
    written = commit() if checkout == Path(__file__).parents[1] else _commit_of(checkout)
    done = {"minutes": round(minutes, 2), "uar": uar, "epochs": epochs, "commit": written, "flags": list(flags)}
    write_json(kept, done)
    return done


def _commit_of(checkout: Path) -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


def table(result: rows.Result) -> rows.Rows:
    """Draws a row a way to train: minutes and scores of its seeds, and how many times as long as the first it takes."""
    ways = result["ways"]
    first = [one["minutes"] for one in next(iter(ways.values()))]
    drawn = []
    for name, fits in ways.items():
        minutes, scores = [one["minutes"] for one in fits], [one["uar"] for one in fits]
        # Of an older build, which takes its time, there may be fewer seeds.
        ratios = [own / other for own, other in zip(minutes, first, strict=False)]
        drawn.append(
            {
                "fit --branch audio": name,
                "minutes": f"{statistics.median(minutes):.1f}",
                "times as long": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                "epochs": ", ".join(str(one["epochs"]) for one in fits),
                "validation UAR of each seed": ", ".join(f"{score:.3f}" for score in scores),
                "mean": f"{statistics.mean(scores):.3f}",
                "measured at": f"`{fits[0]['commit']}`",
            }
        )
    return drawn


if __name__ == "__main__":
    sys.exit(run_command(main))
