"""What diagrams show: a single branch, early and late fusion with shapes and parameters, and the whole workflow."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
from matplotlib.figure import Figure

from emotion_tf.config import AUDIO_INPUTS, Config
from emotion_tf.models.build import branch_head
from emotion_tf.models.head import HEAD
from emotion_tf.models.inputs import modalities_of
from emotion_tf.reporting.boxes import Box, draw_rows
from emotion_tf.reporting.plots import shortened

_STAGES = (
    ("stem", r"stem.*"),
    ("convolutions", r"\d.*"),
    ("frame vectors", r"frame|steps"),
    ("embeddings of pieces", r"words|words_dropout"),
    ("patches", r"patches"),
    ("positions", r"positions"),
    ("recurrent layers", r"(bidirectional|gru|lstm)_.*|words_and_states"),
    ("attention layers", r"(attention|forward|back)_.*|norm"),
    ("backbone", r"backbone|sequence"),
    ("pooling", r"pooling|gru"),
    ("embedding", r"embedding"),
    ("narrowed encoder states", r"encoder_(sum|norm|hidden)"),
    ("their pooling", r"encoder_pooling"),
    ("their embedding", r"encoder_embedding"),
    ("both joined", r"joined"),
)
"""Stages of a branch in their order -> names of their layers, without the modality in front."""

_LENGTHS = {"audio": "num_steps", "text": "num_tokens", "video": "num_video_frames"}


def single(model: keras.Model, config: Config) -> list[list[Box]]:
    """Describes a model of one modality: input, branch, head, emotions.

    Args:
      model: What `emotion_tf.models.build.build_model` made of the config.
      config: Of a single branch, or of early fusion of one modality.
    """
    [modality] = config.modalities
    stages = [*_about(config, modality), *_stages(model, modality), _size(model, f"{modality}_")]
    return [
        [_input(model, modality, (0,))],
        [Box(f"{modality} branch", stages)],
        [Box("head", [f"{model.output.shape[-1]} logits", _size(model, HEAD)])],
        [_emotions(model)],
    ]


def early(model: keras.Model, config: Config) -> list[list[Box]]:
    """Describes early fusion: inputs, branches, their own heads with the join and its head between them, emotions.

    Args:
      model: What `emotion_tf.models.build.build_model` made of the config.
      config: Of early fusion of several modalities.
    """
    modalities, dropped = config.modalities, config.training.modality_dropout
    middle = len(modalities) // 2
    heads = [Box(f"{modality} head", [_size(model, branch_head(modality))]) for modality in modalities]
    of_join = [name for name in _layers(model, "fusion_") if name not in map(branch_head, modalities)]
    join = [_count(model, of_join), f"and a head of {_size(model, HEAD)}"]
    join += [f"modality dropout {dropped:g}"] if dropped else []
    inputs, branches = [], []
    for number, modality in enumerate(modalities):
        inputs.append(_input(model, modality, (number,)))
        # Heads stand in the order of their branches, and the join in their middle.
        feeds = (number + (number >= middle), middle)
        branches.append(Box(f"{modality} branch", [*_about(config, modality), _size(model, f"{modality}_")], feeds))
    return [
        inputs,
        branches,
        [*heads[:middle], Box(f"join: {config.join}", join), *heads[middle:]],
        [_emotions(model, "weighted sum of logits")],
    ]


def late(model: keras.Model, sources: Mapping[str, keras.Model], weights: Sequence[float] = ()) -> list[list[Box]]:
    """Describes late fusion: inputs, runs, rule, emotions.

    Args:
      model: The fused one.
      sources: Name of a run -> its model.
      weights: Of each run, where the rule has fitted such.
    """
    rule, read = model.get_layer("late_rule").rule, [modalities_of(source) for source in sources.values()]
    inputs = [
        _input(model, modality, [number for number, of_run in enumerate(read) if modality in of_run])
        for modality in modalities_of(model)
    ]
    runs = [
        Box(
            shortened(name), [" and ".join(of_run), "calibrated probabilities", f"{source.count_params():,} parameters"]
        )
        for (name, source), of_run in zip(sources.items(), read, strict=True)
    ]
    shown = [f"weights {', '.join(f'{weight:.2f}' for weight in weights)}"] if len(weights) else []
    return [inputs, runs, [Box(f"rule: {rule}", shown)], [_emotions(model)]]


def workflow() -> Figure:
    """Draws the way from a raw corpus to a served model, a row for each of the two packages."""
    rows = {
        "pipelines: raw corpus to tf.data": (
            Box("raw corpus", ("data/<corpus>/", "audio, text, video")),
            Box("utterances", ("speaker, emotion,", "files")),
            Box("transcripts", ("script, whisper,", "simulated, paired")),
            Box("records", ("TFRecord shards", "of whole speakers")),
            Box("dataset", ("fold by speaker,", "crop, pad, augment")),
        ),
        "emotion_tf: keras.Input to a served model": (
            Box("branches", ("audio, text,", "video")),
            Box("fusion", ("early or late",)),
            Box("fit", ("train, choose,", "calibrate")),
            Box("evaluate", ("test split, once,", "intervals")),
            Box("export", ("SavedModel,", "compared")),
            Box("serve", ("predict (command),", "Predictor (Python)")),
        ),
    }
    return draw_rows([(name, [[box] for box in boxes]) for name, boxes in rows.items()])


def _input(model: keras.Model, modality: str, feeds: Sequence[int]) -> Box:
    of_modality = {"audio": AUDIO_INPUTS, "text": ("token_ids",), "video": ("video_frames",)}[modality]
    names = [name for name in of_modality if name in model.input]
    return Box(modality, [_shape(name, model.input[name]) for name in names], feeds)


def _shape(name: str, tensor: keras.KerasTensor) -> str:
    """Writes an input with its shape, that of one utterance."""
    lengths = {"encoder": "num_steps", "waveform": "num_samples", "token_ids": "num_tokens"}
    length = (lengths | {"video_frames": "num_video_frames"}).get(name, "num_frames")
    return f"{name} [{', '.join([length, *map(str, tensor.shape[2:])])}]"


def _emotions(model: keras.Model, *lines: str) -> Box:
    activation = "sigmoid of each of" if model.get_layer("logits").is_multi_label else "softmax over"
    probabilities = f"{activation} {model.output.shape[-1]} emotions"
    return Box("emotions", [*lines, "divided by the temperature", probabilities, "prior where all is absent"])


def _about(config: Config, modality: str) -> list[str]:
    """Says what a branch is made of, and where its weights come from."""
    features, inputs = (config.audio.features, config.audio.inputs) if modality == "audio" else ((), ())
    names = [] if features == ("encoder",) else [_network(config, modality)]
    names += [f"encoder, released blocks: {config.audio.encoder_release}"] * ("waveform" in inputs)
    names += ["head on encoder states"] * ("encoder" in features)
    source, epochs = getattr(config, f"init_{modality}"), config.training.freeze_epochs
    names += [f"from {shortened(Path(source).name)}"] if source else []
    return names + [f"frozen epochs: {epochs}"] * bool(source and epochs)


def _network(config: Config, modality: str) -> str:
    """Names the network of a branch with its sizes."""
    branch = getattr(config, modality)
    name = f"frame CNN, {branch.pooling} over time" if modality == "video" else branch.model
    if name == "transformer":
        return f"{name}, {branch.layers} layers of {branch.heads} heads"
    sizes = {"channels": getattr(branch, "channels", ()), "units": branch.units if name in _RECURRENT else ()}
    return ", ".join([name, *(f"{what} {' '.join(map(str, found))}" for what, found in sizes.items() if found)])


_RECURRENT = ("crnn", "gru", "lstm")


def _stages(model: keras.Model, modality: str) -> Iterator[str]:
    """Yields the stages of a branch, each with the shape that it gives and its parameters."""
    for stage, pattern in _STAGES:
        names = [name for name in _layers(model, f"{modality}_") if re.fullmatch(f"{modality}_({pattern})", name)]
        if any(model.get_layer(name).weights for name in names) or (stage == "pooling" and names):
            shape = model.get_layer(names[-1]).output.shape[1:]
            sizes = ", ".join(_LENGTHS[modality] if size is None else str(size) for size in shape)
            yield f"{stage} [{sizes}]: {_parameters(model, names):,}"


def _layers(model: keras.Model, prefix: str) -> list[str]:
    """Names the layers that begin with a prefix, in the order of the graph."""
    return [layer.name for layer in model.layers if layer.name.startswith(prefix)]


def _size(model: keras.Model, prefix: str) -> str:
    return _count(model, _layers(model, prefix))


def _count(model: keras.Model, names: Sequence[str]) -> str:
    return f"{_parameters(model, names):,} parameters"


def _parameters(model: keras.Model, names: Sequence[str]) -> int:
    layers = [model.get_layer(name) for name in names]
    return sum(layer.count_params() for layer in layers if layer.weights)
