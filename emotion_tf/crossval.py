"""Trains every fold with several seeds: `python -m emotion_tf.crossval --branch audio --folds lj5 --seeds 3 --run DIR`.

Each fit is a run in DIR/fold-F-seed-S/, made by a process of its own, which prints to DIR/fold-F-seed-S.log. DIR gets
crossval.json, predictions.csv (all folds and seeds together), scores.json and plots/. --init-* and --runs take
cross-validations and use the same fold and seed of each; --init-* also take one run on other records, from which every
fit starts. A stopped command goes on where it was when it is given again; a fit that was interrupted starts again from
its first epoch. Choose on the validation splits; --split test reads the test splits of the finished fits, once.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import multiprocessing.connection
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import Config
from emotion_tf.evaluate import evaluate, report
from emotion_tf.evaluation.counts import HEADLINES
from emotion_tf.fit import fit
from emotion_tf.flags import add_data_arguments, add_model_arguments, config_of
from emotion_tf.runs.fits import Fit, pooled_predictions
from emotion_tf.runs.folder import Run, Scored, records_of
from emotion_tf.training.checks import check, with_branches
from pipelines import folds, processes
from pipelines.cluster import ADDRESS_HELP, connected, share_of_machine
from pipelines.command import InputError, import_tensorflow, make_folder, progress_bar, run_command
from pipelines.files import locked, read_json, write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.records import read_index, read_metadata
from pipelines.settings import at_least
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    from tqdm import tqdm


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, trains what is missing, and prints the scores of all folds and seeds together.

    Raises:
      InputError: Whatever the user can mend; a fit that failed.
    """
    arguments = make_parser().parse_args(argv)
    for name in ("seeds", "processes"):
        if (given := getattr(arguments, name)) is not None and given < 1:
            raise InputError(f"--{name} {given} cannot work: give 1 or more.")
    crossval = Crossval(arguments.run)
    arguments.records = arguments.records or records_of(arguments.runs or ())
    config = config_of(arguments)
    # Before anything is removed or written: perhaps no cluster answers.
    with connected(arguments.ray) if arguments.ray else contextlib.nullcontext():
        fits = crossval.start(config, arguments.seeds, overwrite=arguments.overwrite)
        with locked(crossval.folder, "--run"):
            run = run_on_cluster if arguments.ray else run_all
            run(fits, arguments.split, arguments.processes or side_by_side())
            print(report(str(crossval.folder), crossval.pool(fits)))
            print(crossval.table())


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    usage = "--branch BRANCH --run DIR [FLAG ...]"
    # Without abbreviations: --seed 7, a flag of fit, would mean --seeds 7.
    parser = command_parser("emotion_tf.crossval", __doc__, usage, allow_abbrev=False)
    add_data_arguments(parser)
    group = parser.add_argument_group("cross-validation")
    sentence = "Write the runs of all fits to this folder."
    add_flag(group, "--run", sentence, type=Path, metavar="DIR", required=True)
    add_flag(group, "--overwrite", "Replace another cross-validation in that folder.", action="store_true")
    sentence = "Train each fold N times, with the seeds 0 to N - 1."
    add_flag(group, "--seeds", sentence, at_least(1), type=int, metavar="N", default=1)
    sentence = "Score this split: choose on validation, then read test once."
    add_flag(group, "--split", sentence, choices=SPLITS[1:], default=SPLITS[1])
    sentence = "Train N fits side by side, a process each."
    shown = f"{processes.MOST_SIDE_BY_SIDE}, or 1 with a GPU"
    add_flag(group, "--processes", sentence, at_least(1), type=int, metavar="N", shown=shown)
    add_flag(group, "--ray", ADDRESS_HELP, metavar="local|auto|ADDRESS", shown="none: processes of this command")
    add_model_arguments(parser)
    return parser


@dataclasses.dataclass(frozen=True)
class Crossval(Scored):
    """A folder of fits, one for each fold and seed, and their scores together."""

    config_path = property(lambda self: self.folder / "crossval.json")

    def run(self, fold: int, seed: int) -> Run:
        """Names the run of one fold and seed."""
        return Run(self.folder / f"fold-{fold}-seed-{seed}")

    def start(self, config: Config, seeds: int, *, overwrite: bool = False) -> list[Fit]:
        """Checks every fit, makes the folder, or finds the same cross-validation in it, perhaps with fewer seeds.

        Raises:
          InputError: What `emotion_tf.training.checks.check` finds; a folder of something else, of another
            cross-validation, or that cannot be written.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file: give --run a folder.")
        if self.folder.exists() and not self.config_path.exists() and any(self.folder.iterdir()):
            raise InputError(f"{self.folder} holds files that are no cross-validation: give --run another folder.")
        self._check_sources(config, seeds)
        if self.config_path.exists() and not overwrite:
            self._refuse_another(config, seeds)
        # The same command after an interruption goes on, also where it was to overwrite something.
        goes_on = self.config_path.exists() and self._is_same(config, seeds)
        fits = self._checked_fits(config, seeds)
        if overwrite and self.folder.exists() and not (goes_on and not all(one.run.is_finished for one in fits)):
            self._remove()
        for one in fits:
            one.refuse_changed()
        with locked(self.folder, "--run"):
            write_json(self.config_path, {"seeds": seeds, "config": json.loads(config.to_json())})
        return fits

    def _check_sources(self, config: Config, seeds: int) -> None:
        for source in config.sources:
            if Path(source).resolve().is_relative_to(self.folder.resolve()):
                raise InputError(f"{source} cannot lie in the folder that is written: give another --run.")
            other = Crossval(Path(source))
            if _is_of_other_records(source, config):
                continue
            if not other.config_path.exists():
                raise InputError(
                    f"{source} is no cross-validation, and sources of one must be: name such a folder, or a run on"
                    " other records."
                )
            if (found := other.settings()["seeds"]) < seeds:
                raise InputError(
                    f"{source} was made with --seeds {found}, fewer than the {seeds} here: add seeds to it first."
                )

    def settings(self) -> dict[str, Any]:
        """Reads crossval.json: seeds and config.

        Raises:
          InputError: A file that is missing or corrupt.
        """
        return read_json(self.config_path, keys={"seeds": int, "config": dict})

    def _differing(self, config: Config, seeds: int) -> str:
        """Names what the cross-validation in the folder has otherwise; fewer seeds than asked for are no matter."""
        found, asked = self.settings(), json.loads(config.to_json())
        differing = [name for name in asked if found["config"].get(name) != asked[name]]
        fewer = [f"number of seeds ({found['seeds']})"] if seeds < found["seeds"] else []
        return ", ".join(differing + fewer)

    def _is_same(self, config: Config, seeds: int) -> bool:
        """Whether the cross-validation in the folder can go on; one whose crossval.json is corrupt cannot."""
        try:
            return not self._differing(config, seeds)
        except InputError:
            return False

    def _refuse_another(self, config: Config, seeds: int) -> None:
        if what := self._differing(config, seeds):
            raise InputError(
                f"{self.folder} holds a cross-validation with another {what}: give another --run, or --overwrite"
                " to replace it."
            )

    def _remove(self) -> None:
        """Moves the folder aside before it removes it: what a kill leaves must not look like a cross-validation."""
        for path in (self.folder, *filter(Path.is_dir, self.folder.glob("fold-*-seed-*"))):
            with locked(path, "--run"):
                pass  # Nothing is removed that another process trains.
        make_folder(self.folder.parent, "--run")
        aside = self.folder.with_name(f".{self.folder.name}.removed")
        if aside.exists():
            shutil.rmtree(aside)
        self.folder.rename(aside)
        shutil.rmtree(aside)

    def _checked_fits(self, config: Config, seeds: int) -> list[Fit]:
        read_metadata(Path(config.records))  # Complains in no time; TensorFlow takes seconds.
        import_tensorflow()
        index = read_index(Path(config.records))
        made = folds.make_folds(config.folds, index, num_folds=config.num_folds, seed=config.fold_seed)
        fits = []
        for fold in range(len(made)):
            for seed in range(seeds):
                one = self._fit(config, fold, seed)
                if seed == 0 or config.sources:
                    metadata = check(one.config, index).metadata
                fits.append(dataclasses.replace(one, metadata=metadata))
        return fits

    def _fit(self, config: Config, fold: int, seed: int) -> Fit:
        def of(source: str) -> str:
            if not source or _is_of_other_records(source, config):
                return source
            return str(Crossval(Path(source)).run(fold, seed).folder)

        config = dataclasses.replace(
            config,
            fold=fold,
            seed=seed,
            init_audio=of(config.init_audio),
            init_text=of(config.init_text),
            init_video=of(config.init_video),
            runs=tuple(of(source) for source in config.runs),
        )
        return Fit(fold, seed, with_branches(config), self.run(fold, seed))

    def pool(self, fits: Sequence[Fit]) -> dict[str, Any]:
        """Writes predictions.csv, scores.json and plots of all finished fits together; returns the scores."""
        from emotion_tf.evaluation import metrics
        from emotion_tf.reporting.plots import draw_scores

        scores = [one.run.scores() for one in fits]
        splits = [split for split in ("validation", "test") if all(split in found for found in scores)]
        predictions = pooled_predictions(fits, splits)
        temperatures = predictions.pop("temperature")
        self.write_predictions(predictions)
        lesser = {
            name: pooled_predictions(fits, splits, name) for name in sorted(scores[0][splits[0]].get("without", {}))
        }
        for modality, rows in lesser.items():
            self.write_predictions(rows.drop(columns="temperature"), modality)
        emotions = fits[0].run.metadata().emotions
        marks = list(dict.fromkeys(mark for found in scores for mark in found["marks"]))
        headline = fits[0].run.metadata().headline
        pooled: dict[str, Any] = {"marks": marks, "headline": headline, "fold_by_seed": {}}
        for split in splits:
            rows = predictions[predictions["split"] == split]
            pooled[split] = metrics.scores(rows, emotions, temperatures)
            for modality, found in lesser.items():
                without = metrics.scores(found[found["split"] == split], emotions)
                pooled[split].setdefault("without", {})[modality] = without
            draw_scores(self.plots, rows, pooled[split], temperatures, marks)
            of_fits = (found[split][headline] for found in scores)
            pooled["fold_by_seed"][split] = dict(zip((one.run.folder.name for one in fits), of_fits, strict=True))
        self.write_scores(pooled | {"test_reads": max(found["test_reads"] for found in scores)})
        return self.scores()

    def table(self) -> str:
        """Draws the score of each fold with each seed, of the test split where it was read."""
        from emotion_tf.reporting import tables
        from emotion_tf.runs.predictions import emotions_of

        predictions = self.predictions()
        split = "test" if (predictions["split"] == "test").any() else "validation"
        headline = self.scores().get("headline", "unweighted_average_recall")
        return tables.fold_by_seed(predictions, emotions_of(predictions), split, headline)


def _is_of_other_records(source: str, config: Config) -> bool:
    """Whether a source is one run on other records, which every fold may start from: it has no fold in common."""
    run = Run(Path(source))
    if not (run.is_finished and run.config_path.exists()):
        return False
    return Path(run.config().records).resolve() != Path(config.records).resolve()


def side_by_side() -> int:
    """Returns how many fits train at once by default: one where they share a GPU."""
    import tensorflow as tf

    return 1 if tf.config.list_physical_devices("GPU") else min(processes.MOST_SIDE_BY_SIDE, processes.num_cores())


def run_all(fits: Sequence[Fit], split: str, num_processes: int) -> None:
    """Runs what is not done yet, a process each, and shows the time left.

    Args:
      fits: Which, all of as many epochs.
      split: To score: "validation" or "test".
      num_processes: Fits side by side.

    Raises:
      InputError: A fit failed; those beside it come to their end first.
    """
    waiting = collections.deque(one for one in fits if not one.is_scored(split))
    working: dict[Any, tuple[multiprocessing.process.BaseProcess, Fit]] = {}
    failures: list[str] = []
    epochs = fits[0].config.training.epochs
    done = sum(one.run.is_finished for one in fits) * epochs
    threads = max(1, processes.num_cores() // num_processes)
    with progress_bar(len(fits) * epochs, "cross-validation", "epoch", initial=done, leave=False) as bar:
        try:
            while working or (waiting and not failures):
                while waiting and not failures and len(working) < num_processes:
                    process, one = _start(waiting.popleft(), split, threads)
                    working[process.sentinel] = (process, one)
                for sentinel in multiprocessing.connection.wait(list(working), timeout=2):
                    process, one = working.pop(sentinel)
                    process.join()
                    failures += [one.failure(process.exitcode)] if process.exitcode else []
                    _say(bar, one, split, len(waiting) + len(working))
                at_work = [one for _, one in working.values()]
                bar.update(sum(one.epochs_done for one in fits if one.run.is_finished or one in at_work) - bar.n)
        finally:
            for process, _ in working.values():
                process.terminate()
    if failures:
        raise InputError(failures[0])


def run_on_cluster(fits: Sequence[Fit], split: str, num_processes: int) -> None:
    """Runs what is not done yet as tasks of Ray, which is connected, each tried again where its machine goes.

    Args:
      fits: Which, all of as many epochs. All machines of a cluster must reach their folders and records.
      split: To score: "validation" or "test".
      num_processes: How many fits share the cores of a machine like this one.

    Raises:
      InputError: A fit failed; all others come to their end first.
    """
    import ray

    waiting, epochs = [one for one in fits if not one.is_scored(split)], fits[0].config.training.epochs
    threads, num_gpus = share_of_machine(ray.nodes(), processes.num_cores() // num_processes)
    failures: list[str] = []
    done = sum(one.epochs_done for one in fits)
    with progress_bar(len(fits) * epochs, "cross-validation", "epoch", initial=done, leave=False) as bar:
        task = ray.remote(num_cpus=threads, num_gpus=num_gpus, max_retries=3)(_work_on_cluster)
        shared = (split, threads, str(Path.cwd()))
        working = {task.remote(dataclasses.replace(one, metadata=None), *shared): one for one in waiting}
        while working:
            for ended in ray.wait(list(working), timeout=2)[0]:
                one = working.pop(ended)
                failures += _failures_on_cluster(ended, one, split)
                _say(bar, one, split, len(working))
            bar.update(sum(one.epochs_done for one in fits) - bar.n)
    if failures:
        raise InputError(failures[0])


def _work_on_cluster(one: Fit, split: str, threads: int, folder: str) -> int:
    """Trains and scores one fit in a process of its own, relative paths from a folder on; returns its exit code."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    one.run.folder.parent.mkdir(parents=True, exist_ok=True)
    process, _ = _start(one, split, threads)
    process.join()
    return process.exitcode or 0


def _failures_on_cluster(ended: Any, one: Fit, split: str) -> list[str]:
    """Takes what the task of a fit returned; says in a sentence why it failed, if it did."""
    import ray

    try:
        exit_code = ray.get(ended)
    except ray.exceptions.RayTaskError as error:  # What it raised, outside of the process that trains.
        reason = (str(error.cause).splitlines() or [type(error.cause).__name__])[0]
        return [f"{one.run.folder} failed on the cluster: {reason}"]
    except ray.exceptions.RayError:  # Its worker went each time that it was tried.
        exit_code = -1
    if exit_code < 0 or (exit_code and one.log_path.exists()):
        return [one.failure(exit_code)]
    unseen = "was trained where this machine does not see it: give --run a folder that all machines share."
    return [] if exit_code == 0 and one.is_scored(split) else [f"{one.run.folder} {unseen}"]


def _start(one: Fit, split: str, threads: int) -> tuple[multiprocessing.process.BaseProcess, Fit]:
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(one, split, threads), daemon=True)
    with processes.ctrl_c_held():
        process.start()
    return process, one


def _work(one: Fit, split: str, threads: int) -> None:
    """Trains and scores one fit; the whole life of a process."""
    # The output of a finished training stays; one that was interrupted starts anew, and so does its log.
    processes.begin_worker(threads, one.log_path, "a" if one.run.is_finished else "w")
    sys.exit(run_command(lambda _: _fit_and_score(one, split)))


def _fit_and_score(one: Fit, split: str) -> None:
    if not one.run.is_finished:
        fit(one.config, one.run, overwrite=one.run.config_path.exists(), anew=True)
    if split not in one.run.scores():
        evaluate(one.run)


def _say(bar: "tqdm", one: Fit, split: str, num_left: int) -> None:
    if one.is_scored(split):
        headline = one.run.metadata().headline
        score = f"{HEADLINES[headline]} {one.run.scores()[split][headline]:.3f}"
        bar.write(f"fold {one.fold}, seed {one.seed}: {split} {score}; fits to go: {num_left}")
    else:
        bar.write(f"fold {one.fold}, seed {one.seed} failed: {one.log_path}")


if __name__ == "__main__":
    # Under its own name, by which the workers of a cluster find what they are given.
    from emotion_tf import crossval

    sys.exit(run_command(crossval.main))
