"""Tests of the synthetic sentences: a theme's own words, and no emotion by its name."""

import numpy as np
import pytest

from pipelines.corpora.synthetic.sentences import draw_sentence
from pipelines.emotions import RAVDESS

THEMES = ("pleasant", "loss", "event")


def sentences_of(theme, count=500):
    rng = np.random.default_rng(0)
    return [draw_sentence(theme, rng) for _ in range(count)]


@pytest.mark.parametrize("theme", THEMES)
def test_the_same_numbers_draw_the_same_sentences_and_few_repeat(theme):
    assert sentences_of(theme) == sentences_of(theme)
    assert len(set(sentences_of(theme))) > 400


def test_no_sentence_is_of_two_themes():
    one, *others = (set(sentences_of(theme)) for theme in THEMES)
    assert len(one.union(*others)) == len(one) + sum(map(len, others))


@pytest.mark.parametrize("theme", THEMES)
def test_no_sentence_names_an_emotion(theme):
    words = " ".join(sentences_of(theme)).lower().replace(".", "").split()
    assert not set(words) & set(RAVDESS)
