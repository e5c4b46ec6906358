"""Tests of pipelines.audio.long_recording: long recordings block by block, the same samples as read at once."""

import numpy as np
import pytest
import soundfile

from pipelines import isolation
from pipelines.audio.long_recording import read_blocks
from pipelines.audio.recording import CHANGED, read_recording
from pipelines.command import InputError

SECONDS = 7


def tone(sample_rate, seconds=SECONDS, level=0.5):
    times = np.arange(seconds * sample_rate) / sample_rate
    return (level * np.sin(2 * np.pi * 300 * times) * (0.5 + 0.5 * np.sin(times))).astype(np.float32)


def joined(path, block_seconds=2.0):
    blocks = list(read_blocks(path, block_seconds))
    return np.concatenate([block.waveform for block in blocks]), [note for block in blocks for note in block.notes]


def levelled(waveform):
    return waveform / np.abs(waveform).max()


@pytest.mark.parametrize(("suffix", "sample_rate"), [("wav", 48000), ("wav", 16000), ("flac", 44100), ("mp3", 44100)])
def test_blocks_are_the_recording_as_it_is_read_at_once(tmp_path, suffix, sample_rate):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(sample_rate), sample_rate)
    found, _ = joined(path)
    whole = read_recording(path).waveform.astype(np.float32)
    assert abs(len(found) - len(whole)) <= 2
    length = min(len(found), len(whole))
    np.testing.assert_allclose(levelled(found)[:length], levelled(whole)[:length], atol=2e-3)


def test_blocks_have_the_length_that_was_asked_for(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    lengths = [len(block.waveform) for block in read_blocks(tmp_path / "tone.wav", 2.0)]
    assert lengths == [32000, 32000, 32000, 16000, 0]


def test_the_level_stays_that_of_the_file(tmp_path):
    soundfile.write(tmp_path / "soft.wav", tone(16000, level=0.01), 16000, subtype="FLOAT")
    found, _ = joined(tmp_path / "soft.wav")
    assert 0.009 < np.abs(found).max() < 0.011


def test_a_dead_channel_is_left_out_and_told_once(tmp_path):
    stereo = np.stack([tone(16000), np.zeros(SECONDS * 16000, np.float32)], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16000)
    found, notes = joined(tmp_path / "stereo.wav")
    assert sum("holds no sound beside the other" in note for note in notes) == 1
    np.testing.assert_allclose(levelled(found), levelled(tone(16000)), atol=2e-2)


def test_a_cut_header_is_refused_before_anything_is_read(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    content = (tmp_path / "tone.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut off"):
        next(read_blocks(tmp_path / "cut.wav"))


def test_what_only_the_end_shows_becomes_a_note(tmp_path):
    soundfile.write(tmp_path / "tone.mp3", tone(44100), 44100)
    content = (tmp_path / "tone.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(content[: int(0.6 * len(content))])
    with pytest.raises(InputError, match="cut off"):
        read_recording(tmp_path / "cut.mp3")
    found, notes = joined(tmp_path / "cut.mp3")
    assert any("what could be read ends here" in note for note in notes)
    assert 3 * 16000 < len(found) < 5 * 16000


def test_samples_that_no_recording_has_end_it_with_a_note(tmp_path):
    samples = tone(16000)
    samples[5 * 16000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    found, notes = joined(tmp_path / "nan.wav")
    assert len(found) == 4 * 16000
    assert any("NaN" in note for note in notes)


@pytest.mark.parametrize(("content", "sentence"), [(b"", "empty file"), (b"no sound at all" * 9, "cannot be read")])
def test_what_is_no_recording_is_refused(tmp_path, content, sentence):
    (tmp_path / "clip.wav").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        next(read_blocks(tmp_path / "clip.wav"))


def test_another_process_yields_the_same_blocks(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(16000), 16000)
    here, there = read_blocks(tmp_path / "tone.wav"), isolation.iterate_file(read_blocks, tmp_path / "tone.wav")
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.waveform, other.waveform)


def test_flac_whose_decoder_loses_its_way_gets_a_sentence(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).standard_normal(32000) / 10, 16000)
    content = path.read_bytes()
    path.write_bytes(content[:14000] + bytes(400) + content[14400:])
    with pytest.raises(soundfile.SoundFileError):
        soundfile.read(path)
    with pytest.raises(InputError, match=r"cut off or damaged 2\.0 s before its end"):
        list(read_blocks(path, 0.5))


def test_a_long_recording_that_is_written_to_meanwhile_is_said(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16000), 16000)
    blocks = read_blocks(path, 2.0)
    first = next(blocks)
    with path.open("ab") as file:
        file.write(bytes(3200))
    rest = list(blocks)
    assert rest[-1].notes == (CHANGED,)
    assert sum(len(block.waveform) for block in (first, *rest)) == SECONDS * 16000
