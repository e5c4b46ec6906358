"""Tests of pipelines.containers: whole files pass, and those cut anywhere do not, as far as they say their length."""

import io

import numpy as np
import pytest
from test_video import tone, write_video

from pipelines.containers import is_cut_off

av = pytest.importorskip("av")

NOISE = [np.random.default_rng(n).integers(0, 256, (48, 64, 3), np.uint8) for n in range(40)]
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def is_cut(path):
    with av.open(str(path)) as container:
        ends = [
            float((packet.pts + (packet.duration or 0)) * packet.time_base)
            for packet in container.demux()
            if packet.size and packet.pts is not None
        ]
        return is_cut_off(path, container, max(ends, default=0.0))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {"movflags": "faststart"}),
        ("fragments.mp4", FRAGMENTS),
        ("clip.mkv", {}),
        ("clip.avi", {}),
        ("clip.flv", {}),
    ],
)
def test_a_file_is_cut_off_where_it_ends_before_what_it_says(tmp_path, name, options):
    codec = "flv" if name.endswith("flv") else "mpeg4"
    path = write_video(tmp_path / name, NOISE, sound=tone(4), options=options, codec=codec)
    assert not is_cut(path)
    content = path.read_bytes()
    for share in (0.3, 0.5, 0.8):
        path.write_bytes(content[: int(share * len(content))])
        assert is_cut(path), share


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_single_missing_byte_of_an_indexed_file_is_noticed(tmp_path, name):
    path = write_video(tmp_path / name, NOISE, options={"movflags": "faststart"} if name == "clip.mp4" else {})
    path.write_bytes(path.read_bytes()[:-1])
    assert is_cut(path)


def test_a_stream_that_does_not_say_how_long_it_is_is_whole(tmp_path):
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
    assert not is_cut(tmp_path / "browser.webm")


@pytest.mark.real_data
def test_odd_files_are_told_apart(real_data):
    folder = real_data / "odd_files"
    assert is_cut(folder / "cut.webm")
    for name in ("trimmed.mp4", "late_pictures.mp4", "mirrored.mp4", "aac.m4a", "browser.wav"):
        assert not is_cut(folder / name), name
