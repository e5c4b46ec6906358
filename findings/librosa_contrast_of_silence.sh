#!/usr/bin/env bash
# Guess: a frame of digital silence has no peaks and no valleys, so librosa's spectral contrast of it is 0 dB.
# Behaviour (librosa 0.11.0): peaks and valleys are turned into decibels one after the other, each cut 80 dB below its
# own maximum over the clip. So silent frames of a clip that also holds a tone show the distance of the two maxima in
# every band, and silence beside another sound shows another value. A clip of silence alone reads 0.
# Seen: "silent frames: 13.2 13.2 13.2 13.2 13.2 13.2 13.2 dB", "silence alone: 0.0 0.0 0.0 0.0 0.0 0.0 0.0 dB".
# Source: librosa.feature.spectral_contrast, which calls power_to_db(peak) and power_to_db(valley) with top_db=80.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q librosa==0.11.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import librosa
import numpy as np

sample_rate = 16000
time = np.arange(sample_rate) / sample_rate
clip = np.concatenate([0.5 * np.sin(2 * np.pi * 440 * time), np.zeros(sample_rate)]).astype(np.float32)
settings = {"sr": sample_rate, "n_fft": 512, "hop_length": 160, "center": False}
silent = librosa.feature.spectral_contrast(y=clip, **settings)[:, -50:]
alone = librosa.feature.spectral_contrast(y=np.zeros(sample_rate, np.float32), **settings)
print("silent frames:", *(f"{value:.1f}" for value in silent.mean(axis=1)), "dB")
print("silence alone:", *(f"{value:.1f}" for value in alone.mean(axis=1)), "dB")
assert np.ptp(silent, axis=1).max() < 1e-3, "silent frames differ from each other"
assert (silent > 1).any(), "silent frames read no contrast now: the behaviour changed"
assert np.abs(alone).max() < 1e-3, "silence alone reads a contrast now: the behaviour changed"
PYTHON
echo "as described"
