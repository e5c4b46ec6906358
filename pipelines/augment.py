"""Training-time augmentation, inside `Dataset.map`: one example at a time, and whole batches.

Random numbers come from TensorFlow's global generator, for tfio's masks take no seed: after `tf.random.set_seed` they
are the same twice, in a map that is not parallel.
"""

import dataclasses
import functools
import warnings

import numpy as np
import tensorflow as tf

from pipelines import text

with warnings.catch_warnings():
    # Its native kernels do not load on this TensorFlow, and it says so twice; the graph ops used here need none.
    warnings.simplefilter("ignore")
    import tensorflow_io as tfio

Tensors = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SpecAugment:
    """Shifts a normalised log-mel along its bands and hides random bands and frames.

    Attributes:
      mel_shift: Bands to shift by at most, up or down, as a longer or shorter vocal tract would.
      mel_mask, num_mel_masks: Widest mask over bands, and how many.
      frame_mask, num_frame_masks: Widest mask over frames (and never more than a quarter of the clip), and how many.

    Source: Park et al. 2019, arXiv:1904.08779; for the shift Jaitly & Hinton 2013 (vocal tract length perturbation).
    """

    mel_shift: int = 3
    mel_mask: int = 10
    num_mel_masks: int = 2
    frame_mask: int = 25
    num_frame_masks: int = 2

    def __call__(self, example: Tensors) -> Tensors:
        """Augments `log_mel` [num_frames, mel_bins]; other features and clips shorter than four frames stay."""
        if "log_mel" not in example:
            return example
        log_mel = example["log_mel"]
        augmented = tf.cond(tf.shape(log_mel)[0] < 4, lambda: log_mel, lambda: self._augment(log_mel))
        return example | {"log_mel": tf.ensure_shape(augmented, log_mel.shape)}

    def _augment(self, log_mel: tf.Tensor) -> tf.Tensor:
        log_mel = shift_bands(log_mel, tf.random.uniform([], -self.mel_shift, self.mel_shift + 1, tf.int32))
        # tfio draws a width below its parameter, and fails where that is 0 or exceeds the clip. It writes 0, which
        # after normalising is each band's own mean.
        widest_bands = min(self.mel_mask, log_mel.shape[1] - 1)
        widest_frames = tf.minimum(self.frame_mask, tf.shape(log_mel)[0] // 4)
        for _ in range(self.num_mel_masks if widest_bands > 0 else 0):
            log_mel = tfio.audio.freq_mask(log_mel, widest_bands)
        for _ in range(self.num_frame_masks if self.frame_mask > 0 else 0):
            log_mel = tfio.audio.time_mask(log_mel, widest_frames)
        return log_mel


def shift_bands(log_mel: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Moves [num_frames, mel_bins] up by `shift` bands (down where negative); the outermost band fills the gap."""
    bands = tf.clip_by_value(tf.range(log_mel.shape[1]) - shift, 0, log_mel.shape[1] - 1)
    return tf.gather(log_mel, bands, axis=1)


@dataclasses.dataclass(frozen=True)
class TextAugment:
    """Leaves out words, lets neighbours change places, makes words unknown; a word is a piece and what continues it.

    The first id and the one that ends a transcript stay where they are, and so does one word at least.

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

    def __call__(self, example: Tensors) -> Tensors:
        """Augments `token_ids` [num_tokens]; other features stay."""
        if "token_ids" not in example:
            return example
        ids, end_id = example["token_ids"], self.tokenizer.end_id
        # Cropped ids may have lost their end, and a blank transcript has none.
        num_ends = tf.cast(tf.logical_and(tf.not_equal(end_id, 0), tf.equal(ids[-1], end_id)), tf.int32)
        end = tf.size(ids) - num_ends
        changed = tf.concat([ids[:1], self._augment(ids[1:end]), ids[end:]], axis=0)
        return example | {"token_ids": tf.ensure_shape(changed, [None])}

    def _augment(self, ids: tf.Tensor) -> tf.Tensor:
        """Changes the ids of words: [num_pieces] -> [num_pieces or fewer]."""
        begins = tf.gather(self._begins, ids)
        word = tf.maximum(tf.cumsum(tf.cast(begins, tf.int32)) - 1, 0)  # Of each piece: which word it belongs to.
        num_words = tf.reduce_sum(tf.cast(begins, tf.int32))
        is_masked = tf.gather(tf.random.uniform([num_words]) < self.mask, word)
        is_left = tf.gather(_some_left(num_words, self.word_dropout), word)
        ids = tf.where(is_masked, self.tokenizer.unknown_id, ids)
        # An unknown word is one piece, whatever it was before.
        is_left = tf.logical_and(is_left, tf.logical_or(begins, tf.logical_not(is_masked)))
        order = tf.argsort(tf.gather(_swapped(num_words, self.swap), word), stable=True)
        return tf.boolean_mask(tf.gather(ids, order), tf.gather(is_left, order))

    @functools.cached_property
    def _begins(self) -> np.ndarray:
        """Whether a piece begins a word: [vocabulary_size] bool."""
        return np.array([not piece.startswith("##") for piece in self.tokenizer.pieces()])


def _some_left(num_words: tf.Tensor, share: float) -> tf.Tensor:
    """Draws which words stay, one at least: [num_words] bool."""
    stays = tf.random.uniform([num_words]) >= share
    one = tf.random.uniform([], 0, tf.maximum(num_words, 1), tf.int32)
    return tf.logical_or(stays, tf.logical_and(tf.logical_not(tf.reduce_any(stays)), tf.range(num_words) == one))


def _swapped(num_words: tf.Tensor, share: float) -> tf.Tensor:
    """Draws the new place of each word: some pairs of neighbours, which never overlap, change places."""
    places = tf.range(num_words)
    partner = places + 1 - 2 * ((places + tf.random.uniform([], 0, 2, tf.int32)) % 2)
    has_partner = tf.logical_and(partner >= 0, partner < num_words)
    chosen = tf.gather(tf.random.uniform([num_words + 1]) < share, tf.maximum(tf.minimum(places, partner), 0))
    return tf.where(tf.logical_and(chosen, has_partner), partner, places)


@dataclasses.dataclass(frozen=True)
class MixUp:
    """Mixes half of a batch's clips with their neighbours, sound and labels alike; words stay.

    Attributes:
      share: Of the neighbour, at most.

    Source: Zhang et al. 2018, arXiv:1710.09412, with uniform shares.
    """

    share: float = 0.4

    def __call__(self, features: Tensors, label: tf.Tensor, *weights: tf.Tensor) -> tuple[Tensors | tf.Tensor, ...]:
        """Mixes `log_mel` [batch, num_frames, mel_bins] and one-hot labels [batch, num_emotions]."""
        num_clips = tf.shape(label)[0]
        share = tf.random.uniform([num_clips], 0.0, self.share) * tf.cast(
            tf.random.uniform([num_clips]) < 0.5, tf.float32
        )
        mixed = dict(features)
        mixed["log_mel"] = _mix(features["log_mel"], share[:, tf.newaxis, tf.newaxis])
        longer = tf.maximum(features["num_frames"], tf.roll(features["num_frames"], 1, 0))
        mixed["num_frames"] = tf.where(share > 0, longer, features["num_frames"])
        return mixed, _mix(label, share[:, tf.newaxis]), *weights


def _mix(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return (1 - share) * values + share * tf.roll(values, 1, 0)
