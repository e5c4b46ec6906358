"""Tests of pipelines.records.counters: what is counted of a record by hand, and sums over shards."""

import dataclasses
import json

import numpy as np
import pytest

from pipelines.audio.quality import Quality
from pipelines.clips import Clip
from pipelines.records import Metadata
from pipelines.records.copies import draw_fingerprint
from pipelines.records.counters import Counters
from pipelines.utterance import Utterance
from pipelines.video import Frames

# Samples at one level, and the peak that the recording had.
LOUD, SOFT = (np.full(16000, 999, np.int16), 0.5), (np.full(8000, 999, np.int16), 3e-4)
NOTHING = (np.zeros(0, np.int16), 0.0)


def frames(*has_face):
    boxes = np.array([[0, 0, 1, 1, found] for found in has_face], np.float32)
    return Frames([b"a JPEG"] * len(has_face), boxes, len(has_face))


def counters_of(*clips):
    """Counts clips (name, speaker, emotion, recording, frames of a video, token ids, frames of the log-mel, notes)."""
    counters = Counters()
    for name, speaker, emotion, (waveform, peak), video, num_tokens, num_frames, *notes in clips:
        record = {"token_ids": [2] * num_tokens, "log_mel": np.zeros((num_frames, 64), np.float32)}
        record |= {"audio_sha256": f"hash {len(waveform)}" if peak > 0.001 else "", "video_sha256": ""}
        counters.count(Utterance(name, speaker, emotion), Clip(waveform, video, peak, notes=tuple(notes)), record)
    return counters


ONE = counters_of(
    ("b", "2", "joy|love", LOUD, None, 3, 98, "it has gaps", "it is short"),
    ("c", "2", "joy", SOFT, frames(1, 0), 1, 0),
    ("d", "1", "love", NOTHING, frames(0, 0), 2, 0),
)
OTHER = counters_of(("a", "2", "love", SOFT, frames(0), 1, 99, "it has gaps"))


def test_each_counter_counts_what_its_name_says():
    assert (
        Counters(
            num_utterances=3,
            num_multi_label=1,
            num_without_words=1,
            num_samples=24000,
            longest_frames=98,
            counts={"2": {"joy": 2, "love": 1}, "1": {"love": 1}},
            silent=["c"],
            notes={"it has gaps": ["b"], "it is short": ["b"]},
            num_videos=2,
            num_videos_without_audio=1,
            num_frames_without_face=3,
            without_face=["d"],
            recordings=[["b", "joy|love", "hash 16000", *draw_fingerprint(np.zeros((98, 64), np.float32))]],
        )
        == ONE
    )


def test_counters_of_shards_add_up_to_those_of_all_records():
    total = sum([ONE, OTHER], Counters())
    assert (total.num_utterances, total.num_samples, total.longest_frames) == (4, 32000, 99)
    assert total.counts == {"1": {"love": 1}, "2": {"joy": 2, "love": 2}}
    assert list(total.counts) == ["1", "2"]
    assert total == Counters() + ONE + OTHER
    assert ONE.num_utterances == 3


def test_an_utterance_that_cannot_be_read_counts_as_skipped_and_as_nothing_else():
    counters = Counters()
    counters.skip(Utterance("a", "1", "joy"), "a.wav is cut off")
    assert counters == Counters(skipped=[{"utterance_id": "a", "reason": "a.wav is cut off"}])
    assert (counters + counters).skipped == 2 * counters.skipped


def test_every_counter_is_a_fact_of_the_metadata():
    facts = (ONE + OTHER).facts
    assert facts.keys() <= {field.name for field in dataclasses.fields(Metadata)}
    assert {field.name for field in dataclasses.fields(Counters)} - facts.keys() == {
        "num_samples",
        "recordings",
        "bandwidths",
    }
    assert facts["hours"] == pytest.approx(2 / 3600, abs=1e-4)
    assert facts["notes"] == {"it has gaps": ["a", "b"], "it is short": ["b"]}
    assert (facts["silent"], facts["without_face"], facts["copies"]) == (["a", "c"], ["a", "d"], [])


def test_copies_are_found_across_shards():
    one, other = (("a", "1", "joy", LOUD, None, 3, 98),), (("b", "2", "love", LOUD, None, 3, 98),)
    copies = (counters_of(*one) + counters_of(*other)).facts["copies"]
    assert copies == [{"utterances": ["a", "b"], "emotions": ["joy", "love"], "is_identical": True}]


def test_pictures_are_compared_where_there_are_no_samples():
    counters = Counters()
    for name in "ab":
        record = {
            "token_ids": [2],
            "log_mel": np.zeros((0, 64), np.float32),
            "audio_sha256": "",
            "video_sha256": "same",
        }
        counters.count(Utterance(name, "1", "joy"), Clip(NOTHING[0], frames(1)), record)
    assert counters.facts["copies"] == [{"utterances": ["a", "b"], "emotions": ["joy"], "is_identical": True}]


def counters_of_qualities(*qualities):
    """Counts loud clips of given qualities and words."""
    counters = Counters()
    for quality in qualities:
        record = {"token_ids": [2, 1, 1], "log_mel": np.zeros((0, 64), np.float32), "audio_sha256": ""}
        counters.count(Utterance("a", "1", "joy"), Clip(LOUD[0], peak=LOUD[1], quality=quality), record)
    return counters


def test_findings_add_up_and_narrow_is_what_the_median_is_not():
    wide, narrow = Quality(1.0, bandwidth_hz=7750.0), Quality(1.0, bandwidth_hz=4250.0, hum_hz=50.0)
    one, other = counters_of_qualities(wide, narrow), counters_of_qualities(wide, narrow, wide, Quality(0.1))
    assert (one + other).facts["findings"] == {"hum": 2, "narrow": 2, "short": 1}
    assert (one + other).facts["bandwidth_hz"] == 7750.0
    telephone = counters_of_qualities(narrow, narrow)
    assert (telephone.facts["findings"], telephone.facts["bandwidth_hz"]) == ({"hum": 2}, 4250.0)
    assert (Counters().facts["findings"], Counters().facts["bandwidth_hz"]) == ({}, None)
    assert Counters(**json.loads(json.dumps(dataclasses.asdict(one + other)))) == one + other


def test_a_silent_recording_has_no_other_finding():
    counters = Counters()
    clip = Clip(SOFT[0], peak=SOFT[1], quality=Quality(0.1))
    counters.count(
        Utterance("a", "1", "joy"),
        clip,
        {"token_ids": [2], "log_mel": np.zeros((0, 64), np.float32), "audio_sha256": ""},
    )
    assert (counters.silent, counters.findings, counters.num_unknown_words) == (["a"], {}, 0)


def test_transcripts_of_unknown_words_alone_are_counted():
    assert counters_of_qualities(None, None).num_unknown_words == 2


def test_counters_survive_json():
    assert Counters(**json.loads(json.dumps(dataclasses.asdict(ONE + OTHER)))) == ONE + OTHER
