"""Tests of pipelines.text_python: ids and words are those of the graph that records and exports have."""

import random
import unicodedata

import pytest
import tensorflow as tf
from test_text_tokenizer import ODD

from pipelines import text, text_python


def same_words(transcripts):
    rows = text._words(tf.constant(transcripts)).to_list()
    expected = [[word.decode() for word in row] for row in rows]
    assert [[word for word in text_python.words_of(one) if word] for one in transcripts] == expected


SENTENCES = [
    *ODD,
    *("", " ", "\u200b", "Kids are talking by the door", "a_b \x92 \u2033x\u2033 \u0149", "so\u017f \u1fb3\u0301"),
    *("x" * 101, "x" * 100, "\u00e9" * 51, "hello " * 40, "a\x00b", "[START] ##ing", "\U0001f937\u200d\u2642\ufe0f"),
]  # fmt: skip


@pytest.mark.parametrize("max_tokens", [None, 1, 2, 8])
def test_ids_are_those_of_the_graph(max_tokens):
    expected = text.own_tokenizer()(SENTENCES, max_tokens).to_list()
    assert [text_python.token_ids(one, max_tokens) for one in SENTENCES] == expected
    assert max(map(max, expected)) > 1000 or max_tokens == 1


@pytest.mark.parametrize("max_tokens", [None, 3, 9, 30])
def test_ids_with_context_are_those_of_the_graph(max_tokens):
    contexts = [f"why not\n{one}" if number % 3 else "" for number, one in enumerate(reversed(SENTENCES))]
    expected = text.own_tokenizer()(SENTENCES, max_tokens, contexts).to_list()
    pairs = zip(SENTENCES, contexts, strict=True)
    assert [text_python.token_ids(one, max_tokens, context) for one, context in pairs] == expected


def test_words_of_any_characters_are_those_of_the_graph():
    rng, characters = random.Random(0), [chr(code) for code in range(1, 0x20000)]
    known = [one for one in characters if unicodedata.category(one) not in ("Cn", "Co", "Cs")]
    # Half of them are changed by normalisation, or split words.
    odd = [one for one in known if unicodedata.category(one)[0] in "MPSZ" or text_python._folded(one) != one]
    same_words(["".join(rng.choice(odd + known) for _ in range(rng.randint(1, 8))) for _ in range(5000)])


@pytest.mark.slow
def test_words_of_every_character_are_those_of_the_graph():
    known = (chr(code) for code in range(1, 0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs"))
    same_words([f"a{one}b {one}" for one in known])
