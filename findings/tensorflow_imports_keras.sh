#!/usr/bin/env bash
# Guess: tf.keras is a lazy loader, so `import tensorflow` alone loads no Keras, and a program that only loads and calls
# a SavedModel pays nothing for it, nor for whatever else is installed.
# Behaviour (tensorflow 2.21.0, keras 3.15.1): `import tensorflow` loads the whole package keras at its end, and that
# loads pandas, scikit-learn and matplotlib where they are installed. Keras alone costs hardly any time; with these
# beside it the import takes clearly more processor time. With keras hidden TensorFlow swallows the ImportError; a
# SavedModel is written, loaded and called all the same.
# Seen: "modules of keras: 498 as installed, 0 hidden", "of pandas, scikit-learn, matplotlib loaded: 3 as installed, 0
# hidden", "hidden: a SavedModel gives [2. 4.]", "processor seconds of the import: 4.1 as installed, 2.3 hidden"; without
# these three packages 2.0 as installed, 1.9 hidden.
# Source: the end of tensorflow/__init__.py, which loads its lazy module of Keras eagerly and catches ImportError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6 \
  pandas==3.1.1 scikit-learn==1.9.1 matplotlib==3.11.2
cat > "$folder/measure.py" <<'PYTHON'
import os
import sys
import time

hidden = sys.argv[1] == "hidden"
if hidden:
    sys.modules["keras"] = None
start = time.process_time()
import tensorflow as tf

seconds = time.process_time() - start
others = sum(name in sys.modules for name in ("pandas", "sklearn", "matplotlib"))
count = sum(name.partition(".")[0] == "keras" for name, module in sys.modules.items() if module is not None)
module = tf.Module()
module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None], tf.float32)])
path = os.path.join(sys.argv[2], sys.argv[1])
tf.saved_model.save(module, path, {"serving_default": module.double})
loaded = tf.saved_model.load(path)
[answer] = loaded.signatures["serving_default"](x=tf.constant([1.0, 2.0])).values()
print(count, f"{seconds:.1f}", others, answer.numpy())
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
for round in 1 2 3; do
  "$folder/venv/bin/python" "$folder/measure.py" whole "$folder" >> "$folder/whole.txt" 2> /dev/null
  "$folder/venv/bin/python" "$folder/measure.py" hidden "$folder" >> "$folder/hidden.txt" 2> /dev/null
done
# Of three runs the quickest.
read -r whole whole_seconds whole_others _ < <(sort -k2n "$folder/whole.txt")
read -r hidden hidden_seconds hidden_others answer < <(sort -k2n "$folder/hidden.txt")
echo "modules of keras: $whole as installed, $hidden hidden"
echo "of pandas, scikit-learn, matplotlib loaded: $whole_others as installed, $hidden_others hidden"
echo "hidden: a SavedModel gives $answer"
echo "processor seconds of the import: $whole_seconds as installed, $hidden_seconds hidden"
[ "$whole" -gt 100 ] || { echo "import tensorflow no longer loads Keras: the behaviour changed"; exit 1; }
[ "$whole_others" -eq 3 ] && [ "$hidden_others" -eq 0 ] || { echo "the behaviour changed"; exit 1; }
[ "$hidden" -eq 0 ] && [ "$answer" = "[2. 4.]" ] || { echo "it no longer works without Keras: the behaviour changed"; exit 1; }
echo "as described"
