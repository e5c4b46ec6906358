"""Pretrained encoders of text as one Keras layer: token ids to the hidden states of their last layers.

The networks are those of keras-hub. What Hugging Face's config.json asks for and keras-hub leaves out is set here.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.command import InputError
from pipelines.text_presets import MODELS, Preset, find_preset, padding_id, preset_tokenizer, reason_of
from pipelines.text_weights import readable_folder

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_fast": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Hugging Face's name of an activation -> ours."""

_DEFAULT_EPSILON = 1e-12

_FIXED = {
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
}
"""Entries of config.json that change the network, and what they may be."""

_COUNTS = (
    *("hidden_size", "embedding_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"),
    *("max_position_embeddings", "type_vocab_size", "num_hidden_groups", "dim", "hidden_dim", "n_heads", "n_layers"),
)
_SHARES = ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


@keras.saving.register_keras_serializable("emotion_tf")
class TextEncoder(keras.layers.Layer):
    """Reads token ids with a pretrained encoder: [batch, num_tokens] -> [batch, num_tokens, num_states, width].

    The states are those behind the last layers, the lowest first. 0 is padding.

    Args:
      model: What the names of its class in keras-hub begin with.
      settings: Of that class.
      activation: Of the feed-forward layers; empty: that of the class.
      epsilon: Of layer normalisation; 0: that of the class.
      num_states: How many layers' states come out.
      released: How many of the upper layers are trained; 0: all, and the embeddings.
      separator: Id behind which the second segment begins, if the network tells segments apart; 0: there is one.
    """

    def __init__(
        self,
        model: str,
        settings: Mapping[str, Any],
        activation: str = "",
        epsilon: float = 0.0,
        num_states: int = 1,
        released: int = 0,
        separator: int = 0,
        **options: Any,
    ):
        super().__init__(**options)
        self.model, self.settings, self.num_states, self.released = model, dict(settings), num_states, released
        self.activation, self.epsilon, self.separator = activation, epsilon, separator
        backbone = _class_of(model).from_config(self.settings)
        _set(backbone, activation, epsilon)
        blocks = _blocks(backbone)
        self.width = backbone.hidden_dim
        self.network = keras.Model(backbone.inputs, _states(blocks)[-num_states:], name="network")
        self.input_names = [tensor.name for tensor in self.network.inputs]
        inside = [layer for block in blocks for layer in block]
        # Embeddings, then block by block.
        self._groups = [[layer for layer in self.network.layers if layer not in inside], *blocks]
        for layer in itertools.chain.from_iterable(self._groups[:-released] if released else ()):
            layer.trainable = False
        self.built = True

    def call(self, token_ids: Any, training: bool | None = None) -> Any:
        mask = ops.cast(ops.not_equal(token_ids, 0), "int32")
        inputs = {"token_ids": token_ids, "padding_mask": mask, "segment_ids": self._segments(token_ids) * mask}
        states = self.network([inputs[name] for name in self.input_names], training=training)
        return ops.stack(states if isinstance(states, list) else [states], axis=2)

    def _segments(self, token_ids: Any) -> Any:
        """Gives 0 up to the first separator and 1 behind it, where the second segment begins: [batch, num_tokens]."""
        if not self.separator:
            return ops.zeros_like(token_ids, dtype="int32")
        is_separator = ops.cast(ops.equal(token_ids, self.separator), "int32")
        return ops.minimum(ops.cumsum(is_separator, axis=1) - is_separator, 1)

    def compute_output_shape(self, token_ids_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*token_ids_shape, self.num_states, self.width)

    @property
    def layers_above(self) -> dict[str, int]:
        """Path of a variable that is trained -> how many layers stand above its own, of the embeddings all."""
        return {
            variable.path: above
            for above, group in enumerate(reversed(self._groups))
            for layer in group
            for variable in layer.trainable_variables
        }

    def get_config(self) -> dict[str, Any]:
        names = ("model", "settings", "activation", "epsilon", "num_states", "released", "separator")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@functools.cache
def sizes_of(preset: str) -> tuple[int, int, int]:
    """Returns how many token ids a preset takes of a text, how many pieces it has embeddings for, and its layers.

    Raises:
      InputError: What `find_preset` stops on, and sizes that cannot be read.
    """
    backbone = _read(find_preset(preset), load_weights=False)
    return backbone.max_sequence_length, backbone.token_embedding.input_dim, len(_states(_blocks(backbone)))


def load_text_encoder(
    preset: str,
    num_states: int = 1,
    released: int = 0,
    is_frozen: bool = False,
    separator: int = 0,
    **options: Any,
) -> TextEncoder:
    """Loads a pretrained encoder.

    Args:
      preset: As `pipelines.text_presets.find_preset` takes it.
      num_states: How many layers' states come out.
      released: How many of the upper layers are trained; 0: all.
      is_frozen: Whether nothing is trained. Then it gives the same states in training as later: without dropout.
      separator: As `separator_of` finds it; 0: all is one segment.
      options: Of a Keras layer.

    Raises:
      InputError: What `find_preset` stops on, weights that cannot be read, or a network that keras-hub does not have.
    """
    found = find_preset(preset)
    backbone = _read(found, load_weights=True)
    settings = {name: value for name, value in backbone.get_config().items() if name not in ("name", "trainable")}
    if is_frozen:
        settings["dropout"] = 0.0
    separator = separator if settings.get("num_segments", 1) > 1 else 0
    encoder = TextEncoder(found.model, settings, *_asked_for(found), num_states, released, separator, **options)
    values = {variable.path: variable for variable in backbone.weights}
    for variable in encoder.network.weights:
        variable.assign(values[variable.path])
    if is_frozen:
        encoder.trainable = False
    return encoder


def separator_of(preset: str) -> int:
    """Returns the id that stands between a context and the words behind it; a sentence alone has it at its end.

    Raises:
      InputError: What `preset_tokenizer` stops on.
    """
    return preset_tokenizer(preset).separator[0]


def _class_of(model: str) -> Any:
    import keras_nlp

    if model not in MODELS.values():
        raise ValueError(f"there is no encoder of text {model}")
    return getattr(keras_nlp.models, f"{model}Backbone")


def _blocks(backbone: Any) -> list[list[keras.layers.Layer]]:
    """Lists the transformer layers from the lowest on; ALBERT's come in groups that are called again and again."""
    return [block if isinstance(block, list) else [block] for block in backbone.transformer_layers]


def _states(blocks: Sequence[Sequence[keras.layers.Layer]]) -> list[Any]:
    """Finds what comes out of each layer, as often as it is called."""
    return [node.outputs[0] for block in blocks for node in block[-1]._inbound_nodes]


def _set(backbone: Any, activation: str, epsilon: float) -> None:
    """Gives all transformer layers another activation, and all normalisations another epsilon."""
    for layer in backbone._flatten_layers(include_self=False):
        if activation and layer.name == "feedforward_intermediate_dense":
            layer.activation = _functions()[activation]
        if epsilon and isinstance(layer, keras.layers.LayerNormalization):
            layer.epsilon = epsilon


def _functions() -> dict[str, Callable[[Any], Any]]:
    """Returns the activations by our names."""
    names = ("gelu", "relu", "silu", "tanh")
    found = {name: getattr(keras.activations, name) for name in names}
    return found | {"gelu_approximate": functools.partial(keras.activations.gelu, approximate=True)}


def _asked_for(preset: Preset) -> tuple[str, float]:
    """Returns activation and epsilon that config.json of Hugging Face asks for; nothing for a preset of keras-hub.

    Raises:
      InputError: What no layer here does.
    """
    config = preset.config
    if not config:
        return "", 0.0
    _check_numbers(preset)
    fixed = _FIXED | ({"pad_token_id": (None, 1)} if padding_id(preset) else {})
    for name, allowed in fixed.items():
        if config.get(name) not in allowed:
            raise InputError(f"{preset.name} asks in config.json for {name} {config[name]}, which is not known here.")
    name = "activation" if preset.model == "DistilBert" else "hidden_act"
    asked = config.get(name, "gelu_new" if preset.model == "Albert" else "gelu")
    if not isinstance(asked, str) or asked not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise InputError(f"{preset.name} asks in config.json for {name} {asked}, which is none of {known}.")
    epsilon = _DEFAULT_EPSILON if preset.model == "DistilBert" else config.get("layer_norm_eps", _DEFAULT_EPSILON)
    return _ACTIVATIONS[asked], float(epsilon)


def _check_numbers(preset: Preset) -> None:
    """Refuses numbers in config.json of Hugging Face that no network can have."""

    def is_number(value: Any, least: float, below: float) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < below

    for name, value in preset.config.items():
        if name in _COUNTS and not (isinstance(value, int) and is_number(value, 1, 2**31)):
            raise InputError(f"{preset.name} has {name} {value!r} in config.json: it must be a whole number above 0.")
        if name in _SHARES and not is_number(value, 0, 1):
            raise InputError(f"{preset.name} has {name} {value!r} in config.json: it must be from 0 to below 1.")
    for width, heads in (("hidden_size", "num_attention_heads"), ("dim", "n_heads")):
        if preset.config.get(width, 0) % preset.config.get(heads, 1):
            raise InputError(f"{preset.name} has {heads} in config.json that do not divide {width}: correct them.")


def _read(preset: Preset, load_weights: bool) -> Any:
    """Reads a backbone of keras-hub, its padding first."""
    _asked_for(preset)
    try:
        with readable_folder(preset) if load_weights else contextlib.nullcontext(preset.name) as folder:
            options = _ignored(preset.config)
            backbone = _class_of(preset.model).from_preset(folder, load_weights=load_weights, **options)
    except Exception as error:  # Whatever a download or a file raises.
        what = "the weights of the preset" if load_weights else "the preset"
        raise InputError(f"cannot read {what} {preset.name}: {reason_of(error)}.") from error
    if (place := padding_id(preset)) and load_weights:
        table = backbone.token_embedding.embeddings
        rows = np.array(table)
        rows[[0, place]] = rows[[place, 0]]
        table.assign(rows)
    return backbone


def _ignored(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of a backbone that keras-hub does not read from config.json."""
    names = {"dropout": ("hidden_dropout_prob", "dropout"), "num_segments": ("type_vocab_size",)}
    found = {ours: config[name] for ours, theirs in names.items() for name in theirs if name in config}
    if config.get("model_type") in ("roberta", "xlm-roberta", "distilbert"):
        found.pop("num_segments", None)
    return found
