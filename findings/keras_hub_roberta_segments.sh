#!/usr/bin/env bash
# Guess: keras-hub loads a folder of Hugging Face's RoBERTa with all that its network adds up, as it does one of
# XLM-RoBERTa, which is the same network under another name.
# Behaviour (keras-hub 0.32.0): of RoBERTa it leaves out the embedding of the segment (token type), without a word; of
# XLM-RoBERTa it adds it to the positions. Where the row of segment 0 holds zeros, as in roberta-base, nothing changes;
# where a model was trained with that row, all states differ from those of transformers. Adding the row to the
# positions in the file first mends it.
# Seen: "roberta: states move by 0.00 with the segment", "xlm-roberta: by 0.37", "roberta, row added: 0.00 from it".
# Source: keras-hub, utils/transformers/convert_roberta.py and convert_xlm_roberta.py; transformers, RobertaEmbeddings;
# the zeros of roberta-base: huggingface/transformers issue 2871.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q keras-hub==0.32.0 keras==3.15.1 \
    tensorflow==2.21.0 tensorflow-text==2.21.1 safetensors==0.8.0 numpy==2.4.6
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json
import pathlib
import sys

import keras_hub
import numpy as np
from safetensors.numpy import save_file

config = {"vocab_size": 20, "max_position_embeddings": 12, "type_vocab_size": 1, "pad_token_id": 1, "hidden_size": 8}
config |= {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "layer_norm_eps": 1e-5}
config |= {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
segment, position = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
shapes = {"embeddings.word_embeddings.weight": (20, 8), position: (12, 8), segment: (1, 8)}
layer = {f"attention.{name}": (8, 8) for name in ("self.query", "self.key", "self.value", "output.dense")}
layer |= {"intermediate.dense": (16, 8), "output.dense": (8, 16), "attention.output.LayerNorm": (8,)}
layer |= {"output.LayerNorm": (8,)}
dense = {f"encoder.layer.0.{name}": shape for name, shape in layer.items()}
for name, shape in (dense | {"embeddings.LayerNorm": (8,), "pooler.dense": (8, 8)}).items():
    shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
random = np.random.default_rng(0)
weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def states(kind, tensors):
    """Loads tensors as a model of a kind and gives the states of five words [1, 5, 8]."""
    folder = pathlib.Path(sys.argv[1])
    prefix = "roberta." if kind == "roberta" else ""
    save_file({prefix + name: values for name, values in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **config}))
    backbone = keras_hub.models.Backbone.from_preset(str(folder))
    ids = np.array([[0, 7, 9, 4, 2]])
    return np.array(backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)}))


without = weights | {segment: np.zeros((1, 8), np.float32)}
added = without | {position: weights[position] + weights[segment]}
moved = {kind: np.abs(states(kind, weights) - states(kind, without)).max() for kind in ("roberta", "xlm-roberta")}
apart = np.abs(states("roberta", added) - states("xlm-roberta", weights)).max()
print(f"roberta: states move by {moved['roberta']:.2f} with the segment")
print(f"xlm-roberta: by {moved['xlm-roberta']:.2f}")
print(f"roberta, row added: {apart:.2f} from it")
assert moved["roberta"] == 0, "the segment counts now: the behaviour changed"
assert moved["xlm-roberta"] > 0.1
assert apart < 1e-5
PYTHON
