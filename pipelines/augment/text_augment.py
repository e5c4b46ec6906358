"""Training-time augmentation of token ids."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from pipelines import text
from pipelines.augment.draws import Draws, Tensors


@dataclasses.dataclass(frozen=True)
class TextAugment:
    """Leaves out words, lets neighbours change places, makes words unknown; a word is a piece and what continues it.

      The first id, a context with its separator, and the id that ends a transcript stay where they are, and so does one
    word at least.

      Attributes:
        tokenizer: What made the ids.
        word_dropout, swap, mask: Share of words, each.

      Source: Wei & Zou 2019, arXiv:1901.11196 (random deletion and swap); for unknown words Devlin et al. 2018,
        arXiv:1810.04805.
    """

    tokenizer: text.Tokenizer
    word_dropout: float = 0.0
    swap: float = 0.0
    mask: float = 0.0

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Augments `token_ids` [num_tokens]; other features stay."""
        if "token_ids" not in example:
            return example
        ids, end_id = example["token_ids"], self.tokenizer.end_id
        # Cropped ids may have lost their end, and a blank transcript has none.
        num_ends = tf.cast(tf.logical_and(tf.not_equal(end_id, 0), tf.equal(ids[-1], end_id)), tf.int32)
        end = tf.size(ids) - num_ends
        # The words of the transcript begin behind the start, or behind what separates them from a context.
        is_mark = tf.logical_or(tf.range(end) == 0, tf.equal(ids[:end], self.tokenizer.separator[0]))
        start = 1 + tf.reduce_max(tf.where(is_mark, tf.range(end), 0))
        changed = tf.concat([ids[:start], self._augment(ids[start:end], Draws(seed)), ids[end:]], axis=0)
        return example | {"token_ids": tf.ensure_shape(changed, [None])}

    def _augment(self, ids: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Changes the ids of words: [num_pieces] -> [num_pieces or fewer]."""
        # A sentence may begin with a piece that goes on with a word elsewhere.
        begins = tf.logical_or(tf.gather(self._begins, ids), tf.range(tf.size(ids)) == 0)
        word = tf.maximum(tf.cumsum(tf.cast(begins, tf.int32)) - 1, 0)  # Of each piece: which word it belongs to.
        num_words = tf.reduce_sum(tf.cast(begins, tf.int32))
        is_masked = tf.gather(draws.uniform([num_words]) < self.mask, word)
        is_left = tf.gather(_some_left(num_words, self.word_dropout, draws), word)
        ids = tf.where(is_masked, self.tokenizer.unknown_id, ids)
        # An unknown word is one piece, whatever it was before.
        is_left = tf.logical_and(is_left, tf.logical_or(begins, tf.logical_not(is_masked)))
        order = tf.argsort(tf.gather(_swapped(num_words, self.swap, draws), word), stable=True)
        return tf.boolean_mask(tf.gather(ids, order), tf.gather(is_left, order))

    @functools.cached_property
    def _begins(self) -> np.ndarray:
        """Whether a piece begins a word: [vocabulary_size] bool."""
        return np.array(self.tokenizer.begins_word())


def _some_left(num_words: tf.Tensor, share: float, draws: Draws) -> tf.Tensor:
    """Draws which words stay, one at least: [num_words] bool."""
    stays = draws.uniform([num_words]) >= share
    one = draws.uniform((), 0, tf.maximum(num_words, 1), tf.int32)
    return tf.logical_or(stays, tf.logical_and(tf.logical_not(tf.reduce_any(stays)), tf.range(num_words) == one))


def _swapped(num_words: tf.Tensor, share: float, draws: Draws) -> tf.Tensor:
    """Draws the new place of each word: some pairs of neighbours, which never overlap, change places."""
    places = tf.range(num_words)
    partner = places + 1 - 2 * ((places + draws.uniform((), 0, 2, tf.int32)) % 2)
    has_partner = tf.logical_and(partner >= 0, partner < num_words)
    chosen = tf.gather(draws.uniform([num_words + 1]) < share, tf.maximum(tf.minimum(places, partner), 0))
    return tf.where(tf.logical_and(chosen, has_partner), partner, places)
