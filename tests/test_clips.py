"""Tests of pipelines.clips: audio and video of one utterance, and which frames the audio chooses."""

import os

import numpy as np
import pytest
import soundfile
from test_video import FACELESS, grey, tone, write_video

from pipelines import audio, clips, video
from pipelines.clips import read_clip, read_waveform
from pipelines.command import InputError
from pipelines.utterance import Segment
from pipelines.video import VideoSettings


def test_a_recording_has_samples_and_no_frames_whatever_is_read_of_videos(tmp_path):
    soundfile.write(tmp_path / "clip.wav", tone(1, 16000), 16000)
    for settings in (None, FACELESS):
        clip = read_clip(tmp_path / "clip.wav", None, settings)
        np.testing.assert_array_equal(clip.waveform, audio.decode(tmp_path / "clip.wav"))
        assert clip.frames is None


def test_an_utterance_without_files_has_no_samples():
    clip = read_clip(None, None, FACELESS)
    assert (clip.waveform.shape, clip.waveform.dtype, clip.frames) == ((0,), np.int16, None)


def test_the_audio_of_a_video_is_decoded_and_decides_which_pictures_are_taken(tmp_path):
    sound = np.concatenate([np.zeros(24000), tone(1), np.zeros(24000)])
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)], sound=sound)
    clip = read_clip(path, path, FACELESS)
    assert len(clip.waveform) == pytest.approx(32000, abs=1100)  # AAC comes in packets of 1024 at 48 kHz.
    begin, end = video.spoken_span(clip.waveform)
    assert (begin, end) == pytest.approx((0.45, 1.55), abs=0.05)
    expected = video.read_frames(path, FACELESS, (begin, end))
    assert clip.frames.images == expected.images
    np.testing.assert_array_equal(audio.decode(path), clip.waveform)


def test_a_video_without_audio_has_pictures_and_no_samples(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)])
    clip = read_clip(path, path, FACELESS)
    assert clip.waveform.shape == (0,)
    assert clip.frames.images == video.read_frames(path, FACELESS).images
    with pytest.raises(InputError, match=r"clip.mp4 holds pictures alone, and no sound: name a recording"):
        read_clip(path, path, None)


@pytest.mark.real_data
def test_the_real_clip_shows_a_face_in_nearly_every_crop_and_the_audio_of_the_recording(real_data):
    [path] = (real_data / "ravdess_video").glob("*.mp4")
    clip = read_clip(path, path, VideoSettings())
    assert clip.frames.num_without_face <= 1
    assert clip.frames.num_pictures == 16
    recorded = audio.decode(real_data / "ravdess" / "Actor_01" / f"03{path.stem[2:]}.flac")
    assert video.spoken_span(clip.waveform) == pytest.approx(video.spoken_span(recorded), abs=0.03)


def ramp(path, seconds=3):
    """Writes a recording whose every sample is its number, modulo 20,000."""
    soundfile.write(path, (np.arange(seconds * 16000) % 20000).astype(np.int16), 16000)
    return path


def test_a_segment_is_what_lies_between_its_seconds(tmp_path):
    path = ramp(tmp_path / "clip.wav")
    whole = audio.decode(path)
    for segment, expected in {
        Segment(1.0, 2.5): whole[16000:40000],
        Segment(0.0, 0.5): whole[:8000],
        Segment(2.75): whole[44000:],
        Segment(0.0, 3.05): whole,
    }.items():
        np.testing.assert_array_equal(read_clip(path, None, None, segment=segment).waveform, expected)


@pytest.mark.parametrize("segment", [Segment(3.0), Segment(4.0, 5.0), Segment(1.0, 3.2)])
def test_a_segment_outside_of_its_file_is_refused(tmp_path, segment):
    path = ramp(tmp_path / "clip.wav")
    with pytest.raises(InputError, match=rf"the segment {segment} of .*clip\.wav lies outside of the file, .* 3\.00 s"):
        read_waveform(path, segment)


def test_segments_of_a_file_decode_it_once_and_a_changed_file_again(tmp_path, monkeypatch):
    path, count = ramp(tmp_path / "clip.wav"), []
    monkeypatch.setattr(clips, "decode", lambda path: count.append(path) or audio.decode(path))
    for start in range(3):
        assert read_waveform(path, Segment(start, start + 1))[0] == 16000 * start % 20000
    assert len(count) == 1
    soundfile.write(path, np.full(16000, 7, np.int16), 16000)
    os.utime(path, (0, 0))
    assert read_waveform(path, Segment(0.5))[0] == 7
    assert len(count) == 2


def test_pictures_of_a_segment_are_those_shown_while_it_is_spoken(tmp_path):
    silence = np.zeros(24000)  # Half a second.
    sound = np.concatenate([tone(1), silence, silence, tone(0.5), silence, silence])
    path = write_video(tmp_path / "clip.mp4", [grey(7 * n) for n in range(35)], sound=sound)
    clip = read_clip(path, path, FACELESS, segment=Segment(1.25, 3.0))
    assert len(clip.waveform) == 28000
    begin, end = video.spoken_span(clip.waveform)
    assert clip.frames.images == video.read_frames(path, FACELESS, (1.25 + begin, 1.25 + end)).images
    silent = read_clip(path, path, FACELESS, segment=Segment(1.2, 1.8))
    assert silent.frames.images == video.read_frames(path, FACELESS, (1.2, 1.8)).images


def test_a_segment_of_a_video_without_audio_must_lie_in_it_too(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)])
    clip = read_clip(path, path, FACELESS, segment=Segment(1.0))
    assert clip.frames.images == video.read_frames(path, FACELESS, (1.0, 2.0)).images
    with pytest.raises(InputError, match=r"the segment 5-6 of .*clip\.mp4 lies outside of the file"):
        read_clip(path, path, FACELESS, segment=Segment(5.0, 6.0))
