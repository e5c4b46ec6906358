"""Tests of emotion_tf.models.inputs: what inputs are called, and which modalities of a batch are absent."""

import keras
import numpy as np
import pytest
from test_build import build_early

from emotion_tf.models.inputs import any_of, audio_features_of, make_inputs, modalities_of, presence


def model_of(modalities, widths):
    inputs = make_inputs(modalities, widths)
    return keras.Model(inputs, list(inputs.values()))


def test_inputs_are_named_like_the_features_of_the_dataset():
    assert set(build_early().input) == {"log_mel", "num_frames", "token_ids"}


def test_encoder_states_have_a_length_of_their_own():
    inputs = make_inputs(("audio",), {"log_mel": 8, "encoder": (3, 5)})
    assert {name: one.shape for name, one in inputs.items()} == {
        "log_mel": (None, None, 8),
        "encoder": (None, None, 3, 5),
        "num_frames": (None,),
        "num_steps": (None,),
    }


def test_a_waveform_has_no_length_beside_it_and_is_absent_where_it_is_zeros():
    inputs = make_inputs(("audio",), {"log_mel": 8, "waveform": ()})
    assert {name: one.shape for name, one in inputs.items()} == {
        "log_mel": (None, None, 8),
        "waveform": (None, None),
        "num_frames": (None,),
    }
    assert audio_features_of(model_of(("audio",), {"waveform": ()})) == ("waveform",)
    [found] = presence({"waveform": np.array([[0, 0, -0.1], [0, 0, 0]], np.float32)})
    np.testing.assert_array_equal(found, [True, False])


def test_inputs_say_which_modalities_and_audio_features_a_model_reads():
    widths = {"acoustic": 5, "log_mel": 8, "video_frames": (32, 32, 1)}
    model = model_of(("video", "audio", "text"), widths)
    assert modalities_of(model) == ("audio", "text", "video")
    assert audio_features_of(model) == ("log_mel", "acoustic")
    model = model_of(("text",), {})
    assert (modalities_of(model), audio_features_of(model)) == (("text",), ())


FEATURES = {
    "num_frames": np.array([3, 0, 0, 0]),
    "token_ids": np.array([[2, 0], [2, 7], [2, 0], [2, 0]]),
    "video_frames": np.stack([np.full((2, 4, 4, 1), value, np.float32) for value in (0, 0, 0.1, 0)]),
}


def test_absence_is_no_frames_no_word_pieces_behind_the_start_and_frames_of_zeros():
    present = np.stack([np.asarray(flags) for flags in presence(FEATURES)])
    np.testing.assert_array_equal(present, np.eye(3, 4, dtype=bool))
    np.testing.assert_array_equal(any_of(presence(FEATURES)), [True, True, True, False])


@pytest.mark.parametrize("names", [["num_frames"], ["num_steps"], ["num_frames", "num_steps"]])
def test_audio_counts_once_whatever_features_it_has(names):
    [found] = presence(dict.fromkeys(names, FEATURES["num_frames"]))
    np.testing.assert_array_equal(found, [True, False, False, False])
