"""Tests of pipelines.audio.recording: any recording to one waveform at one level."""

import struct

import numpy as np
import pytest
import soundfile
from test_container import KINDS, encode
from test_isolation import end

from pipelines import audio
from pipelines.audio import recording
from pipelines.audio.channels import CANCELLED, DEAD
from pipelines.audio.container import GAP
from pipelines.audio.recording import CHANGED, LEVEL, OPEN, OTHER_TRACK, SHORT
from pipelines.command import InputError

PEAK = round(32768 * LEVEL)


def noise(num_samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def tone(frequency_hz, seconds=1.0, sample_rate=16000):
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)


def spectrum_peaks(waveform):
    """Finds the loudest band of frames in the middle."""
    front_end, batch = audio.FrontEnd(trim_db=None), waveform[np.newaxis].astype(np.float32)
    features, _ = audio.frame_features(batch, front_end, ["log_mel"])
    return features["log_mel"].numpy()[0, 20:80].argmax(axis=1)


def read(path, samples=None, sample_rate=16000, **options):
    if samples is not None:
        soundfile.write(path, samples, sample_rate, **options)
    return audio.read_recording(path)


# Samples.


def test_samples_are_read_to_half_a_step_at_minus_1_db(tmp_path):
    samples = np.random.default_rng(0).integers(-20000, 20000, 1000).astype(np.int16)
    found = read(tmp_path / "a.wav", samples)
    centred = samples - samples.mean()
    assert np.abs(found.waveform.astype(int)).max() == PEAK
    np.testing.assert_allclose(found.waveform, centred * 32768 * LEVEL / np.abs(centred).max(), atol=0.51)
    assert found.peak == pytest.approx(np.abs(centred).max() / 32768)
    assert (found.notes, found.has_pictures) == ((), False)
    np.testing.assert_array_equal(audio.decode(tmp_path / "a.wav"), found.waveform)


@pytest.mark.parametrize("gain_db", [6, -6, -20, -30, -45])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
def test_a_softer_recording_gives_the_same_samples(tmp_path, gain_db, subtype):
    gain = 10 ** (gain_db / 20)
    plain = read(tmp_path / "a.wav", noise(8000), 22050, subtype="DOUBLE")
    softer = read(tmp_path / "b.wav", gain * noise(8000).astype(np.float64), 22050, subtype=subtype)
    np.testing.assert_allclose(softer.waveform, plain.waveform, atol=1 if gain_db > -45 or subtype == "FLOAT" else 2)
    assert softer.peak == pytest.approx(gain * plain.peak, rel=1e-2)


@pytest.mark.parametrize("offset", [0.02, -0.1, 0.4])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_an_offset_changes_nothing(tmp_path, offset, sample_rate):
    plain = read(tmp_path / "a.wav", noise(8000), sample_rate, subtype="FLOAT")
    shifted = read(tmp_path / "b.wav", noise(8000) + np.float32(offset), sample_rate, subtype="FLOAT")
    np.testing.assert_allclose(shifted.waveform, plain.waveform, atol=1)
    assert shifted.peak == pytest.approx(plain.peak, rel=1e-5)


@pytest.mark.parametrize(("subtype", "decibels"), [("PCM_24", -70), ("FLOAT", -75), ("PCM_16", -50)])
def test_a_soft_recording_of_fine_samples_reads_like_a_loud_one(tmp_path, subtype, decibels):
    samples = noise(8000) / np.abs(noise(8000)).max()
    loud = read(tmp_path / "a.wav", 0.5 * samples, subtype=subtype)
    soft = read(tmp_path / "b.wav", 10 ** (decibels / 20) * samples, subtype=subtype)
    assert not soft.is_silent
    assert soft.bits == (16 if subtype == "PCM_16" else 24)
    steps = 2 ** (soft.bits - 1) * soft.peak  # The rounding of the file itself is raised, too.
    np.testing.assert_allclose(soft.waveform, loud.waveform, atol=32768 / steps + 1)


@pytest.mark.parametrize(("subtype", "decibels"), [("FLOAT", -80.1), ("PCM_24", -81), ("PCM_16", -61)])
def test_what_is_softer_is_silence(tmp_path, subtype, decibels):
    samples = noise(8000) / np.abs(noise(8000)).max()
    assert read(tmp_path / "a.wav", 10 ** (decibels / 20) * samples, subtype=subtype).is_silent


def test_silence_is_not_raised_and_a_constant_is_silence(tmp_path):
    hiss = np.random.default_rng(0).integers(-30, 31, 4000).astype(np.int16)
    found = read(tmp_path / "a.wav", hiss)
    assert np.abs(found.waveform.astype(int) - hiss).max() <= 1
    assert found.is_silent
    for sample_rate in (16000, 44100):  # Resampled first, a constant would begin and end in a click.
        constant = read(tmp_path / "b.wav", np.full(4000, 0.3), sample_rate)
        assert not constant.waveform.any()
        assert constant.peak == 0.0


def test_floating_point_samples_out_of_range_are_not_clipped(tmp_path):
    samples = np.float32([0.5, 1.0, 3.0, -3.0, -1.0, -0.5])
    expected = np.rint(samples / 3 * 32768 * LEVEL)
    assert read(tmp_path / "a.wav", samples, subtype="FLOAT").waveform.tolist() == expected.tolist()


@pytest.mark.parametrize("sample_rate", [8000, 11025, 22050, 24400, 44100, 48000, 96000])
def test_any_sample_rate_becomes_16_khz(tmp_path, sample_rate):
    waveform = read(tmp_path / "a.wav", tone(440, 1.0, sample_rate), sample_rate).waveform
    assert len(waveform) == pytest.approx(16000, abs=1)
    middle = waveform[1000:15000] / np.abs(waveform[1000:15000]).max()
    np.testing.assert_allclose(middle, 2 * tone(440)[1000:15000], atol=4e-3)


def test_channels_are_mixed_before_they_are_levelled(tmp_path):
    two = np.stack([noise(999), noise(999, 1)], axis=1)
    found = read(tmp_path / "a.wav", two, subtype="FLOAT")
    mono = two.mean(axis=1) - two.mean()
    np.testing.assert_allclose(found.waveform, mono * PEAK / np.abs(mono).max(), atol=1)
    for other, note in ((-two[:, 0], CANCELLED), (np.zeros(999), DEAD)):
        found = read(tmp_path / "a.wav", np.stack([two[:, 0], other], axis=1), subtype="FLOAT")
        alone = read(tmp_path / "b.wav", two[:, 0], subtype="FLOAT")
        np.testing.assert_allclose(found.waveform, alone.waveform, atol=1)
        assert (found.notes, found.peak) == ((note,), pytest.approx(alone.peak, rel=1e-5))


@pytest.mark.parametrize("kind", ["WAVEX", "FLAC"])
def test_surround_sound_is_mixed_as_its_layout_says(tmp_path, kind):
    channels = np.zeros((4000, 6))
    channels[:, 2], channels[:, 3] = noise(4000), 0.8 * np.sin(np.arange(4000))  # Front centre, low frequencies.
    found = read(tmp_path / "a.wav", channels, format=kind)
    np.testing.assert_allclose(found.waveform, read(tmp_path / "b.wav", noise(4000)).waveform, atol=3)


def test_channels_that_no_layout_names_count_alike(tmp_path, monkeypatch):
    channels = np.stack([noise(4000, seed) for seed in range(4)], axis=1)
    expected = read(tmp_path / "a.wav", channels.mean(axis=1), subtype="FLOAT").waveform
    for kind in ("WAV", "MAT5"):  # Of which PyAV knows one.
        found = read(tmp_path / "b.wav", channels, format=kind, subtype="FLOAT")
        np.testing.assert_allclose(found.waveform, expected, atol=2)


def test_a_part_of_a_recording_is_levelled_as_it_is(tmp_path):
    samples = np.concatenate([noise(16000), 0.01 * noise(16000, 1)])
    alone = read(tmp_path / "a.wav", samples[16000:], subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", samples, 16000, subtype="FLOAT")
    part = audio.read_recording(tmp_path / "b.wav", span=(1.0, 2.0), longest_seconds=1.5)
    np.testing.assert_array_equal(part.waveform, alone.waveform)
    with pytest.raises(InputError, match=r"b\.wav is 2 s long, and an utterance has at most 1\.5 s"):
        audio.read_recording(tmp_path / "b.wav", longest_seconds=1.5)


# Kinds of files.


@pytest.mark.parametrize(
    ("name", "container"),
    [("a.flac", "FLAC"), ("a.ogg", "OGG"), ("a.mp3", "MP3"), ("a.aiff", "AIFF"), ("aiff_inside.wav", "AIFF")],
)
def test_every_container_gives_the_same_waveform(tmp_path, name, container):
    stereo = np.stack([tone(440, 1.0, 48000)] * 2, axis=1)
    soundfile.write(tmp_path / name, stereo, 48000, format=container)
    waveform = audio.decode(tmp_path / name) / 32768
    assert len(waveform) == pytest.approx(16000, abs=700)  # mp3 may pad
    np.testing.assert_array_equal(spectrum_peaks(waveform), spectrum_peaks(tone(440)))


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.mp4", "recording"])
@pytest.mark.parametrize("kind", ["ipod", "adts", "amr", "webm", "asf", "mpegts"])
def test_what_soundfile_does_not_know_goes_to_pyav_whatever_it_is_called(tmp_path, capfd, kind, name):
    found = read(encode(tmp_path / name, kind))
    assert len(found.waveform) == pytest.approx(32000, abs=1100)
    assert (found.notes, found.has_pictures) == ((OPEN,) if kind in ("adts", "amr", "mpegts") else (), False)
    assert capfd.readouterr().err == ""


def test_a_video_says_so(tmp_path):
    assert read(encode(tmp_path / "a.wav", "matroska", pictures=50)).has_pictures
    assert audio.holds_pictures(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.mp4", noise(999), 16000, format="WAV")
    assert not audio.holds_pictures(tmp_path / "b.mp4")
    assert not audio.holds_pictures(tmp_path / "absent.mp4")


def test_a_silent_track_is_passed_over(tmp_path):
    rate = KINDS["matroska"][1]
    silent, loud = np.zeros((1, 2 * rate)), tone(300, 2, rate)[np.newaxis]
    for tracks, notes, is_silent in (
        ([silent, loud], (OTHER_TRACK,), False),
        ([silent, silent, loud], (OTHER_TRACK,), False),
        ([loud, silent], (), False),
        ([silent, silent], (), True),
    ):
        found = read(encode(tmp_path / "a.mka", "matroska", tracks))
        assert (found.notes, found.is_silent) == (notes, is_silent)


# Lengths.


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AU", "NIST", "AIFF", "FLAC", "OGG", "MP3", "CAF"])
def test_a_recording_that_was_cut_off_is_refused(tmp_path, kind):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(440, 2.0), 16000, format=kind)
    assert audio.read_recording(path).notes == ()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a\.wav is cut off"):
        audio.decode(path)


@pytest.mark.parametrize("kind", ["ipod", "webm", "matroska", "ogg", "asf", "flv", "avi", "mp3", "wav", "tta"])
def test_so_is_one_of_a_telephone(tmp_path, kind):
    path = encode(tmp_path / "a.wav", kind)
    assert read(path).notes == ()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=r"a\.wav is cut off"):
        audio.decode(path)


@pytest.mark.parametrize("fragments", [{"movflags": "frag_every_frame+empty_moov"}, {"movflags": "faststart"}])
def test_an_mp4_whose_index_comes_first_is_refused_where_it_is_cut_off(tmp_path, fragments):
    path = encode(tmp_path / "a.m4a", "ipod", options=fragments)
    assert read(path).notes == ()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=r"a\.m4a is cut off"):
        audio.decode(path)


def wav_with(offset, content, samples=None):
    """Packs a wav whose header is changed at one place."""
    data = (samples if samples is not None else np.tile(np.int16([99, -99]), 50)).tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        16000,
        32000,
        2,
        16,
        b"data",
        len(data),
    )
    packed = bytearray(head + data)
    packed[offset : offset + len(content)] = content
    return bytes(packed)


@pytest.mark.parametrize(
    ("stated", "notes"),
    [(0, OPEN), (2**32 - 1, OPEN), (2**31 - 1, OPEN), (0x7FFFF000, OPEN), (299, SHORT), (236, SHORT)],
)
def test_a_wav_of_another_length_than_stated_is_read_to_its_end_and_said(tmp_path, stated, notes):
    (tmp_path / "a.wav").write_bytes(wav_with(40, struct.pack("<I", stated)))
    found = audio.read_recording(tmp_path / "a.wav")
    assert found.waveform.tolist() == [PEAK, -PEAK] * 50
    assert found.notes == (notes,)


def test_an_mp3_without_a_frame_count_is_read_whole_and_said(tmp_path):
    path = encode(tmp_path / "a.mp3", "mp3")
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\xff\xfb", content.index(b"Info")) :])
    found = read(path)
    assert len(found.waveform) == pytest.approx(32000, abs=1100)
    assert found.notes == (OPEN,)


def test_a_stream_with_a_gap_keeps_its_length_and_says_so(tmp_path):
    found = read(encode(tmp_path / "a.ogg", "ogg", tone(300, 4, 48000)[np.newaxis], left_out=(1.04, 2.0)))
    assert len(found.waveform) == pytest.approx(64000, abs=400)
    assert found.notes == (GAP,)


def test_several_streams_in_one_ogg_file_are_all_read(tmp_path):
    path = tmp_path / "a.ogg"
    soundfile.write(path, tone(300), 16000)
    path.write_bytes(2 * path.read_bytes())
    assert len(read(path).waveform) == pytest.approx(32000, abs=400)


def test_a_long_recording_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "LONGEST_SECONDS", 600.0)
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(601 * 1000, np.int16), 1000)
    monkeypatch.delattr(soundfile.SoundFile, "read")
    with pytest.raises(InputError, match=r"a\.flac is 601 s long, and an utterance has at most 600 s: cut it up"):
        audio.decode(path)


# What is refused.


def test_integers_written_as_floating_point_samples_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", 20000 * tone(440), 16000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav holds samples up to 1e\+04, not from -1 to 1"):
        audio.decode(tmp_path / "a.wav")


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [np.inf, -np.inf]])
def test_nan_and_infinite_samples_are_refused(tmp_path, bad):
    samples = np.stack([noise(100)] * 2, axis=1)
    samples[50, : len(bad)] = bad
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(InputError, match="NaN or infinite"):
        audio.decode(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"Kids are talking by the door", "cannot be read as audio"),
        (wav_with(24, struct.pack("<I", 0)), "cannot be read as audio"),
        (wav_with(24, struct.pack("<I", 1)), "states a sample rate of 1 Hz"),
        (wav_with(0, b"", np.zeros(0, np.int16)), "holds no samples"),
        (wav_with(24, struct.pack("<I", 192000), np.zeros(2, np.int16)), "holds no samples"),
        (wav_with(40, struct.pack("<I", 9999)), "is cut off"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_name(tmp_path, content, message):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.wav {message}"):
        audio.decode(tmp_path / "a.wav")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.wav does not exist"):
        audio.decode(tmp_path / "absent.wav")
    with pytest.raises(InputError, match="is not a file"):
        audio.decode(tmp_path)


def test_a_decoder_that_ends_its_process_costs_one_file(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.m4a", "ipod")
    with monkeypatch.context() as patched:
        patched.setattr(recording, "read_with_pyav", end)
        with pytest.raises(InputError, match=r"a\.m4a ended the process that decodes it \(exit status 9\)"):
            audio.decode(path)
    assert len(audio.decode(path)) == pytest.approx(32000, abs=1100)


# Real recordings.


@pytest.mark.real_data
def test_the_original_recordings_read_like_their_flac_copies(real_data):
    paths = sorted((real_data / "ravdess_original_wav").rglob("*.wav"))
    assert len(paths) == 8
    for path in paths:
        copy = real_data / "ravdess" / path.parent.name / f"{path.stem}.flac"
        np.testing.assert_array_equal(audio.decode(path), audio.decode(copy))
        assert audio.read_recording(path).notes == ()


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "seconds", "notes"),
    [
        ("aac.m4a", 3.0, ()),
        ("browser.wav", 3.0, (OPEN,)),
        ("cbr_no_xing.mp3", 3.1, (OPEN,)),
        ("vbr_no_xing_10s.mp3", 10.0, (OPEN,)),
        ("gap.ogg", 4.0, (GAP,)),
        ("gsm.wav", 26426 / 8000, ()),
        ("unclosed.wav", 3.0, (OPEN,)),
        ("trimmed.mp4", 2.9, ()),
    ],
)
def test_odd_files_are_read_whole(real_data, name, seconds, notes):
    found = audio.read_recording(real_data / "odd_files" / name)
    assert len(found.waveform) / 16000 == pytest.approx(seconds, abs=0.09)
    assert found.notes == notes


def growing(monkeypatch, path):
    """Lets a file grow while it is read."""
    read, content = recording.read_with_soundfile, path.read_bytes()

    def read_and_append(*arguments):
        with path.open("ab") as file:
            file.write(content[len(content) // 2 :])
        return read(*arguments)

    monkeypatch.setattr(recording, "read_with_soundfile", read_and_append)


def test_a_file_that_grows_while_it_is_read_is_answered_and_said(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(32000) / 9), 16000)
    whole = audio.read_recording(path)
    growing(monkeypatch, path)
    found = audio.read_recording(path)
    assert found.notes == (CHANGED,)
    np.testing.assert_array_equal(found.waveform, whole.waveform)


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_a_file_that_is_not_written_to_its_end_yet_is_to_be_waited_for(tmp_path, monkeypatch, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "mp3":  # Its size says more than its count of frames.
        soundfile.write(path, 0.1 * np.sin(np.arange(32000) / 9), 16000)
    else:
        path.write_text("no sound yet")
    growing(monkeypatch, path)
    with pytest.raises(InputError, match=rf"a\.{kind} is being written to: wait until that has ended"):
        audio.read_recording(path)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ccut.au", "cut.webm"])
def test_odd_files_that_were_cut_off_are_refused(real_data, name):
    with pytest.raises(InputError, match=f"{name} is cut off"):
        audio.decode(real_data / "odd_files" / name)


@pytest.mark.real_data
def test_gsm_and_its_samples_are_the_same_speech(real_data):
    coded, samples = (audio.decode(real_data / "odd_files" / name) for name in ("gsm.wav", "gsm_as_pcm.wav"))
    np.testing.assert_allclose(coded[:-200], samples[: len(coded) - 200], atol=3)


@pytest.mark.parametrize("kind", ["int16", "int32", "float32", "float64", "uint8", "int8"])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_samples_are_read_as_a_file_that_holds_them(tmp_path, kind, channels):
    rng = np.random.default_rng(0)
    wide = 0.2 * rng.standard_normal((9000, 1)).clip(-3, 3) * np.linspace(0.5, 1, channels)
    subtype = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}.get(kind, "PCM_U8")
    soundfile.write(tmp_path / "a.wav", wide, 22050, subtype=subtype)
    if kind in ("uint8", "int8"):
        scaled = np.rint(128 * soundfile.read(tmp_path / "a.wav", always_2d=True)[0]) + 128 * (kind == "uint8")
        samples = scaled.astype(kind)
    else:
        samples, _ = soundfile.read(tmp_path / "a.wav", dtype=kind, always_2d=True)
    expected, found = recording.read_recording(tmp_path / "a.wav"), recording.from_samples(samples, 22050)
    np.testing.assert_allclose(found.waveform, expected.waveform, atol=1)
    assert (found.bits, found.notes) == (expected.bits, expected.notes)
    assert found.peak == pytest.approx(expected.peak)


@pytest.mark.parametrize(
    ("samples", "rate", "sentence"),
    [
        (np.zeros(0), 16000, "holds no samples"),
        (np.zeros((0, 2)), 16000, "holds no samples"),
        (np.zeros((2, 100)), 16000, r"has the shape \[2, 100\]: give \[num_samples\], or"),
        (np.zeros((2, 2, 2)), 16000, "has the shape"),
        (np.array(1.0), 16000, "has the shape"),
        (np.array([0.1, np.nan]), 16000, "holds NaN or infinite samples"),
        (np.array([0.1, 1e300]), 16000, "holds NaN or infinite samples"),
        (np.array([0.0, 20000.0]), 16000, "holds samples up to 2e\\+04, not from -1 to 1"),
        (np.zeros(100, np.int64), 16000, "holds int64: give floating-point samples from -1 to 1, or int16"),
        (np.zeros(100), 200, "states a sample rate of 200 Hz"),
        (np.zeros(100), float("nan"), "states a sample rate of nan Hz"),
        (np.zeros(100), float("inf"), "states a sample rate of inf Hz"),
        (np.zeros(601 * 1000), 1000, "is 601 s long"),
    ],
)
def test_samples_that_no_recording_has_get_a_sentence(samples, rate, sentence):
    with pytest.raises(InputError, match=f"^the array .*{sentence}"):
        recording.from_samples(samples, rate)
