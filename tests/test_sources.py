"""Tests of emotion_tf.serving.sources: files, bytes and samples are one thing; what is none gets a sentence."""

import numpy as np
import pytest
import soundfile
from test_predictor import tone

from emotion_tf.serving.sources import read_source
from pipelines.command import InputError


def read(source, sample_rate=None):
    return read_source(source, sample_rate, None, 30.0)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_the_bytes_of_a_file_are_read_as_the_file(tmp_path, name):
    file = tone(tmp_path / name, 44100)
    expected, found = read(file), read(file.read_bytes())
    np.testing.assert_array_equal(found.waveform, expected.waveform)
    assert found._replace(waveform=None) == expected._replace(waveform=None)


def test_nothing_is_no_sound():
    assert read(None).waveform.shape == (0,)


def test_bytes_that_are_no_recording_get_a_sentence_without_the_name_of_a_file():
    for content, sentence in (
        (b"no sound", "^the recording cannot be read as audio"),
        (b"", "^the recording is an empty"),
    ):
        with pytest.raises(InputError, match=sentence):
            read(content)


def test_a_rate_belongs_to_samples(tmp_path):
    with pytest.raises(InputError, match="give sample_rate, in Hz"):
        read(np.zeros(100))
    with pytest.raises(InputError, match="sample_rate is for samples"):
        read(tmp_path / "a.wav", 16000)


def test_what_is_too_long_is_pointed_to_the_timeline(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(31 * 8000), 8000)
    for source, rate in ((tmp_path / "long.flac", None), (np.zeros(31 * 8000), 8000)):
        with pytest.raises(
            InputError, match="31 s long, and an utterance has at most 30 s: predict it over time with --t"
        ):
            read(source, rate)
