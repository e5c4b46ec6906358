"""One training with stock Keras, and late fusion, which trains nothing. The work of `python -m emotion_tf.fit`."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from emotion_tf.config import Config
from emotion_tf.evaluation.rule_fitting import fit_stacker, fit_weights
from emotion_tf.evaluation.split import Split, score_split, split_of
from emotion_tf.late_rules import FITTED
from emotion_tf.models.build import build_model
from emotion_tf.models.late_fusion import late_fusion, stack
from emotion_tf.reporting import board, boxes, diagram, plots, tables
from emotion_tf.reporting.samples import draw_frames, samples
from emotion_tf.runs.compatibility import RunInputs, inputs_of, late_targets
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import RunMetadata
from emotion_tf.training import callbacks
from emotion_tf.training.checkpoints import load_epoch
from emotion_tf.training.optimizer import compile_model, make_loss
from emotion_tf.training.precision import computing_in, copy_weights, has_bfloat16, precision_of
from emotion_tf.training.replicas import Replicas, digest_of
from emotion_tf.training.training_data import training_dataset
from emotion_tf.training.transfer import freeze_branches, load_branches, released_encoder
from pipelines import text
from pipelines.command import InputError, progress_bar
from pipelines.files import replacing, write_json
from pipelines.records import Example, named_if_corrupt, read_examples

_NUM_CLIPS = 4


def train(run: Run, replicas: Replicas | None = None) -> None:
    """Trains the model of a started run, or goes on with it; writes model and scores.

    Args:
      run: Where it goes.
      replicas: Copies of the model that learn together; None: one model learns.

    Raises:
      InputError: A loss that is no number, or a corrupt checkpoint.
    """
    config, metadata, inputs = run.config(), run.metadata(), inputs_of(run)
    model, learner, precision = _models(run, config, metadata, inputs, replicas)
    columns = diagram.early(model, config) if config.join else diagram.single(model, config)
    _draw_graph(run, columns, "early fusion" if config.join else f"{config.modalities[0]} branch")
    split = split_of(run, "validation", inputs.modalities, inputs.audio_features)
    validation = _validation(run, config, metadata, split, model, precision, replicas)
    validation.set_model(learner)
    first_epoch, epochs = validation.resume(), config.training.epochs
    if first_epoch:
        print(f"{run.folder}: goes on with epoch {first_epoch + 1}", flush=True)
    is_over = first_epoch >= epochs or validation.is_out_of_patience(first_epoch - 1)
    if replicas:
        replicas.tell_start(epochs if is_over else first_epoch)
    if not is_over:
        boards = _tensorboard(run, config, metadata, inputs, validation)
        total, done = (_steps(config, metadata) * count for count in (epochs, first_epoch))
        with progress_bar(total, "training", "step", initial=done, leave=False) as bar:
            # Validation first: the others show what it adds to the logs.
            called = [validation, *boards, callbacks.Progress(validation, epochs, bar)]
            _fit(learner, config, metadata, inputs, range(first_epoch, epochs), called, replicas)
        if replicas and replicas.num_workers > 1:
            print(f"{run.folder}: weights {digest_of(learner)} at worker 0, the chief", flush=True)
    validation.load_best()
    _finish(run, model, split, pd.DataFrame(validation.history))


def follow(run: Run, replicas: Replicas) -> None:
    """Trains with the chief, which writes the run, at another worker.

    Raises:
      InputError: A loss that is no number, or a checkpoint of the chief that cannot be read here.
    """
    config, metadata, inputs = run.config(), run.metadata(), inputs_of(run)
    _, learner, _ = _models(run, config, metadata, inputs, replicas)
    first_epoch, epochs = replicas.start_of_chief(), config.training.epochs
    if first_epoch >= epochs:
        print(f"{run.folder}: nothing is left to train", flush=True)
        return
    if first_epoch:
        load_epoch(run, learner, first_epoch - 1)
    called = [callbacks.Following(run, replicas)]
    _fit(learner, config, metadata, inputs, range(first_epoch, epochs), called, replicas)
    print(f"{run.folder}: weights {digest_of(learner)} at worker {replicas.index}", flush=True)


def _models(
    run: Run, config: Config, metadata: RunMetadata, inputs: RunInputs, replicas: Replicas | None
) -> tuple[keras.Model, keras.Model, str]:
    """Makes the model that is validated and written, the one that learns, often the same, and names its precision."""
    keras.utils.set_random_seed(config.seed)
    steps = _steps(config, metadata)
    model = make_model(config, metadata, inputs, steps)
    has = has_bfloat16() if replicas is None else not replicas.any(not has_bfloat16())
    # A run that goes on does so in the numbers that it began with, on whatever processor.
    precision = callbacks.written_precision(run) or precision_of(config, has)
    if precision != "bfloat16" and replicas is None:
        return model, model, precision
    with computing_in(precision):
        learner = make_model(config, metadata, inputs, steps, replicas)
    copy_weights(model, learner)
    return model, learner, precision


def _steps(config: Config, metadata: RunMetadata) -> int:
    return -(-metadata.num_training // config.training.batch_size)


def make_model(
    config: Config, metadata: RunMetadata, inputs: RunInputs, steps: int, replicas: Replicas | None = None
) -> keras.Model:
    """Builds and compiles the model of a config; trained branches that it starts from are in place.

    Args:
      config: What to build and how to train it.
      metadata: Of the run.
      inputs: What the model reads.
      steps: Steps an epoch.
      replicas: Makes a copy for each of them; None: one alone.

    Raises:
      InputError: A preset whose weights cannot be read.
    """
    vocabulary_size = (inputs.tokenizer or text.own_tokenizer()).vocabulary_size
    encoder = released_encoder(config)
    with _scope(replicas):
        model = build_model(config, inputs.widths, vocabulary_size, metadata.prior, metadata.is_multi_label, encoder)
    load_branches(model, config, metadata.emotions)
    freeze_branches(model, config)
    model = replicas.adopt(model) if replicas else model
    with _scope(replicas):
        compile_model(model, config, steps, make_loss(config.training, metadata))
    if replicas:
        replicas.set_step(model)
    return model


def _scope(replicas: Replicas | None) -> contextlib.AbstractContextManager[Any]:
    return replicas.scope() if replicas else contextlib.nullcontext()


def _validation(
    run: Run,
    config: Config,
    metadata: RunMetadata,
    split: Split,
    model: keras.Model,
    precision: str,
    replicas: Replicas | None,
) -> callbacks.Validation:
    return callbacks.Validation(
        run,
        split.predict,
        metadata.emotions,
        config.training.patience,
        metadata.headline,
        metadata.is_multi_label,
        config.kept_epoch,
        model,
        precision,
        replicas.told if replicas else int,
    )


def _tensorboard(
    run: Run, config: Config, metadata: RunMetadata, inputs: RunInputs, validation: callbacks.Validation
) -> list[keras.callbacks.Callback]:
    """Makes the callbacks that write to TensorBoard, and writes samples before the first epoch."""
    pictures = callbacks.Pictures(run, validation, metadata.emotions, config.training.confusion_every)
    pictures.set_model(validation.model)
    if not validation.history:
        pictures.write_samples(config, samples(config, metadata, inputs), _clips(config, metadata))
    return [keras.callbacks.TensorBoard(run.tensorboard, write_graph=False), pictures]


def _clips(config: Config, metadata: RunMetadata) -> list[Example]:
    """Reads a few clips of the validation split to listen to, where records hold waveforms and the model reads them."""
    if "audio" not in config.modalities or not metadata.has_waveform:
        return []
    return read_examples(Path(config.records), metadata.fold.validation, _NUM_CLIPS, metadata.fold.by)


def _fit(
    learner: keras.Model,
    config: Config,
    metadata: RunMetadata,
    inputs: RunInputs,
    epochs: range,
    called: Sequence[keras.callbacks.Callback],
    replicas: Replicas | None,
) -> None:
    """Trains for some epochs."""
    dataset: Any = training_dataset(config, metadata, inputs, config.seed, epochs.start)
    seeds = callbacks.EpochSeeds(config.seed, replicas)
    with named_if_corrupt(Path(config.records)):
        learner.fit(
            replicas.share_out(dataset) if replicas else dataset,
            steps_per_epoch=_steps(config, metadata),
            epochs=epochs.stop,
            initial_epoch=epochs.start,
            verbose=0,
            shuffle=False,
            callbacks=[seeds, *called],
        )


def fuse(run: Run) -> None:
    """Joins the trained models of a started run by its rule, fits that where it needs to; writes model and scores.

    Raises:
      InputError: A rule to be fitted, and no utterance of the validation split that all models have input for.
    """
    config, metadata, inputs = run.config(), run.metadata(), inputs_of(run)
    sources, rule = [Run(Path(source)) for source in config.runs], config.rule or "mean"
    models = {f"run_{number}": source.model() for number, source in enumerate(sources)}
    targets = [late_targets(one.metadata(), metadata, config.label_maps, str(one.folder)) for one in sources]
    split = split_of(run, "validation", inputs.modalities, inputs.audio_features)
    fitted: dict[str, Any] = {}
    about: dict[str, Any] = {}
    if rule in FITTED:
        fitted, about = _fit_rule(rule, stack(models, len(metadata.emotions), targets, metadata.is_multi_label), split)
    write_json(run.fusion_path, {"rule": rule, "runs": list(config.runs), **about, **fitted})
    if "weights" in fitted:
        named = ", ".join(f"{weight:.2f} {name}" for weight, name in zip(fitted["weights"], config.runs, strict=True))
        print(f"{run.folder}: weights {named}", flush=True)
    model = late_fusion(models, metadata.prior, rule, metadata.is_multi_label, targets, fitted)
    listed = {f"{number + 1}: {one.folder.name}": models[f"run_{number}"] for number, one in enumerate(sources)}
    callbacks.write_training(run)
    _draw_graph(run, diagram.late(model, listed, fitted.get("weights", ())), "late fusion")
    _finish(run, model, split)


def _fit_rule(rule: str, stacked: keras.Model, split: Split) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fits a late rule on the utterances of a split that every model has input for.

    Returns:
      What `late_rules.combine` takes, as lists, and what fusion.json says of the fit.
    """
    probabilities, is_present = split.outputs(stacked)
    is_complete = is_present.all(axis=1)
    if not is_complete.any():
        raise InputError(
            f"--rule {rule} is fitted on {split.name} utterances with every modality, and there are none: choose a"
            " rule that needs no fit."
        )
    probabilities, labels = probabilities[is_complete], split.labels[is_complete]
    speakers = split.utterances["speaker"][is_complete]
    about = {"fitted_on": split.name, "num_utterances": len(labels), "speakers": sorted(set(speakers) - {""})}
    if rule == "weighted":
        return {"weights": fit_weights(probabilities, labels).tolist()}, about
    kernel, bias = fit_stacker(probabilities, labels, speakers.tolist() if speakers.any() else None)
    return {"kernel": kernel.tolist(), "bias": bias.tolist()}, about


def _draw_graph(run: Run, columns: boxes.Columns, what: str) -> None:
    write_json(run.graph_path, {"columns": columns})
    plots.save(boxes.draw(columns, f"{run.folder.name}: {what}"), run.plots / "graph.png")


def _finish(run: Run, model: keras.Model, split: Split, history: pd.DataFrame | None = None) -> None:
    """Calibrates, writes and scores a model; scores.json, which says that the run is finished, comes last."""
    metadata = run.metadata()
    marks, headline = metadata.marks, metadata.headline
    write_json(run.calibration_path, split.calibrate(model))
    # Without the optimizer. What is scored is the model that was validated: its predictions are traced already.
    write_model(keras.Model(model.input, model.output, name=model.name), run.model_path)
    scores, predictions = score_split(run, model, split)
    plots.draw_scores(run.plots, predictions[""], scores, run.temperature(), marks)
    if "video" in metadata.modalities:
        draw_frames(run)
    if history is not None:
        plots.save(plots.curves(history, scores["chance"][headline]), run.plots / "curves.png")
    board.write_board(run, model, split, predictions[""], scores)
    for without, rows in predictions.items():
        run.write_predictions(rows, without)
    run.write_scores({"marks": marks, "headline": headline, "validation": scores, "test_reads": 0})
    print(tables.headline(scores, f"{run.folder} validation", marks, headline), flush=True)


def write_model(model: keras.Model, path: Path) -> None:
    """Writes a model as a .keras file."""
    with replacing(path) as temporary:
        model.save(temporary)
