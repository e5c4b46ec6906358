"""Tests of pipelines.video_decoding: times and turns of pictures in files as cameras, phones and editors write them."""

import io
import struct

import numpy as np
import pytest
from test_video import grey, tone, write_matrix, write_video

from pipelines import audio
from pipelines.command import InputError
from pipelines.video_decoding import NoPicturesError, length_of, pictures_at

av = pytest.importorskip("av")
pytest.importorskip("cv2")

RISING = [grey(5 * n) for n in range(40)]
"""Four seconds, a new grey each 0.1 s."""


def levels(path, times):
    return [picture.mean() for picture in pictures_at(path, length_of(path), times, 480)]


def trimmed(path, seconds, target):
    """Cuts the beginning off without encoding anew: the packets stay, and an edit list says what plays."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        streams = {stream.index: container.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - shift,
                    packet.dts - shift,
                    streams[packet.stream_index],
                )
                container.mux(packet)
    return target


@pytest.mark.parametrize("seconds", [0.3, 1.2])  # Within the first group of pictures, and behind it.
def test_a_trimmed_video_shows_what_plays(tmp_path, seconds):
    settings = {"g": "5", "bf": "2"}
    whole = write_video(tmp_path / "whole.mp4", RISING, sound=tone(4), codec="libx264", settings=settings)
    path = trimmed(whole, seconds, tmp_path / "trimmed.mp4")
    found = length_of(path)
    assert found.starts == pytest.approx(np.arange(0, 4 - seconds - 0.01, 0.1), abs=0.002)
    assert found.end == pytest.approx(4 - seconds, abs=0.03)
    times = [0.05, 1.05, 2.05]
    assert levels(path, times) == pytest.approx(levels(whole, np.add(times, seconds)), abs=1)
    assert len(audio.decode(path)) / 16000 == pytest.approx(4 - seconds, abs=0.03)


def test_times_count_from_the_first_sample_whichever_stream_begins_first(tmp_path):
    late = write_video(tmp_path / "late.mp4", RISING[:20], [900 + 100 * n for n in range(20)], tone(3))
    assert length_of(late).starts[[0, -1]] == pytest.approx([0.9, 2.8], abs=0.002)
    assert levels(late, [0.2, 0.95, 1.95]) == pytest.approx([0, 0, 50], abs=4)
    early = write_video(tmp_path / "early.mp4", RISING[:20], sound=tone(1), sound_start=0.5)
    assert length_of(early).starts[0] == pytest.approx(-0.5, abs=0.03)
    assert levels(early, [-0.45, 0.55]) == pytest.approx([0, 50], abs=4)


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.webm", "libvpx")])
def test_containers_agree_on_when_pictures_are_shown(tmp_path, name, codec):
    path = write_video(tmp_path / name, RISING, sound=tone(4), codec=codec, settings={"crf": "4"})
    # Containers round to milliseconds, and some count the samples with which a decoder of sound begins.
    np.testing.assert_allclose(length_of(path).starts, np.arange(40) / 10, atol=0.025)
    assert levels(path, [0.05, 1.05, 3.95]) == pytest.approx([0, 50, 195], abs=4)


def test_the_last_picture_of_a_variable_rate_stays_while_there_is_sound(tmp_path):
    path = write_video(tmp_path / "clip.mp4", RISING[:5], [0, 100, 200, 300, 1000], tone(3))
    assert length_of(path).end == pytest.approx(3, abs=0.03)
    assert levels(path, [0.05, 0.9, 1.1, 2.9]) == pytest.approx([0, 15, 20, 20], abs=4)


def test_the_last_picture_stays_as_long_as_matroska_says(tmp_path):
    path = write_video(tmp_path / "clip.mkv", RISING[:5])
    content = path.read_bytes()
    place = content.index(b"\x44\x89\x88") + 3  # Duration, eight bytes, milliseconds.
    path.write_bytes(content[:place] + struct.pack(">d", 3000.0) + content[place + 8 :])
    assert length_of(path).end == 3.0
    assert levels(path, [0.45, 2.9]) == pytest.approx([20, 20], abs=4)


def test_the_last_picture_counts_where_nothing_says_how_long(tmp_path):
    path = write_video(tmp_path / "clip.mp4", RISING[:5], [0, 100, 200, 300, 400])
    assert length_of(path).end == pytest.approx(0.5, abs=0.01)
    assert length_of(write_video(tmp_path / "one.mp4", RISING[:1])).end > 0


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
        ((-1, 0, 0, 1), (0, 1)),
        ((1, 0, 0, -1), (1, 0)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (1, 1)),
    ],
)
def test_pictures_are_turned_and_mirrored_as_the_matrix_says(tmp_path, matrix, corner):
    """The picture is white above on the left, and grey above on the right."""
    picture = grey(0, 64, 48)
    picture[:24, :32], picture[:24, 32:] = 250, 120
    path = write_matrix(write_video(tmp_path / "clip.mp4", [picture] * 2), *matrix)
    [turned] = pictures_at(path, length_of(path), [0.0], 480)
    a, b = matrix[:2]
    assert turned.shape == ((48, 64, 3) if a else (64, 48, 3))
    assert turned.flags.c_contiguous
    quarters = np.array([[half.mean() for half in np.split(row, 2, axis=1)] for row in np.split(turned, 2, axis=0)])
    assert quarters[corner] == pytest.approx(250, abs=4)
    row, column = corner[0] + (b or 0), corner[1] + (a or 0)  # Where the matrix leads to the right of white.
    assert quarters[row, column] == pytest.approx(120, abs=4)


def test_av1_is_decoded(tmp_path, monkeypatch):
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV writes no AV1")
    monkeypatch.setenv("SVT_LOG", "0")
    for name in ("clip.mp4", "clip.webm"):
        path = write_video(tmp_path / name, RISING[:20], codec="libsvtav1")
        assert levels(path, [0.25, 1.95]) == pytest.approx([10, 95], abs=4)


def test_large_pictures_are_shrunk_and_times_of_one_picture_share_it(tmp_path):
    path = write_video(tmp_path / "clip.mp4", [grey(50, 640, 480), grey(90, 640, 480)])
    first, second, third = pictures_at(path, length_of(path), [0.01, 0.05, 0.15], 240)
    assert first is second is not third
    assert first.shape == third.shape == (240, 320, 3)


def test_a_few_damaged_pictures_cost_themselves_and_many_the_file(tmp_path):
    def write_damaged(name, numbers):
        path = write_video(tmp_path / name, RISING, codec="mpeg4", settings={"g": "1"})
        with av.open(str(path)) as container:
            # PyAV frees the entries with the file.
            entries = [(entry.pos, entry.size) for entry in container.streams.video[0].index_entries]
        content = bytearray(path.read_bytes())
        for number in numbers:
            begin, size = entries[number]
            content[begin : begin + size] = bytes(size)
        path.write_bytes(content)
        return path

    found = levels(write_damaged("few.mp4", [20, 21]), [1.95, 2.05, 2.25])
    assert found == pytest.approx([95, 95, 110], abs=4)
    many = write_damaged("many.mp4", range(10, 40))
    with pytest.raises(InputError, match=r"many\.mp4 cannot be read as a video .*damaged"):
        levels(many, [3.95])


def test_sound_alone_is_told_from_a_video_also_where_it_has_a_cover(tmp_path):
    path = write_video(tmp_path / "sound.mp4", [], sound=tone(1))
    with pytest.raises(NoPicturesError, match=r"sound\.mp4 holds no pictures, only sound: name a video"):
        length_of(path)
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(tone(1)[np.newaxis].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*sound.encode(frame), *sound.encode()])
        container.mux([*cover.encode(av.VideoFrame.from_ndarray(grey(9), format="bgr24")), *cover.encode()])
    with pytest.raises(NoPicturesError):
        length_of(tmp_path / "song.mp4")


def test_pictures_without_times_get_a_sentence(tmp_path):
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in RISING[:5]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"raw\.h264 holds no pictures with times: copy it again, or convert it"):
        length_of(path)


@pytest.mark.real_data
def test_odd_videos_show_what_plays(real_data):
    def read(name, times=()):
        path = real_data / "odd_files" / name
        found = length_of(path)
        return found, pictures_at(path, found, times, 480)

    found, _ = read("trimmed.mp4")
    assert (len(found.starts), found.starts[0]) == (72, 0.0)
    found, pictures = read("late_pictures.mp4", np.linspace(0.9, 2.88, 8))
    assert found.starts[[0, -1]] == pytest.approx([0.89, 2.85], abs=0.01)
    assert len({picture.tobytes() for picture in pictures}) == 8
    _, [mirrored] = read("mirrored.mp4", [0.0])
    with av.open(str(real_data / "odd_files" / "mirrored.mp4")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="bgr24")
    np.testing.assert_array_equal(mirrored, stored[:, ::-1])


NOISE = [np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in range(40)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"movflags": "faststart"}),
        ("fragments.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("clip.mkv", {}),
        ("clip.avi", {}),
        ("clip.wmv", {}),
        ("clip.flv", {}),
    ],
)
def test_a_video_is_cut_off_where_it_ends_before_what_it_says(tmp_path, name, options):
    codec = "flv" if name.endswith("flv") else "mpeg4"
    path = write_video(tmp_path / name, NOISE, sound=tone(4), options=options, codec=codec)
    assert len(length_of(path).starts) == 40
    content = path.read_bytes()
    for share in (0.3, 0.5, 0.8):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match="cut off"):
            length_of(path)


@pytest.mark.parametrize(("name", "options"), [("clip.mp4", {"movflags": "faststart"}), ("clip.mkv", {})])
def test_a_single_missing_byte_of_an_indexed_video_is_noticed(tmp_path, name, options):
    path = write_video(tmp_path / name, NOISE, options=options)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is cut off"):
        length_of(path)


def test_a_video_that_does_not_say_how_long_it_is_is_whole(tmp_path):
    class Pipe(io.RawIOBase):
        """Takes bytes and cannot go back, as browsers record."""

        content = b""

        def writable(self):
            return True

        def write(self, data):
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for picture in NOISE[:10]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    assert b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" in pipe.content
    (tmp_path / "browser.webm").write_bytes(pipe.content)
    assert len(length_of(tmp_path / "browser.webm").starts) == 10
