"""Tests of pipelines.audio.file_header: what headers state, of whole, cut and streamed files of every kind."""

import struct

import numpy as np
import pytest
import soundfile

from pipelines.audio.file_header import Length, read_header

SAMPLES = np.random.default_rng(0).integers(-9999, 9999, 8000).astype(np.int16)

KINDS = ("WAV", "WAVEX", "RF64", "W64", "AU", "NIST", "AIFF", "CAF", "SVX")

# Where the length stands behind a word, and how: of those kinds whose header may leave it open.
FIELDS = {
    "WAV": (b"data", 4, "<I"),
    "RF64": (b"ds64", 16, "<Q"),
    "W64": (b"data", 16, "<Q"),
    "AU": (b".snd", 8, ">I"),
    "AIFF": (b"SSND", 4, ">I"),
    "CAF": (b"data", 4, ">q"),
}


def write(path, kind, subtype="PCM_16"):
    soundfile.write(path, SAMPLES, 16000, format=kind, subtype=subtype)
    return path


def state(path, kind, length):
    """Writes another length into a header."""
    word, offset, layout = FIELDS[kind]
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.index(word) + offset, length)
    path.write_bytes(content)


def cut(path, num_bytes):
    path.write_bytes(path.read_bytes()[:-num_bytes])


@pytest.mark.parametrize("kind", [*KINDS, "OGG"])
def test_a_file_is_whole_or_cut_by_what_its_header_states_and_not_by_its_name(tmp_path, kind):
    path = write(tmp_path / "a.bin", kind, "VORBIS" if kind == "OGG" else "PCM_16")
    assert read_header(path).length is Length.WHOLE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert read_header(path).length is Length.CUT


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_missing_bytes_are_forgiven(tmp_path, kind):
    path = write(tmp_path / "a.bin", kind)
    cut(path, 99)
    assert read_header(path).length is Length.SHORT
    cut(path, 1)
    assert read_header(path).length is Length.CUT


@pytest.mark.parametrize("length", [0, 2**31 - 1, 2**31 - 4096, 2**32 - 1, 2**32 - 4096])
@pytest.mark.parametrize("kind", FIELDS)
def test_a_length_that_was_never_written_is_open(tmp_path, kind, length):
    check_open(tmp_path, kind, length)


@pytest.mark.parametrize(("kind", "length"), [("RF64", 2**64 - 1), ("W64", 2**64 - 1), ("W64", 2**63 - 1), ("CAF", -1)])
def test_so_is_a_long_one(tmp_path, kind, length):
    check_open(tmp_path, kind, length)


def check_open(tmp_path, kind, length):
    path = write(tmp_path / "a.bin", kind)
    state(path, kind, length)
    header = read_header(path)
    assert header.length is Length.OPEN
    if header.mend is not None:  # Then it is as it was.
        place, content = header.mend
        expected = write(tmp_path / "b.bin", kind).read_bytes()
        assert expected[place : place + len(content)] == content


def test_a_wav_without_samples_is_no_open_one(tmp_path):
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    empty = head + struct.pack("<4sI", b"data", 0)
    for content in (empty, empty + struct.pack("<4sI8s", b"LIST", 8, b"INFOabcd")):
        (tmp_path / "a.wav").write_bytes(content)
        assert read_header(tmp_path / "a.wav").length is Length.WHOLE


def test_a_codec_of_blocks_states_how_many_samples_are_sound(tmp_path):
    header = read_header(write(tmp_path / "a.wav", "WAV", "MS_ADPCM"))
    assert header.num_frames == 8000
    assert header.tail(8132) == 132
    assert header.tail(8000) == header.tail(7000) == header.tail(80_000) == 0  # The last states something else.
    assert read_header(write(tmp_path / "b.wav", "WAV", "FLOAT")).num_frames == 0


def test_several_streams_in_one_ogg_file_are_noticed(tmp_path):
    path = write(tmp_path / "a.ogg", "OGG", "VORBIS")
    assert not read_header(path).is_chained
    path.write_bytes(2 * path.read_bytes())
    header = read_header(path)
    assert (header.length, header.is_chained) == (Length.WHOLE, True)


def boxes(*contents):
    return b"".join(struct.pack(">I4s", 8 + len(content), name) + content for name, content in contents)


def test_the_boxes_of_an_mp4_end_where_the_file_does(tmp_path):
    path = tmp_path / "a.mp4"
    whole = boxes((b"ftyp", b"isom"), (b"moov", bytes(50))) + struct.pack(">I4sQ", 1, b"mdat", 16 + 500) + bytes(500)
    for content, length in (
        (whole, Length.WHOLE),
        (whole[:-1], Length.CUT),
        (whole + boxes((b"moof", bytes(50))), Length.CUT),
        (boxes((b"ftyp", b"isom")) + struct.pack(">I4s", 0, b"mdat") + bytes(9), Length.WHOLE),
    ):
        path.write_bytes(content)
        assert read_header(path).length is length


def test_the_segment_of_a_webm_may_be_open(tmp_path):
    path = tmp_path / "a.webm"
    start = bytes.fromhex("1A45DFA3 84") + b"webm" + bytes.fromhex("18538067")
    for content, length in (
        (start + bytes.fromhex("420A") + bytes(0x20A), Length.WHOLE),
        (start + bytes.fromhex("420A") + bytes(100), Length.CUT),
        (start + bytes.fromhex("01FFFFFFFFFFFFFF") + bytes(100), Length.OPEN),
        (start + bytes.fromhex("FF") + bytes(100), Length.OPEN),
    ):
        path.write_bytes(content)
        assert read_header(path).length is length


@pytest.mark.parametrize(
    "content",
    [
        b"Kids are talking by the door",
        b"RIFF",
        b"RIFF\0\0\0\0WAVEdata",
        b"RIFF\0\0\0\0WAVE" + bytes(5000),
        b"NIST_1A\n",
        bytes.fromhex("1A45DFA3"),
        b"fLaC" + bytes(100),
    ],
)
def test_what_is_no_header_states_nothing(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert read_header(tmp_path / "a") is None
