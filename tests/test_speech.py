"""Tests of the synthesis of speech: pitch, formants and loudness are those of the voice."""

import dataclasses

import numpy as np
import pytest

from pipelines.corpora import synthetic
from pipelines.corpora.synthetic import speech


def test_speakers_differ_in_pitch_and_loudness():
    voices = [synthetic._draw_voice(0, speaker) for speaker in range(1, 21)]
    assert max(voice.f0_hz for voice in voices[0::2]) < min(voice.f0_hz for voice in voices[1::2])
    assert len({round(voice.f0_hz) for voice in voices}) > 12
    assert np.std([voice.level_db for voice in voices]) > 1.0


def test_a_steady_source_has_its_energy_on_multiples_of_its_pitch():
    source = speech._source(np.full(125, 200.0), np.ones(125), np.random.default_rng(0))
    power = np.square(np.abs(np.fft.rfft(source)))
    near = np.abs((np.fft.rfftfreq(len(source), 1 / 16000) + 100.0) % 200.0 - 100.0) < 15.0
    assert power[near].sum() > 0.9 * power.sum()


def test_the_filter_rings_at_its_formants():
    click = np.zeros(50 * speech._HOP)
    click[len(click) // 2] = 1.0
    formants_hz = np.tile((500.0, 1500.0, 2500.0, 3500.0, 4500.0), (50, 1))
    magnitude = np.abs(np.fft.rfft(speech._filter(click, formants_hz, np.zeros(50))))
    frequencies_hz = np.fft.rfftfreq(len(click), 1 / 16000)
    for formant_hz in formants_hz[0, :4]:
        near = np.abs(frequencies_hz - formant_hz) < 250.0
        assert abs(frequencies_hz[near][magnitude[near].argmax()] - formant_hz) < 40.0


def test_the_same_numbers_speak_the_same_clip_and_a_louder_voice_a_louder_one():
    voice = synthetic._draw_voice(0, 1)
    one, other = (speech.speak(speech.GROUPS["mid"], voice, np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    louder = dataclasses.replace(voice, level_db=voice.level_db + 6.0)
    ratio = np.abs(speech.speak(speech.GROUPS["mid"], louder, np.random.default_rng(0))).max() / np.abs(one).max()
    assert 20.0 * np.log10(ratio) == pytest.approx(6.0, abs=0.1)
