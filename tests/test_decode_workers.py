"""Tests of pipelines.records.decode_workers: batches come back in order, whole, whatever is wrong with a recording."""

import numpy as np
import pytest
import soundfile

from pipelines.records.decode_workers import decoding
from pipelines.utterance import Segment, Utterance


@pytest.fixture
def batches(tmp_path):
    """Seven batches of one to seven utterances whose constant sound is their number."""
    made, number = [], 0
    for size in range(1, 8):
        batch = []
        for _ in range(size):
            path = tmp_path / f"{number}.wav"
            soundfile.write(path, np.full(160, number, np.int16), 16000)
            batch.append(Utterance(str(number), "a", "happy", path))
            number += 1
        made.append(batch)
    return made


@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_come_back_in_order_with_their_own_sound(batches, num_workers):
    with decoding(batches, num_workers) as decoded:
        found = list(decoded)
    assert [[utterance for utterance, _ in batch] for batch in found] == batches
    assert all((clip.waveform == int(utterance.utterance_id)).all() for batch in found for utterance, clip in batch)


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


def test_segments_of_one_file_come_back_each_with_its_own_sound(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.repeat(np.arange(4, dtype=np.int16), 16000), 16000)
    batch = [Utterance(str(number), "a", "happy", path, segment=Segment(number, number + 1)) for number in range(5)]
    with decoding([batch], 1) as decoded:
        [[*pairs, (_, reason)]] = list(decoded)
    assert [set(clip.waveform.tolist()) for _, clip in pairs] == [{0}, {1}, {2}, {3}]
    assert "the segment 4-5 of" in reason
