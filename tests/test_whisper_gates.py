"""Tests of benchmarks.whisper_gates: the sounds are what their names say, and words are counted where they are."""

import numpy as np
import pytest

from benchmarks import whisper_gates
from benchmarks.whisper_gates import SPEECH, Heard, Sound
from pipelines import audio
from pipelines.audio.recording import LEVEL
from pipelines.corpora import ravdess
from pipelines.transcripts.decoding import Decoding
from pipelines.transcripts.gates import Trial, Window

SENTENCE = "Kids are talking by the door."


def heard(kind, speaker, script, *trials, seconds=1.0, is_accepted=True):
    sound = Sound(kind, speaker, script, np.zeros(1, np.int16))
    return Heard(sound, Decoding((Window(trials, is_accepted),), "en", 0.9, "en"), seconds)


def test_sounds_of_speakers_are_clips_and_what_holds_no_words(noise_clips):
    clips = whisper_gates.clips_of_speakers(ravdess.read(noise_clips).utterances, 2)
    assert [len(found) for found in clips.values()] == [2] * 5
    sounds = list(whisper_gates.sounds_of(clips))
    assert {sound.kind for sound in sounds} == {*SPEECH, "made breath", "made laughter", "stuck syllable"}
    assert all(bool(sound.script) == (sound.kind in SPEECH) for sound in sounds)
    assert all(sound.speaker for sound in sounds)
    for sound in sounds:
        if sound.kind != "speech":
            assert np.abs(sound.waveform).max() == pytest.approx(LEVEL * 32768, abs=1)


def test_sounds_of_nobody_are_levelled_and_two_seconds_long():
    sounds = list(whisper_gates.sounds_of_nobody())
    assert len(sounds) == 11
    assert {len(sound.waveform) for sound in sounds} == {2 * audio.SAMPLE_RATE}
    assert all(np.abs(sound.waveform).max() == pytest.approx(LEVEL * 32768, abs=1) for sound in sounds)


def test_ends_are_what_is_before_and_behind_the_words():
    rng = np.random.default_rng(0)
    room = 3 * rng.standard_normal(3 * 16000)
    room[16000:32000] = 8000 * rng.standard_normal(16000)
    before, behind = whisper_gates._ends(room.clip(-32768, 32767).astype(np.int16))
    assert len(before) == pytest.approx(0.95 * 16000, abs=800)
    assert len(behind) == pytest.approx(0.95 * 16000, abs=800)
    assert np.sqrt(np.mean(before.astype(float) ** 2)) > 3000, "brought to its level without the words"


def test_words_are_counted_by_gates():
    thanks = Trial("Thank you.", -1.2, 0.55, 0.6)
    loop = Trial("oh oh oh", -0.1, 0.2, 9.0)
    found = whisper_gates.of_kind(
        [
            heard("breath", "01", "", thanks, is_accepted=False, seconds=1.0),
            heard("breath", "01", "", loop, Trial("oh", -0.5, 0.2, 0.5, 0.2), seconds=3.0),
            heard("breath", "01", "", thanks._replace(no_speech_prob=0.9), is_accepted=False, seconds=2.0),
        ]
    )
    assert found["words"] == {"none": 7, "no_speech_prob": 5, "all": 1}
    assert found["sounds_with_words"] == {"none": 3, "no_speech_prob": 2, "all": 1}
    assert (found["seconds_median"], found["seconds_longest"]) == (2.0, 3.0)
    assert "word_errors" not in found


def test_words_lost_of_speech_are_errors():
    spoken = Trial(SENTENCE, -0.5, 0.1, 0.8)
    found = whisper_gates.of_kind(
        [heard("speech", "01", SENTENCE, spoken), heard("speech", "01", SENTENCE, spoken, is_accepted=False)]
    )
    assert found["word_errors"] == {"none": 0, "no_speech_prob": 0, "all": 6}
    assert found["script_words"] == 12


def test_limits_are_between_speech_and_what_only_the_score_gives_away():
    spoken, breath = Trial(SENTENCE, -0.6, 0.2, 0.8), Trial("Thank you.", -1.2, 0.5, 0.6)
    found = whisper_gates.limits(
        [
            heard("speech", "01", SENTENCE, spoken),
            heard("speech", "02", SENTENCE, spoken._replace(no_speech_prob=0.3)),
            heard("breath", "01", "", breath, is_accepted=False),
            heard("breath", "01", "", breath._replace(no_speech_prob=0.7, avg_logprob=0.0)),
            heard("stuck", "01", "", breath._replace(compression_ratio=9.0, avg_logprob=0.0)),
        ]
    )
    assert found["speech_lowest_score"] == pytest.approx(np.log(0.7) - 0.6, abs=1e-3)
    assert found["rest_highest_score"] == pytest.approx(np.log(0.5) - 1.2, abs=1e-3)
    assert found["speech_highest_no_speech"] == 0.3
    assert (found["share_of_speech_in_its_language"], found["lowest_language_probability"]) == (1.0, 0.9)


def test_sentences_that_repeat_themselves_are_counted():
    sentences = ["Oh my God!", "", "Wait, wait, wait, wait, wait.", "Go! " * 12]
    found = {"sentences": 3, "too_repetitive": 1, "too_repetitive_behind_repetition": 2}
    assert whisper_gates.repetitive(sentences) == found


@pytest.mark.slow
def test_the_command_writes_a_part_a_model(noise_clips, whisper_checkpoint, tmp_path, monkeypatch):
    written = {}
    row = "1,Oh no!,A,joy,positive,0,0,1,1,0,1\n"
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}_sent_emo.csv").write_text(head + row)
    monkeypatch.setattr(whisper_gates, "write_result", lambda name, result: written.update({name: result}))
    flags = ["--models", str(whisper_checkpoint), "--clips", "1", "--device", "cpu", "--meld", str(tmp_path)]
    whisper_gates.main(["--source", str(noise_clips), *flags])
    measured = written["whisper_gates"]["models"]["tiny.pt"]
    assert measured["speakers_to_choose_on"] == ["01", "03", "05"]
    assert measured["kinds"]["speech"]["sounds"] == 2
    assert measured["kinds"]["tone, hum, clicks, noise"]["words"]["all"] == 11 * 6
