"""Tests of pipelines.audio.waveform: any recording to one waveform."""

import struct

import numpy as np
import pytest
import soundfile

from pipelines import audio
from pipelines.command import InputError


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def tone(frequency_hz, seconds=1.0, sample_rate=16000):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(seconds * sample_rate) / sample_rate)).astype(np.float32)


def spectrum_peaks(waveform):
    """Finds the loudest band of frames in the middle."""
    front_end, batch = audio.FrontEnd(trim_db=None), waveform[np.newaxis].astype(np.float32)
    features, _ = audio.frame_features(batch, front_end, ["log_mel"])
    return features["log_mel"].numpy()[0, 20:80].argmax(axis=1)


# Decoding.


def test_sixteen_bit_samples_at_16_khz_are_read_exactly(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    np.testing.assert_array_equal(audio.decode(tmp_path / "a.wav"), samples)
    np.testing.assert_array_equal(audio.to_float(samples) * 32768, samples)


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([noise(999), np.zeros(999)], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(audio.decode(tmp_path / "a.wav") / 32768, noise(999) / 2, atol=1e-4)


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 24400, 44100, 48000, 96000])
def test_any_sample_rate_becomes_16_khz(tmp_path, sample_rate):
    soundfile.write(tmp_path / "a.wav", tone(440, 1.0, sample_rate), sample_rate)
    waveform = audio.decode(tmp_path / "a.wav")
    assert len(waveform) == pytest.approx(16000, abs=1)
    np.testing.assert_allclose(waveform[1000:15000] / 32768, tone(440)[1000:15000], atol=2e-3)


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.flac", "FLAC"), ("a.ogg", "OGG"), ("a.mp3", "MP3"), ("a.aiff", "AIFF"), ("aiff_inside.wav", "AIFF")],
)
def test_every_container_gives_the_same_waveform(tmp_path, name, container):
    stereo = np.stack([tone(440, 1.0, 48000)] * 2, axis=1)
    soundfile.write(tmp_path / name, stereo, 48000, format=container)
    waveform = audio.decode(tmp_path / name) / 32768
    assert len(waveform) == pytest.approx(16000, abs=700)  # mp3 may pad
    np.testing.assert_array_equal(spectrum_peaks(waveform), spectrum_peaks(tone(440)))


def test_floating_point_samples_out_of_range_are_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.float32([0.5, 1.0, 3.0, -3.0]), 16000, subtype="FLOAT")
    assert audio.decode(tmp_path / "a.wav").tolist() == [16384, 32767, 32767, -32768]


def test_integers_written_as_floating_point_samples_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", 20000 * tone(440), 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav holds samples up to 1e\+04, not from -1 to 1"):
        audio.decode(tmp_path / "a.wav")


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [np.inf, -np.inf]])
def test_nan_and_infinite_samples_are_refused(tmp_path, bad):
    samples = np.stack([noise(100)] * 2, axis=1)
    samples[50, : len(bad)] = bad
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN or infinite"):
        audio.decode(tmp_path / "a.wav")


def test_a_long_recording_reads_the_same_as_its_blocks(tmp_path):
    samples = np.random.default_rng(0).integers(-9999, 9999, (2**20 + 17, 2)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    np.testing.assert_array_equal(audio.decode(tmp_path / "a.wav"), np.rint(samples.mean(axis=1)).astype(np.int16))


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac", "mp3"])
def test_a_recording_that_was_cut_off_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(440, 2.0), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cut off|lost sync"):
        audio.decode(path)


def wav_with(offset, content, samples=None):
    """Packs a wav whose header is changed at one place."""
    data = (samples if samples is not None else np.full(100, 99, np.int16)).tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        16000,
        32000,
        2,
        16,
        b"data",
        len(data),
    )
    packed = bytearray(head + data)
    packed[offset : offset + len(content)] = content
    return bytes(packed)


@pytest.mark.parametrize("stated", [2**32 - 1, 2**31 - 1, 0x7FFFF000])
def test_a_wav_that_a_pipe_wrote_is_read_to_its_end(tmp_path, stated):
    (tmp_path / "a.wav").write_bytes(wav_with(40, struct.pack("<I", stated)))
    assert audio.decode(tmp_path / "a.wav").tolist() == [99] * 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"Kids are talking by the door", "cannot be read as audio"),
        (wav_with(24, struct.pack("<I", 0)), "cannot be read as audio"),
        (wav_with(24, struct.pack("<I", 1)), "states a sample rate of 1 Hz"),
        (wav_with(0, b"", np.zeros(0, np.int16)), "holds no samples"),
        (wav_with(24, struct.pack("<I", 192000), np.zeros(2, np.int16)), "holds no samples"),
        (wav_with(40, struct.pack("<I", 9999)), "is cut off"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_name(tmp_path, content, message):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.wav {message}"):
        audio.decode(tmp_path / "a.wav")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.wav does not exist"):
        audio.decode(tmp_path / "absent.wav")
    with pytest.raises(InputError, match="is not a file"):
        audio.decode(tmp_path)


@pytest.mark.real_data
def test_the_original_recordings_read_like_their_flac_copies(real_data):
    paths = sorted((real_data / "ravdess_original_wav").rglob("*.wav"))
    assert len(paths) == 8
    for path in paths:
        copy = real_data / "ravdess" / path.parent.name / f"{path.stem}.flac"
        np.testing.assert_array_equal(audio.decode(path), audio.decode(copy))


# Waveforms.


def test_pad_together_puts_zeros_behind_the_shorter_ones():
    batch = audio.pad_together([np.array([16384], np.int16), np.array([1, -32768], np.int16)])
    assert batch.dtype == np.float32
    assert batch.tolist() == [[0.5, 0.0], [1 / 32768, -1.0]]
    assert audio.pad_together([]).shape == (0, 1)
    assert audio.pad_together([np.zeros(0, np.int16)]).shape == (1, 1)


def test_the_hash_is_of_the_samples():
    one = np.array([1, 2, 3], np.int16)
    assert audio.sha256(one) == audio.sha256(one.astype(">i2")) != audio.sha256(one[::-1])
