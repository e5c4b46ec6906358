"""Tests of emotion_tf.reporting.clips: which utterances a report shows."""

import pandas as pd

from emotion_tf.reporting.clips import confident_errors, one_of_each, read_stored, surest_right

ROWS = pd.DataFrame(
    {
        "utterance_id": ["a", "b", "c", "d", "b"],
        "label": ["sad", "calm", "sad", "sad", "calm"],
        "predicted": ["sad", "sad", "calm", "calm", "sad"],
        "probability_calm": [0.1, 0.3, 0.9, 0.6, 0.2],
        "probability_sad": [0.9, 0.7, 0.1, 0.4, 0.8],
    }
)


def test_the_surest_errors_come_first_and_each_utterance_once():
    found = confident_errors(ROWS, 10)
    assert found["utterance_id"].tolist() == ["c", "b", "d"]
    assert found["confidence"].tolist() == [0.9, 0.8, 0.6]
    assert found["wrong"].tolist() == ["calm", "sad", "calm"]
    assert confident_errors(ROWS, 1)["utterance_id"].tolist() == ["c"]


def test_an_error_of_several_emotions_is_one_that_was_named_and_is_none():
    rows = ROWS.iloc[:2].assign(label=["sad", "calm|sad"], predicted=["calm|sad", "sad"])
    found = confident_errors(rows, 10)
    assert found[["utterance_id", "wrong", "confidence"]].to_numpy().tolist() == [["a", "calm", 0.1]]


def test_without_probabilities_there_are_no_confident_errors():
    assert confident_errors(ROWS[["utterance_id", "label", "predicted"]], 10).empty


def test_a_right_answer_is_one_that_was_named_and_is_a_label():
    assert surest_right(ROWS) == "a"
    assert surest_right(ROWS.iloc[1:]) is None
    assert surest_right(ROWS[["utterance_id", "label", "predicted"]]) is None


def test_one_utterance_of_each_emotion_prefers_one_label():
    rows = pd.DataFrame({"utterance_id": ["a", "b", "c"], "label": ["calm|sad", "sad", "calm|angry"]})
    assert one_of_each(rows, ("calm", "sad", "angry", "happy")) == {"calm": "a", "sad": "b", "angry": "c"}


def test_stored_utterances_are_those_that_were_asked_for(three_speaker_records, three_speakers):
    chosen = three_speakers.utterances[7]
    found = read_stored(three_speaker_records, [chosen.utterance_id, "absent"])
    assert list(found) == [chosen.utterance_id]
    stored = found[chosen.utterance_id]
    assert stored.transcript == chosen.transcript
    assert stored.log_mel.shape[1] == 64
    assert len(stored.waveform) > 1600
    assert read_stored(three_speaker_records, []) == {}
