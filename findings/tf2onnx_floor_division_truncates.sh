#!/usr/bin/env bash
# Guess: integer division and remainder in a converted graph give what they give in TensorFlow, whose // and % round down
# as Python's do; -(-n // 4), the usual way to count the steps of n frames, therefore works in ONNX.
# Behaviour (tf2onnx 1.17.0, ONNX Runtime 1.32.0): // and % of negative int32 round towards zero. There is no error and no
# warning; masks and paddings that are computed so are one step short, and the answers of a model are wrong.
# Seen: "5 frames: 2 steps and 3 of padding in TensorFlow, 1 and -1 in ONNX".
# Source: tf.math.floordiv, tf.math.floormod ("consistent with Python"); ONNX's Div ("truncation for integers").
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q \
  tensorflow==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
CUDA_VISIBLE_DEVICES= TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx

specs = [tf.TensorSpec([None], tf.int32, "n")]
counted = tf.function(lambda n: (-(-n // 4), -n % 4), input_signature=specs)
model, _ = tf2onnx.convert.from_function(counted, specs, opset=17)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
frames = np.array([5], np.int32)
(steps, padding), (onnx_steps, onnx_padding) = (
    [int(np.asarray(one)[0]) for one in found] for found in (counted(frames), session.run(None, {"n": frames}))
)
print(f"5 frames: {steps} steps and {padding} of padding in TensorFlow, {onnx_steps} and {onnx_padding} in ONNX")
assert (steps, padding) == (2, 3)
assert (onnx_steps, onnx_padding) != (2, 3)
PYTHON
