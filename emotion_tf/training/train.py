"""One training with stock Keras, and late fusion, which trains nothing. The work of `python -m emotion_tf.fit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd
from tqdm import tqdm

from emotion_tf.config import Config
from emotion_tf.evaluation.rule_fitting import fit_stacker, fit_weights
from emotion_tf.evaluation.split import Split, score_split, split_of
from emotion_tf.models.build import build_model
from emotion_tf.models.inputs import audio_features_of, modalities_of
from emotion_tf.models.late_fusion import late_fusion, stack
from emotion_tf.models.late_rules import FITTED
from emotion_tf.reporting import diagram, plots, tables
from emotion_tf.reporting.samples import draw_frames, samples
from emotion_tf.runs.compatibility import targets_of, tokenizer_of
from emotion_tf.runs.folder import Run
from emotion_tf.training import callbacks
from emotion_tf.training.optimizer import compile_model, loss_of
from emotion_tf.training.training_data import training_dataset
from emotion_tf.training.transfer import freeze, start_from
from pipelines import text
from pipelines.command import InputError, progress_bar
from pipelines.files import write_json
from pipelines.records.metadata import widths_of


def train(run: Run) -> None:
    """Trains the model of a started run, or goes on with it; writes model and scores.

    Raises:
      InputError: A loss that is no number, or a corrupt checkpoint.
    """
    config, metadata = run.config(), run.metadata()
    keras.utils.set_random_seed(config.seed)
    steps = -(-metadata["num_training"] // config.training.batch_size)
    model = make_model(config, metadata, steps)
    if config.join:
        _draw_graph(run, diagram.early(model, config), "early fusion")
    part = split_of(run, "validation", modalities_of(model), audio_features_of(model))
    validation = callbacks.Validation(
        run,
        part.predict,
        metadata["emotions"],
        config.training.patience,
        metadata["headline"],
        metadata["is_multi_label"],
    )
    validation.set_model(model)
    first_epoch = validation.resume()
    if first_epoch:
        print(f"{run.folder}: goes on with epoch {first_epoch + 1}", flush=True)
    if first_epoch < config.training.epochs and not validation.is_out_of_patience(first_epoch - 1):
        epochs = config.training.epochs
        with progress_bar(steps * epochs, "training", "step", initial=steps * first_epoch, leave=False) as bar:
            model.fit(
                training_dataset(config, metadata, config.seed + first_epoch, run.normalisation()),
                steps_per_epoch=steps,
                epochs=epochs,
                initial_epoch=first_epoch,
                verbose=0,
                shuffle=False,
                callbacks=_callbacks(run, config, metadata, validation, bar),
            )
    validation.load_best()
    _finish(run, model, part, pd.DataFrame(validation.history))


def fuse(run: Run) -> None:
    """Joins the trained models of a started run by its rule, fits that where it needs to; writes model and scores.

    Raises:
      InputError: A rule to be fitted, and no utterance of the validation split that all models have input for.
    """
    config, metadata = run.config(), run.metadata()
    sources, emotions, rule = [Run(Path(source)) for source in config.runs], metadata["emotions"], config.rule or "mean"
    models = {f"run_{number}": source.model() for number, source in enumerate(sources)}
    targets = [targets_of(one.metadata(), metadata, config.label_maps, str(one.folder)) for one in sources]
    stacked = stack(models, len(emotions), targets)
    part = split_of(run, "validation", modalities_of(stacked), audio_features_of(stacked))
    fitted, about = _fit_rule(rule, stacked, part) if rule in FITTED else ({}, {})
    write_json(run.fusion_path, {"rule": rule, "runs": list(config.runs), **about, **fitted})
    if "weights" in fitted:
        named = ", ".join(f"{weight:.2f} {name}" for weight, name in zip(fitted["weights"], config.runs, strict=True))
        print(f"{run.folder}: weights {named}", flush=True)
    model = late_fusion(models, metadata["prior"], rule, metadata["is_multi_label"], targets, fitted)
    listed = {f"{number + 1}: {one.folder.name}": models[f"run_{number}"] for number, one in enumerate(sources)}
    _draw_graph(run, diagram.late(model, listed, fitted.get("weights", ())), "late fusion")
    _finish(run, model, part, None)


def _draw_graph(run: Run, boxes: Sequence[Sequence[diagram.Box]], what: str) -> None:
    plots.save(diagram.draw(boxes, f"{run.folder.name}: {what}"), run.plots / "graph.png")


def _fit_rule(rule: str, stacked: keras.Model, part: Split) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fits a late rule on the utterances of a part that every model has input for.

    Returns:
      What `rules.combine` takes, as lists, and what fusion.json says of the fit.
    """
    probabilities, is_present = part.outputs(stacked)
    counts = is_present.all(axis=1)
    if not counts.any():
        raise InputError(
            f"--rule {rule} is fitted on {part.name} utterances with every modality, and there are none: choose a rule"
            " that needs no fit."
        )
    given, labels, speakers = probabilities[counts], part.labels[counts], part.utterances["speaker"][counts]
    about = {"fitted_on": part.name, "num_utterances": len(labels), "speakers": sorted(set(speakers) - {""})}
    if rule == "weighted":
        return {"weights": fit_weights(given, labels).tolist()}, about
    kernel, bias = fit_stacker(given, labels, speakers.tolist() if speakers.any() else None)
    return {"kernel": kernel.tolist(), "bias": bias.tolist()}, about


def make_model(config: Config, metadata: dict[str, Any], steps: int) -> keras.Model:
    """Builds and compiles the model of a config; trained branches that it starts from are in place.

    Args:
      config: What to build and how to train it.
      metadata: Of the run.
      steps: Steps an epoch.
    """
    tokenizer = tokenizer_of(config) or text.own_tokenizer()
    facts = (tokenizer.vocabulary_size, metadata["prior"], metadata["is_multi_label"])
    model = _build(config, widths_of(metadata), *facts)
    start_from(model, config, metadata["emotions"])
    freeze(model, config)
    compile_model(model, config, steps, loss_of(config.training, metadata))
    return model


def _build(config: Config, *facts: Any) -> keras.Model:
    """Builds a model; of a preset, whatever its download or its files raise becomes one sentence."""
    if "text" not in config.modalities or config.text.model != "distilbert":
        return build_model(config, *facts)
    try:
        return build_model(config, *facts)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"cannot read the weights of the preset {config.text.preset}: {reason}.") from error


def _callbacks(
    run: Run, config: Config, metadata: dict[str, Any], validation: callbacks.Validation, bar: tqdm
) -> list[keras.callbacks.Callback]:
    """Validation first: the others show what it adds to the logs."""
    pictures = callbacks.Pictures(run, validation, metadata["emotions"], config.training.confusion_every)
    pictures.set_model(validation.model)
    if not validation.history:
        pictures.write_samples(config, samples(config, metadata, run.normalisation()))
    progress = callbacks.Progress(validation, config.training.epochs, bar)
    return [validation, keras.callbacks.TensorBoard(run.tensorboard, write_graph=False), pictures, progress]


def write_model(model: keras.Model, path: Path) -> None:
    """Writes a model under a temporary name and renames it."""
    temporary = path.with_name("unfinished.keras")
    try:
        model.save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _finish(run: Run, model: keras.Model, part: Split, history: pd.DataFrame | None) -> None:
    """Calibrates and writes the model, and what the validation split says of it; scores.json, the end, comes last."""
    write_json(run.calibration_path, part.calibrate(model))
    # Without the optimizer. What is scored is the model that was validated: its predictions are traced already.
    write_model(keras.Model(model.input, model.output, name=model.name), run.model_path)
    scores, predictions = score_split(run, model, part)
    marks, headline = run.metadata()["marks"], run.metadata()["headline"]
    plots.draw_scores(run.plots, predictions[""], scores, run.temperature(), marks)
    if "video" in modalities_of(model):
        draw_frames(run)
    if history is not None:
        plots.save(plots.curves(history, scores["chance"][headline]), run.plots / "curves.png")
    for without, rows in predictions.items():
        run.write_predictions(rows, without)
    run.write_scores({"marks": marks, "headline": headline, "validation": scores, "test_reads": 0})
    print(tables.headline(scores, f"{run.folder} validation", marks, headline), flush=True)
