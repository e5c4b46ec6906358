"""Tests of pipelines.text_encoder: hidden states equal those of transformers, whatever config.json asks for."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from pipelines.command import InputError
from pipelines.text_encoder import TextEncoder, load_text_encoder, sizes_of

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 32, "max_position_embeddings": 40}
DISTIL_SIZES = {"vocab_size": 40, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32}

NETWORKS = {
    "bert": ("Bert", SIZES),
    "bert-relu": ("Bert", SIZES | {"hidden_act": "relu", "layer_norm_eps": 1e-2, "type_vocab_size": 3}),
    "distilbert": ("DistilBert", DISTIL_SIZES | {"activation": "relu", "max_position_embeddings": 40}),
    "roberta": ("Roberta", SIZES | {"layer_norm_eps": 1e-3}),
    "xlm-roberta": ("XLMRoberta", SIZES | {"hidden_act": "silu"}),
    "albert": ("Albert", SIZES | {"embedding_size": 8, "layer_norm_eps": 1e-3}),
}
"""Some with another activation or epsilon than keras-hub's."""

IDS = np.array([[2, 7, 1, 5, 3], [2, 8, 3, 0, 0]], np.int32)
"""As ours: 0 is padding."""

PAIR = np.array([[2, 7, 1, 3, 9, 5, 3, 0], [2, 3, 9, 5, 6, 7, 8, 3]], np.int32)
"""A context and a sentence with 3 between them and at the end, and a sentence without a context."""

SEGMENTS = np.array([[0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1, 1]])


# In a process of its own: transformers and TensorFlow bring an LLVM each, and one that comes second ends the process.
REFERENCE = """
import json, sys
import numpy as np, torch, transformers
torch.manual_seed(0)
networks, ids = json.loads(sys.argv[2]), json.loads(sys.argv[3])
for name, (kind, sizes) in networks.items():
    model = getattr(transformers, kind + "Model")(getattr(transformers, kind + "Config")(**sizes)).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)  # Zeros would hide what is left out.
    model.save_pretrained(f"{sys.argv[1]}/{name}")
    given = torch.tensor(ids["roberta" if "roberta" in name else "bert"])
    with torch.no_grad():
        found = model(given, attention_mask=torch.tensor(ids["mask"]), output_hidden_states=True).hidden_states
        if name in ("bert", "albert"):
            pair = {"token_type_ids": torch.tensor(ids["segments"]), "attention_mask": torch.tensor(ids["pair_mask"])}
            last = model(torch.tensor(ids["pair"]), **pair).last_hidden_state
            np.save(f"{sys.argv[1]}/{name}/pair.npy", last.numpy())
    np.save(f"{sys.argv[1]}/{name}/states.npy", np.stack([states.numpy() for states in found[1:]], axis=2))
"""


def as_theirs(ids):
    """Puts the padding where RoBERTa has it."""
    return np.array([1, 0, *range(2, 40)])[ids]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Folders as transformers writes them, and in each the states [batch, num_tokens, num_layers, width] of `IDS`."""
    folder = tmp_path_factory.mktemp("networks")
    ids = {"bert": IDS.tolist(), "roberta": as_theirs(IDS).tolist(), "mask": (IDS != 0).astype(int).tolist()}
    ids |= {"pair": PAIR.tolist(), "segments": SEGMENTS.tolist(), "pair_mask": (PAIR != 0).astype(int).tolist()}
    command = [sys.executable, "-c", REFERENCE, str(folder), json.dumps(NETWORKS), json.dumps(ids)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_states_are_those_of_transformers(networks, name):
    found = np.asarray(load_text_encoder(str(networks / name), num_states=3)(IDS))
    expected = np.load(networks / name / "states.npy")
    is_token = (IDS != 0)[:, :, None, None]
    np.testing.assert_allclose(found * is_token, expected * is_token, atol=1e-4)
    assert np.ptp(found) > 1


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_behind_the_separator_begins_the_second_segment_of_transformers(networks, name):
    found = np.asarray(load_text_encoder(str(networks / name), separator=3)(PAIR))[:, :, 0]
    is_token = (PAIR != 0)[:, :, None]
    np.testing.assert_allclose(found * is_token, np.load(networks / name / "pair.npy") * is_token, atol=1e-4)
    as_one = np.asarray(load_text_encoder(str(networks / name))(PAIR))[:, :, 0]
    assert np.abs(found - as_one).max() > 5e-3


def test_the_separator_at_the_end_of_a_sentence_changes_nothing_and_networks_of_one_segment_have_none(networks):
    encoder = load_text_encoder(str(networks / "bert"), separator=3)
    is_token = (IDS != 0)[:, :, None, None]
    expected = np.asarray(load_text_encoder(str(networks / "bert"))(IDS))
    np.testing.assert_allclose(np.asarray(encoder(IDS)) * is_token, expected * is_token, atol=1e-6)
    assert load_text_encoder(str(networks / "roberta"), separator=3).separator == 0


def test_padding_changes_nothing(networks):
    encoder = load_text_encoder(str(networks / "bert"))
    alone = np.asarray(encoder(IDS[1:, :3]))
    np.testing.assert_allclose(np.asarray(encoder(IDS))[1:, :3], alone, atol=1e-5)


def test_an_encoder_is_the_same_after_saving_activation_and_epsilon_among_it(networks, tmp_path):
    token_ids = keras.Input((None,), dtype="int32")
    model = keras.Model(token_ids, load_text_encoder(str(networks / "bert-relu"), num_states=2)(token_ids))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(again(IDS), model(IDS), atol=1e-6)


def test_each_variable_knows_how_many_layers_stand_above_it(networks):
    encoder = load_text_encoder(str(networks / "bert"))
    above = encoder.layers_above
    assert set(above) == {variable.path for variable in encoder.trainable_variables}
    assert {path.split("/")[-2 if "embedding" in path else 0]: number for path, number in above.items()} == {
        **{f"transformer_layer_{index}": 2 - index for index in range(3)},
        **dict.fromkeys(["token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"], 3),
    }


def test_released_layers_alone_have_weights_to_train(networks):
    encoder = load_text_encoder(str(networks / "bert"), released=2)
    assert set(encoder.layers_above.values()) == {0, 1}
    again = TextEncoder.from_config(encoder.get_config())
    assert len(again.trainable_variables) == len(encoder.trainable_variables) == 32


def test_no_gradient_reaches_below_the_released_layers(networks):
    import tensorflow as tf

    def num_backward(released):
        """Counts the products of the backward pass that the gradients need: TensorFlow runs no others."""
        encoder = load_text_encoder(str(networks / "bert"), released=released)

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def backward(ids):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(encoder(ids) ** 2)
            return tape.gradient(loss, [variable.value for variable in encoder.trainable_variables])

        waiting, needed = [tensor.op for tensor in backward.get_concrete_function().outputs], {}
        while waiting:
            if (one := waiting.pop()).name not in needed:
                needed[one.name] = one.type
                waiting += [*(tensor.op for tensor in one.inputs), *one.control_inputs]
        products = ("MatMul", "Einsum", "BatchMatMulV2")
        return sum(name.startswith("gradient_tape") and kind in products for name, kind in needed.items())

    # The lowest layer that is trained passes nothing on.
    assert 0 < num_backward(1) < num_backward(2) < num_backward(3)


def test_sizes_are_read_without_weights(networks, tmp_path):
    folder = shutil.copytree(networks / "roberta", tmp_path / "copy")
    (folder / "model.safetensors").write_bytes(b"none")
    assert sizes_of(str(folder)) == (38, 40, 3)
    with pytest.raises(InputError, match="cannot read the weights of the preset"):
        load_text_encoder(str(folder))


@pytest.mark.parametrize(
    ("name", "entry", "sentence"),
    [
        ("bert", {"hidden_act": "mish"}, "asks in config.json for hidden_act mish, which is none of gelu"),
        ("bert", {"position_embedding_type": "relative_key"}, "asks .* position_embedding_type relative_key, which is"),
        ("bert", {"is_decoder": True}, "asks in config.json for is_decoder True"),
        ("roberta", {"pad_token_id": 0}, "asks in config.json for pad_token_id 0"),
        ("bert", {"hidden_act": ["gelu"]}, r"asks in config.json for hidden_act \['gelu'\], which is none of gelu"),
        ("bert", {"layer_norm_eps": None}, "has layer_norm_eps None in config.json: it must be from 0 to below 1"),
        ("bert", {"hidden_dropout_prob": 1.0}, "has hidden_dropout_prob 1.0 in config.json: it must be from 0"),
        ("bert", {"max_position_embeddings": "38"}, "has max_position_embeddings '38' .*: it must be a whole number"),
        ("bert", {"num_attention_heads": 0}, "has num_attention_heads 0 in config.json: it must be a whole number"),
        ("bert", {"num_attention_heads": 5}, "has num_attention_heads in config.json that do not divide hidden_size"),
        ("bert", {"intermediate_size": 10}, "its weights have other shapes than config.json says"),
    ],
)
def test_what_config_json_asks_for_and_nothing_does_gets_a_sentence(networks, tmp_path, name, entry, sentence):
    folder = shutil.copytree(networks / name, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entry))
    with pytest.raises(InputError, match=sentence):
        load_text_encoder(str(folder))


@pytest.mark.parametrize("kind", ["Bert", "Albert", "DebertaV3", "Electra", "XLMRoberta"])
def test_presets_of_keras_hub_give_the_states_of_their_network(kind, tmp_path):
    import keras_nlp

    names = {"Electra": ("vocab_size",)}.get(kind, ("vocabulary_size",))
    sizes = {names[0]: 40, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    sizes |= {"embedding_dim": 8} if kind in ("Albert", "Electra") else {}
    backbone = getattr(keras_nlp.models, f"{kind}Backbone")(**sizes, max_sequence_length=16)
    backbone.save_to_preset(str(tmp_path))
    ids = as_theirs(IDS) if kind == "XLMRoberta" else IDS
    inputs = {"token_ids": ids, "padding_mask": IDS != 0, "segment_ids": 0 * IDS}
    expected = backbone({tensor.name: inputs[tensor.name] for tensor in backbone.inputs})
    expected = expected["sequence_output"] if isinstance(expected, dict) else expected
    found = np.asarray(load_text_encoder(str(tmp_path))(IDS))[:, :, 0]
    np.testing.assert_allclose(found[IDS != 0], np.asarray(expected)[IDS != 0], atol=1e-5)
    assert sizes_of(str(tmp_path)) == (16, 40, 2)
