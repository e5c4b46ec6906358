#!/usr/bin/env bash
# Guess: BatchNormalization on pictures trains through TensorFlow's one fused operation (FusedBatchNormV3), as that of
# Keras 2 did by default, and under mixed_bfloat16 it reads and writes bfloat16.
# Behaviour (Keras 3.15.1 on TensorFlow 2.21.0): the layer has no fused way. It casts to float32, takes the moments, and
# scales in operations of their own, each a pass over memory and as many on the way back; a training step of the layer
# takes several times as long on a processor, and a step of a small CNN half as long again. Outputs are the same.
# Seen: "Keras: no FusedBatchNormV3", "TensorFlow: FusedBatchNormV3", "float32: 3.0 times as long; bfloat16: 5.4 times as
# long".
# Source: keras/src/layers/normalization/batch_normalization.py (call), keras/src/backend/tensorflow/nn.py
# (batch_normalization); tf.compat.v1.nn.fused_batch_norm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q tensorflow==2.21.0 keras==3.15.1
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

pictures = np.random.default_rng(0).standard_normal((32, 128, 32, 32)).astype("float32")


def step_of(layer, is_fused):
    """Makes a training step of the layer, or of the fused operation with its weights."""

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            if is_fused:
                scale, offset = layer.gamma.value, layer.beta.value
                outputs = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=layer.epsilon)[0]
            else:
                outputs = layer(inputs, training=True)
            total = tf.reduce_sum(tf.cast(outputs, "float32"))
        return outputs, tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])

    return step


ratios = {}
for policy, dtype in (("float32", "float32"), ("mixed_bfloat16", "bfloat16")):
    layer = keras.layers.BatchNormalization(dtype=policy)
    layer.build(pictures.shape)
    inputs = tf.cast(pictures, dtype)
    steps = {"Keras": step_of(layer, False), "TensorFlow": step_of(layer, True)}
    graphs = {name: step.get_concrete_function(inputs).graph for name, step in steps.items()}
    for name, graph in graphs.items():
        is_there = any(operation.type == "FusedBatchNormV3" for operation in graph.get_operations())
        print(f"{name}: {'' if is_there else 'no '}FusedBatchNormV3")
        assert is_there == (name == "TensorFlow"), "the behaviour changed"
    outputs = [tf.cast(step(inputs)[0], "float32").numpy() for step in steps.values()]
    assert np.abs(outputs[0] - outputs[1]).max() < (1e-4 if dtype == "float32" else 0.05)
    times = {name: [] for name in steps}
    for _ in range(15):
        for name, step in steps.items():
            start = time.perf_counter()
            step(inputs)[0].numpy()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios[dtype] = medians["Keras"] / medians["TensorFlow"]
print("; ".join(f"{dtype}: {ratio:.1f} times as long" for dtype, ratio in ratios.items()))
assert ratios["bfloat16"] > 1.5, "the behaviour changed"
PYTHON
echo "as described"
