"""Tests of pipelines.audio.voice: where somebody speaks."""

import numpy as np
import pytest
import soundfile

from pipelines.audio.recording import read_recording
from pipelines.audio.voice import (
    CHUNK_LENGTH,
    CHUNK_SECONDS,
    Turn,
    TurnTracker,
    VoiceGate,
    find_turns,
    read_with_voice,
)
from pipelines.audio.waveform import to_float


@pytest.fixture(scope="module")
def clip(real_data):
    path = sorted((real_data / "ravdess").rglob("03-01-05-02-01-01-*.flac"))[0]
    return to_float(read_recording(path).waveform)


def probabilities(waveform):
    return VoiceGate()(waveform)


def test_silence_and_a_constant_are_no_speech():
    assert probabilities(np.zeros(32000, np.float32)).max() == 0
    assert probabilities(np.full(32000, 1e-6, np.float32)).max() == 0


def test_noise_is_no_speech():
    noise = 0.1 * np.random.default_rng(0).standard_normal(48000).astype(np.float32)
    assert find_turns(probabilities(noise), 3.0) == []


@pytest.mark.real_data
def test_speech_is_found_between_the_pauses_of_a_real_clip(clip):
    [turn] = find_turns(probabilities(clip), len(clip) / 16000)
    loud = np.flatnonzero(np.abs(clip) > 0.1) / 16000
    assert abs(turn.start - loud[0]) < 0.4
    assert abs(turn.end - loud[-1]) < 0.4


@pytest.mark.real_data
def test_gain_changes_no_turn(clip):
    turns = [find_turns(probabilities(np.float32(gain) * clip), len(clip) / 16000) for gain in (1.0, 0.01)]
    np.testing.assert_allclose(turns[0], turns[1], atol=0.07)


@pytest.mark.real_data
def test_blocks_of_any_length_give_the_probabilities_of_the_whole(clip):
    gate, loud = VoiceGate(), np.concatenate([clip, clip])
    parts = np.concatenate([gate(part) for part in np.split(loud, [1000, 50001, 50100])])
    whole = probabilities(loud)
    assert len(parts) == len(whole) == len(loud) // CHUNK_LENGTH
    assert ((parts > 0.5) == (whole > 0.5)).mean() > 0.9


def test_short_pauses_belong_to_a_turn_and_short_sounds_are_none():
    chunks = np.zeros(100, np.float32)
    chunks[10:30] = 0.9
    chunks[34:50] = 0.9
    chunks[70:72] = 0.9
    [turn] = find_turns(chunks, 3.2)
    assert turn == pytest.approx(Turn(10 * 0.032 - 0.1, 50 * 0.032 + 0.1))


def test_turns_stay_inside_of_the_recording():
    assert find_turns(np.ones(31, np.float32), 1.0) == [Turn(0.0, 1.0)]


def test_a_recording_is_read_with_its_probabilities(tmp_path):
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(40000), 16000)
    waveforms, voice, _ = zip(*read_with_voice(tmp_path / "noise.wav"), strict=True)
    assert sum(map(len, waveforms)) == 40000
    assert sum(map(len, voice)) == 40000 // CHUNK_LENGTH


def test_turns_are_tracked_as_they_are_found_afterwards_but_for_margins():
    for seed in range(200):
        generator = np.random.default_rng(seed)
        runs = generator.integers(1, 20, 12)
        probabilities = np.repeat(generator.choice([0.0, 0.4, 0.6, 1.0], 12), runs)
        tracker, events = TurnTracker(), []
        for block in np.array_split(probabilities, 5):
            events += tracker(block)
        assert tracker.is_speech == (len(events) % 2 == 1)
        events += tracker.finish()
        assert [is_start for is_start, _ in events] == [True, False] * (len(events) // 2)
        found = [(start + 0.1, end - 0.1) for start, end in find_turns(np.pad(probabilities, 4), 100.0)]
        tracked = [time + 4 * CHUNK_SECONDS for _, time in events]
        assert tracked == pytest.approx([time for turn in found for time in turn])


def test_a_start_is_told_while_somebody_speaks():
    tracker = TurnTracker()
    assert tracker([0.9] * 7) == []
    assert tracker([0.9]) == [(True, 0.0)]
    assert tracker([0.0] * 9) == []
    assert tracker([0.0]) == [(False, 8 * CHUNK_SECONDS)]
    assert tracker.finish() == []
