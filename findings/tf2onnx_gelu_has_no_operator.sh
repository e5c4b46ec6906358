#!/usr/bin/env bash
# Guess: tf2onnx maps an op of TensorFlow to operators of ONNX, or stops and names the op that has none.
# Behaviour (tf2onnx 1.17.0, TensorFlow 2.21.0): the exact GELU of Keras, half of a transformer's activations, is written
# with an operator Erfc, which ONNX does not have. A line of the log says so; the conversion ends well, and the file does
# not pass the checker. Erfc(x) is 1 - Erf(x), and ONNX has Erf.
# Seen: "converted; checker: No Op registered for Erfc with domain_version of 17".
# Source: tf2onnx.convert.from_function; the list of operators at onnx.ai.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q \
  tensorflow==2.21.0 keras==3.15.1 tf2onnx==1.17.0 onnx==1.23.2
CUDA_VISIBLE_DEVICES= TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import keras
import onnx
import tensorflow as tf
import tf2onnx

specs = [tf.TensorSpec([None, 4], tf.float32, "x")]
gelu = tf.function(lambda x: keras.activations.gelu(x, approximate=False), input_signature=specs)
model, _ = tf2onnx.convert.from_function(gelu, specs, opset=17)
try:
    onnx.checker.check_model(model, full_check=True)
    said = ""
except Exception as error:
    said = next(line for line in str(error).splitlines() if "Erfc" in line)
print(f"converted; checker: {said.strip()}")
assert "Erfc" in said
PYTHON
