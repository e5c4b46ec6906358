"""Trains a model: `python -m emotion_tf.fit --branch audio|text|video|fusion`.

Writes saved_models/<run>/: config.json, metadata.json, checkpoints/, model.keras, history.csv, tensorboard/, plots/,
audit.json (what was checked of the fold), normalisation.json (statistics of the training split, where audio features
are normalised by them), calibration.json, predictions.csv and scores.json (of the validation split;
`python -m emotion_tf.evaluate` reads the test split).
A stopped run continues where it was when the same command runs again; one that failed in its first epoch leaves
nothing.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from emotion_tf.config import Config
from emotion_tf.flags import add_data_arguments, add_model_arguments, config_of
from emotion_tf.runs.folder import ROOT, Run, next_free, records_of
from emotion_tf.runs.metadata import RunMetadata
from emotion_tf.training.checks import Checked, check, with_branches
from emotion_tf.training.placement import Placement, add_placement_arguments, placement_of
from emotion_tf.training.restarts import start_again
from pipelines import normalisation
from pipelines.audio import FRAME_FEATURES
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.files import locked, write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.records import read_metadata
from pipelines.settings import Bounds, require
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    from emotion_tf.training.replicas import Replicas

SEEDS = Bounds(0, 2**31, is_below=True)


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, trains and prints the scores of the validation split.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = make_parser().parse_args(argv)
    require("seed", [arguments.seed], SEEDS)
    arguments.records = arguments.records or records_of(arguments.runs or ())
    config = with_branches(config_of(arguments))
    placement = placement_of(arguments)
    prefix = f"{Path(config.records).name}-{config.branch}"
    run = Run(arguments.run or next_free(prefix, config))
    try:
        fit(config, run, arguments.overwrite, placement=placement)
    except WorkerLostError:
        start_again(run)


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.fit", __doc__, "--branch BRANCH [--records DIR] [FLAG ...]")
    add_data_arguments(parser)
    group = parser.add_argument_group("run")
    shown = f"{ROOT}/<records>-<branch>-<N>"
    add_flag(group, "--run", "Write the run to this folder.", type=Path, metavar="DIR", shown=shown)
    add_flag(group, "--overwrite", "Replace another run in that folder.", action="store_true")
    sentence = "Train, validate and test by this one of the folds, counted from 0."
    add_flag(group, "--fold", sentence, type=int, metavar="N", default=Config.fold)
    sentence = "Draw the first weights, the order of utterances and their augmentation with this seed."
    add_flag(group, "--seed", sentence, SEEDS, type=int, metavar="SEED", default=Config.seed)
    add_placement_arguments(parser.add_argument_group("several devices and workers"))
    add_model_arguments(parser)
    return parser


class WorkerLostError(RuntimeError):
    """Another worker is gone: the same command goes on from the last epoch once all of them are there again."""


def fit(
    config: Config, run: Run, overwrite: bool = False, *, anew: bool = False, placement: Placement | None = None
) -> None:
    """Trains what a config describes, or finishes it, and scores the validation split.

    Args:
      config: What to train on what.
      run: Where it goes.
      overwrite: Replaces another run in the folder; one that this began, and that was interrupted, goes on.
      anew: Lets `overwrite` replace that, too.
      placement: The devices and workers that train; to be given in a process that has not used TensorFlow yet. None:
        one device.

    Raises:
      InputError: Records, folds, runs or settings that do not fit together; a finished run in the folder, or one that
        another process trains; a loss that is no number.
      WorkerLostError: With workers, where another one ends.
    """
    placement = placement or Placement()
    placement.require_training(is_late=config.is_late, batch_size=config.training.batch_size)
    for source in config.sources:
        if Path(source).resolve() == run.folder.resolve():
            raise InputError(f"{source} cannot be the run to write and one to start from: give another --run.")
    if not placement.is_chief and run.is_finished and not overwrite:
        run.refuse_another(config)  # As the chief does, and ends: nobody would come.
    read_metadata(Path(config.records))  # Complains in no time; TensorFlow takes seconds.
    import_tensorflow()
    if placement.workers:
        print(f"{run.folder}: worker {placement.index} of {len(placement.workers)} waits for the others", flush=True)
    with _lost_workers_named(placement):
        _fit(config, run, overwrite, anew, placement)


@contextlib.contextmanager
def _lost_workers_named(placement: Placement) -> Iterator[None]:
    """Tells the loss of a worker from other errors of TensorFlow."""
    from emotion_tf.training.replicas import LOST

    try:
        yield
    except LOST as error:
        if not placement.workers:
            raise
        raise WorkerLostError(str(error).partition("\n")[0]) from error


def _fit(config: Config, run: Run, overwrite: bool, anew: bool, placement: Placement) -> None:
    from emotion_tf.training.replicas import Replicas

    strategy = placement.start()
    replicas = Replicas(strategy, placement) if strategy else None
    checked = check(config)
    if replicas and not placement.is_chief:
        _follow(run, config, checked, replicas)
        return
    with locked(run.folder, "--run"):
        goes_on = not anew and run.is_overwriting(config, checked.metadata)
        run.start(config, overwrite=overwrite and not goes_on)
        try:
            _train(run, config, checked, replicas)
        except Exception as error:
            # Its name would be taken by a run that holds nothing.
            run.remove_if_empty()
            if isinstance(error, InputError):
                run.end_overwriting()
            raise
        run.remove_replaced()


def _follow(run: Run, config: Config, checked: Checked, replicas: "Replicas") -> None:
    """Trains a run that the chief of the workers has started."""
    from emotion_tf.training import train

    replicas.meet()
    run.refuse_another(config)
    run.refuse_changed(checked.metadata)
    train.follow(run, replicas)


def _train(run: Run, config: Config, checked: Checked, replicas: "Replicas | None") -> None:
    """Trains a started run."""
    _write_facts(run, checked)
    for source in checked.audit["sources"]:
        if count := source.get("validated_sentences"):
            print(f"{source['run']} was validated on {count} of the test sentences", flush=True)
    print(f"{run.folder}: {_describe(config, checked.metadata)}", flush=True)
    for note in checked.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    from emotion_tf.training import train

    if config.is_late:
        train.fuse(run)
        return
    if replicas:
        replicas.meet()
    train.train(run, replicas)


def _write_facts(run: Run, checked: Checked) -> None:
    """Writes what is known of a run before its training, and makes sure that a run to go on with is the same.

    Raises:
      InputError: The run was started on other records or folds.
    """
    if run.metadata_path.exists():
        run.refuse_changed(checked.metadata)
    run.write_metadata(checked.metadata)
    write_json(run.audit_path, checked.audit)
    if checked.inputs.tokenizer:
        checked.inputs.tokenizer.write(run.tokenizer_path)
    if not run.normalisation_path.exists():
        _write_normalisation(run, checked)


def _write_normalisation(run: Run, checked: Checked) -> None:
    """Fits statistics of the training split, or takes over those of the runs to join, where there are any."""
    config, found = run.config(), checked.inputs.normalisation
    if config.normalise != "clip":
        # Pictures of samples show log_mel, whatever the model reads.
        chosen = ("log_mel", *checked.inputs.audio_features)
        names = [name for name in (*FRAME_FEATURES, normalisation.STATES) if name in chosen]
        fold = checked.metadata.fold
        found = normalisation.fit(Path(config.records), config.normalise, names, fold.train, fold.by)
    if found:
        write_json(run.normalisation_path, dataclasses.asdict(found))
    if found and found.num_alone:
        print(f"{found.num_alone} utterances are their speaker's only ones: training statistics stand in", flush=True)


def _describe(config: Config, metadata: RunMetadata) -> str:
    """Says in a line what is trained, on what, and how large the splits are."""
    fold = metadata.fold
    unit = {"speaker": "speakers: ", "utterance_id": "utterances: "}.get(fold.by, "published splits: ")
    sizes = unit + ", ".join(f"{len(getattr(fold, split))} {split}" for split in SPLITS)
    absent = f"; {len(fold.absent)} listed speakers absent: {', '.join(fold.absent)}" if fold.absent else ""
    marks = f" [{', '.join(metadata.marks)}]" if metadata.marks else ""
    what = f"{config.fusion} fusion" if config.branch == "fusion" else config.branch
    count = f"; {metadata.num_training} training utterances" if fold.by == "published_split" else ""
    return f"{what} on {metadata.corpus}{marks}, {config.folds} fold {config.fold}, {sizes}{absent}{count}"


if __name__ == "__main__":
    sys.exit(run_command(main))
