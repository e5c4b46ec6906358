"""Tests of pipelines.records.copies: copies are found under any name, level and codec, and two takes are two."""

import io

import numpy as np
import pytest
import soundfile
import soxr

from pipelines import audio, prepare, records
from pipelines.records.copies import Copies, Recording, draw_fingerprint, find_copies

RATE = 16000


def speech_like(seed, seconds=2.0):
    """Noise whose spectrum and level change every tenth of a second: [num_samples] float in [-1, 1]."""
    rng = np.random.default_rng(seed)
    blocks = []
    for _ in range(round(10 * seconds)):
        spectrum = np.fft.rfft(rng.normal(size=RATE // 10))
        centre, width = rng.uniform(0, 400), rng.uniform(20, 200)
        shape = np.exp(-(((np.arange(len(spectrum)) - centre) / width) ** 2)) + 0.05
        blocks.append(np.fft.irfft(spectrum * shape) * rng.uniform(0.3, 1))
    samples = np.concatenate(blocks)
    return 0.5 * samples / np.abs(samples).max()


def log_mel_of(samples):
    waveform = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    features, num_frames = audio.compiled_features(audio.FrontEnd(), ("log_mel",))(audio.pad_together([waveform]))
    return features["log_mel"].numpy()[0, : int(num_frames[0])]


def through_codec(samples, kind, subtype):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind, subtype=subtype)
    file.seek(0)
    decoded, rate = soundfile.read(file)
    return soxr.resample(decoded, rate, RATE)


def recording(name, log_mel, emotion="happy", sha256=None):
    return Recording(name, emotion, name if sha256 is None else sha256, *draw_fingerprint(log_mel))


@pytest.mark.parametrize(
    "change",
    [
        lambda samples: 0.1 * samples,
        lambda samples: through_codec(samples, "MP3", "MPEG_LAYER_III"),
        lambda samples: through_codec(samples, "OGG", "VORBIS"),
        lambda samples: np.concatenate([np.zeros(5003), samples, np.zeros(9000)]),
        lambda samples: samples[112:],
        lambda samples: samples + np.random.default_rng(9).normal(0, 0.003, len(samples)),
    ],
)
def test_a_changed_copy_is_found_and_another_take_is_not(change):
    made = [log_mel_of(speech_like(1)), log_mel_of(change(speech_like(1))), log_mel_of(speech_like(2))]
    found = find_copies([recording(name, log_mel) for name, log_mel in zip("abc", made, strict=True)])
    assert found == [Copies(("a", "b"), ("happy",), is_identical=False)]


def test_noise_of_one_spectrum_is_no_copy():
    made = [log_mel_of(0.1 * np.random.default_rng(seed).normal(size=RATE)) for seed in range(9)]
    assert find_copies([recording(str(n), log_mel) for n, log_mel in enumerate(made)]) == []


def test_identical_samples_are_grouped_and_two_labels_come_first():
    takes = [log_mel_of(speech_like(seed)) for seed in range(3)]
    recordings = [
        recording("b", takes[0], "sad", "0"),
        recording("a", takes[0], "sad", "0"),
        recording("d", takes[1], "sad", "1"),
        recording("c", takes[1], "happy", "1"),
        recording("e", takes[1], "sad", "1"),
        recording("f", takes[2]),
    ]
    expected = [Copies(("c", "d", "e"), ("happy", "sad"), True), Copies(("a", "b"), ("sad",), True)]
    assert find_copies(recordings) == expected
    assert find_copies(recordings[::-1]) == expected


def test_a_near_copy_of_identical_recordings_is_told_of_the_first():
    take, near = log_mel_of(speech_like(3)), log_mel_of(0.2 * speech_like(3))
    recordings = [recording("a", take, sha256="0"), recording("b", take, sha256="0"), recording("c", near, "sad")]
    assert [(one.utterances, one.is_identical) for one in find_copies(recordings)] == [
        (("a", "c"), False),
        (("a", "b"), True),
    ]


def test_what_is_too_short_or_has_no_sound_is_compared_by_its_hash_alone():
    short = np.zeros((20, 64), np.float32)
    for log_mel in (short, np.zeros((90, 8), np.float32), np.zeros((0, 64), np.float32)):
        assert draw_fingerprint(log_mel)[1] == ""
    recordings = [
        recording(name, short, sha256=sha256) for name, sha256 in (("a", "0"), ("b", "0"), ("c", ""), ("d", ""))
    ]
    assert find_copies(recordings) == [Copies(("a", "b"), ("happy",), True)]
    assert find_copies([]) == []


def test_many_recordings_are_compared_in_tiles(monkeypatch):
    rng = np.random.default_rng(0)
    made = [rng.normal(size=(60 + n % 7, 64)).astype(np.float32) for n in range(40)]
    made[35] = made[0] + 0.01 * rng.normal(size=made[0].shape).astype(np.float32)
    recordings = [recording(f"{n:02}", log_mel) for n, log_mel in enumerate(made)]
    for tile in (1024, 8):
        monkeypatch.setattr("pipelines.records.copies._TILE", tile)
        assert find_copies(recordings) == [Copies(("00", "35"), ("happy",), False)]


@pytest.mark.real_data
@pytest.mark.slow
def test_two_takes_of_ravdess_are_no_copies_and_the_known_pair_is(real_data, tmp_path, in_process):
    source, folder = real_data / "ravdess", tmp_path / "r"
    prepare.main(["--corpus", "ravdess", "--source", str(source), "--records", str(folder)])
    [pair] = records.read_metadata(folder).copies
    assert pair["utterances"] == ["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]
    assert pair["is_identical"]
    assert pair["emotions"] == ["happy"]
