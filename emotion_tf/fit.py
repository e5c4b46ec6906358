"""Trains a model: `python -m emotion_tf.fit --branch audio|text|video|fusion`.

Writes saved_models/<run>/: config.json, metadata.json, checkpoints/, model.keras, history.csv, tensorboard/, plots/,
audit.json (what was checked of the fold), normalisation.json (statistics of the training split, where sound is
normalised by them), calibration.json, predictions.csv and scores.json (of the validation split;
`python -m emotion_tf.evaluate` reads the test split).
A stopped run continues where it was when the same command runs again.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotion_tf.config import Config
from emotion_tf.flags import add_data_arguments, add_model_arguments, config_of
from emotion_tf.runs.compatibility import (
    audio_features_of,
    normalisation_of,
    tokenizer_of,
)
from emotion_tf.runs.folder import ROOT, Run, next_free
from emotion_tf.training.checks import check, with_branches
from pipelines import normalisation
from pipelines.audio import FRAME_FEATURES
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.files import write_json
from pipelines.parsers import add_flag, command_parser
from pipelines.records import read_metadata
from pipelines.settings import Bounds, require

SEEDS = Bounds(0, 2**31, is_below=True)


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, trains and prints the scores of the validation split.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = make_parser().parse_args(argv)
    require("seed", [arguments.seed], SEEDS)
    config = with_branches(config_of(arguments))
    prefix = f"{Path(config.records).name}-{config.branch}"
    fit(config, Run(arguments.run or next_free(prefix, config)), arguments.overwrite)


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
    add_model_arguments(parser)
    return parser


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
    metadata, audit = check(config)
    run.start(config, overwrite=overwrite)
    _write_metadata(run, metadata)
    write_json(run.audit_path, audit)
    if tokenizer := tokenizer_of(config):
        tokenizer.write(run.tokenizer_path)
    _write_normalisation(run, metadata["fold"])
    for source in audit["sources"]:
        if count := source.get("validated_sentences"):
            print(f"{source['run']} was validated on {count} of the test sentences", flush=True)
    print(f"{run.folder}: {_describe(config, metadata)}", flush=True)
    from emotion_tf.training import train

    if config.is_late:
        train.fuse(run)
    else:
        train.train(run)


def _write_normalisation(run: Run, fold: Mapping[str, Any]) -> None:
    """Fits statistics of the training split, or takes them over from the runs to join; once a run."""
    config = run.config()
    if run.normalisation_path.exists():
        return
    found = normalisation_of(config)
    # Pictures of samples show log_mel, whatever is heard.
    names = [name for name in FRAME_FEATURES if name in ("log_mel", *audio_features_of(config))]
    if config.normalise != "clip":
        found = normalisation.fit(Path(config.records), config.normalise, names, fold["train"], fold["by"])
    if found:
        write_json(run.normalisation_path, dataclasses.asdict(found))
    if found and found.num_alone:
        print(f"{found.num_alone} utterances are their speaker's only ones: training statistics stand in", flush=True)


def _write_metadata(run: Run, metadata: dict[str, Any]) -> None:
    """Writes metadata.json of a run, or makes sure that a run to go on with was started on these records."""
    if run.metadata_path.exists():
        run.refuse_changed(metadata)
    write_json(run.metadata_path, metadata)


def _describe(config: Config, metadata: Mapping[str, Any]) -> str:
    fold = metadata["fold"]
    unit = {"speaker": "speakers: ", "utterance_id": "utterances: "}.get(fold["by"], "published splits: ")
    parts = unit + ", ".join(f"{len(fold[split])} {split}" for split in ("train", "validation", "test"))
    absent = f"; {len(fold['absent'])} listed speakers absent: {', '.join(fold['absent'])}" if fold["absent"] else ""
    marks = f" [{', '.join(metadata['marks'])}]" if metadata["marks"] else ""
    what = f"{config.fusion} fusion" if config.branch == "fusion" else config.branch
    count = f"; {metadata['num_training']} training utterances" if fold["by"] == "published_split" else ""
    return f"{what} on {metadata['corpus']}{marks}, {config.folds} fold {config.fold}, {parts}{absent}{count}"


if __name__ == "__main__":
    sys.exit(run_command(main))
