"""Tests of pipelines.clips: audio and video of one utterance, and which frames the audio chooses."""

import numpy as np
import pytest
import soundfile
from test_container import encode
from test_isolation import end
from test_video import FACELESS, grey, tone, write_video

from pipelines import audio, clips, video
from pipelines.audio.channels import DEAD
from pipelines.clips import read_clip
from pipelines.command import InputError
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


@pytest.mark.parametrize("kind", ["WAV", "webm"])
def test_a_file_of_sound_alone_has_no_frames_whatever_it_is_called(tmp_path, kind):
    path = tmp_path / "clip.mp4"
    if kind == "WAV":
        soundfile.write(path, tone(1, 16000), 16000, format=kind)
    else:
        encode(path, kind)
    clip = read_clip(path, path, FACELESS)
    assert len(clip.waveform) >= 16000
    assert clip.frames is None


def test_a_clip_knows_the_peak_of_its_recording_and_what_was_noticed(tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.stack([0.01 * tone(1, 16000), np.zeros(16000)], axis=1), 16000)
    clip = read_clip(tmp_path / "clip.wav", None, None)
    assert np.abs(clip.waveform).max() > 29000
    assert clip.peak == pytest.approx(0.005, abs=1e-4)
    assert clip.notes == (DEAD,)


def test_what_is_too_long_is_refused_with_or_without_sound(tmp_path):
    pictures = [grey(10 * n) for n in range(20)]  # Of 2 s.
    for path in (write_video(tmp_path / "a.mp4", pictures, sound=tone(2)), write_video(tmp_path / "b.mp4", pictures)):
        read_clip(path, path, FACELESS, longest_seconds=2.1)
        with pytest.raises(InputError, match=r"\.mp4 is 2 s long, and an utterance has at most 1 s"):
            read_clip(path, path, FACELESS, longest_seconds=1.0)


def test_pictures_at_which_a_decoder_ends_its_process_cost_one_file(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)])
    with monkeypatch.context() as patched:
        patched.setattr(clips, "_read_frames", end)
        with pytest.raises(InputError, match=r"clip\.mp4 ended the process that decodes it \(exit status 9\)"):
            read_clip(path, path, FACELESS)
    assert read_clip(path, path, FACELESS).frames is not None


@pytest.mark.real_data
def test_the_real_clip_shows_a_face_in_every_crop_and_the_audio_of_the_recording(real_data):
    [path] = (real_data / "ravdess_video").glob("*.mp4")
    clip = read_clip(path, path, VideoSettings())
    assert clip.frames.num_without_face == 0
    assert clip.frames.num_pictures == 16
    recorded = audio.decode(real_data / "ravdess" / "Actor_01" / f"03{path.stem[2:]}.flac")
    assert video.spoken_span(clip.waveform) == pytest.approx(video.spoken_span(recorded), abs=0.03)
