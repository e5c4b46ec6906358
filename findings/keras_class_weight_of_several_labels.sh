#!/usr/bin/env bash
# Guess: fit(class_weight=...) with multi-hot labels weighs a row by all of its labels, or refuses such labels as it
# refuses those it cannot read.
# Behaviour (Keras 3.15.1): a row takes the weight of its first label alone, and a row without any label that of class
# 0. A rare emotion beside a frequent one of a lower number counts as the frequent one.
# Seen: weights 2, 10 and 100 of the classes 0, 1 and 2 gave "110: 2, 011: 10, 101: 2, 000: 2".
# Source: keras.Model.fit, argument class_weight ("pay more attention to samples from an under-represented class").
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q keras==3.15.1 jax==0.7.2
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np


def weight_of(labels):
    """The loss of a row, by that of the same row without class weights."""
    losses = []
    for weights in (None, {0: 2.0, 1: 10.0, 2: 100.0}):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "sigmoid", kernel_initializer="zeros")])
        model.compile("sgd", "binary_crossentropy")
        row = np.ones((1, 2), np.float32), np.array([labels], np.float32)
        losses += model.fit(*row, class_weight=weights, verbose=0).history["loss"]
    return round(losses[1] / losses[0])


rows = {"110": [1, 1, 0], "011": [0, 1, 1], "101": [1, 0, 1], "000": [0, 0, 0]}
found = {name: weight_of(labels) for name, labels in rows.items()}
print(", ".join(f"{name}: {weight}" for name, weight in found.items()))
assert found == {"110": 2, "011": 10, "101": 2, "000": 2}
PYTHON
