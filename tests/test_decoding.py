"""Tests of pipelines.transcripts.decoding: the real whisper, with checkpoints that the tests write."""

import numpy as np
import pytest

from pipelines.transcripts.decoding import TEMPERATURES, Decoder, finished, token_limit
from pipelines.transcripts.gates import Gates

SENTENCE = "Kids are talking by the door."


def noise(seconds=1.0, seed=0):
    return (3000 * np.random.default_rng(seed).standard_normal(round(seconds * 16000))).astype(np.int16)


@pytest.fixture(scope="module")
def decoder(make_whisper):
    """From what `make_whisper` takes to a decoder of English."""
    whisper = pytest.importorskip("whisper")

    def make(sentence, *, language="en", gates=Gates(), **options):  # noqa: B008 Nothing can change it.
        return Decoder(whisper.load_model(str(make_whisper(sentence, **options)), "cpu"), language, gates)

    return make


@pytest.fixture
def count_encodings(monkeypatch):
    """From a decoder to a list that gets an entry each time its encoder runs."""

    def count(decoder):
        ran = []
        decoder._model.encoder.register_forward_hook(lambda *_: ran.append(1))
        return ran

    return count


def test_each_window_is_decoded_once_where_its_words_count(decoder, count_encodings):
    of_sentence = decoder(SENTENCE)
    ran = count_encodings(of_sentence)
    found = of_sentence(noise(65))
    assert found.transcript == " ".join([SENTENCE] * 3)
    assert [[trial.temperature for trial in window.trials] for window in found.windows] == [[0], [0], [0]]
    assert len(ran) == 3


def test_a_syllable_without_end_is_tried_at_all_temperatures_encoded_once_and_dropped(decoder, count_encodings):
    stuck = decoder("ta" + " ta" * 30, width=80)
    ran = count_encodings(stuck)
    found = stuck(noise())
    [window] = found.windows
    assert window.trials[0].compression_ratio > 2
    assert [trial.temperature for trial in window.trials] == list(TEMPERATURES)
    assert (found.transcript, len(ran)) == ("", 1)


def test_improbable_words_are_dropped(decoder):
    found = decoder(SENTENCE, certainty=0.5)(noise())
    [window] = found.windows
    assert all(trial.avg_logprob < -1.25 for trial in window.trials)
    assert (found.transcript, len(window.trials)) == ("", len(TEMPERATURES))


def test_samples_depend_on_the_recording_alone(decoder):
    import torch

    unsure = decoder(SENTENCE, certainty=0.5)
    state = torch.random.get_rng_state()
    first, other = unsure(noise()), unsure(noise(seed=1))
    assert torch.equal(torch.random.get_rng_state(), state), "nobody else's random numbers change"
    torch.manual_seed(7)
    assert unsure(noise()) == first
    assert first.windows[0].trial.text != other.windows[0].trial.text


def test_no_more_tokens_are_sampled_than_the_seconds_hold(decoder):
    gates = Gates(1.0, -np.inf, np.inf)
    stuck = decoder("ta" + " ta" * 80, gates=gates, width=200)
    assert len(stuck(noise(2)).transcript.split()) <= token_limit(2, "en") == 40
    assert len(stuck(noise(0.5)).transcript.split()) <= token_limit(0.5, "en") == 22
    assert token_limit(2, "th") > token_limit(2, "en")


def test_punctuation_alone_is_no_word(decoder):
    found = decoder("...")(noise())
    assert found.windows[0].is_accepted
    assert found.transcript == ""


def test_the_language_is_detected_beside_the_one_told(decoder):
    found = {one: decoder("Oh!", detects="de", language=one)(noise()) for one in ("en", None)}
    assert [(one.detected, one.used) for one in found.values()] == [("de", "en"), ("de", "de")]
    assert all(one.probability > 0.9 for one in found.values())


def test_models_for_english_only_tell_no_language(decoder):
    found = decoder("Oh!", is_multilingual=False, language=None)(noise())
    assert (found.transcript, found.detected, found.probability, found.used) == ("Oh!", "en", None, "en")


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], (0, None)),
        ([100, 5, 6], (3, None)),
        ([100, 5, 6, 150], (4, None)),
        ([100, 5, 150, 150, 6, 170], (6, None)),
        ([100, 5, 150, 150, 6, 7], (3, 1.0)),
        ([100, 5, 150, 160], (3, 1.0)),
    ],
)
def test_a_window_ends_behind_its_last_whole_segment(tokens, expected):
    assert finished(tokens, 100) == expected


def test_the_next_window_begins_behind_the_last_whole_segment(decoder):
    # What is heard ends at 0.4 s, and another segment begins: 1 s holds three windows.
    found = decoder("Oh!<|0.40|><|0.40|>", gates=Gates(1.0, -np.inf, np.inf))(noise())
    assert found.transcript == "Oh! Oh! Oh!"
    assert [window.trial.advance for window in found.windows] == pytest.approx([0.4] * 3)
