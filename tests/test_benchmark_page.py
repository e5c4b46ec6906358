"""Tests of benchmarks/page.py: the clips that it gives to the page, and how far apart answers come."""

import numpy as np
import soundfile

from benchmarks import page


def test_clips_last_three_seconds_at_their_own_rate(tmp_path):
    for name, seconds in (("short", 1), ("long", 4)):
        soundfile.write(tmp_path / f"{name}.flac", np.zeros((seconds * 44100, 2)), 44100)
        info = soundfile.info(page._cut(tmp_path / f"{name}.flac", tmp_path))
        assert (info.format, info.channels, info.samplerate, info.duration) == ("WAV", 1, 44100, 3.0)


def test_gaps_are_those_between_answers():
    found = page._gaps([10.0, 10.5, 11.0, 12.0], 60.0)
    assert (found["answers"], found["median_gap"], found["longest_gap"]) == (4, 0.5, 1.0)
