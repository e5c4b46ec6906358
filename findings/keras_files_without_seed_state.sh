#!/usr/bin/env bash
# Guess: a training that is saved and loaded (weights, or the whole model with its optimizer) goes on with the random
# numbers that an uninterrupted one would have drawn: the state of the generator is a variable of the model.
# Behaviour (Keras 3.15.1): neither a .weights.h5 nor a .keras file holds the state of a generator. A loaded model with
# a seed starts its dropout at the first mask again; weights that are loaded into a running model leave the generator
# where it is. A resumed run is another training, and a loop that reloads often repeats the same masks.
# Seen: "state before 2, in the loaded model 0; masks equal: first and loaded True, next and loaded False".
# Source: keras.random.SeedGenerator; keras.callbacks.BackupAndRestore ("recover training from interruption").
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q keras==3.15.1 jax==0.7.2
cd "$folder"
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np


def state(model):
    """How many masks the generator of dropout has drawn."""
    return int(keras.ops.convert_to_numpy(model.layers[0].seed_generator.state.value)[1])


model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=1)])
rows = np.ones((1, 1000), np.float32)
first, _ = (np.asarray(model(rows, training=True)) for _ in range(2))
model.compile("sgd", "mse")
model.save("model.keras")
model.save_weights("model.weights.h5")
before = state(model)
loaded = keras.saving.load_model("model.keras")
after = state(loaded)
of_loaded = np.asarray(loaded(rows, training=True))
following = np.asarray(model(rows, training=True))
model.load_weights("model.weights.h5")
is_first, is_next = (bool((one == of_loaded).all()) for one in (first, following))
print(
    f"state before {before}, in the loaded model {after};"
    f" masks equal: first and loaded {is_first}, next and loaded {is_next}"
)
assert (before, after, is_first, is_next, state(model)) == (2, 0, True, False, 3)
PYTHON
