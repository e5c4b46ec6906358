"""Tests of pipelines.video: which pictures are taken, where they are cropped, and what is said of damaged files."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio, video
from pipelines.clips import read_clip
from pipelines.command import InputError
from pipelines.video import VideoSettings

av = pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")

FACELESS = VideoSettings(num_frames=4, size=32)


def grey(level, width=64, height=48):
    return np.full((height, width, 3), level, np.uint8)


def write_video(path, pictures, times=None, sound=None, options=None, codec="mpeg4", sound_start=0, settings=None):
    """A real file of MPEG-4 pictures, 10 a second or at given times in ms, and of AAC sound at 48 kHz."""
    with av.open(str(path), "w", options=options or {}) as container:
        if pictures:
            settings = {"qscale": "2", "b": "4000000"} if codec == "mpeg4" and settings is None else settings
            stream = container.add_stream(codec, rate=10, options=settings or {})
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        if sound is not None:
            audio_codec = "libopus" if path.suffix == ".webm" else "aac"
            audio_stream = container.add_stream(audio_codec, rate=48000, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts, frame.time_base = times[number] if times else 100 * number, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        if pictures:
            container.mux(stream.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[np.newaxis].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, round(48000 * sound_start), Fraction(1, 48000)
            container.mux(audio_stream.encode(frame))
            container.mux(audio_stream.encode())
    return path


def tone(seconds, rate=48000):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


def levels(frames, settings=FACELESS):
    """The mean grey of each picture, from 0 to 255."""
    return 255 * video.to_array(frames.images, settings).mean(axis=(1, 2, 3))


def write_matrix(path, a, b, c, d):
    """Writes into an mp4 file how its pictures are to be turned: (x, y) goes to (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    fixed = [a * 0x10000, b * 0x10000, 0, c * 0x10000, d * 0x10000, 0, 0, 0, 0x40000000]
    content[place : place + 36] = np.array(fixed, ">i4").tobytes()
    path.write_bytes(content)
    return path


def test_the_spoken_part_lies_between_silent_ends_with_a_margin():
    waveform = np.zeros(32000, np.int16)
    waveform[8000:24000] = 32767 * tone(1, 16000)
    assert video.spoken_span(waveform) == pytest.approx((0.45, 1.55))


def test_soft_ends_below_30_db_are_no_speech_and_an_offset_is_none():
    waveform = np.full(32000, 5000, np.int16)
    waveform[8000:24000] += (20000 * tone(1, 16000)).astype(np.int16)
    waveform[:4000] += (500 * tone(0.25, 16000)).astype(np.int16)
    assert video.spoken_span(waveform) == pytest.approx((0.45, 1.55))


def test_the_threshold_of_silence_decides_where_the_spoken_part_begins_and_which_pictures_are_taken(tmp_path):
    sound = np.concatenate([0.1 * tone(1), tone(1)])  # The first second is 20 dB softer.
    waveform = (32767 * sound[::3]).astype(np.int16)
    assert video.spoken_span(waveform) == video.spoken_span(waveform, 30.0) == (0.0, 2.0)
    assert video.spoken_span(waveform, 10.0) == pytest.approx((0.95, 2.0))
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)], sound=sound)
    assert levels(read_clip(path, path, FACELESS).frames) == pytest.approx([20, 70, 120, 170], abs=4)
    assert levels(read_clip(path, path, FACELESS, 10.0).frames) == pytest.approx([100, 130, 160, 180], abs=14)


@pytest.mark.parametrize("waveform", [np.zeros(0, np.int16), np.zeros(16000, np.int16), np.ones(100, np.int16)])
def test_silence_has_no_spoken_part(waveform):
    assert video.spoken_span(waveform) is None


def test_pictures_are_those_shown_in_the_middle_of_equal_pieces(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)])  # Of 2 s, a new grey each 0.1 s.
    assert levels(video.read_frames(path, FACELESS)) == pytest.approx([20, 70, 120, 170], abs=4)
    assert levels(video.read_frames(path, FACELESS, (0.4, 0.8))) == pytest.approx([40, 50, 60, 70], abs=4)


def test_pictures_follow_the_times_of_the_file_not_their_number(tmp_path):
    times = [0, 1000, 1500, 1600, 1700, 1800, 1900]
    path = write_video(tmp_path / "clip.mp4", [grey(30 * n) for n in range(7)], times)
    found = levels(video.read_frames(path, FACELESS, (0.0, 1.6)))  # At 0.2, 0.6, 1.0 and 1.4 s.
    assert found == pytest.approx([0, 0, 30, 30], abs=4)
    assert levels(video.read_frames(path, FACELESS, (1.5, 1.9))) == pytest.approx([60, 90, 120, 150], abs=4)


def test_a_clock_that_does_not_start_at_zero_changes_nothing(tmp_path):
    pictures = [grey(10 * n) for n in range(20)]
    path = write_video(tmp_path / "late.mkv", pictures, [10_000 + 100 * n for n in range(20)])
    assert levels(video.read_frames(path, FACELESS)) == pytest.approx([20, 70, 120, 170], abs=4)
    assert video.length_of(path).end == pytest.approx(2.0, abs=0.15)


def test_a_spoken_part_behind_the_pictures_gives_way_to_the_whole_clip(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [grey(10 * n) for n in range(20)])
    whole = levels(video.read_frames(path, FACELESS))
    np.testing.assert_array_equal(levels(video.read_frames(path, FACELESS, (5.0, 6.0))), whole)
    assert levels(video.read_frames(path, FACELESS, (1.6, 9.0))) == pytest.approx([160, 170, 180, 190], abs=4)


def test_one_picture_stands_for_all_and_says_so(tmp_path):
    frames = video.read_frames(write_video(tmp_path / "clip.mp4", [grey(90)]), FACELESS)
    assert frames.num_pictures == 1
    assert levels(frames) == pytest.approx([90] * 4, abs=3)
    assert len(set(frames.images)) == 1


def test_rotated_pictures_are_turned_upright(tmp_path):
    picture = grey(0, 320, 240)
    picture[:, :160] = 250  # Bright on the left; turned clockwise, above.
    path = write_video(tmp_path / "clip.mp4", [picture] * 4)
    upright = video.to_array(video.read_frames(path, FACELESS).images, FACELESS)[0, :, :, 0]
    write_matrix(path, 0, 1, -1, 0)  # By 90 degrees, clockwise, as telephones do.
    turned = video.to_array(video.read_frames(path, FACELESS).images, FACELESS)[0, :, :, 0]
    assert upright[:, :10].mean() > 0.9 > 0.1 > upright[:, -10:].mean()
    assert turned[:10].mean() > 0.9 > 0.1 > turned[-10:].mean()


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (270, 480), (40, 30)])
def test_any_size_is_read(tmp_path, width, height):
    frames = video.read_frames(write_video(tmp_path / "clip.mp4", [grey(120, width, height)] * 2), FACELESS)
    assert levels(frames) == pytest.approx([120] * 4, abs=3)
    assert frames.num_without_face == 4
    np.testing.assert_allclose(frames.boxes[0], [0.115, 0.115, 0.77, 0.77, 0], atol=0.01)


def test_the_crop_is_a_square_around_the_box_that_stays_in_the_picture():
    picture = np.arange(100 * 200, dtype=np.uint32).reshape(100, 200)
    crop, inside = video._crop(picture, (90, 40, 20, 20))
    np.testing.assert_array_equal(crop, picture[37:63, 87:113])
    assert inside == pytest.approx((3 / 26, 3 / 26, 20 / 26, 20 / 26))
    crop, inside = video._crop(picture, (0, 70, 30, 30))
    np.testing.assert_array_equal(crop, picture[61:, :39])
    assert inside == pytest.approx((0, 9 / 39, 30 / 39, 30 / 39))
    assert video._crop(picture, (0, 0, 100, 100))[0].shape == (100, 100)


def test_a_frame_without_a_face_takes_the_last_box_or_the_first():
    one, other = (1, 2, 30, 30), (5, 6, 30, 30)
    assert video._filled([None, one, None, other, None], (100, 200, 3)) == [one, one, one, other, other]
    assert video._filled([None, None], (100, 200, 3)) == [(75, 25, 50, 50)] * 2


def test_boxes_far_from_most_of_the_clip_are_dropped():
    near = [(10, 10, 40, 40), (12, 10, 42, 42), (8, 12, 40, 40)]
    assert video._without_outliers([*near, (90, 10, 40, 40), (10, 10, 90, 90), None]) == [*near, None, None, None]
    assert video._without_outliers([near[0], (90, 90, 40, 40)]) == [near[0], (90, 90, 40, 40)]


@pytest.mark.parametrize("is_colour", [False, True])
def test_stored_pictures_are_the_same_in_the_graph_and_on_the_host(is_colour):
    settings = VideoSettings(3, 48, is_colour)
    rng = np.random.default_rng(0)
    crops = [cv2.GaussianBlur(rng.integers(0, 256, (90, 90, 3), np.uint8), (9, 9), 3) for _ in range(3)]
    images = [video._to_jpeg(crop, settings) for crop in crops]
    on_host = video.to_array(images, settings)
    eager = video.decode_frames(tf.constant(images), settings)
    [mapped] = tf.data.Dataset.from_tensors(images).map(lambda one: video.decode_frames(one, settings))
    assert mapped.shape == on_host.shape == (3, *settings.shape)
    np.testing.assert_array_equal(eager, mapped)
    np.testing.assert_allclose(eager.numpy() / np.float32(255), on_host, atol=1e-6)
    if is_colour:  # Red is first, as everywhere but in OpenCV.
        red = video._to_jpeg(np.full((9, 9, 3), (0, 0, 255), np.uint8), settings)
        assert video.to_array([red], settings)[0].mean(axis=(0, 1)) == pytest.approx([1, 0, 0], abs=0.02)


def test_no_video_is_zeros():
    expected = np.zeros((4, 32, 32, 1))
    np.testing.assert_array_equal(video.decode_frames(tf.constant([], tf.string), FACELESS), expected)
    np.testing.assert_array_equal(video.to_array([], FACELESS), expected)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"num_frames": 0}, "--video-frames 0 cannot work: give a number from 1"),
        ({"size": 16}, "--video-size 16 cannot work: give pixels from 32"),
    ],
)
def test_settings_that_cannot_work_get_a_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        VideoSettings(**values)


def halve(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_video_cut_in_half_is_named_whether_its_index_is_gone_or_not(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(40)]
    path = write_video(tmp_path / "end.mp4", pictures)
    halve(path)
    with pytest.raises(InputError, match=r"end.mp4 cannot be read as a video \(.*\): it is cut off, .* copy it again"):
        video.read_frames(path, FACELESS)
    path = write_video(tmp_path / "begin.mp4", pictures, options={"movflags": "faststart"})
    halve(path)
    with pytest.raises(InputError, match=r"begin.mp4 is cut off: its pictures end after \d+ of 40 frames; copy"):
        video.read_frames(path, FACELESS)


def test_sound_that_is_cut_off_is_named(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 96000)
    path = write_video(tmp_path / "clip.mp4", [], sound=noise, options={"movflags": "faststart"})
    halve(path)
    with pytest.raises(InputError, match=r"clip.mp4 .*cut off.*; copy it again"):
        audio.decode(path)


def test_files_that_are_no_video_get_a_sentence_each(tmp_path):
    def refused(name, sentence):
        with pytest.raises(InputError, match=sentence):
            video.read_frames(tmp_path / name, FACELESS)

    cv2.imwrite(str(tmp_path / "picture.png"), grey(90))
    (tmp_path / "picture.png").rename(tmp_path / "picture.mp4")
    refused("picture.mp4", "picture.mp4 is a single picture .png., no video: name a video")
    write_video(tmp_path / "sound.mp4", [], sound=tone(1))
    refused("sound.mp4", "sound.mp4 holds no pictures, only sound: name a video")
    (tmp_path / "text.mp4").write_text("no video at all")
    refused("text.mp4", r"text.mp4 cannot be read as a video \(Invalid data")
    (tmp_path / "empty.mp4").touch()
    refused("empty.mp4", "empty.mp4 is an empty file: copy it again")
    refused("absent.mp4", "absent.mp4 does not exist: correct the path")
    (tmp_path / "folder.mp4").mkdir()
    refused("folder.mp4", "folder.mp4 is not a file: correct the path")


@pytest.mark.real_data
def test_a_face_is_found_in_every_still(real_data):
    stills = sorted((real_data / "ravdess_video" / "stills").glob("*.png"))
    found = [video._find_face(cv2.imread(str(path))) for path in stills]
    assert len(stills) == 8
    assert sum(face is not None for face in found) >= 7
