"""Tests of pipelines.augment: what is hidden, shifted and mixed, and what stays."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import text
from pipelines.augment import MixUp, SpecAugment, TextAugment, shift_bands

PLAIN = SpecAugment(mel_shift=0, num_mel_masks=0, num_frame_masks=0)


def clip(num_frames=40, mel_bins=16):
    """No sample of it is 0, which is what masks write."""
    return tf.constant(1 + np.random.default_rng(0).random((num_frames, mel_bins)), tf.float32)


def augmented(augment, log_mel, seed=0):
    tf.random.set_seed(seed)
    return augment({"log_mel": log_mel})["log_mel"].numpy()


@pytest.mark.parametrize(("shift", "expected"), [(0, [1, 2, 3]), (1, [1, 1, 2]), (-1, [2, 3, 3]), (-5, [3, 3, 3])])
def test_bands_move_and_the_outermost_fills_the_gap(shift, expected):
    np.testing.assert_array_equal(shift_bands(tf.constant([[1.0, 2.0, 3.0]]), shift), [expected])


def test_without_shift_and_masks_nothing_changes():
    np.testing.assert_array_equal(augmented(PLAIN, clip()), clip())


def test_a_band_mask_hides_neighbouring_bands_at_all_times():
    augment = SpecAugment(mel_shift=0, mel_mask=6, num_mel_masks=1, num_frame_masks=0)
    widths = set()
    for seed in range(20):
        hidden = augmented(augment, clip(), seed) == 0
        assert (hidden == hidden[0]).all()
        bands = np.flatnonzero(hidden[0])
        assert len(bands) == 0 or np.ptp(bands) == len(bands) - 1
        widths.add(len(bands))
    assert max(widths) < 6
    assert len(widths) > 2


def test_a_frame_mask_hides_at_most_a_quarter_of_the_clip():
    augment = SpecAugment(mel_shift=0, num_mel_masks=0, frame_mask=25, num_frame_masks=1)
    for seed in range(20):
        hidden = augmented(augment, clip(12), seed) == 0
        assert (hidden == hidden[:, :1]).all()
        assert hidden[:, 0].sum() <= 3


def test_the_same_global_seed_gives_the_same_masks_and_another_gives_others():
    first, again, other = (augmented(SpecAugment(), clip(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("num_frames", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("mel_bins", [2, 64])
def test_short_clips_and_wide_masks_do_not_fail_inside_a_map(num_frames, mel_bins):
    augment = SpecAugment(mel_mask=1000, frame_mask=1000)
    dataset = tf.data.Dataset.from_tensors({"log_mel": clip(num_frames, mel_bins)}).map(augment)
    [example] = dataset
    assert example["log_mel"].shape == (num_frames, mel_bins)


def test_words_alone_stay():
    example = {"token_ids": tf.constant([2, 5])}
    assert SpecAugment()(example) is example


def mixed(share=0.4, seed=0):
    tf.random.set_seed(seed)
    features = {"log_mel": tf.random.normal([64, 5, 3]), "num_frames": tf.range(64, dtype=tf.int32)}
    label, weight = tf.one_hot(tf.range(64), 64), tf.range(64.0)
    return features, label, weight, *MixUp(share)(features, label, weight)


def test_half_of_the_clips_are_mixed_and_the_others_stay():
    features, label, weight, new_features, new_label, new_weight = mixed()
    own_share = tf.linalg.diag_part(new_label).numpy()
    stayed = own_share == 1
    assert 16 < stayed.sum() < 48
    assert own_share.min() >= 0.6
    np.testing.assert_array_equal(new_features["log_mel"][stayed], features["log_mel"][stayed])
    np.testing.assert_array_equal(new_features["num_frames"][stayed], features["num_frames"][stayed])
    np.testing.assert_array_equal(new_label[stayed], label[stayed])
    np.testing.assert_array_equal(new_weight, weight)


def test_sound_and_label_are_mixed_in_the_same_share():
    features, _, _, new_features, new_label, _ = mixed()
    share = 1 - tf.linalg.diag_part(new_label)[:, None, None]
    expected = (1 - share) * features["log_mel"] + share * tf.roll(features["log_mel"], 1, 0)
    np.testing.assert_allclose(new_features["log_mel"], expected, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(new_label, axis=1), 1, atol=1e-6)


def test_a_mixed_clip_is_as_long_as_the_longer_of_the_two():
    features, _, _, new_features, new_label, _ = mixed()
    is_mixed = tf.linalg.diag_part(new_label).numpy() < 1
    expected = np.maximum(features["num_frames"], np.roll(features["num_frames"], 1))
    np.testing.assert_array_equal(new_features["num_frames"][is_mixed], expected[is_mixed])


SENTENCE = "I, happy kids are talking unhappily!"
WORDS = ["i", ",", "happy", "kids", "are", "talking", "unhappily", "!"]


@pytest.fixture(params=["own", "preset"])
def tokenizer(request, tiny_preset):
    return text.own_tokenizer() if request.param == "own" else text.preset_tokenizer(tiny_preset)


def changed(tokenizer, count=20, sentence=SENTENCE, **shares):
    """The words after each of several augmentations; the first and the last piece must be where they belong."""
    tf.random.set_seed(0)
    ids = tokenizer([sentence])[0]
    dataset = tf.data.Dataset.from_tensors({"token_ids": ids}).repeat(count).map(TextAugment(tokenizer, **shares))
    for example in dataset:
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
    ).map(augment)
    assert dataset.element_spec["token_ids"].shape.as_list() == [None]
    sizes = [int(tf.size(example["token_ids"])) for example in dataset]
    assert sizes[1:] == [len(ids[1]), len(ids[2])]
    assert sizes[0] >= 2


def test_words_are_augmented_anew_in_every_epoch_of_a_map():
    tokenizer = text.own_tokenizer()
    tf.random.set_seed(3)
    example = {"token_ids": tokenizer([SENTENCE])[0], "log_mel": clip()}
    dataset = tf.data.Dataset.from_tensors(example).map(TextAugment(tokenizer, 0.3, 0.5, 0.2)).repeat()
    found = [example["token_ids"].numpy().tolist() for example in dataset.take(5)]
    assert len({tuple(row) for row in found}) > 2


def test_a_clip_without_words_stays():
    example = {"log_mel": clip()}
    assert TextAugment(text.own_tokenizer(), 0.5)(example) is example
