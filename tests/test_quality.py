"""Tests of pipelines.audio.quality: a fault is found where it is, at any level, and nowhere else."""

import dataclasses
import time

import numpy as np
import pytest
import soxr

from pipelines.audio.quality import Quality, findings_of, inspect

RATE = 16000


def speech(seconds=3.0, rate=RATE):
    """Makes what resembles speech: gliding harmonics and hiss, syllables and pauses, faint room noise, up to 8 kHz."""
    rng, clock = np.random.default_rng(0), np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(170 + 30 * np.sin(2 * np.pi * 0.7 * clock)) / rate
    voice = sum(np.sin(harmonic * phase + harmonic**2) / harmonic for harmonic in range(1, 40))
    syllables = np.clip(np.sin(2 * np.pi * 2.5 * clock), 0, 1) ** 2
    hiss = rng.normal(0, 0.1, len(clock)) * np.roll(syllables, rate // 8)
    waveform = voice * syllables + hiss + rng.normal(0, 1e-3, len(clock))
    return 0.5 * waveform / np.abs(waveform).max()


def to_int16(waveform):
    return np.clip(np.round(waveform * 32768), -32768, 32767).astype(np.int16)


def found_in(waveform, usual_hz=8000.0):
    """Names the findings in int16 samples, which are the same as in those of floating point."""
    findings = set(findings_of(inspect(waveform), usual_hz))
    assert set(findings_of(inspect(to_int16(waveform)), usual_hz)) == findings
    return findings


def with_noise(waveform, snr_db):
    noise = np.random.default_rng(1).normal(size=len(waveform))
    return waveform / 2 + noise * np.sqrt(np.mean((waveform / 2) ** 2)) * 10 ** (-snr_db / 20)


def with_hum(waveform, *lines_hz):
    clock = np.arange(len(waveform)) / RATE
    hum = sum(np.sin(2 * np.pi * hz * clock) for hz in lines_hz)
    return waveform + 10 ** (-15 / 20) * np.sqrt(np.mean(waveform**2) / np.mean(hum**2)) * hum


def test_nothing_is_found_in_speech():
    assert found_in(speech()) == set()
    quality = inspect(speech())
    assert quality.seconds == 3
    assert quality.bandwidth_hz == 8000
    assert quality.snr_db > 30


@pytest.mark.parametrize("rate", [8000, 6000, 11025])
def test_band_ends_where_a_lower_rate_ended_it(rate):
    narrow = soxr.resample(soxr.resample(speech(), RATE, rate), rate, RATE)
    assert rate / 2 - 500 <= inspect(narrow).bandwidth_hz <= rate / 2 + 500
    assert inspect(to_int16(narrow)).bandwidth_hz == inspect(narrow).bandwidth_hz


def test_a_narrow_band_is_told_to_models_of_a_wider_one_alone():
    telephone = soxr.resample(soxr.resample(speech(), RATE, 8000), 8000, RATE)
    [sentence] = findings_of(inspect(telephone), 8000.0).values()
    assert sentence == "nothing above 4 kHz, unlike the recordings that the model was trained on"
    assert found_in(telephone, 4250.0) == set()
    assert found_in(telephone, None) == set()


@pytest.mark.parametrize("gain", [2.0, 1.0, 0.5, 0.1])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_findings_depend_on_neither_level_nor_offset(gain, offset):
    made = {
        "clipped": np.clip(10 * speech(), -0.5, 0.5),
        "noisy": with_noise(speech(), 5),
        "hum": with_hum(speech(), 50, 100),
        "narrow": soxr.resample(soxr.resample(speech(), RATE, 8000), 8000, RATE),
    }
    for finding, waveform in made.items():
        quality = inspect(gain * (0.4 * waveform + offset))
        assert set(findings_of(quality, 8000.0)) == {finding}


def test_clipping_is_found_though_it_happened_at_another_rate():
    clipped = soxr.resample(np.clip(8 * speech(rate=48000), -0.5, 0.5), 48000, RATE)
    assert "clipped" in found_in(clipped)
    assert inspect(np.clip(8 * speech(), -0.5, 0.5)).clipped_share > 0.1


@pytest.mark.parametrize("snr_db", [0, 5, 15, 20])
def test_snr_is_that_of_the_noise_that_was_added(snr_db):
    noisy = with_noise(speech(), snr_db)
    assert inspect(noisy).snr_db == pytest.approx(snr_db, abs=1.5)
    assert ("noisy" in found_in(noisy)) is (snr_db < 10)


@pytest.mark.parametrize(("lines_hz", "mains"), [((50,), 50), ((49.9, 99.8, 149.7), 50), ((60, 120), 60), ((120,), 60)])
def test_hum_is_found_at_the_mains_and_at_twice_that(lines_hz, mains):
    assert inspect(with_hum(speech(), *lines_hz)).hum_hz == mains


def test_a_steady_line_elsewhere_is_no_hum():
    assert inspect(with_hum(speech(), 75)).hum_hz is None


def tone(hertz):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(2 * RATE) / RATE)


def held_vowel(hertz):
    """Makes harmonics under the formants of an a, all of them as loud for two seconds, with some vibrato."""
    clock = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(hertz * (1 + 0.01 * np.sin(2 * np.pi * 5 * clock))) / RATE
    voice = np.random.default_rng(0).normal(0, 1e-3, len(clock))
    for harmonic in range(1, int(7500 / hertz)):
        weights = [1 / np.hypot(1 - (harmonic * hertz / f) ** 2, 80 * harmonic * hertz / f**2) for f in (700, 1100)]
        voice += np.prod(weights) / harmonic**2 * np.sin(harmonic * phase + harmonic)
    return 0.3 * voice / np.abs(voice).max()


@pytest.mark.parametrize("hertz", [137, 440, 1010, 3003])
def test_a_pure_tone_is_neither_clipped_nor_noise(hertz):
    assert found_in(tone(hertz), None) == set()
    assert found_in(np.clip(tone(hertz), -0.15, 0.15), None) == {"clipped"}
    assert found_in(with_noise(tone(hertz), 5), None) == {"noisy"}


@pytest.mark.parametrize("hertz", [10, 20, 35])
def test_clipping_over_a_rumble_is_found(hertz):
    rumble = 0.1 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE)
    assert "clipped" in found_in(np.clip(8 * (speech() + rumble), -0.5, 0.5))


@pytest.mark.parametrize("hertz", [90, 140, 220, 330])
def test_a_held_vowel_is_no_noise(hertz):
    assert inspect(held_vowel(hertz)).snr_db > 15
    assert inspect(with_noise(held_vowel(hertz), 5)).snr_db == pytest.approx(5, abs=1.5)


@pytest.mark.parametrize("milliseconds", [0, 1, 5, 20, 50, 190])
def test_a_clip_of_hardly_any_length_is_short_and_nothing_else(milliseconds):
    assert set(findings_of(inspect(to_int16(speech()[1600 : 1600 + 16 * milliseconds])), 8000.0)) == {"short"}


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_silence_has_no_quality(dtype):
    assert inspect(np.full(RATE, 7, dtype)) == Quality(1.0)
    assert findings_of(Quality(1.0), 8000.0) == {}


def test_sentences_name_what_was_measured():
    quality = Quality(0.05, bandwidth_hz=4250.0, clipped_share=0.1, snr_db=4.6, hum_hz=60.0)
    assert findings_of(quality, 7750.0) == {
        "short": "0.05 s is too short to be an utterance",
        "narrow": "nothing above 4 kHz, unlike the recordings that the model was trained on",
        "clipped": "the recording is clipped: 10% of its samples are flattened",
        "noisy": "the recording is noisy: its signal-to-noise ratio is 5 dB",
        "hum": "the mains hum in the recording (60 Hz)",
    }
    assert findings_of(dataclasses.replace(quality, seconds=0.2), None).keys() == {"clipped", "noisy", "hum"}


def test_a_clip_costs_little():
    clip = to_int16(speech())
    inspect(clip)
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        inspect(clip)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.01  # About 1 ms; ten times that is a fault on any machine.
