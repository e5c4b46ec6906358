"""Tests of pipelines.audio.soundfile_reader: what soundfile reads whole, and what is left to PyAV."""

import struct

import numpy as np
import pytest
import soundfile

from pipelines.audio.file_header import read_header
from pipelines.audio.sound import Extent
from pipelines.audio.soundfile_reader import read_with_soundfile
from pipelines.command import InputError

SAMPLES = np.random.default_rng(0).integers(-9999, 9999, (32000, 2)).astype(np.int16)


def write(path, samples=SAMPLES, **options):
    soundfile.write(path, samples, 16000, **options)
    return path


def read_whole(path, *extent):
    return read_with_soundfile(path, read_header(path), Extent(*extent))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "W64", "CAF"])
def test_samples_are_read_exactly_whatever_the_file_is_called(tmp_path, kind):
    sound = read_whole(write(tmp_path / "a.txt", format=kind))
    np.testing.assert_array_equal(sound.channels * 32768, SAMPLES)
    assert (sound.channels.dtype, sound.sample_rate, sound.names, sound.notes) == (np.float32, 16000, None, ())
    assert sound.is_length_stated is (kind == "FLAC")


def test_a_length_of_zero_is_mended_while_reading_and_not_in_the_file(tmp_path):
    path = write(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[40:44] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_whole(path).channels * 32768, SAMPLES)
    assert path.read_bytes() == content


def test_the_tail_of_a_codec_behind_the_stated_samples_is_no_sound(tmp_path):
    path = write(tmp_path / "a.wav", SAMPLES[:, :1], subtype="GSM610")
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"fact") + 8, 31900)
    path.write_bytes(content)
    assert len(read_whole(path).channels) == 31900


def test_a_part_is_read_alone(tmp_path):
    path = write(tmp_path / "a.flac")
    np.testing.assert_array_equal(read_whole(path, 0.5, 1.25).channels * 32768, SAMPLES[8000:20000])
    np.testing.assert_array_equal(read_whole(path, 1.5, 9.0).channels * 32768, SAMPLES[24000:])
    assert read_whole(path, 3.0, 9.0).channels.shape == (0, 2)


def test_a_long_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav")
    monkeypatch.delattr(soundfile.SoundFile, "read")
    with pytest.raises(InputError, match=r"a\.wav is 2 s long, and an utterance has at most 1 s"):
        read_whole(path, 0.0, 9.0, 1.0)


@pytest.mark.parametrize("content", [b"", b"Kids are talking by the door", b"ID3\x04", b"\xff\xf1\x50\x80" + bytes(99)])
def test_what_is_not_known_is_left_to_pyav(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    assert read_whole(tmp_path / "a.wav") is None


def test_mpeg_audio_and_chained_ogg_are_left_to_pyav(tmp_path, capfd):
    assert read_whole(write(tmp_path / "a.mp3")) is None
    path = write(tmp_path / "a.ogg")
    path.write_bytes(2 * path.read_bytes())
    assert read_whole(path) is None
    assert capfd.readouterr().err == ""


def test_what_ends_too_early_is_left_to_pyav(tmp_path):
    path = write(tmp_path / "a.flac")
    path.write_bytes(path.read_bytes()[:50_000])
    assert read_whole(path) is None


def test_a_flac_that_was_streamed_and_states_no_length_is_left_to_pyav(tmp_path):
    path = write(tmp_path / "a.flac")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert read_whole(path) is None
