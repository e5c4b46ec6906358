"""Tests of pipelines.augment.text_augment: which words go, change places or become unknown."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import text
from pipelines.augment import TextAugment


def seed_of(number):
    return tf.constant([number, 0], tf.int64)


def seeded(count):
    """A dataset of seeds."""
    return tf.data.Dataset.range(count).map(lambda number: tf.stack([number, 0]))


SENTENCE = "I, happy kids are talking unhappily!"
WORDS = ["i", ",", "happy", "kids", "are", "talking", "unhappily", "!"]


@pytest.fixture(params=["own", "preset"])
def tokenizer(request, tiny_preset):
    return text.own_tokenizer() if request.param == "own" else text.preset_tokenizer(tiny_preset)


def changed(tokenizer, count=20, sentence=SENTENCE, **shares):
    """The words after each of several augmentations; the first and the last piece must be where they belong."""
    ids, augment = tokenizer([sentence])[0], TextAugment(tokenizer, **shares)
    for example in seeded(count).map(lambda seed: augment({"token_ids": ids}, seed)):
        out = example["token_ids"].numpy().tolist()
        assert out[0] == ids[0]
        if tokenizer.end_id and len(ids) > 1:
            assert out.pop() == tokenizer.end_id
        yield " ".join(tokenizer.pieces()[i] for i in out[1:]).replace(" ##", "").split()


def whole_words(tokenizer):
    [words] = changed(tokenizer, 1)
    return words


def test_the_sentence_of_these_tests_has_words_of_several_pieces(tokenizer):
    assert whole_words(tokenizer) == WORDS
    assert len(tokenizer([SENTENCE])[0]) > 1 + bool(tokenizer.end_id) + len(WORDS)


def test_left_out_words_go_whole_and_the_others_keep_their_order(tokenizer):
    whole, found = whole_words(tokenizer), set()
    for left in changed(tokenizer, word_dropout=0.4):
        assert left
        positions = [whole.index(word) for word in left]
        assert positions == sorted(positions)
        found.add(len(left))
    assert len(found) > 2


def test_one_word_stays_whatever_the_share(tokenizer):
    found = list(changed(tokenizer, word_dropout=0.999))
    assert {len(words) for words in found} == {1}
    assert len({words[0] for words in found}) > 2


def test_swapped_words_are_neighbours_and_none_is_lost(tokenizer):
    whole, num_moved = whole_words(tokenizer), []
    for swapped in changed(tokenizer, 40, swap=0.5):
        assert sorted(swapped) == sorted(whole)
        assert all(abs(whole.index(word) - place) <= 1 for place, word in enumerate(swapped))
        num_moved.append(sum(a != b for a, b in zip(swapped, whole, strict=True)))
    assert 0.25 < np.mean(num_moved) / len(whole) < 0.6


def test_a_masked_word_is_one_unknown_piece(tokenizer):
    whole, count = whole_words(tokenizer), 0
    for masked in changed(tokenizer, 40, mask=0.3):
        assert all(found in (word, "[UNK]") for found, word in zip(masked, whole, strict=True))
        count += masked.count("[UNK]")
    assert 0.2 < count / (40 * len(whole)) < 0.4


def test_without_shares_no_word_changes_and_a_blank_transcript_stays_blank(tokenizer):
    assert list(changed(tokenizer, 3, word_dropout=0.0, swap=0.0, mask=0.0)) == 3 * [whole_words(tokenizer)]
    assert list(changed(tokenizer, 3, "", word_dropout=0.5, swap=0.5, mask=0.5)) == 3 * [[]]


def test_a_single_word_and_cropped_ids_go_through_a_map(tokenizer):
    augment = TextAugment(tokenizer, 0.3, 0.9, 0.3)
    ids = [tokenizer([SENTENCE])[0][:-1], tokenizer(["door"])[0], tokenizer([""])[0]]
    dataset = tf.data.Dataset.from_generator(
        lambda: ({"token_ids": row} for row in ids), output_signature={"token_ids": tf.TensorSpec([None], tf.int32)}
    ).map(lambda example: augment(example, seed_of(0)))
    assert dataset.element_spec["token_ids"].shape.as_list() == [None]
    sizes = [int(tf.size(example["token_ids"])) for example in dataset]
    assert sizes[1:] == [len(ids[1]), len(ids[2])]
    assert sizes[0] >= 2


def test_words_are_augmented_by_their_seed():
    augment = TextAugment(text.own_tokenizer(), 0.3, 0.5, 0.2)
    example = {"token_ids": text.own_tokenizer()([SENTENCE])[0], "log_mel": tf.ones([40, 16])}
    found = [augment(example, seed_of(number % 5))["token_ids"].numpy().tolist() for number in range(10)]
    assert found[:5] == found[5:]
    assert len({tuple(row) for row in found}) > 2


def test_a_clip_without_text_stays():
    example = {"log_mel": tf.ones([40, 16])}
    assert TextAugment(text.own_tokenizer(), 0.5)(example, seed_of(0)) is example


def test_a_context_and_its_separator_stay_as_they_are(tokenizer):
    [plain], [row] = tokenizer([SENTENCE]), tokenizer([SENTENCE], None, ["kids are talking"])
    before = row[: len(row) - len(plain) + 1]
    augment = TextAugment(tokenizer, word_dropout=0.5, swap=0.5, mask=0.3)
    found = [augment({"token_ids": row}, seed_of(number))["token_ids"].numpy().tolist() for number in range(20)]
    assert all(one[: len(before)] == before.numpy().tolist() for one in found)
    assert len({tuple(one) for one in found}) > 10
    assert all(len(one) > len(before) + bool(tokenizer.end_id) for one in found)
