#!/usr/bin/env bash
# Guess: dropout draws random numbers in training alone, so that predicting or validating in the middle of a training
# changes nothing of it.
# Behaviour (Keras 3.15.1): GRU, LSTM and RNN of cells with dropout or recurrent_dropout make the masks of a call
# before they look whether it is training. Inference does not use them, and moves the generator on all the same: what
# a training draws next depends on how many batches were predicted before. The Dropout layer draws in training alone.
# The generator becomes part of the graph of inference, too: tf.saved_model.save refuses a function that holds it where
# the module does not track it ("references an 'untracked' resource"; tensorflow 2.21.0, not run here).
# Seen: "draws of two inferences: Dropout 0, GRU 2, LSTM 8; the same mask after a prediction: Dropout True, GRU False".
# Source: keras/src/layers/rnn/rnn.py, RNN.call: _maybe_config_dropout_masks is called whatever `training` is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q keras==3.15.1 jax==0.7.2
cd "$folder"
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np
from keras import layers

rows = np.ones((1, 3, 50), np.float32)
makers = {
    "Dropout": lambda: layers.Dropout(0.5, seed=1),
    "GRU": lambda: layers.GRU(4, dropout=0.5, seed=1),
    "LSTM": lambda: layers.LSTM(4, recurrent_dropout=0.5, seed=1),
}


def state(layer):
    """How many masks the generator of a layer has drawn."""
    [found] = [one for one in layer.variables if "seed_generator" in one.path]
    return int(keras.ops.convert_to_numpy(found.value)[1])


def drawn(layer):
    """How many masks two calls draw that are no training."""
    layer(rows, training=False)
    before = state(layer)
    for _ in range(2):
        layer(rows, training=False)
    return state(layer) - before


def is_same_after_a_prediction(make):
    """Whether the first output of training is the same with and without a prediction before it."""
    alone, after = make(), make()
    for layer in (alone, after):
        layer.build(rows.shape)
    if "GRU" in type(after).__name__:
        after.set_weights(alone.get_weights())
    after(rows, training=False)
    return bool(np.array_equal(*(np.asarray(layer(rows, training=True)) for layer in (alone, after))))


draws = {name: drawn(make()) for name, make in makers.items()}
same = {name: is_same_after_a_prediction(makers[name]) for name in ("Dropout", "GRU")}
told = [", ".join(f"{name} {value}" for name, value in found.items()) for found in (draws, same)]
print(f"draws of two inferences: {told[0]}; the same mask after a prediction: {told[1]}")
assert draws == {"Dropout": 0, "GRU": 2, "LSTM": 8}
assert same == {"Dropout": True, "GRU": False}
PYTHON
