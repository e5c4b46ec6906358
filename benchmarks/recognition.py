"""Sets models of emotion in speech side by side: `python -m benchmarks.recognition --source data/ravdess`.

Prepares the records of each model, cross-validates it on RAVDESS (folds lj5, the actors present), and reads the test
splits once, when all that were asked for are trained; what a model joins is trained before it. What it does are the
commands that --commands prints, a process each; stopped, it goes on where it was when it is given again. Heads on a
frozen encoder have --seeds seeds; what trains for more than an hour a seed, and what joins such a model, has one, and
the mark "one seed".
Records go to --records, fits and what is known of them (measured.json) to --folder. Adds a row for each model that is
done to results/recognition.json beside this file, where the rows of other models stay, and prints the table.
"""

import argparse
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import recognition_rows, rows
from benchmarks.result_files import commit, read_result, write_result
from emotion_tf.config import Config
from emotion_tf.crossval import Crossval, Fit
from emotion_tf.runs.folder import Run, Scored
from pipelines.command import InputError, import_tensorflow, make_folder, run_command
from pipelines.files import read_json, write_json
from pipelines.records import METADATA

FOLDS, NUM_FOLDS = "lj5", 5

NUM_JOINED = 3
"""Seeds that are joined to one model."""

ENCODERS = ("tiny.en", "base")
"""Of whisper; their states are in records of their names. Records "log-mel" hold none."""

Command = list[str]


@dataclasses.dataclass(frozen=True)
class Model:
    """One row.

    Attributes:
      title: What the table says.
      records: "log-mel", or one of `ENCODERS`; empty: it reads recordings.
      flags: Of `emotion_tf.crossval`.
      sources: Models whose probabilities it joins.
      functionals: Of an SVM, a name of `benchmarks.functionals.FEATURES`.
      has_one_seed: Whether it takes more than an hour a seed, or joins one that does.
      joins_seeds: Whether it joins the seeds of a fold, all of which are one model.
    """

    title: str
    records: str = ""
    flags: str = ""
    sources: tuple[str, ...] = ()
    functionals: str = ""
    has_one_seed: bool = False
    joins_seeds: bool = False


_STATES = "--branch audio --audio-features encoder --normalise training --epochs 15"
_LATE = "--branch fusion --fusion late"

MODELS = {
    "cnn": Model("CNN, from scratch", "log-mel", "--branch audio --precision auto", has_one_seed=True),
    "egemaps-svm": Model("eGeMAPS, linear SVM", functionals="egemaps"),
    "compare-svm": Model("ComParE, linear SVM", functionals="compare"),
    "tiny.en": Model("Whisper tiny.en, frozen", "tiny.en", _STATES),
    "base": Model("Whisper base, frozen", "base", _STATES),
    "base-cnn-early": Model(
        "Whisper base with the CNN, early fusion",
        "base",
        "--branch audio --audio-features log_mel encoder --precision auto",
        has_one_seed=True,
    ),
    "base-cnn-late": Model(
        "Whisper base with the CNN, late fusion", "base", _LATE, sources=("base", "cnn"), has_one_seed=True
    ),
    "base-enrolled": Model("Whisper base, enrolled speakers", "base", _STATES.replace("training", "enrolled")),
    "base-3-seeds": Model("Whisper base, three seeds as one model", "base", _LATE, ("base",), joins_seeds=True),
    "base-cnn-3-seeds": Model(
        "Whisper base, three seeds, and the CNN as one model", "base", _LATE, ("base", "cnn"), joins_seeds=True
    ),
}
"""In the order of the table; what is joined comes first."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is the same for all models.

    Attributes:
      source: RAVDESS.
      records, folder: Where records and fits go.
      checkpoints: A folder with tiny.en.pt and base.pt; None: openai-whisper fetches them.
      num_seeds: Of models that do not say otherwise.
      epochs: Of each fit, to try it with few; None: as many as a model has.
    """

    source: Path = Path("data/ravdess")
    records: Path = Path("data/records/recognition")
    folder: Path = Path("saved_models/recognition")
    checkpoints: Path | None = None
    num_seeds: int = 3
    epochs: int | None = None

    def seeds_of(self, name: str) -> int:
        """Counts the seeds that a model is trained with."""
        model = MODELS[name]
        return 1 if model.has_one_seed or model.joins_seeds or model.functionals else self.num_seeds

    def preparing(self, records: str) -> Command:
        """Writes the command that prepares records."""
        found = ["pipelines.prepare", "--corpus", "ravdess", "--source", str(self.source)]
        if records in ENCODERS:
            model = str(self.checkpoints / f"{records}.pt") if self.checkpoints else records
            found += ["--encoder", "whisper", "--encoder-model", model]
        return [*found, "--records", str(self.records / records)]

    def training(self, name: str, split: str = "validation") -> list[Command]:
        """Writes the commands that train a model and score a split of it; a fit each where it joins seeds."""
        model, run = MODELS[name], str(self.folder / name)
        if model.functionals:
            given = ["--features", model.functionals, "--source", str(self.source)]
            return [["benchmarks.functionals", *given, "--split", split, "--run", run]]
        if model.joins_seeds:
            return [self._joining(name, fold, split) for fold in range(NUM_FOLDS)]
        flags = model.flags.split()
        flags += ["--runs", *(str(self.folder / source) for source in model.sources)] if model.sources else []
        flags += ["--epochs", str(self.epochs)] if self.epochs and not model.sources else []
        shared = ["--records", str(self.records / model.records), "--folds", FOLDS]
        seeds = ["--seeds", str(self.seeds_of(name))]
        return [["emotion_tf.crossval", *flags, *shared, *seeds, "--split", split, "--run", run]]

    def _joining(self, name: str, fold: int, split: str) -> Command:
        model, run = MODELS[name], str(self.folder / name / f"fold-{fold}-seed-0")
        if split == "test":
            return ["emotion_tf.evaluate", "--run", run]
        runs = [str(one.folder) for one in self.joined(name, fold)]
        shared = ["--records", str(self.records / model.records), "--folds", FOLDS, "--fold", str(fold)]
        return ["emotion_tf.fit", *model.flags.split(), "--runs", *runs, *shared, "--run", run]

    def joined(self, name: str, fold: int = 0) -> list[Run]:
        """Names the runs that the model of a fold, and of seed 0, joins."""
        joins_seeds = MODELS[name].joins_seeds
        return [
            Crossval(self.folder / source).run(fold, seed)
            for source in MODELS[name].sources
            for seed in range(min(NUM_JOINED, self.seeds_of(source)) if joins_seeds else 1)
        ]

    def fits(self, name: str) -> list[Fit]:
        """Names the fits of a model."""
        config = Config(branch="audio", records=str(self.records))  # Which nobody asks for: they are finished.
        return [
            Fit(fold, seed, config, Crossval(self.folder / name).run(fold, seed))
            for fold in range(NUM_FOLDS)
            for seed in range(self.seeds_of(name))
        ]


def shown_commands(name: str) -> list[str]:
    """Writes what makes a row, with the folders and seeds of the defaults, as one gives it."""
    model, bench = MODELS[name], Bench()
    found = [bench.preparing(model.records)] if model.records else []
    for split in ("validation", "test"):
        found += bench.training(name, split)[:1]
    return [f"python -m {' '.join(command)}" for command in found]


def main(argv: list[str] | None = None) -> None:
    """Trains what is missing, reads the test splits, writes the rows and prints the table.

    Raises:
      InputError: Whatever the user can mend; models that failed, after all others are done.
    """
    arguments = _parser().parse_args(argv)
    if arguments.commands:
        for name in arguments.models:
            print(f"# {name}", *shown_commands(name), sep="\n")
        return
    bench = Bench(arguments.source, arguments.records, arguments.folder, arguments.checkpoints, arguments.seeds,
                  arguments.epochs)  # fmt: skip
    _check(bench, arguments.models)
    make_folder(bench.folder, "--folder")
    failures: dict[str, str] = {}
    names = with_sources(arguments.models)
    measured = Measured(bench)
    for split in ("validation", "test"):
        for name in names:
            _attempt(name, failures, lambda name, split=split: measured.train(name, split))  # type: ignore[misc]
    _write(bench, measured, [name for name in names if name not in failures])
    if failures:
        raise InputError(" ".join(failures.values()))


def _parser() -> argparse.ArgumentParser:
    parser, default = argparse.ArgumentParser(description=str(__doc__).splitlines()[0]), Bench()
    parser.add_argument("--source", type=Path, default=default.source, help="of RAVDESS (%(default)s)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME",
                        help=f"of {', '.join(MODELS)} (default: all)")  # fmt: skip
    parser.add_argument("--checkpoints", type=Path, help="holds tiny.en.pt and base.pt (default: whisper fetches them)")
    parser.add_argument("--seeds", type=int, default=default.num_seeds, help="fits of each fold (%(default)s)")
    parser.add_argument("--records", type=Path, default=default.records, help="for records (%(default)s)")
    parser.add_argument("--folder", type=Path, default=default.folder, help="for fits (%(default)s)")
    parser.add_argument("--epochs", type=int, help="of each fit, to try it with few: no result is written")
    parser.add_argument("--commands", action="store_true", help="print the commands of the models, and do nothing")
    return parser


def _check(bench: Bench, names: Sequence[str]) -> None:
    if bench.num_seeds < 1:
        raise InputError(f"--seeds {bench.num_seeds} cannot work: give 1 or more.")
    joining = [name for name in names if MODELS[name].joins_seeds]
    if joining and bench.num_seeds < NUM_JOINED:
        raise InputError(f"{joining[0]} joins {NUM_JOINED} seeds: give --seeds {NUM_JOINED} or more, or leave it out.")
    records = {MODELS[name].records for name in with_sources(names)} & set(ENCODERS)
    for path in sorted(bench.checkpoints / f"{name}.pt" for name in records) if bench.checkpoints else []:
        if not path.is_file():
            raise InputError(f"{path} does not exist: give --checkpoints a folder that holds it, or leave it out.")


def with_sources(names: Sequence[str]) -> list[str]:
    """Adds the models that these join, and puts all into the order of the table."""
    wanted = {source for name in names for source in MODELS[name].sources} | set(names)
    return [name for name in MODELS if name in wanted]


def _attempt(name: str, failures: dict[str, str], train: Callable[[str], None]) -> None:
    """Trains a model; what stops it is kept, so that the others come to their end."""
    lacking = [source for source in MODELS[name].sources if source in failures]
    if name in failures or lacking:
        failures.setdefault(name, f"{name} joins {', '.join(lacking)}, which failed.")
        return
    try:
        train(name)
    except InputError as error:
        failures[name] = str(error)


class Measured:
    """Runs the commands, and keeps in measured.json of the folder which are done and how long records took.

    Args:
      bench: What is the same for all models.

    Attributes:
      fresh: Models of which something was done by this process.
    """

    def __init__(self, bench: Bench):
        self.bench = bench
        self.fresh: set[str] = set()
        self._prepared: set[str] = set()
        self._path = bench.folder / "measured.json"
        empty: dict[str, Any] = {"preparation_seconds": {}, "models": {}}
        advice = "remove it: the commands of finished models are then given again, which takes seconds"
        self._values = read_json(self._path, advice, dict.fromkeys(empty, dict)) if self._path.exists() else empty

    def preparation_seconds(self, records: str) -> float | None:
        """How long records took; None where others made them."""
        return self._values["preparation_seconds"].get(records)

    def commit_of(self, name: str) -> str:
        """The commit of the checkout that trained a model."""
        return self._values["models"][name]["commit"]

    def train(self, name: str, split: str) -> None:
        """Prepares, trains and scores a split of a model, unless that is done.

        Raises:
          InputError: A command failed.
        """
        commands = self.bench.training(name, split)
        about, found = {"commit": commit(), "training": self.bench.training(name)}, self._values["models"].get(name, {})
        if found.get("training") == about["training"] and self._has_scores(name, split):
            return
        if split == "validation" and MODELS[name].records not in ("", *self._prepared):
            self._prepare(MODELS[name].records)
        self.fresh.add(name)
        print(f"--- {name}, {split} split", flush=True)
        if MODELS[name].joins_seeds:
            self._join(name, commands)
        else:
            _run(commands[0])
        if split == "validation":
            self._values["models"][name] = about
            write_json(self._path, self._values)

    def _has_scores(self, name: str, split: str) -> bool:
        scored = Scored(self.bench.folder / name)
        return scored.scores_path.exists() and split in scored.scores()

    def _prepare(self, records: str) -> None:
        """Prepares records, or finds them complete; the time of calls that were stopped is added up."""
        is_complete = (self.bench.records / records / METADATA).exists()
        start = time.perf_counter()
        try:
            _run(self.bench.preparing(records))
            self._prepared.add(records)
        finally:
            if not is_complete:
                seconds = self._values["preparation_seconds"]
                seconds[records] = round(seconds.get(records, 0) + time.perf_counter() - start, 1)
                write_json(self._path, self._values)

    def _join(self, name: str, commands: Sequence[Command]) -> None:
        """Joins the seeds of each fold, and pools the folds as `emotion_tf.crossval` does."""
        fits = self.bench.fits(name)
        for one, command in zip(fits, commands, strict=True):
            if command[0] != "emotion_tf.fit" or not one.run.is_finished:
                _run(command)
        Crossval(self.bench.folder / name).pool(fits)


def _run(command: Command) -> None:
    print("$", "python -m", *command, flush=True)
    status = subprocess.run([sys.executable, "-m", *command], check=False).returncode
    if status in (130, -2):
        raise KeyboardInterrupt
    if status:
        raise InputError(f"python -m {' '.join(command)} failed: what it says stands above.")


def _write(bench: Bench, measured: Measured, names: Sequence[str]) -> None:
    """Makes the rows of models of which something was done now, or whose row lacks something; prints the table."""
    import_tensorflow()
    result = read_result("recognition")
    found = dict(result.get("models", {})) if bench.epochs is None else {}
    for name in names:
        if name in measured.fresh or found.get(name, {}).get("real_time_factor") is None:
            found[name] = row(bench, measured, name)
    result = result | {"models": {name: found[name] for name in MODELS if name in found}}
    if bench.epochs is None:
        write_result("recognition", result)
    print(rows.markdown(recognition_rows.table(result)))


def row(bench: Bench, measured: Measured, name: str) -> dict[str, Any]:
    """Makes the row of a model whose test split was read.

    Returns:
      Scores, shares in [0, 1]; `training_minutes` of one fit and of those that it joins; `preparation_minutes` of its
      records, None where it is not known; `parameters` and `frozen_parameters`; `real_time_factor`, seconds an answer
      takes for a second of sound, None where there is no export that reads waveforms.
    """
    model, scored = MODELS[name], Scored(bench.folder / name)
    found = {"title": model.title, "commands": shown_commands(name), "commit": measured.commit_of(name)}
    found |= recognition_rows.scores(scored, ["one seed"] if model.has_one_seed else [])
    if model.functionals:
        return found | recognition_rows.facts_of_functionals(scored.folder)
    seconds = measured.preparation_seconds(model.records)
    runs = [one.run for one in bench.fits(name)]
    minutes = recognition_rows.training_minutes(runs) + sum(
        recognition_rows.training_minutes([run]) for run in bench.joined(name)
    )
    return found | {
        "preparation_minutes": None if seconds is None else round(seconds / 60, 2),
        "training_minutes": round(minutes, 2),
        **recognition_rows.num_parameters(runs[0], model.records),
        "real_time_factor": recognition_rows.real_time_factor(runs[0], bench.source),
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
