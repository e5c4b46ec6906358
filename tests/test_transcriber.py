"""Tests of pipelines.transcripts.transcriber: the real whisper, with a checkpoint that the test writes."""

import csv
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines import audio
from pipelines.command import InputError
from pipelines.transcripts import transcriber as module
from pipelines.transcripts.transcriber import Transcriber, Transcription, WhisperSettings, is_silent, transcribed
from pipelines.utterance import Corpus, Segment, Utterance
from pipelines.whisper_models import file_sha256

SENTENCE = "Kids are talking by the door."


def noise(seconds=1.0, loudness=3000.0, seed=0):
    return (loudness * np.random.default_rng(seed).standard_normal(round(seconds * 16000))).astype(np.int16)


@pytest.fixture(scope="module")
def settings(whisper_checkpoint):
    return WhisperSettings(str(whisper_checkpoint), device="cpu")


@pytest.fixture(scope="module")
def transcriber(settings):
    return Transcriber(settings)


@pytest.fixture
def clips(tmp_path):
    """Two recordings of noise, a copy of the first, one of silence, one that cannot be read, and one that is not."""
    for number, samples in enumerate([noise(), noise(seed=1), noise(), np.zeros(16000, np.int16)]):
        soundfile.write(tmp_path / f"{number}.wav", samples, 16000)
    (tmp_path / "4.wav").write_text("no sound")
    utterances = tuple(Utterance(str(number), "01", "happy", tmp_path / f"{number}.wav", "oh") for number in range(6))
    return Corpus("clips", tmp_path, "", ("happy", "sad"), utterances)


class Parrot:
    """Says how often it was asked; stands for a model where the cache is what is tested."""

    device = "cpu"
    asked = 0

    def __init__(self, settings=None):
        pass

    def __call__(self, waveform, peak=None):
        Parrot.asked += 1
        return Transcription(f"sound, number {Parrot.asked}", len(waveform) / 16000)


@pytest.fixture
def parrot(monkeypatch):
    monkeypatch.setattr(Parrot, "asked", 0)
    monkeypatch.setattr(module, "Transcriber", Parrot)
    return Parrot


def words(corpus):
    return [utterance.transcript for utterance in corpus.utterances]


def rows(folder):
    [path] = folder.glob("*.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_checkpoint_transcribes_decoded_samples_without_ffmpeg(transcriber, monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = transcriber(noise(1.5))
    assert (found.transcript, found.seconds) == (SENTENCE, 1.5)
    [window] = found.decoding.windows
    assert window.trial.no_speech_prob < 0.01


def test_transcribing_again_gives_the_same_words(transcriber):
    assert transcriber(noise()) == transcriber(noise())


def test_a_recording_longer_than_a_window_is_transcribed_to_its_end(transcriber):
    assert transcriber(noise(31)).transcript == f"{SENTENCE} {SENTENCE}"


def test_what_whisper_takes_for_no_speech_is_dropped_however_sure_it_is(make_whisper):
    found = Transcriber(WhisperSettings(str(make_whisper("Thank you.", is_speech=False)), device="cpu"))(noise())
    assert found.transcript == ""
    [window] = found.decoding.windows
    assert window.trial.no_speech_prob > 0.99
    assert len(window.trials) == 1, "no other temperature can change that"


def test_an_english_model_transcribes_english_and_refuses_other_languages(make_whisper):
    path = str(make_whisper("Oh, no!", is_multilingual=False))
    for language in ("en", "auto"):
        assert Transcriber(WhisperSettings(path, language, "cpu"))(noise()).transcript == "Oh, no!"
    with pytest.raises(InputError, match=r"tiny\.pt is for English only: leave --language out"):
        Transcriber(WhisperSettings(path, "german", "cpu"))


def test_silence_and_snippets_never_reach_the_model(transcriber, monkeypatch):
    monkeypatch.setattr(transcriber, "_decode", None)
    assert transcriber(np.zeros(32000, np.int16)) == Transcription("", 2.0)
    assert transcriber(noise(0.05)) == Transcription("", 0.05)
    assert transcriber(np.zeros(0, np.int16)) == Transcription("", 0.0)


def test_the_gate_is_at_a_tenth_of_a_second_and_65_db():
    assert is_silent(noise(0.0999))
    assert not is_silent(noise(0.1))
    # A sine of peak A has an RMS 3.01 dB below A.
    sine = np.sqrt(2) * 32768 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    assert not is_silent(np.rint(sine * 10 ** (-55 / 20)).astype(np.int16))
    clicks = np.zeros(16000, np.int16)
    clicks[:3] = 1000
    assert is_silent(clicks)
    assert is_silent(np.full(16000, audio.SILENT_PEAK, np.int16))


def test_the_gate_is_at_the_level_of_the_recording_whatever_that_of_its_samples():
    sine = np.rint(29000 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)).astype(np.int16)
    assert not is_silent(sine, 10 ** (-55 / 20))
    assert is_silent(sine, 10 ** (-63 / 20))
    assert is_silent(np.zeros(16000, np.int16), 0.0)


def test_a_recording_that_the_front_end_takes_for_silent_is_silent_here_too():
    sine = np.rint(29000 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)).astype(np.int16)
    for peak in (31.6, 32.4, 32.6):
        assert is_silent(sine, peak / 32768) == audio.is_silent(peak / 32768)


@pytest.mark.parametrize("seconds", [1, 30, 300])
def test_a_long_silence_hides_no_word(seconds):
    word = np.rint(60 * np.sin(2 * np.pi * 200 * np.arange(8000) / 16000)).astype(np.int16)
    waveform = np.concatenate([np.zeros(8000, np.int16), word, np.zeros(seconds * 16000, np.int16)])
    assert not is_silent(waveform)
    assert not is_silent(np.rint(400 * waveform.astype(float)).astype(np.int16), 60 / 32768)


@pytest.mark.real_data
def test_no_clip_of_an_actor_of_ravdess_counts_as_silent(real_data):
    paths = sorted((real_data / "ravdess" / "Actor_05").glob("*.flac"))
    assert len(paths) == 60
    assert not [path.stem for path in paths if is_silent(audio.decode(path))]


def test_words_are_kept_in_a_readable_table_with_the_settings(clips, settings, tmp_path):
    filled = transcribed(clips, settings, tmp_path / "cache")
    assert words(filled) == [SENTENCE, SENTENCE, SENTENCE, "", "", ""]
    first, second, silent = rows(tmp_path / "cache")
    assert [row["utterance_id"] for row in (first, second, silent)] == ["0", "1", "3"]
    assert (first["transcript"], first["model"], first["language"]) == (SENTENCE, "tiny.pt", "en")
    assert (first["seconds"], silent["transcript"], silent["no_speech_prob"]) == ("1.000", "", "")
    assert (first["temperature"], silent["temperature"]) == ("0", "")
    assert float(first["avg_logprob"]) > -0.1
    assert 0 < float(first["compression_ratio"]) < 1
    assert first["audio_sha256"] == file_sha256(clips.utterances[2].audio)
    assert first["model_sha256"] == file_sha256(Path(settings.model))


def test_a_second_run_transcribes_nothing_and_imports_no_whisper(clips, settings, tmp_path, parrot):
    first = transcribed(clips, settings, tmp_path / "cache")
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipelines.transcripts.transcriber import *\n"
        f"utterances = [Utterance(str(n), '01', 'happy', Path({str(tmp_path)!r}) / f'{{n}}.wav') for n in range(6)]\n"
        f"corpus = Corpus('clips', Path(), '', ('happy',), tuple(utterances))\n"
        f"filled = transcribed(corpus, WhisperSettings({settings.model!r}), Path({str(tmp_path / 'cache')!r}))\n"
        "print([one.transcript for one in filled.utterances])\n"
        "print({'torch', 'whisper', 'tensorflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    root = Path(module.__file__).parents[2]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines() == [str(words(first)), "set()"]
    assert parrot.asked == 3


def test_other_settings_are_transcribed_anew_in_a_file_of_their_own(clips, settings, tmp_path, parrot):
    transcribed(clips, settings, tmp_path / "cache")
    transcribed(clips, dataclasses.replace(settings, language="de"), tmp_path / "cache")
    assert parrot.asked == 6
    names = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert [name.removesuffix(".csv").rpartition("-")[2] for name in names] == ["de", "en"]
    transcribed(clips, dataclasses.replace(settings, device="cuda"), tmp_path / "cache")
    assert parrot.asked == 6


def test_other_gates_are_transcribed_anew(clips, settings, tmp_path, parrot, monkeypatch):
    transcribed(clips, settings, tmp_path / "cache")
    monkeypatch.setattr(module, "_GATES", "others")
    transcribed(clips, WhisperSettings(settings.model), tmp_path / "cache")
    assert parrot.asked == 6
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_table_of_before_the_gates_is_left_as_it_is(clips, settings, tmp_path, parrot):
    old = tmp_path / "cache" / f"whisper-tiny.pt-{settings.identity['model_sha256'][:8]}-en.csv"
    old.parent.mkdir()
    old.write_text("audio_sha256,model,transcript\n")
    assert words(transcribed(clips, settings, tmp_path / "cache"))[0] == "sound, number 1"
    assert old.read_text() == "audio_sha256,model,transcript\n"


def test_the_language_of_each_clip_is_stored_and_counted(clips, make_whisper, tmp_path, capsys):
    settings = WhisperSettings(str(make_whisper("Oh, nein!", detects="de")), "auto", "cpu")
    for _ in range(2):
        assert words(transcribed(clips, settings, tmp_path / "cache"))[0] == "Oh, nein!"
        assert "whisper tiny.pt: languages detected in clips with words: de 3\n" in capsys.readouterr().err
    first, _, silent = rows(tmp_path / "cache")
    assert (first["language"], first["used_language"], first["detected_language"]) == ("auto", "de", "de")
    assert float(first["language_probability"]) > 0.9
    assert (silent["used_language"], silent["detected_language"], silent["language_probability"]) == ("", "", "")


def test_clips_in_another_language_than_the_one_told_are_counted(clips, make_whisper, tmp_path, capsys):
    path = str(make_whisper("Oh, no!", detects="de"))
    for language in ("en", "english"):
        transcribed(clips, WhisperSettings(path, language, "cpu"), tmp_path / language)
        error = capsys.readouterr().err
        assert "warning: 3 of 3 clips with words sound like another language than en (de 3): their words" in error
        assert {row["used_language"] for row in rows(tmp_path / language)} == {"en", ""}
    transcribed(clips, WhisperSettings(path, "german", "cpu"), tmp_path / "german")
    assert "language" not in capsys.readouterr().err


def test_a_prediction_is_told_the_language(make_whisper):
    path = str(make_whisper("Oh, no!", detects="de"))
    remarks = {}
    for language in ("en", "de", "auto"):
        transcriber = Transcriber(WhisperSettings(path, language, "cpu"))
        _, *remarks[language] = transcriber.remarks(transcriber(noise()))
    assert remarks["de"] == []
    assert remarks["auto"] == ["the language was detected as de (probability 1.00)"]
    [warning] = remarks["en"]
    assert warning.startswith("the recording sounds like the language de (probability 1.00) and was transcribed as en")


def test_a_changed_recording_is_transcribed_anew(clips, settings, tmp_path, parrot):
    transcribed(clips, settings, tmp_path / "cache")
    soundfile.write(clips.utterances[0].audio, noise(seed=2), 16000)
    assert words(transcribed(clips, settings, tmp_path / "cache"))[0] == "sound, number 4"


def test_segments_of_one_recording_are_transcribed_each_on_its_own(clips, settings, tmp_path, parrot):
    first = clips.utterances[0]
    segments = (None, Segment(0.0, 0.25), Segment(0.25))
    cut = tuple(dataclasses.replace(first, utterance_id=str(one), segment=one) for one in segments)
    corpus = dataclasses.replace(clips, utterances=cut)
    found = words(transcribed(corpus, settings, tmp_path / "cache"))
    assert len(set(found)) == parrot.asked == 3
    seconds = [float(row["seconds"]) for row in rows(tmp_path / "cache")]
    assert seconds[0] == pytest.approx(sum(seconds[1:]))
    assert words(transcribed(corpus, settings, tmp_path / "cache")) == found
    assert parrot.asked == 3


def test_a_run_that_was_stopped_continues_after_the_last_clip(clips, settings, tmp_path, parrot, monkeypatch):
    def stopped(self, waveform, peak):
        if Parrot.asked == 2:
            raise KeyboardInterrupt
        return transcribe(self, waveform, peak)

    transcribe = Parrot.__call__
    monkeypatch.setattr(Parrot, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        transcribed(clips, settings, tmp_path / "cache")
    assert len(rows(tmp_path / "cache")) == 2
    monkeypatch.setattr(Parrot, "__call__", transcribe)
    transcribed(clips, settings, tmp_path / "cache")
    assert (parrot.asked, len(rows(tmp_path / "cache"))) == (3, 3)


def test_a_name_that_is_no_model_leaves_no_folders(clips, tmp_path, parrot):
    transcribed(clips, WhisperSettings("../none/tiny.pt", "a/b"), tmp_path / "cache")
    [path] = (tmp_path / "cache").iterdir()
    assert re.fullmatch(r"whisper-\.\._none_tiny\.pt-[0-9a-f]{8}-a_b\.csv", path.name)


def test_an_unknown_language_gets_a_sentence(settings):
    with pytest.raises(InputError, match="whisper has no language 'klingon': give auto or one of af, "):
        Transcriber(dataclasses.replace(settings, language="klingon"))


def test_whisper_that_is_not_installed_gets_the_command(clips, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(InputError, match=r"whisper is not installed: .*pip install -e '\.\[whisper\]'"):
        transcribed(clips, WhisperSettings(), tmp_path)
