"""Tests of emotion_tf.serving.stream: the last seconds of what came in, as if they were a file."""

import numpy as np
import pytest

from emotion_tf.serving.predictor import Predictor
from pipelines.command import InputError


@pytest.fixture(scope="module")
def predictor(early_export):
    return Predictor(early_export)


def voice(seconds, sample_rate=16000):
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * sample_rate))
    return np.rint(32768 * samples).astype(np.int16)


def test_an_answer_is_about_the_last_seconds_whatever_the_chunks_were(predictor):
    samples = voice(4, 48000)
    expected = predictor.predict(samples[-2 * 48000 :], "oh no", sample_rate=48000)
    for size, kind in ((960, np.asarray), (12345, np.ndarray.tobytes), (10**6, np.asarray)):
        stream = predictor.stream(48000, window_seconds=2)
        for start in range(0, len(samples), size):
            stream.add(kind(samples[start : start + size]))
        found = stream.predict("oh no", with_embedding=True)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert found.seconds == pytest.approx(2)
        assert found.embedding.shape == (predictor.metadata["embedding_dim"],)


def test_less_than_the_window_is_answered_and_more_is_forgotten(predictor):
    stream = predictor.stream(16000)
    stream.add(voice(1))
    assert stream.predict().seconds == 1
    for _ in range(5):
        stream.add(voice(1))
    assert stream.predict().seconds == 3
    assert stream._samples.base is None or len(stream._samples.base) <= 4 * 16000


def test_what_is_no_stream_gets_a_sentence(predictor):
    for options, sentence in (
        ({"sample_rate": 200}, "the stream states a sample rate of 200 Hz"),
        ({"sample_rate": 16000, "window_seconds": 31}, "a window of 31 s is no utterance: give 0.2 to 30 s"),
        ({"sample_rate": 16000, "window_seconds": 0.1}, "a window of 0.1 s is no utterance"),
    ):
        with pytest.raises(InputError, match=sentence):
            predictor.stream(**options)
    stream = predictor.stream(16000)
    with pytest.raises(InputError, match="holds no samples yet"):
        stream.predict()
    with pytest.raises(InputError, match="a chunk of 3 bytes ends within a sample"):
        stream.add(b"abc")
    stream.add(voice(1))
    for chunk in (voice(1).astype(np.float32), np.stack([voice(1)] * 2, axis=1)):
        with pytest.raises(InputError, match="send one type and one number of channels"):
            stream.add(chunk)
    assert stream.predict().seconds == 1
