"""Tests of pipelines.audio.container: sound out of what phones, messengers and browsers record."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from pipelines.audio import container
from pipelines.audio.container import (
    DAMAGED,
    GAP,
    SHORTER,
    has_pictures,
    open_container,
    read_track,
    read_track_in_blocks,
)
from pipelines.audio.sound import Extent, NoSoundError
from pipelines.command import InputError

# Container -> codec and rate.
KINDS = {
    "ipod": ("aac", 48000),
    "adts": ("aac", 44100),
    "amr": ("libopencore_amrnb", 8000),
    "3gp": ("libopencore_amrnb", 8000),
    "webm": ("libopus", 48000),
    "matroska": ("libopus", 48000),
    "ogg": ("libopus", 48000),
    "asf": ("wmav2", 44100),
    "mpegts": ("aac", 48000),
    "mpeg": ("mp2", 48000),
    "flv": ("aac", 44100),
    "ac3": ("ac3", 48000),
    "avi": ("libmp3lame", 44100),
    "mp3": ("libmp3lame", 44100),
    "wav": ("libmp3lame", 44100),
    "caf": ("alac", 44100),
    "flac": ("flac", 48000),
    "tta": ("tta", 44100),
}

# Those that state how long they are, in their header or in each of their parts.
STATED = ("ipod", "3gp", "webm", "matroska", "ogg", "asf", "flv", "avi", "mp3", "wav", "caf", "flac", "tta")


def tone(seconds, rate, hz=300):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(path, kind, samples=None, layout="mono", *, left_out=(0, 0), pictures=0, options=None):
    """Writes sound [num_channels, num_samples] or a list of tracks of it, and pictures, one each 40 ms.

    Args:
      left_out: Between these seconds packets are left out.
    """
    codec, rate = KINDS[kind]
    samples = tone(2, rate)[np.newaxis] if samples is None else samples
    tracks = samples if isinstance(samples, list) else [samples]
    with av.open(str(path), "w", format=kind, options=options or {}) as file:
        if pictures:
            video = file.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = [
            file.add_stream(codec, rate=rate, layout=layout, bit_rate=12200 if rate == 8000 else 64000) for _ in tracks
        ]
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * number % 255, np.uint8), format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        if pictures:
            file.mux(video.encode())
        packets = [
            packet for stream, track in zip(streams, tracks, strict=True) for packet in packed(stream, track, layout)
        ]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            if not left_out[0] <= packet.pts * packet.time_base < left_out[1]:
                file.mux(packet)
    return path


def packed(stream, samples, layout):
    codec = stream.codec_context
    if not codec.is_open:
        codec.open()
    resampler = av.AudioResampler(codec.format.name, layout, codec.rate, codec.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = codec.rate, 0, Fraction(1, codec.rate)
    frames = [*resampler.resample(frame), *resampler.resample(None), None]
    return [packet for one in frames for packet in stream.encode(one) if packet.size]


def read(path, *extent, track=0):
    return read_track(path, Extent(*extent), track)


def seconds_of(sound):
    return len(sound.channels) / sound.sample_rate


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_by_its_content(tmp_path, kind):
    sound = read(encode(tmp_path / "a.txt", kind))
    assert seconds_of(sound) == pytest.approx(2, abs=0.07)
    middle = sound.channels[sound.sample_rate // 2 : -sound.sample_rate // 2, 0]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * sound.sample_rate / len(middle) == pytest.approx(300, abs=2)
    assert (sound.notes, sound.num_tracks, sound.has_pictures) == ((), 1, False)


@pytest.mark.parametrize("kind", ["flv", "flac", "tta", "mp3"])
def test_a_file_that_ends_before_its_stated_length_is_refused(tmp_path, kind):
    path = encode(tmp_path / "a", kind)
    assert read(path).is_length_stated
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a is cut off: it ends after (0\.\d|1\.0) of 2\.0 s"):
        read(path)


@pytest.mark.parametrize("kind", ["adts", "amr", "ac3", "mpegts", "mpeg"])
def test_an_estimated_length_is_none(tmp_path, kind):
    path = encode(tmp_path / "a", kind)
    assert not read(path, 0.0, 9.0, 60.0).is_length_stated
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert seconds_of(read(path)) == pytest.approx(1, abs=0.1)


def without_frame_count(path):
    """Takes the first frame of an MP3 away, which holds no sound but its length."""
    content = path.read_bytes()
    first = content.index(b"\xff\xfb", content.index(b"Info") if b"Info" in content else content.index(b"Xing"))
    path.write_bytes(content[first:])


def test_an_mp3_of_variable_rate_without_a_frame_count_is_read_whole(tmp_path):
    # Silence first: what FFmpeg estimates from the first frames is far too long.
    samples = np.concatenate([np.zeros(44100 * 3, np.float32), tone(3, 44100)])[np.newaxis]
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libmp3lame", rate=44100, layout="mono")
        stream.codec_context.global_quality, stream.codec_context.flags = 118 * 4, 2
        file.mux(packed(stream, samples, "mono"))
    assert read(path).is_length_stated
    without_frame_count(path)
    sound = read(path, 0.0, 99.0, 10.0)
    assert seconds_of(sound) == pytest.approx(6, abs=0.1)
    assert not sound.is_length_stated


@pytest.mark.parametrize("kind", ["ipod", "webm", "ogg", "flv", "mpegts"])
def test_a_gap_keeps_its_place_in_time(tmp_path, kind):
    rate = KINDS[kind][1]
    samples = np.concatenate([tone(2.5, rate), np.zeros(rate, np.float32), tone(0.5, rate)])[np.newaxis]
    sound = read(encode(tmp_path / "a", kind, samples, left_out=(1.04, 2.0)))
    assert sound.notes == (GAP,)
    blocks = np.abs(sound.channels[: 4 * rate - rate // 20].reshape(79, -1)).max(axis=1)  # Of 0.05 s.
    assert [blocks[first:end].min() > 0.2 for first, end in ((1, 20), (41, 49), (71, 78))] == [True] * 3
    assert [blocks[first:end].max() < 0.01 for first, end in ((22, 39), (52, 69))] == [True] * 2


def test_one_damaged_packet_is_silence_and_many_are_a_damaged_file(tmp_path):
    path = encode(tmp_path / "a.aac", "adts", tone(5, 44100)[np.newaxis])
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-100])
    sound = read(path)
    assert sound.notes == (DAMAGED,)
    assert seconds_of(sound) == pytest.approx(5, abs=0.1)
    starts = [place for place in range(len(content) - 1) if content[place : place + 2] == b"\xff\xf1"]
    for place in starts[5:60:2]:
        content[place + 7 : place + 60] = b"\xaa" * 53
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds sound that cannot be decoded: it is damaged"):
        read(path)


def frames_of(content):
    """Finds the frames of an MP3 of 44.1 kHz by their heads: places and lengths."""
    rates, place, found = (
        (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
        content.find(b"\xff\xfb"),
        [],
    )
    while place < len(content) - 4 and content[place] == 0xFF:
        third = content[place + 2]
        found.append((place, 144_000 * rates[third >> 4] // 44100 + (third >> 1 & 1)))
        place += found[-1][1]
    return found


def test_a_broken_frame_in_the_middle_of_an_mp3_is_left_out_and_said(tmp_path):
    path = encode(tmp_path / "a.mp3", "mp3", tone(4, 44100)[np.newaxis])
    content, rng = path.read_bytes(), np.random.default_rng(0)
    frames = frames_of(content)
    assert len(frames) > 150
    place, length = frames[len(frames) // 2]
    whole = read(path)
    assert whole.notes == ()
    # The decoder makes samples of tens of thousands of times full scale of such a frame, and no error.
    for broken in (rng.bytes(length - 4), b"\xff" * (length - 4), b"\xaa" * (length - 4)):
        path.write_bytes(content[: place + 4] + broken + content[place + length :])
        sound = read(path)
        assert DAMAGED in sound.notes or np.abs(sound.channels).max() < 1
        assert np.abs(sound.channels).max() <= 8
        assert seconds_of(sound) == pytest.approx(seconds_of(whole), abs=0.06)
        quiet = np.abs(sound.channels[:44100, 0] - whole.channels[:44100, 0])
        assert quiet.max() < 1e-3  # What is not near it is as it was.


def test_a_frame_that_the_resampler_keeps_back_is_not_broken(monkeypatch, tmp_path):
    decoder = container._Decoder(tmp_path, Extent(), is_lossy=True)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16), np.float32), "fltp", "mono")
    frame.sample_rate = 16000
    monkeypatch.setattr(decoder, "_converted", lambda frame: [])
    decoder._take(frame)
    assert (decoder.position, decoder.num_damaged) == (0, 0)


def test_frames_that_are_missing_in_an_mp3_are_said(tmp_path):
    path = encode(tmp_path / "a.mp3", "mp3", tone(4, 44100)[np.newaxis])
    content = path.read_bytes()
    (begin, _), (end, _) = frames_of(content)[60:68:4][:2]
    path.write_bytes(content[:begin] + content[end:])
    sound = read(path)
    assert sound.notes == (SHORTER,)
    *_, last = read_track_in_blocks(path, 1.0)
    assert last.notes == (SHORTER,)


def test_a_part_is_read_alone(tmp_path):
    path = encode(tmp_path / "a.flac", "flac")
    whole = read(path).channels
    part = read(path, 0.5, 1.25)
    np.testing.assert_array_equal(part.channels, whole[24000:60000])
    np.testing.assert_array_equal(read(path, 1.5, 9.0).channels, whole[72000:])


@pytest.mark.parametrize("kind", ["ipod", "webm", "flac"])
def test_a_long_file_that_states_its_length_is_refused_before_it_is_decoded(tmp_path, kind, monkeypatch):
    path = encode(tmp_path / "a", kind)
    monkeypatch.delattr(container._Decoder, "decode")
    with pytest.raises(InputError, match=r"a is 2 s long, and an utterance has at most 1 s"):
        read(path, 0.0, 99.0, 1.0)


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile sound.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsound.wav\n#EXT-X-ENDLIST\n",
    ],
)
@pytest.mark.parametrize("suffix", ["", ".m3u8"])
def test_a_list_of_other_files_reads_none_of_them(tmp_path, content, suffix):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(32000))
    assert read_track(tmp_path / "sound.wav", Extent()).channels.shape == (16000, 1)
    path = tmp_path / f"list{suffix}"
    path.write_text(content)
    with pytest.raises(InputError, match="cannot be read as audio or video"):
        read_track(path, Extent())


def test_a_long_stream_is_refused_when_it_becomes_too_long(tmp_path):
    path = encode(tmp_path / "a.aac", "adts", tone(20, 44100)[np.newaxis])
    with pytest.raises(InputError, match=r"a\.aac is more than 1 s long, and an utterance has at most 1 s"):
        read(path, 0.0, 99.0, 1.0)
    assert seconds_of(read(path, 15.0, 16.0, 1.0)) == pytest.approx(1, abs=1e-4)


def test_tracks_are_read_one_by_one(tmp_path):
    path = encode(tmp_path / "a.mkv", "matroska", [np.zeros((1, 96000)), tone(2, 48000)[np.newaxis]])
    first, second = read(path), read(path, track=1)
    assert first.num_tracks == 2
    assert not np.abs(first.channels).max() > 1e-3
    assert np.abs(second.channels).max() > 0.2


def test_channels_have_the_names_of_their_layout(tmp_path):
    path = encode(tmp_path / "a.ac3", "ac3", np.tile(tone(1, 48000), (6, 1)), "5.1(side)")
    assert read(path).names == ("FL", "FR", "FC", "LFE", "SL", "SR")
    soundfile.write(tmp_path / "a.wav", np.zeros((999, 4)), 16000)
    assert read(tmp_path / "a.wav").names is None


def test_a_video_holds_pictures(tmp_path):
    path = encode(tmp_path / "a.m4a", "ipod")
    assert not has_pictures(path)
    assert has_pictures(encode(tmp_path / "b.webp", "matroska", pictures=5))
    assert read(tmp_path / "b.webp").has_pictures


def test_the_cover_of_a_piece_of_music_is_no_picture(tmp_path):
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, "rgb24", Fraction(1, 25)
    [image] = codec.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24"))
    content = b"\0image/png\0\x03\0" + bytes(image)
    frame = b"APIC" + len(content).to_bytes(4, "big") + bytes(2) + content
    path = encode(tmp_path / "a.mp3", "mp3")
    length = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + length + frame + path.read_bytes())
    with open_container(path) as file:
        assert len(file.streams.video) == 1
    assert not has_pictures(path)
    sound = read(path)
    assert (sound.has_pictures, sound.is_length_stated) == (False, True)  # Its length stands behind the tag.


def test_pictures_alone_are_no_recording(tmp_path):
    path = encode(tmp_path / "a.mkv", "matroska", [], pictures=5)
    with pytest.raises(NoSoundError, match=r"a\.mkv holds pictures alone, and no sound: name a recording"):
        read(path)


@pytest.mark.parametrize("name", ["take:1.m4a", "http:a.m4a", "50%d.m4a", "ümläut 'x'.m4a"])
def test_odd_names_are_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "a", "ipod").rename(tmp_path / name)
    assert seconds_of(read(type(tmp_path)(name))) == pytest.approx(2, abs=0.05)


def test_a_list_of_addresses_opens_none_of_them(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match=r"a\.wav (cannot be read as audio|holds)"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "is an empty file"), (bytes(5000), "cannot be read as audio")],
)
def test_what_is_no_recording_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.wav {message}"):
        read(tmp_path / "a.wav")
