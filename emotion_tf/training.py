"""One training with stock Keras, and late fusion, which trains nothing. The work of `python -m emotion_tf.fit`."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from emotion_tf import callbacks, diagram, plots, tables
from emotion_tf.config import Config, TrainingConfig
from emotion_tf.fusion import ANSWER, audio_features_of, build_model, modalities_of, own_answer
from emotion_tf.late import late_fusion, stack
from emotion_tf.losses import RareWeightedCrossentropy
from emotion_tf.optimizer import SlowedAdamW
from emotion_tf.part import Part, part_of, score_part, shuffled_in_scoring, shuffled_in_training
from emotion_tf.rules import FITTED, fit_stacker, fit_weights
from emotion_tf.run import Run, targets_of, tokenizer_of, widths_of
from pipelines import text
from pipelines.augment import ImageAugment, MixUp, SpecAugment, Tensors, TextAugment, TimeShift, WaveformChange
from pipelines.command import InputError, progress_bar
from pipelines.dataset import make_dataset
from pipelines.normalisation import Normalisation
from pipelines.records import write_json

_NUM_SAMPLES = 8


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
    part = part_of(run, "validation", modalities_of(model), audio_features_of(model))
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
      InputError: A rule to be fitted, and no utterance of the validation part that all models have input for.
    """
    config, metadata = run.config(), run.metadata()
    sources, emotions, rule = [Run(Path(source)) for source in config.runs], metadata["emotions"], config.rule or "mean"
    models = {f"run_{number}": source.model() for number, source in enumerate(sources)}
    targets = [targets_of(one.metadata(), metadata, config.label_maps, str(one.folder)) for one in sources]
    stacked = stack(models, len(emotions), targets)
    part = part_of(run, "validation", modalities_of(stacked), audio_features_of(stacked))
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


def _fit_rule(rule: str, stacked: keras.Model, part: Part) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fits a late rule on the utterances of a part that every model has input for.

    Returns:
      What `rules.combine` takes, as lists, and what fusion.json says of the fit.
    """
    probabilities, is_present = part.outputs(stacked)
    counts = is_present.all(axis=1)
    if not counts.any():
        raise InputError(
            f"--rule {rule} is fitted on {part.split} utterances with every modality, and there are none: choose a rule"
            " that needs no fit."
        )
    given, labels, speakers = probabilities[counts], part.labels[counts], part.utterances["speaker"][counts]
    about = {"fitted_on": part.split, "num_utterances": len(labels), "speakers": sorted(set(speakers) - {""})}
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
    _start_from(model, config, metadata["emotions"])
    _freeze(model, config)
    _compile(model, config, steps, _loss(config.training, metadata))
    return model


def training_dataset(
    config: Config, metadata: dict[str, Any], seed: int, normalisation: Normalisation | None = None
) -> tf.data.Dataset:
    """Streams the training part without end, as `model.fit` takes it: features, one- or multi-hot labels, weights.

    The weights, where there are any, give each emotion the same in sum. Order, crops, masks and mixtures differ from
    epoch to epoch, and are the same for the same seed; it becomes TensorFlow's global seed.
    """
    tf.random.set_seed(seed)
    num_frames = _num_frames(config.training, metadata)
    training, num_emotions = config.training, len(metadata["emotions"])
    dataset = make_dataset(
        Path(config.records),
        metadata["fold"]["train"],
        config.modalities,
        by=metadata["fold"]["by"],
        shuffled=shuffled_in_training(config.control),
        batch_size=training.batch_size,
        training=True,
        audio_features=config.audio.features,
        num_frames=num_frames,
        num_video_frames=training.video_frames or None,
        max_tokens=training.max_tokens,
        class_weights=_class_weights(training, metadata),
        augment=_augment(config, num_frames),
        change_waveform=_change_waveform(training),
        normalisation=normalisation,
        tokenizer=tokenizer_of(config),
        seed=seed,
    )
    if not metadata["is_multi_label"]:
        dataset = dataset.map(lambda features, label, *weight: (features, tf.one_hot(label, num_emotions), *weight))
    mixes = training.mixup > 0 and config.modalities == ("audio",)
    dataset = dataset.map(MixUp(training.mixup)) if mixes else dataset
    # One iterator for all epochs: a new one would draw the masks of the first epoch again.
    return dataset.repeat()


def _num_frames(training: TrainingConfig, metadata: dict[str, Any]) -> int:
    """Tells the window of training clips: no longer than the longest, where they stay as they are."""
    if training.changes_waveforms:
        return training.num_frames
    return min(training.num_frames, max(1, metadata["longest_frames"]) + training.time_shift)


def _change_waveform(training: TrainingConfig) -> WaveformChange | None:
    changes = WaveformChange(training.speed, training.noise_snr_db, training.gain_db)
    return changes if training.changes_waveforms else None


def _build(config: Config, *facts: Any) -> keras.Model:
    """Builds a model; of a preset, whatever its download or its files raise becomes one sentence."""
    if "text" not in config.modalities or config.text.model != "distilbert":
        return build_model(config, *facts)
    try:
        return build_model(config, *facts)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"cannot read the weights of the preset {config.text.preset}: {reason}.") from error


def _augment(config: Config, num_frames: int) -> Callable[[Tensors], Tensors] | None:
    """Joins what is done to one training example; None where nothing is."""
    training = config.training
    steps: list[Callable[[Tensors], Tensors]] = []
    if "audio" in config.modalities and training.time_shift:
        steps.append(TimeShift(training.time_shift, num_frames))
    if "audio" in config.modalities:
        names = ("mel_shift", "mel_mask", "num_mel_masks", "frame_mask", "num_frame_masks")
        steps.append(SpecAugment(**{name: getattr(training, name) for name in names}))
    shares = (training.word_dropout, training.word_swap, training.word_mask)
    if "text" in config.modalities and any(shares):
        steps.append(TextAugment(tokenizer_of(config) or text.own_tokenizer(), *shares))
    if "video" in config.modalities:
        of_images = ("flip", "shift", "brightness", "cutout")
        steps.append(ImageAugment(**{name: getattr(training, f"image_{name}") for name in of_images}))
    return (lambda example: functools.reduce(lambda done, step: step(done), steps, example)) if steps else None


def _class_weights(training: TrainingConfig, metadata: dict[str, Any]) -> dict[int, float] | None:
    """Weighs each emotion by a power of its rarity, utterances by 1 on average; None: each utterance the same."""
    has_clips, is_multi_label = metadata["has_audio"] or metadata.get("video") is not None, metadata["is_multi_label"]
    power = training.weight_power(has_clips=has_clips, is_multi_label=is_multi_label)
    if is_multi_label or not power:
        return None
    counts = np.array(metadata["training_counts"])
    weights = counts**-power
    return dict(enumerate((weights * counts.sum() / (weights * counts).sum()).tolist()))


def _start_from(model: keras.Model, config: Config, emotions: Sequence[str]) -> None:
    """Copies the weights of trained branches, for early fusion with what they answer alone to the same emotions.

    Then the join adds nothing at first: so fused, branches start as the product of their calibrated answers.
    """
    for modality, source in config.inits.items():
        run = Run(Path(source))
        trained = run.model()
        for layer in model.layers:
            if layer.name.startswith(f"{modality}_") and layer.weights:
                layer.set_weights(trained.get_layer(layer.name).get_weights())
        if config.join and run.metadata()["emotions"] == emotions and run.config().modalities == (modality,):
            _start_answer(model, trained, modality)


def _start_answer(model: keras.Model, trained: keras.Model, modality: str) -> None:
    """Copies what a branch answers alone, calibrated, and silences what the join adds."""
    temperature = float(trained.get_layer("logits").temperature)
    answer = [weights / temperature for weights in trained.get_layer(ANSWER).get_weights()]
    model.get_layer(own_answer(modality)).set_weights(answer)
    join = model.get_layer(ANSWER)
    join.set_weights([np.zeros_like(weights) for weights in join.get_weights()])


def _started(model: keras.Model, config: Config) -> list[keras.Layer]:
    """Finds the layers of the branches that start from trained runs."""
    prefixes = tuple(f"{modality}_" for modality in config.inits)
    return [layer for layer in model.layers if layer.name.startswith(prefixes)]


def _freeze(model: keras.Model, config: Config) -> None:
    """Takes out of training what never changes: started branches, or the batch normalisation of those released later.

    Its statistics move without any gradient, so freezing is not done with rates alone; and they stay as they are after
    the release, as is usual in fine-tuning.
    """
    if not config.training.freeze_epochs:
        return
    is_released = config.training.freeze_epochs < config.training.epochs
    for layer in _with_inner(_started(model, config)):
        if not is_released or isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _loss(training: TrainingConfig, metadata: dict[str, Any]) -> keras.losses.Loss:
    if metadata["is_multi_label"]:
        return RareWeightedCrossentropy(metadata["prior"], training.rare_weight)
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)


def _compile(model: keras.Model, config: Config, steps: int, loss: keras.losses.Loss) -> None:
    training = config.training
    total = steps * training.epochs
    warm_up = min(round(steps * training.warm_up_epochs), total - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        training.learning_rate / 100, total - warm_up, warmup_target=training.learning_rate, warmup_steps=warm_up
    )
    momentum = 1 - 1 / max(2.0, training.ema_share * total)
    if training.ema_share > 0:
        # Statistics that look back less far than the weights that they go with make the validation jump.
        for layer in _with_inner(model.layers):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = momentum
    options = {"weight_decay": training.weight_decay, "use_ema": training.ema_share > 0, "ema_momentum": momentum}
    optimizer = _optimizer(model, config, rate, steps, **options)
    # Keras would make what is not there yet inside the first step, and trace the step a second time.
    optimizer.build(model.trainable_variables)
    is_one_hot = isinstance(loss, keras.losses.CategoricalCrossentropy)
    shown = [keras.metrics.CategoricalAccuracy("accuracy")] if is_one_hot else None
    # XLA saves no time on a processor, and compiles each length of a batch anew.
    model.compile(optimizer, loss, weighted_metrics=shown, jit_compile=False)


def _with_inner(layers: Sequence[keras.Layer]) -> Iterator[keras.Layer]:
    """Yields layers, and those inside of the models among them."""
    for layer in layers:
        yield layer
        yield from _with_inner(getattr(layer, "layers", ()))


def _optimizer(model: keras.Model, config: Config, rate: Any, steps: int, **options: Any) -> keras.optimizers.Optimizer:
    """Makes AdamW; what is pretrained learns at a rate of its own, what a branch brings is held, then slowed."""
    training, ratios = config.training, {}
    if training.freeze_epochs or training.branch_rate != 1:
        ratios = dict.fromkeys(_paths(_started(model, config)), training.branch_rate)
    held = list(ratios) if training.freeze_epochs else []
    for path in _paths([layer for layer in model.layers if layer.name == "text_backbone"]):
        ratios[path] = ratios.get(path, 1.0) * config.text.preset_rate / training.learning_rate
    return SlowedAdamW(rate, ratios, held, steps * training.freeze_epochs, **options)


def _paths(layers: Sequence[keras.Layer]) -> list[str]:
    return [variable.path for layer in layers for variable in layer.trainable_variables]


def _callbacks(
    run: Run, config: Config, metadata: dict[str, Any], validation: callbacks.Validation, bar: tqdm
) -> list[keras.callbacks.Callback]:
    """Validation first: the others show what it adds to the logs."""
    pictures = callbacks.Pictures(run, validation, metadata["emotions"], config.training.confusion_every)
    pictures.set_model(validation.model)
    if not validation.history:
        pictures.write_samples(config, _samples(config, metadata, run.normalisation()))
    progress = callbacks.Progress(validation, config.training.epochs, bar)
    return [validation, keras.callbacks.TensorBoard(run.tensorboard, write_graph=False), pictures, progress]


def _samples(
    config: Config, metadata: dict[str, Any], normalisation: Normalisation | None = None
) -> Iterator[tuple[str, plots.Figure | None]]:
    """Yields a few validation clips as the model gets them: title with label and words, and the spectrogram."""
    tokenizer = tokenizer_of(config)
    pieces = (tokenizer or text.own_tokenizer()).pieces()
    dataset = make_dataset(
        Path(config.records),
        metadata["fold"]["validation"],
        by=metadata["fold"]["by"],
        # Samples show sound and words.
        shuffled="" if config.control == "shuffled-video" else shuffled_in_scoring(config.control),
        batch_size=1,
        training=True,
        seed=config.seed,
        tokenizer=tokenizer,
        normalisation=normalisation,
        with_metadata=True,
        cache=False,
    )
    for features, label, about in dataset.take(_NUM_SAMPLES):
        words = " ".join(pieces[token] for token in features["token_ids"][0].numpy()[1:]).replace(" ##", "")
        carried = np.flatnonzero(label[0].numpy()) if metadata["is_multi_label"] else label.numpy()
        emotions = ", ".join(metadata["emotions"][number] for number in carried)
        title = f"{about['utterance_id'][0].numpy().decode()}: {emotions}, “{words}”"
        hop_seconds = metadata["front_end"]["hop_seconds"]
        has_sound = "audio" in config.modalities and int(features["num_frames"][0])
        yield title, plots.spectrogram(features["log_mel"][0].numpy(), title, hop_seconds) if has_sound else None


def _draw_frames(run: Run) -> None:
    """Draws what a model sees of one validation clip of each emotion, where one has a video."""
    config, metadata = run.config(), run.metadata()
    dataset = make_dataset(
        Path(config.records),
        metadata["fold"]["validation"],
        ("video",),
        by=metadata["fold"]["by"],
        shuffled="video" if config.control == "shuffled-video" else "",
        batch_size=1,
        seed=config.seed,
        with_metadata=True,
        cache=False,
    )
    strips = {}
    for features, label, about in dataset:
        number = int(np.argmax(label[0])) if metadata["is_multi_label"] else int(label[0])
        frames, emotion = features["video_frames"][0].numpy(), metadata["emotions"][number]
        if emotion not in strips and frames.any():
            strips[emotion] = (frames, about["face_boxes"][0].numpy(), about["utterance_id"][0].numpy())
        if len(strips) == len(metadata["emotions"]):
            break
    if strips:
        named = {f"{emotion}\n{name.decode()}": (frames, boxes) for emotion, (frames, boxes, name) in strips.items()}
        title = f"{run.folder.name}: what the model sees, green where a face was found, red where the box is another's"
        plots.save(plots.frame_strips(named, title), run.plots / "frames.png")


def write_model(model: keras.Model, path: Path) -> None:
    """Writes a model under a temporary name and renames it."""
    temporary = path.with_name("unfinished.keras")
    try:
        model.save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _finish(run: Run, model: keras.Model, part: Part, history: pd.DataFrame | None) -> None:
    """Calibrates and writes the model, and what the validation part says of it; scores.json, the end, comes last."""
    write_json(run.calibration_path, part.calibrate(model))
    # Without the optimizer. What is scored is the model that was validated: its predictions are traced already.
    write_model(keras.Model(model.input, model.output, name=model.name), run.model_path)
    scores, predictions = score_part(run, model, part)
    marks, headline = run.metadata()["marks"], run.metadata()["headline"]
    if "video" in modalities_of(model):
        _draw_frames(run)
    if history is not None:
        plots.save(plots.curves(history, scores["chance"][headline]), run.plots / "curves.png")
    for without, rows in predictions.items():
        run.write_predictions(rows, without)
    run.write_scores({"marks": marks, "headline": headline, "validation": scores, "test_reads": 0})
    print(tables.headline(scores, f"{run.folder} validation", marks, headline), flush=True)
