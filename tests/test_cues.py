"""Tests of emotion_tf.evaluation.cues: what tells the label beats chance, and chance does not."""

import numpy as np
import pandas as pd
import pytest

from emotion_tf.evaluation.cues import score_cues


@pytest.fixture
def clips():
    """Twelve speakers, 20 clips each in two emotions, whose measures say nothing."""
    rng = np.random.default_rng(0)
    count = 240
    return pd.DataFrame(
        {
            "speaker": [f"s{number // 20}" for number in range(count)],
            "emotion": ["happy", "sad"] * (count // 2),
            "seconds": rng.uniform(1, 3, count),
            "level_db": rng.normal(-30, 5, count),
            "floor_db": rng.normal(-60, 3, count),
            "sample_rate": 16000,
            "encoding": "WAV PCM_16",
        }
    )


def scores(clips):
    return {one.cue: one for one in score_cues(clips)}


def test_measures_that_say_nothing_read_chance_and_constant_ones_are_left_out(clips):
    found = scores(clips)
    assert list(found) == ["loudness, noise floor and duration", "loudness", "noise floor", "duration"]
    assert all(abs(one.uar - 0.5) < 0.1 for one in found.values())
    assert all(one.chance == 0.5 and one.num_speakers == 12 for one in found.values())


@pytest.mark.parametrize(
    ("column", "sad", "cue"),
    [
        ("floor_db", -50.0, "noise floor"),
        ("level_db", -10.0, "loudness"),
        ("seconds", 4.0, "duration"),
        ("encoding", "FLAC PCM_16", "kind of file"),
        ("sample_rate", 44100, "kind of file"),
    ],
)
def test_a_measure_that_differs_by_emotion_tells_the_label(clips, column, sad, cue):
    clips.loc[clips["emotion"] == "sad", column] = sad
    found = scores(clips)
    assert found[cue].uar > 0.95
    assert found[cue].beats_chance
    others = set(found) - {cue, "loudness, noise floor and duration"}
    assert all(abs(found[other].uar - 0.5) < 0.1 for other in others)


def test_what_tells_the_speaker_alone_is_worth_nothing_on_others(clips):
    clips["emotion"] = np.where(clips["speaker"].isin(["s0", "s1", "s2"]), "sad", "happy")
    clips["level_db"] = clips["speaker"].str[1:].astype(float) * 10 % 7
    assert not scores(clips)["loudness"].beats_chance


def test_two_speakers_have_no_interval_and_one_has_no_score(clips):
    two = clips[clips["speaker"].isin(["s0", "s1"])]
    assert {one.interval for one in score_cues(two)} == {None}
    assert not any(one.beats_chance for one in score_cues(two))
    assert score_cues(clips[clips["speaker"] == "s0"]) == []
    assert score_cues(clips.assign(speaker="")) == []
    assert score_cues(clips.drop(columns="seconds")) == []
