"""Training-time augmentation, inside `Dataset.map`: one example at a time, and whole batches.

All take a seed [2] and draw nothing from a generator with a state: what becomes of an example does not depend on what
came before it, so that a resumed run goes on as if it had not stopped, and many can be changed at once. The masks are
those of `tensorflow_io.audio.freq_mask` and `time_mask`, which take no seed.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pipelines import audio, text
from pipelines.audio import silence

_LOOP_SAMPLES = 2**18

Tensors = dict[str, tf.Tensor]
Augment = Callable[[Tensors, tf.Tensor], Tensors]
"""From an example and a seed [2] to a changed example."""

SNR_RANGE_DB = 20.0
"""Between the loudest noise and the softest."""

PINK_ABOVE_HZ = 50.0
"""Below, noise rises no more: half of its power would otherwise lie below speech."""


class Draws:
    """Uniform random numbers that a seed [2] and the number of the draw decide."""

    def __init__(self, seed: tf.Tensor):
        self.seed, self.count = seed, 0

    def uniform(
        self,
        shape: Sequence[int | tf.Tensor] = (),
        low: float | tf.Tensor = 0.0,
        high: float | tf.Tensor = 1.0,
        dtype: tf.DType = tf.float32,
    ) -> tf.Tensor:
        """Draws from `low` to below `high`."""
        self.count += 1
        return tf.random.stateless_uniform(shape, tf.random.fold_in(self.seed, self.count), low, high, dtype)


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

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Augments `log_mel` [num_frames, mel_bins]; masks over frames hide all frame features at the same ones.

        Other features and clips shorter than four frames stay.
        """
        features = {name: example[name] for name in audio.FRAME_FEATURES if name in example}
        if not features:
            return example
        num_frames = tf.shape(next(iter(features.values())))[0]
        augmented = tf.cond(num_frames < 4, lambda: dict(features), lambda: self._augment(features, Draws(seed)))
        return example | {name: tf.ensure_shape(augmented[name], value.shape) for name, value in features.items()}

    def _augment(self, features: Tensors, draws: Draws) -> Tensors:
        features = dict(features)
        if "log_mel" in features:
            features["log_mel"] = self._augment_bands(features["log_mel"], draws)
        columns = tf.concat(list(features.values()), axis=1)
        widest = tf.minimum(self.frame_mask, tf.shape(columns)[0] // 4)
        for _ in range(self.num_frame_masks if self.frame_mask > 0 else 0):
            columns = tf.where(_is_hidden(tf.shape(columns)[0], widest, draws)[:, tf.newaxis], 0.0, columns)
        widths = [value.shape[1] for value in features.values()]
        return dict(zip(features, tf.split(columns, widths, axis=1), strict=True))

    def _augment_bands(self, log_mel: tf.Tensor, draws: Draws) -> tf.Tensor:
        log_mel = shift_bands(log_mel, draws.uniform((), -self.mel_shift, self.mel_shift + 1, tf.int32))
        # Hidden is what is 0: after normalising each band's own mean.
        widest = min(self.mel_mask, log_mel.shape[1] - 1)
        for _ in range(self.num_mel_masks if widest > 0 else 0):
            log_mel = tf.where(_is_hidden(log_mel.shape[1], widest, draws), 0.0, log_mel)
        return log_mel


def _is_hidden(size: int | tf.Tensor, widest: int | tf.Tensor, draws: Draws) -> tf.Tensor:
    """Draws a stretch of less than `widest`, 1 or more and no more than `size`: [size] bool."""
    width = draws.uniform((), 0, widest, tf.int32)
    start = draws.uniform((), 0, size - width, tf.int32)
    places = tf.range(size)
    return (places >= start) & (places < start + width)


def shift_bands(log_mel: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Moves [num_frames, mel_bins] up by `shift` bands (down where negative); the outermost band fills the gap."""
    bands = tf.clip_by_value(tf.range(log_mel.shape[1]) - shift, 0, log_mel.shape[1] - 1)
    return tf.gather(log_mel, bands, axis=1)


@dataclasses.dataclass(frozen=True)
class BandLimit:
    """Takes the upper bands out of some log-mels, as telephones and codecs do.

    The log-mel is one that `normalise` made of a clip alone: a band that holds nothing reads 0, and the others are
    scaled so that all together have the deviation that they had.

    Attributes:
      share: Of clips, in [0, 1).
      least: Bands that are always left; how many more, each number as likely, is drawn.
    """

    share: float
    least: int

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Changes `log_mel` [num_frames, mel_bins]; other features stay."""
        if "log_mel" not in example:
            return example
        log_mel, draws = example["log_mel"], Draws(seed)
        num_bands = log_mel.shape[1]
        num_left = draws.uniform((), min(self.least, num_bands - 1), num_bands, tf.int32)
        limited = tf.where(tf.range(num_bands) < num_left, log_mel, 0.0)
        power, power_left = (tf.reduce_sum(tf.square(values)) for values in (log_mel, limited))
        limited *= tf.sqrt(tf.math.divide_no_nan(power, power_left))
        return example | {"log_mel": tf.where(draws.uniform(()) < self.share, limited, log_mel)}


@dataclasses.dataclass(frozen=True)
class TimeShift:
    """Moves a clip inside the window that it is padded to.

    Later, it stands behind silence, which counts as frames of the clip, and what passes the window is cut off; earlier,
    its first frames are cut off. No more than a quarter of the clip is lost.

    Attributes:
      frames: To move by at most.
      window: Frames of the window; clips are no longer.
    """

    frames: int
    window: int

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Moves the frame features [num_frames, num_columns] alike; an absent clip stays."""
        names = [name for name in audio.FRAME_FEATURES if name in example]
        if not names:
            return example
        num_frames = tf.shape(example[names[0]])[0]
        earliest = -tf.minimum(self.frames, num_frames // 4)
        latest = tf.minimum(self.frames, self.window - num_frames + num_frames // 4)
        shift = Draws(seed).uniform((), earliest, tf.maximum(latest, 0) + 1, tf.int32)
        shift = tf.where(num_frames > 0, shift, 0)
        return example | {name: self._move(example[name], example[f"{name}_silence"], shift) for name in names}

    def _move(self, frames: tf.Tensor, silence: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
        before = tf.repeat(silence[tf.newaxis], tf.maximum(shift, 0), axis=0)
        moved = tf.concat([before, frames[tf.maximum(-shift, 0) :]], axis=0)[: self.window]
        return tf.ensure_shape(moved, [None, frames.shape[1]])


@dataclasses.dataclass(frozen=True)
class WaveformChange:
    """Changes a waveform: its speed, then pink noise, then its gain; what leaves [-1, 1] is clipped.

    Attributes:
      speed: Share by which it becomes faster or slower at most, with its pitch.
      noise_snr_db: The noise lies so far below the clip, to `SNR_RANGE_DB` further; None: no noise.
      gain_db: Up or down by at most so much.
      trim_db: Where the silent ends begin, which get no noise: `FrontEnd.silence_db` of what looks for them later.

    Source: Ko et al. 2015 (audio augmentation for speech recognition), https://doi.org/10.21437/Interspeech.2015-711,
      for speed.
    """

    speed: float = 0.0
    noise_snr_db: float | None = None
    gain_db: float = 0.0
    trim_db: float = silence.TRIM_DB

    def __call__(self, waveform: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Changes one clip; the same seed changes it in the same way.

        Args:
          waveform: [num_samples] float32 in [-1, 1).
          seed: [2] int64.

        Returns:
          [num_samples] float32 in [-1, 1], of another length where the speed changed; a clip of zeros is one of zeros.
        """
        seeds = tf.unstack(tf.random.split(seed, 4))
        if self.speed > 0:
            rate = tf.random.stateless_uniform([], seeds[0], 1 - self.speed, 1 + self.speed)
            waveform = change_speed(waveform, rate)
        if self.noise_snr_db is not None:
            lowest, highest = self.noise_snr_db, self.noise_snr_db + SNR_RANGE_DB
            snr_db = tf.random.stateless_uniform([], seeds[1], lowest, highest)
            waveform = add_noise(waveform, snr_db, seeds[2], self.trim_db)
        if self.gain_db > 0:
            gain_db = tf.random.stateless_uniform([], seeds[3], -self.gain_db, self.gain_db)
            waveform = waveform * 10.0 ** (gain_db / 20)
        return tf.clip_by_value(waveform, -1.0, 1.0)


def change_speed(waveform: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Plays [num_samples] `rate` times as fast, by linear interpolation: [round(num_samples / rate)]."""
    num_samples, rate = tf.shape(waveform)[0], tf.cast(rate, tf.float64)
    num_left = tf.cast(tf.round(tf.cast(num_samples, tf.float64) / rate), tf.int32)
    places = tf.cast(tf.range(num_left), tf.float64) * rate
    before = tf.minimum(tf.cast(places, tf.int32), num_samples - 1)
    share = tf.cast(places - tf.cast(before, tf.float64), tf.float32)
    after = tf.minimum(before + 1, num_samples - 1)
    return (1 - share) * tf.gather(waveform, before) + share * tf.gather(waveform, after)


def add_noise(waveform: tf.Tensor, snr_db: tf.Tensor, seed: tf.Tensor, trim_db: float = silence.TRIM_DB) -> tf.Tensor:
    """Adds pink noise to a clip [num_samples], `snr_db` below it in mean power, between its silent ends."""
    # In noise the front end would no longer find silent ends, and zeros behind a clip would become frames.
    is_inside = tf.cast(_between_silent_ends(waveform, trim_db), tf.float32)
    power = tf.reduce_sum(tf.square(waveform * is_inside)) / tf.maximum(tf.reduce_sum(is_inside), 1.0)
    noise = pink_noise(tf.size(waveform), seed) * tf.sqrt(power) * 10.0 ** (-snr_db / 20)
    return waveform + noise * is_inside


def _between_silent_ends(waveform: tf.Tensor, trim_db: float) -> tf.Tensor:
    """Tells the samples from the first loud block to the last one, no margin around them: [num_samples] bool."""
    energy = silence.block_energy(waveform)[tf.newaxis]  # [1, num_blocks]
    lasting = silence.sustained(energy, tf.shape(energy)[1:], silence.BLOCKS_SUSTAINED)
    first, end = silence.loud_span(lasting, trim_db)  # [1] each
    block = tf.range(tf.size(waveform)) // silence.BLOCK_LENGTH  # [num_samples], the block of each sample
    is_before_end = tf.cumsum(tf.abs(waveform), reverse=True) > 0
    return (block >= first) & (block < end) & is_before_end


def pink_noise(num_samples: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Cuts a stretch out of a loop of noise: [num_samples], mean power about 1."""
    # To draw and to transform it for each clip would take several times as long as the clip's log-mel.
    begin = tf.random.stateless_uniform([], seed, 0, _LOOP_SAMPLES, tf.int32)
    loops = tf.tile(tf.constant(_noise_loop()), [2 + num_samples // _LOOP_SAMPLES])
    return loops[begin : begin + num_samples]


@functools.cache
def _noise_loop() -> np.ndarray:
    """Makes noise whose power falls with frequency above `PINK_ABOVE_HZ` and whose end meets its beginning."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(_LOOP_SAMPLES))
    hz = np.fft.rfftfreq(_LOOP_SAMPLES, 1 / audio.SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, PINK_ABOVE_HZ)))
    return (noise / noise.std()).astype(np.float32)


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

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Augments `token_ids` [num_tokens]; other features stay."""
        if "token_ids" not in example:
            return example
        ids, end_id = example["token_ids"], self.tokenizer.end_id
        # Cropped ids may have lost their end, and a blank transcript has none.
        num_ends = tf.cast(tf.logical_and(tf.not_equal(end_id, 0), tf.equal(ids[-1], end_id)), tf.int32)
        end = tf.size(ids) - num_ends
        changed = tf.concat([ids[:1], self._augment(ids[1:end], Draws(seed)), ids[end:]], axis=0)
        return example | {"token_ids": tf.ensure_shape(changed, [None])}

    def _augment(self, ids: tf.Tensor, draws: Draws) -> tf.Tensor:
        """Changes the ids of words: [num_pieces] -> [num_pieces or fewer]."""
        begins = tf.gather(self._begins, ids)
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
        return np.array([not piece.startswith("##") for piece in self.tokenizer.pieces()])


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


@dataclasses.dataclass(frozen=True)
class ImageAugment:
    """Mirrors, moves, lightens and partly covers the frames of a video, all of a clip alike.

    Attributes:
      flip: Probability of mirroring left and right.
      shift: Pixels to move by at most, in both directions; the outermost ones fill the gap.
      brightness: Lighter or darker by at most so much of the whole range.
      cutout: Side of a square, in pixels, that is painted with the clip's mean.

    Source: DeVries & Taylor 2017, arXiv:1708.04552, for the square.
    """

    flip: float = 0.5
    shift: int = 4
    brightness: float = 0.2
    cutout: int = 16

    def __call__(self, example: Tensors, seed: tf.Tensor) -> Tensors:
        """Augments `video_frames` [num_video_frames, height, width, channels] in [0, 1]; an absent video stays so."""
        if "video_frames" not in example:
            return example
        frames = example["video_frames"]
        changed = tf.cond(tf.reduce_any(frames > 0), lambda: self._augment(frames, Draws(seed)), lambda: frames)
        return example | {"video_frames": tf.ensure_shape(changed, frames.shape)}

    def _augment(self, frames: tf.Tensor, draws: Draws) -> tf.Tensor:
        height, width = frames.shape[1:3]
        frames = tf.where(draws.uniform() < self.flip, frames[:, :, ::-1], frames)
        down, right = tf.unstack(draws.uniform([2], -self.shift, self.shift + 1, tf.int32))
        frames = tf.gather(frames, tf.clip_by_value(tf.range(height) - down, 0, height - 1), axis=1)
        frames = tf.gather(frames, tf.clip_by_value(tf.range(width) - right, 0, width - 1), axis=2)
        lighter = frames + draws.uniform((), -self.brightness, self.brightness)
        # A frame that would become all black would count as absent.
        frames = tf.clip_by_value(lighter, 1 / 255, 1.0)
        if self.cutout:
            frames = tf.where(self._covered(height, width, draws), tf.reduce_mean(frames, axis=(0, 1, 2)), frames)
        return frames

    def _covered(self, height: int, width: int, draws: Draws) -> tf.Tensor:
        """Draws the place of the square, its middle anywhere: [height, width, 1] bool."""
        row = tf.abs(tf.range(height) - draws.uniform((), 0, height, tf.int32)) * 2 < self.cutout
        column = tf.abs(tf.range(width) - draws.uniform((), 0, width, tf.int32)) * 2 < self.cutout
        return (row[:, tf.newaxis] & column)[:, :, tf.newaxis]


@dataclasses.dataclass(frozen=True)
class MixUp:
    """Mixes half of a batch's clips with their neighbours, audio and labels alike; text stays.

    Attributes:
      share: Of the neighbour, at most.

    Source: Zhang et al. 2018, arXiv:1710.09412, with uniform shares.
    """

    share: float = 0.4

    def __call__(
        self, features: Tensors, label: tf.Tensor, *weights: tf.Tensor, seed: tf.Tensor
    ) -> tuple[Tensors | tf.Tensor, ...]:
        """Mixes audio features [batch, num_frames, ...] and one-hot labels [batch, num_emotions]."""
        num_clips, draws = tf.shape(label)[0], Draws(seed)
        share = draws.uniform([num_clips], 0.0, self.share) * tf.cast(draws.uniform([num_clips]) < 0.5, tf.float32)
        mixed = dict(features)
        for name in {*audio.FRAME_FEATURES, "encoder"} & set(features):
            mixed[name] = _mix(features[name], share)
        for name in {"num_frames", "num_steps"} & set(features):
            longer = tf.maximum(features[name], tf.roll(features[name], 1, 0))
            mixed[name] = tf.where(share > 0, longer, features[name])
        return mixed, _mix(label, share), *weights


def _mix(values: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    share = tf.reshape(share, (-1, *[1] * (len(values.shape) - 1)))
    return (1 - share) * values + share * tf.roll(values, 1, 0)
