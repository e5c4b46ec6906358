"""Tests of pipelines.records.decode_workers: batches come back in order, whole, whatever is wrong with a recording."""

import numpy as np
import pytest
import soundfile
from test_isolation import end

from pipelines.audio import recording
from pipelines.records.decode_workers import decoding
from pipelines.utterance import Utterance


@pytest.fixture
def batches(tmp_path):
    """Seven batches of one to seven utterances whose sound is as soft as their number says: silent ones stay so."""
    made, number = [], 0
    for size in range(1, 8):
        batch = []
        for _ in range(size):
            path = tmp_path / f"{number}.wav"
            soundfile.write(path, np.tile(np.int16([number, -number]), 80), 16000)
            batch.append(Utterance(str(number), "a", "happy", path))
            number += 1
        made.append(batch)
    return made


@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_come_back_in_order_with_their_own_sound(batches, num_workers):
    with decoding(batches, num_workers) as decoded:
        found = list(decoded)
    assert [[utterance for utterance, _ in batch] for batch in found] == batches
    assert [clip.waveform.max() for batch in found for _, clip in batch] == list(range(28))


def test_an_unreadable_recording_comes_back_as_its_reason_and_none_as_no_samples(tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    batch = [Utterance("bad", "a", "happy", tmp_path / "bad.wav"), Utterance("none", "a", "happy")]
    with decoding([batch], 1) as decoded:
        [[(_, reason), (_, clip)]] = list(decoded)
    assert "cannot be read as audio" in reason
    assert clip.waveform.shape == (0,)
    assert clip.frames is None


def test_nothing_to_decode_is_nothing():
    with decoding([]) as decoded:
        assert list(decoded) == []


def test_a_decoder_that_ends_its_process_costs_one_file(tmp_path, in_process, monkeypatch):
    soundfile.write(tmp_path / "good.wav", np.tile(np.int16([9, -9]), 80), 16000)
    (tmp_path / "bad.wav").write_text("no sound")
    monkeypatch.setattr(recording, "read_with_pyav", end)
    batch = [Utterance(name, "a", "happy", tmp_path / f"{name}.wav") for name in ("bad", "good")]
    with decoding([batch], 1) as decoded:
        [[(_, reason), (_, clip)]] = list(decoded)
    assert "bad.wav ended the process that decodes it (exit status 9)" in reason
    assert clip.waveform.max() == 9
