"""Tests of pipelines.survey: measures of recordings as they stand in their files, and of records."""

import numpy as np
import pytest
import soundfile

from pipelines import survey
from pipelines.audio.file_facts import measure
from pipelines.audio.sound import Sound
from pipelines.utterance import Corpus, Utterance


def tone(seconds=1.0, rate=16000, level=0.1):
    return level * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def facts_of(channels, rate=16000):
    samples = np.asarray(channels, np.float32).T.reshape(-1, len(channels))
    return measure(Sound(samples, rate, encoding="WAV PCM_16"))


def test_facts_are_those_of_the_file_before_it_is_mixed():
    facts = facts_of([tone(), 0.25 + tone()], 8000)
    assert (facts.encoding, facts.sample_rate, facts.num_channels, facts.seconds) == ("WAV PCM_16", 8000, 2, 2.0)
    assert facts.offset == pytest.approx(0.25, abs=1e-3)
    assert facts.peak == pytest.approx(0.35, abs=1e-3)
    assert facts.flat_share == 0.0


def test_flat_tops_are_counted_and_single_peaks_are_not():
    assert facts_of([np.clip(tone(level=0.9), -0.5, 0.5)]).flat_share == pytest.approx(0.62, abs=0.02)
    assert facts_of([tone(level=0.9)]).flat_share == 0.0
    assert facts_of([np.round(tone(level=0.9) * 32768) / 32768]).flat_share == 0.0
    assert facts_of([np.round(tone(level=0.0001) * 32768) / 32768]).flat_share == 0.0  # Three steps are flat anyway.


@pytest.fixture
def corpus(tmp_path):
    """A tone of -20 dB with noise of -60 dB around it, and a sentence without a recording."""
    rng = np.random.default_rng(0)
    quiet = 0.001 * rng.standard_normal(16000)
    quiet[4000:12000] += tone(0.5, level=0.1 * 2**0.5)
    soundfile.write(tmp_path / "a.wav", quiet, 16000)
    (tmp_path / "b.wav").write_text("no sound")
    utterances = (
        Utterance("a", "x", "happy", tmp_path / "a.wav"),
        Utterance("b", "x", "sad", tmp_path / "b.wav", place="line 3"),
        Utterance("c", "y", "sad"),
    )
    return Corpus("mine", tmp_path, "", ("happy", "sad"), utterances)


def test_loudness_floor_and_ends_are_measured_in_decibels_of_full_scale(corpus, in_process):
    found = survey.survey_corpus(corpus)
    row = found.clips.set_index("utterance_id").loc["a"]
    assert row["level_db"] == pytest.approx(-20, abs=0.5)
    assert row["floor_db"] == pytest.approx(-60, abs=1.5)
    assert row["silent_start"] == pytest.approx(0.25, abs=0.02)
    assert row["silent_end"] == pytest.approx(0.25, abs=0.02)
    assert row["encoding"] == "WAV PCM_16"


def test_what_cannot_be_read_is_named_with_its_place(corpus, in_process):
    found = survey.survey_corpus(corpus)
    assert list(found.clips["utterance_id"]) == ["a", "c"]
    assert found.clips["seconds"].isna().tolist() == [False, True]
    assert list(found.unreadable) == ["b"]
    assert found.unreadable["b"].startswith("line 3: ")


@pytest.mark.parametrize("records", ["three_speaker_records", "noise_records"])
def test_records_are_measured_with_and_without_their_samples(records, request):
    found = survey.survey_records(request.getfixturevalue(records))
    assert found.is_of_records
    assert found.clips["utterance_id"].is_monotonic_increasing
    assert found.clips["seconds"].between(0.1, 6).all()
    assert found.clips["floor_db"].between(survey.LEAST_DB, 0).all()
    assert ("snr_db" in found.clips) == (records == "three_speaker_records")
    assert "sample_rate" not in found.clips
