#!/usr/bin/env bash
# Guess: BatchNormalization with a mask that hides every sample of a batch (say, a batch in which no clip has a video)
# leaves its moving statistics as they are.
# Behaviour (Keras 3.15.1): it takes mean and variance of nothing for 0 and moves both statistics towards 0, as if the
# batch held zeros: with the usual momentum of 0.99, a hundred such batches take two thirds of them away.
# Seen: "mean 5.0 to 4.5, variance 1.0 to 0.9".
# Source: keras.layers.BatchNormalization, argument mask ("only valid elements are used to compute statistics").
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q keras==3.15.1 jax==0.7.2
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

layer = keras.layers.BatchNormalization(momentum=0.9)
layer.build((None, 3))
layer.moving_mean.assign(np.full(3, 5.0))
layer(np.full((4, 3), 7.0, np.float32), training=True, mask=np.zeros(4, bool))
mean, variance = (float(keras.ops.convert_to_numpy(one)[0]) for one in (layer.moving_mean, layer.moving_variance))
print(f"mean 5.0 to {mean:.1f}, variance 1.0 to {variance:.1f}")
assert abs(mean - 4.5) < 1e-6 and abs(variance - 0.9) < 1e-6
PYTHON
