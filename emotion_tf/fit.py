"""Trains a model: `python -m emotion_tf.fit --branch audio|text|video|fusion`.

Writes saved_models/<run>/: config.json, metadata.json, checkpoints/, model.keras, history.csv, tensorboard/, plots/,
audit.json (what was checked of the fold), normalisation.json (statistics of the training split, where audio features
are normalised by them), calibration.json, predictions.csv and scores.json (of the validation split;
`python -m emotion_tf.evaluate` reads the test split).
A stopped run continues where it was when the same command runs again.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from emotion_tf.config import Config
from emotion_tf.flags import add_arguments, config_of
from emotion_tf.runs.folder import Run, next_free
from emotion_tf.runs.metadata import RunMetadata
from emotion_tf.training.checks import Checked, check, with_branches
from pipelines import normalisation
from pipelines.audio import FRAME_FEATURES
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.files import write_json
from pipelines.records import read_metadata
from pipelines.utterance import SPLITS


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, trains and prints the scores of the validation split.

    Raises:
      InputError: Whatever the user can mend.
    """
    parser = argparse.ArgumentParser(prog="python -m emotion_tf.fit", description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder to write (default: saved_models/<records>-<branch>-<N>)")
    parser.add_argument("--overwrite", action="store_true", help="replace another run in that folder")
    parser.add_argument("--fold", type=int, default=0, help="which of the folds, counted from 0 (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and masks (%(default)s)")
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.seed < 2**31:
        raise InputError(f"--seed {arguments.seed} cannot work: give a number from 0 to below 2**31.")
    config = with_branches(config_of(arguments))
    prefix = f"{Path(config.records).name}-{config.branch}"
    fit(config, Run(arguments.run or next_free(prefix, config)), arguments.overwrite)


def fit(config: Config, run: Run, overwrite: bool = False) -> None:
    """Trains what a config describes, or finishes it, and scores the validation split.

    Args:
      config: What to train on what.
      run: Where it goes.
      overwrite: Replaces another run in the folder.

    Raises:
      InputError: Records, folds, runs or settings that do not fit together; a finished run in the folder; a loss that
        is no number.
    """
    for source in config.sources:
        if Path(source).resolve() == run.folder.resolve():
            raise InputError(f"{source} cannot be the run to write and one to start from: give another --run.")
    read_metadata(Path(config.records))  # Complains in no time; TensorFlow takes seconds.
    import_tensorflow()
    checked = check(config)
    run.start(config, overwrite=overwrite)
    _write_facts(run, checked)
    for source in checked.audit["sources"]:
        if count := source.get("validated_sentences"):
            print(f"{source['run']} was validated on {count} of the test sentences", flush=True)
    print(f"{run.folder}: {_describe(config, checked.metadata)}", flush=True)
    from emotion_tf.training import train

    if config.is_late:
        train.fuse(run)
    else:
        train.train(run)


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
        names = [name for name in FRAME_FEATURES if name in ("log_mel", *checked.inputs.audio_features)]
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
