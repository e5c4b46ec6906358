"""The trials of a search, side by side under Ray Tune, which stops the worse ones early (ASHA).

Each trial is a run of `fit` in a process of its own. What it reports comes from its history.csv, so a search that was
stopped, or gets more trials, reports again what is there and goes on with what is not finished.

Source: Li et al. 2020, arXiv:1810.05934 (ASHA).
"""

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import shutil
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.config import Config
from emotion_tf.fit import fit
from emotion_tf.runs.fits import last_line
from emotion_tf.runs.folder import Run
from pipelines import processes
from pipelines.cluster import share_of_machine
from pipelines.command import progress_bar, run_command
from pipelines.files import write_json

if TYPE_CHECKING:
    from tqdm import tqdm

_SECONDS_BETWEEN_LOOKS = 0.5


@dataclasses.dataclass(frozen=True)
class Trial:
    """One fit of a search.

    Attributes:
      drawn: Its settings: flag -> the words that follow it.
      config: What to train.
      run: Where.
    """

    drawn: Mapping[str, Sequence[str]]
    config: Config
    run: Run

    log_path = property(lambda self: self.run.folder.with_name(self.run.folder.name + ".log"))
    stopped_path = property(lambda self: self.run.folder.with_name(self.run.folder.name + "-stopped.json"))

    def scores(self, headline: str) -> list[float]:
        """Reads after each epoch the validation score of the weights that would have been kept then.

        Args:
          headline: The score, as metadata of the run names it.
        """
        import pandas as pd

        try:
            history = pd.read_csv(self.run.history_path)
        except (OSError, ValueError):  # Not there yet.
            return []
        score = history[f"val_{headline}"]
        if self.config.kept_epoch == "last":
            return score.tolist()
        if self.config.kept_epoch == "score":
            return score.cummax().tolist()
        losses = history["val_loss"]
        return [float(score[losses[: end + 1].idxmin()]) for end in range(len(history))]

    @property
    def state(self) -> str:
        """Says how it ended: "finished", "stopped" early, or "failed"."""
        if self.run.is_finished:
            return "finished"
        return "stopped" if self.stopped_path.exists() else "failed"

    @property
    def reason(self) -> str:
        """The last line of the log, which says why a trial failed."""
        return last_line(self.log_path) or "it was killed, perhaps for lack of memory"


def search(trials: Sequence[Trial], headline: str, num_processes: int, fewest_epochs: int, folder: Path) -> None:
    """Runs trials to their end, or until they are stopped early, on Ray, which is connected.

    Args:
      trials: All of as many epochs, at most.
      headline: The validation score to compare them by.
      num_processes: Trials side by side on this machine; on a cluster, how many share the cores of a machine like it.
      fewest_epochs: Before which no trial is stopped.
      folder: Absolute; where Ray keeps what it needs while it runs. All machines of a cluster must reach it.
    """
    # Of Ray's own handler of Ctrl-C a search ends as if it had come to its end.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # Each trial that fails says why in its log.
    threads, num_gpus = share_of_machine(ray.nodes(), processes.num_cores() // num_processes)
    epochs = max(one.config.training.epochs for one in trials)
    given: dict[str, Any] = {"trials": list(trials), "headline": headline, "threads": threads}
    work = tune.with_parameters(_train, folder=str(Path.cwd()), **given)
    asha = ASHAScheduler("epoch", max_t=epochs, grace_period=min(fewest_epochs, epochs), reduction_factor=3)
    state = folder / ".ray"
    with progress_bar(len(trials), "search", "trial", leave=False) as bar:
        tuner = tune.Tuner(
            tune.with_resources(work, {"cpu": threads, "gpu": num_gpus}),
            param_space={"number": tune.grid_search(list(range(len(trials))))},
            tune_config=tune.TuneConfig(
                metric="score", mode="max", scheduler=asha, trial_dirname_creator=lambda one: one.trial_id
            ),
            run_config=tune.RunConfig(
                name="search", storage_path=str(state), verbose=0, callbacks=[_shown(trials, headline, bar)]
            ),
        )
        try:
            tuner.fit()
        finally:
            shutil.rmtree(state, ignore_errors=True)


def _shown(trials: Sequence[Trial], headline: str, bar: "tqdm") -> Any:
    """Makes the callback that shows each trial when it ends, and remembers which were stopped early."""
    from ray.tune import Callback

    class Shown(Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            one = all_trials[trial.config["number"]]
            if not one.run.is_finished:
                write_json(one.stopped_path, {"epochs": len(one.scores(headline))})
            self._say(one)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._say(all_trials[trial.config["number"]])

        def _say(self, one: Trial) -> None:
            scores, words = one.scores(headline), " ".join(word for pair in one.drawn.items() for word in _flat(pair))
            found = f"{scores[-1]:.3f} after {len(scores)} epochs" if scores else one.reason
            bar.write(f"{one.run.folder.name} {one.state}: {found}  ({words})")
            bar.update()

    all_trials = trials
    return Shown()


def _flat(pair: tuple[str, Sequence[str]]) -> list[str]:
    return [pair[0], *pair[1]]


def _train(params: Mapping[str, Any], *, trials: Sequence[Trial], headline: str, threads: int, folder: str) -> None:
    """Trains one trial on whatever machine of the cluster, and reports its epochs to Ray.

    Args:
      params: Which of the trials, as `number`.
      trials, headline, threads: All of them, the score, and the cores of one.
      folder: Where the search runs: Ray starts a trial in a folder of its own, and paths may be relative.
    """
    from ray import tune

    os.chdir(folder)
    one, reported = trials[params["number"]], 0
    one.run.folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(_epochs(one, headline, threads)) as found:
        for scores in found:
            # The last epoch waits until the run is finished: Ray ends the trial as soon as it knows of it.
            until = None if one.run.is_finished else one.config.training.epochs - 1
            for score in scores[reported:until]:
                reported += 1
                # Ray ends this function here where the trial is to stop.
                tune.report({"score": score, "epoch": reported})
    if not one.run.is_finished:
        raise RuntimeError(one.reason)


def _epochs(one: Trial, headline: str, threads: int) -> Generator[list[float]]:
    """Yields the scores so far, again and again until the trial is finished; what is there already first."""
    yield one.scores(headline)
    if one.run.is_finished:
        return
    one.stopped_path.unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(one, threads), daemon=True)
    process.start()
    try:
        while process.is_alive():
            process.join(_SECONDS_BETWEEN_LOOKS)
            yield one.scores(headline)
        yield one.scores(headline)
    finally:
        process.terminate()
        process.join()
    if process.exitcode:
        raise RuntimeError(one.reason)


def _work(one: Trial, threads: int) -> None:
    """Trains one trial; the whole life of a process."""
    processes.begin_worker(threads, one.log_path)
    sys.exit(run_command(lambda _: fit(one.config, one.run)))
