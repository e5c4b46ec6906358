#!/usr/bin/env bash
# Guess: soundfile.write of floating-point samples with subtype PCM_16 rounds each to the nearest step, in any format.
# Behaviour (soundfile 0.13.1 with libsndfile 1.2.2): WAV, AIFF, AU and CAF round down, FLAC rounds to the nearest. The
# Python package switches clipping on, and libsndfile then scales to 32 bits, rounds, and cuts 16 bits off, except for
# FLAC, which it scales to 16 bits. So half of the samples of one sound differ between a WAV and a FLAC of it, and the
# WAV has an offset of half a step. Rounding before the samples are handed over makes all formats alike.
# Seen: "WAV floor 1.000 nearest 0.500 mean error -0.50 steps", "FLAC floor 0.500 nearest 1.000 mean error +0.00 steps".
# Source: libsndfile, src/pcm.c (f2les_clip_array) and src/flac.c (f2flac16_clip_array).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q soundfile==0.13.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
import soundfile

samples = np.random.default_rng(0).uniform(-0.5, 0.5, 100_000)
read = {}
for kind in ("WAV", "AIFF", "AU", "CAF", "FLAC"):
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=kind, subtype="PCM_16")
    file.seek(0)
    read[kind], _ = soundfile.read(file, dtype="int16")
    floor, nearest = np.floor(32768 * samples), np.rint(32768 * samples)
    shares = ((read[kind] == floor).mean(), (read[kind] == nearest).mean())
    error = (read[kind] - 32768 * samples).mean()
    print(f"{kind} floor {shares[0]:.3f} nearest {shares[1]:.3f} mean error {error:+.2f} steps")
    assert (shares[0] == 1.0, shares[1] == 1.0) == (kind != "FLAC", kind == "FLAC")
rounded = np.rint(32768 * samples) / 32768
for kind in read:
    file = io.BytesIO()
    soundfile.write(file, rounded, 16000, format=kind, subtype="PCM_16")
    file.seek(0)
    np.testing.assert_array_equal(soundfile.read(file, dtype="int16")[0], np.rint(32768 * samples))
PYTHON
