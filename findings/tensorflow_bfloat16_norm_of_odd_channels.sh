#!/usr/bin/env bash
# Guess: TensorFlow's fused batch normalisation in bfloat16 moves half of the bytes of float32 and is no slower, whatever
# the number of channels.
# Behaviour (TensorFlow 2.21.0, oneDNN, a processor with AVX512_BF16): so it is for multiples of 16 channels. With any
# other number a training step of it takes several times as long as in float32, and as casting to float32, normalising
# and casting back: a network of 24 channels learns more slowly in bfloat16 than in float32, one of 32 faster.
# Seen: "32 channels: 0.5 of float32", "24 channels: 6.5 of float32", "24, cast: 1.4 of float32".
# Without the instructions of AVX512_BF16 or AMX nothing is measured.
# Source: ONEDNN_VERBOSE=1 (oneDNN 3.7.3) names the implementation of each call: bnorm_tbb_jit:avx512_core_bf16 for 32
# channels, nspc_bnorm:any for 24.
set -euo pipefail
if ! grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then
  echo "this processor has no bfloat16: nothing to measure"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q tensorflow==2.21.0 keras==3.15.1
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import statistics
import time

import tensorflow as tf


def step_of(channels, is_cast):
    """Makes a training step of the normalisation, of pictures in what they are given in, or cast to float32."""
    scale, offset = tf.ones(channels), tf.zeros(channels)

    @tf.function
    def step(pictures):
        with tf.GradientTape() as tape:
            tape.watch(pictures)
            given = tf.cast(pictures, "float32") if is_cast else pictures
            outputs = tf.compat.v1.nn.fused_batch_norm(given, scale, offset)[0]
            total = tf.reduce_sum(tf.cast(tf.cast(outputs, pictures.dtype), "float32"))
        return tape.gradient(total, pictures)

    return step


def milliseconds(channels, dtype, is_cast=False):
    """Times a step on as many numbers for any number of channels."""
    pictures = tf.cast(tf.random.normal((32, 32 * 64 // channels, 64, channels)), dtype)
    step = step_of(channels, is_cast)
    times = []
    for number in range(25):
        start = time.perf_counter()
        step(pictures).numpy()
        if number >= 5:
            times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


ratios = {}
for name, channels, is_cast in (("32 channels", 32, False), ("24 channels", 24, False), ("24, cast", 24, True)):
    ratios[name] = milliseconds(channels, "bfloat16", is_cast) / milliseconds(channels, "float32")
    print(f"{name}: {ratios[name]:.1f} of float32")
assert ratios["24 channels"] > 2 > ratios["32 channels"], "the behaviour changed"
assert ratios["24, cast"] < 2, "the behaviour changed"
PYTHON
echo "as described"
