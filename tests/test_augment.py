"""Tests of pipelines.augment: what is hidden, shifted and mixed, and what stays."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio, text
from pipelines.augment import (
    BandLimit,
    ImageAugment,
    MixUp,
    SpecAugment,
    TextAugment,
    TimeShift,
    WaveformChange,
    add_noise,
    change_speed,
    pink_noise,
    shift_bands,
)

PLAIN = SpecAugment(mel_shift=0, num_mel_masks=0, num_frame_masks=0)


def clip(num_frames=40, mel_bins=16):
    """No sample of it is 0, which is what masks write."""
    return tf.constant(1 + np.random.default_rng(0).random((num_frames, mel_bins)), tf.float32)


def seed_of(number):
    return tf.constant([number, 0], tf.int64)


def seeded(count):
    """A dataset of seeds."""
    return tf.data.Dataset.range(count).map(lambda number: tf.stack([number, 0]))


def augmented(augment, log_mel, seed=0):
    return augment({"log_mel": log_mel}, seed_of(seed))["log_mel"].numpy()


def test_a_limited_band_looks_like_a_clip_that_a_filter_has_limited():
    rng, front_end = np.random.default_rng(0), audio.FrontEnd(trim_db=None)
    waveform = 0.1 * np.repeat(rng.uniform(0.2, 1, 20), 1600) * rng.standard_normal(32000)
    spectrum = np.fft.rfft(waveform)
    spectrum[np.fft.rfftfreq(32000, 1 / 16000) > 5000] = 0

    def log_mel(samples):
        features, num_frames = audio.frame_features(
            tf.constant(samples[np.newaxis], tf.float32), front_end, ["log_mel"]
        )
        return audio.normalise(features["log_mel"], num_frames)[0]

    wanted = log_mel(np.fft.irfft(spectrum)).numpy()
    num_left = front_end.bands_below(5000)
    augment = BandLimit(1.0, num_left)
    found = next(
        one for one in (augmented(augment, log_mel(waveform), n) for n in range(99)) if not one[:, num_left:].any()
    )
    # The bands beside the edge and the tails of windows differ.
    assert np.abs(found - wanted)[:, : num_left - 1].mean() < 0.05
    assert np.abs(wanted[:, num_left + 1 :]).max() < 0.1


def test_a_share_of_clips_is_limited_and_the_least_bands_stay():
    limited = [augmented(BandLimit(0.3, 10), clip(), seed) for seed in range(200)]
    num_left = [int((one != 0).all(axis=0).sum()) for one in limited]
    assert min(num_left) == 10
    assert set(num_left) == set(range(10, 17))
    assert 30 < sum(count < 16 for count in num_left) < 90
    for one, count in zip(limited, num_left, strict=True):
        assert (one[:, count:] == 0).all()
        assert np.square(one).sum() == pytest.approx(np.square(clip()).sum(), rel=1e-5)


def test_narrower_spectrograms_than_the_least_keep_one_band_less():
    assert (augmented(BandLimit(1.0, 99), clip()) == 0).any(axis=0).tolist() == 15 * [False] + [True]


def test_a_clip_of_silence_is_limited_to_silence():
    assert not augmented(BandLimit(1.0, 4), tf.zeros([5, 16])).any()


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


def test_masks_are_distributed_as_those_of_tensorflow_io():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its native kernels do not load here; the masks need none.
        import tensorflow_io as tfio

    augment = SpecAugment(mel_shift=0, mel_mask=6, num_mel_masks=1, num_frame_masks=0)
    ours = seeded(3000).map(lambda seed: augment({"log_mel": clip()}, seed)["log_mel"][0] == 0)
    tf.random.set_seed(0)
    theirs = tf.data.Dataset.range(3000).map(lambda number: tfio.audio.freq_mask(clip(), 6)[0] == 0)
    shares = [np.mean(list(hidden.as_numpy_iterator()), axis=0) for hidden in (ours, theirs)]
    np.testing.assert_allclose(*shares, atol=0.04)  # Four standard errors of a difference are 0.037.


def test_the_same_seed_gives_the_same_masks_and_another_gives_others():
    first, again, other = (augmented(SpecAugment(), clip(), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("num_frames", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("mel_bins", [2, 64])
def test_short_clips_and_wide_masks_do_not_fail_inside_a_map(num_frames, mel_bins):
    augment = SpecAugment(mel_mask=1000, frame_mask=1000)
    dataset = seeded(1).map(lambda seed: augment({"log_mel": clip(num_frames, mel_bins)}, seed))
    [example] = dataset
    assert example["log_mel"].shape == (num_frames, mel_bins)


def test_text_alone_stays():
    example = {"token_ids": tf.constant([2, 5])}
    assert SpecAugment()(example, seed_of(0)) is example


def mixed(share=0.4, seed=0):
    tf.random.set_seed(seed)
    features = {"log_mel": tf.random.normal([64, 5, 3]), "num_frames": tf.range(64, dtype=tf.int32)}
    label, weight = tf.one_hot(tf.range(64), 64), tf.range(64.0)
    return features, label, weight, *MixUp(share)(features, label, weight, seed=seed_of(seed))


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


def test_audio_and_label_are_mixed_in_the_same_share():
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


def test_masks_over_frames_hide_all_features_at_the_same_ones_and_masks_over_bands_only_log_mel():
    example = {"log_mel": clip(), "acoustic": clip(mel_bins=5), "label": tf.constant(3)}
    found = SpecAugment(mel_shift=0, frame_mask=9)(example, seed_of(4))
    hidden = {name: found[name].numpy() == 0 for name in ("log_mel", "acoustic")}
    is_frame_hidden = hidden["acoustic"].all(axis=1)
    np.testing.assert_array_equal(hidden["log_mel"].all(axis=1), is_frame_hidden)
    np.testing.assert_array_equal(hidden["acoustic"].any(axis=1), is_frame_hidden)
    assert 0 < is_frame_hidden.sum() < 20
    assert hidden["log_mel"].all(axis=0).any()
    assert found["label"] == 3


def test_features_without_bands_keep_their_columns():
    example = {"mfcc": clip(mel_bins=8)}
    found = SpecAugment(num_frame_masks=0)(example, seed_of(0))["mfcc"]
    np.testing.assert_array_equal(found, example["mfcc"])


def test_every_audio_feature_is_mixed_in_the_same_share():
    tf.random.set_seed(0)
    features = {name: tf.random.normal([32, 5, 3]) for name in ("log_mel", "acoustic")}
    features["encoder"] = tf.random.normal([32, 5, 2, 3])
    counts = {name: tf.random.uniform([32], 1, 6, tf.int32) for name in ("num_frames", "num_steps")}
    words = tf.ones([32, 2], tf.int32)
    found, label = MixUp(0.4)(features | counts | {"token_ids": words}, tf.one_hot(tf.range(32), 32), seed=seed_of(0))
    shares = 1 - tf.linalg.diag_part(label)
    for name, values in features.items():
        share = tf.reshape(shares, [32, *[1] * (len(values.shape) - 1)])
        np.testing.assert_allclose(found[name], (1 - share) * values + share * tf.roll(values, 1, 0), atol=1e-6)
    is_mixed = shares.numpy() > 0
    for name, values in counts.items():
        expected = np.where(is_mixed, np.maximum(values, np.roll(values, 1)), values)
        np.testing.assert_array_equal(found[name], expected)
    assert found["token_ids"] is words


SILENCE = -9.0


def moved(num_frames, frames=12, window=50, count=200, first=0):
    """Clips whose frame number n holds n + 1, moved: the values of each, silence as it stands there."""
    column = tf.range(1.0, num_frames + 1)[:, None]
    example = {
        "log_mel": tf.repeat(column, 3, axis=1),
        "log_mel_silence": tf.fill([3], SILENCE),
        "label": tf.constant(2),
    }
    shift = TimeShift(frames, window)
    for found in seeded(first + count).skip(first).map(lambda seed: shift(example, seed)):
        assert found["label"] == 2
        values = found["log_mel"].numpy()
        assert values.shape[1] == 3
        assert (values == values[:, :1]).all()
        yield values[:, 0].tolist()


def test_a_clip_moves_behind_silence_or_loses_its_start():
    shifts = set()
    for values in moved(30):
        silent = values.count(SILENCE)
        assert values[:silent] == [SILENCE] * silent
        lost = int(values[silent]) - 1
        assert values[silent:] == list(range(lost + 1, 31))
        assert silent == 0 or lost == 0
        shifts.add(silent - lost)
    assert shifts == set(range(-7, 13))  # At most a quarter of the clip is lost, and 12 frames are moved by.


def test_what_passes_the_window_is_cut_off_and_is_no_more_than_a_quarter():
    found = list(moved(48))
    assert max(map(len, found)) == 50
    assert {values.count(SILENCE) for values in found} == set(range(13))
    full = list(moved(50, frames=1000))
    assert max(values.count(SILENCE) for values in full) == 50 // 4 == 50 - min(map(len, full))


@pytest.mark.parametrize("num_frames", [0, 1, 3])
def test_an_absent_clip_stays_and_a_short_one_loses_nothing(num_frames):
    for values in moved(num_frames, count=20):
        assert [value for value in values if value != SILENCE] == list(range(1, num_frames + 1))
        assert num_frames or not values


def test_a_move_is_the_same_for_the_same_seed_and_leaves_text_alone():
    shifts = [[len(values) for values in moved(20, count=10, first=first)] for first in (0, 0, 5)]
    assert shifts[0] == shifts[1]
    assert shifts[0][5:] == shifts[2][:5]
    assert len(set(shifts[0])) > 2
    example = {"token_ids": tf.constant([2])}
    assert TimeShift(3, 9)(example, seed_of(0)) is example


ALL = WaveformChange(speed=0.1, noise_snr_db=10.0, gain_db=6.0)


def sine(hz=440.0, num_samples=16000, scale=0.5):
    return tf.constant(scale * np.sin(2 * np.pi * hz * np.arange(num_samples) / 16000), tf.float32)


def seeds(count):
    return tf.constant([[number, 0] for number in range(count)], tf.int64)


def changed_waveforms(change, waveform, count=20):
    """Inside a map that runs side by side; the first ones are the same eagerly."""
    dataset = tf.data.Dataset.from_tensor_slices(seeds(count))
    mapped = dataset.map(lambda seed: change(waveform, seed), num_parallel_calls=4)
    found = list(mapped.as_numpy_iterator())
    for one, seed in zip(found, seeds(2), strict=False):
        np.testing.assert_allclose(one, change(waveform, seed), atol=1e-5)
    return found


@pytest.mark.parametrize("num_samples", [0, 1, 2, 401, 16000])
def test_a_silent_waveform_stays_silent(num_samples):
    for waveform in changed_waveforms(ALL, tf.zeros([num_samples]), 3):
        assert not waveform.any()
        assert len(waveform) == pytest.approx(num_samples, rel=0.12)


def test_waveforms_differ_by_seed_and_stay_in_range():
    found = changed_waveforms(WaveformChange(0.1, 1.0, 20.0), sine(scale=0.99))
    assert len({waveform.tobytes() for waveform in found}) == 20
    assert max(np.abs(waveform).max() for waveform in found) == 1.0
    assert all(np.isfinite(waveform).all() for waveform in found)


def test_gain_is_up_or_down_in_decibels():
    found = changed_waveforms(WaveformChange(gain_db=6.0), sine(), 60)
    gains = [20 * np.log10(waveform[1:100] / sine()[1:100]) for waveform in found]
    assert max(np.ptp(gain) for gain in gains) < 1e-3
    levels = [gain.mean() for gain in gains]
    assert -6 <= min(levels) < -4
    assert 4 < max(levels) <= 6


@pytest.mark.parametrize("rate", [0.9, 1.0, 1.1])
def test_speed_moves_length_and_pitch(rate):
    found = change_speed(sine(), tf.constant(rate)).numpy()
    assert len(found) == round(16000 / rate)
    np.testing.assert_allclose(found[:-2], sine(440 * rate, len(found))[:-2], atol=0.01)


def test_speeds_lie_within_their_share():
    lengths = [len(waveform) for waveform in changed_waveforms(WaveformChange(speed=0.1), sine(), 60)]
    assert 16000 / 1.1 - 1 <= min(lengths) < 15000
    assert 17000 < max(lengths) <= 16000 / 0.9 + 1


def test_noise_lies_as_far_below_the_clip_as_asked():
    clean = sine()
    noise = add_noise(clean, tf.constant(12.0), seeds(1)[0]) - clean
    snr_db = 10 * np.log10(np.mean(np.square(clean)) / np.mean(np.square(noise)))
    assert snr_db == pytest.approx(12, abs=0.5)


def test_noise_is_drawn_from_its_level_to_20_decibels_less():
    found = changed_waveforms(WaveformChange(noise_snr_db=5.0), sine(), 60)
    powers = [10 * np.log10(np.mean(np.square(sine())) / np.mean(np.square(one - sine()))) for one in found]
    assert 4.5 < min(powers) < 8
    assert 22 < max(powers) < 25.5


def test_0_decibels_are_noise_as_loud_as_the_clip_and_none_is_no_noise():
    found = changed_waveforms(WaveformChange(noise_snr_db=0.0), sine(scale=0.1), 60)
    powers = [
        10 * np.log10(np.mean(np.square(sine(scale=0.1))) / np.mean(np.square(one - sine(scale=0.1)))) for one in found
    ]
    assert -0.5 < min(powers) < 3
    assert 17 < max(powers) < 20.5
    np.testing.assert_array_equal(changed_waveforms(WaveformChange(noise_snr_db=None), sine(), 2)[0], sine())


def num_frames_of(waveform):
    return int(audio.frame_features(waveform[None], audio.FrontEnd(), ["log_mel"])[1][0])


def test_zeros_behind_a_clip_stay_padding():
    waveform = tf.concat([sine(num_samples=5000), tf.zeros([3000])], axis=0)
    found = add_noise(waveform, tf.constant(5.0), seeds(1)[0]).numpy()
    assert not found[5000:].any()
    assert (found[:5000] != waveform[:5000].numpy()).any()
    assert num_frames_of(found) <= 1 + (5000 - 400) // 160


def test_silent_ends_get_no_noise_and_are_trimmed_as_before():
    soft = 1e-3 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    waveform = tf.concat([soft, sine(num_samples=8000), soft], axis=0)
    found = add_noise(waveform, tf.constant(3.0), seeds(1)[0])
    np.testing.assert_array_equal(found[:7900], waveform[:7900])
    np.testing.assert_array_equal(found[16100:], waveform[16100:])
    assert abs(num_frames_of(found) - num_frames_of(waveform)) <= 2


def test_an_offset_is_silence_and_gets_no_noise():
    quiet = tf.fill([8000], 0.3)
    waveform = tf.concat([quiet, sine(num_samples=8000), quiet], axis=0)
    found = add_noise(waveform, tf.constant(3.0), seeds(1)[0])
    np.testing.assert_array_equal(found[:8000], quiet)
    np.testing.assert_array_equal(found[16000:], quiet)


def test_noise_reaches_as_far_as_the_threshold_of_silence_says():
    soft = 0.02 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)  # 25 dB below the sine.
    waveform = tf.concat([soft, sine(num_samples=8000), soft], axis=0)
    for trim_db, is_changed in ((20.0, False), (30.0, True)):
        found = WaveformChange(noise_snr_db=5.0, trim_db=trim_db)(waveform, seeds(1)[0])
        assert (found[:7900] != waveform[:7900]).numpy().any() == is_changed
        assert (found[8100:15900] != waveform[8100:15900]).numpy().any()


def test_noise_is_pink_above_50_hz_and_white_below():
    noise = np.concatenate([pink_noise(tf.constant(16000), seed).numpy() for seed in seeds(20)])
    power = np.square(np.abs(np.fft.rfft(noise.reshape(20, -1), axis=1))).mean(axis=0)  # 1 Hz a bin.
    bands = [power[low : 2 * low].mean() for low in (1, 10, 100, 1000, 2000)]
    assert bands[0] == pytest.approx(bands[1], rel=0.7)
    assert bands[2] / bands[3] == pytest.approx(10, rel=0.2)
    assert bands[3] / bands[4] == pytest.approx(2, rel=0.1)
    assert np.mean(np.square(noise)) == pytest.approx(1, rel=0.05)


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
    example = {"token_ids": text.own_tokenizer()([SENTENCE])[0], "log_mel": clip()}
    found = [augment(example, seed_of(number % 5))["token_ids"].numpy().tolist() for number in range(10)]
    assert found[:5] == found[5:]
    assert len({tuple(row) for row in found}) > 2


def test_a_clip_without_text_stays():
    example = {"log_mel": clip()}
    assert TextAugment(text.own_tokenizer(), 0.5)(example, seed_of(0)) is example


def video(seed=0, num_frames=3, size=24, channels=1):
    """Frames that differ from each other, none of them black."""
    frames = 0.3 + 0.4 * np.random.default_rng(seed).random((num_frames, size, size, channels))
    return frames.astype(np.float32)


STILL = {"flip": 0.0, "shift": 0, "brightness": 0.0, "cutout": 0}


def changed_video(frames, seed=0, **values):
    augment = ImageAugment(**(STILL | values))
    return augment({"video_frames": tf.constant(frames)}, seed_of(seed))["video_frames"].numpy()


def test_frames_stay_where_nothing_is_asked_for():
    np.testing.assert_array_equal(changed_video(video()), video())


def test_a_video_is_mirrored_whole_or_not_at_all():
    found = [changed_video(video(), seed, flip=0.5) for seed in range(20)]
    is_mirrored = [bool((one == video()[:, :, ::-1]).all()) for one in found]
    assert 4 < sum(is_mirrored) < 16
    assert all(mirrored or (one == video()).all() for mirrored, one in zip(is_mirrored, found, strict=True))


def test_all_frames_of_a_video_move_alike_and_the_outermost_pixels_fill_the_gap():
    moves, padded = set(), np.pad(video(), [[0, 0], [2, 2], [2, 2], [0, 0]], "edge")
    for seed in range(20):
        found = changed_video(video(), seed, shift=2)
        fitting = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if (found == padded[:, 2 - down :, 2 - right :][:, :24, :24]).all()
        ]
        assert len(fitting) == 1
        moves.add(fitting[0])
    assert len(moves) > 5


def test_brightness_changes_all_pixels_of_a_video_by_the_same_and_leaves_none_black():
    lighter = [changed_video(video(), seed, brightness=0.2) - video() for seed in range(10)]
    for change in lighter:
        np.testing.assert_allclose(change, np.full_like(change, change[0, 0, 0, 0]), atol=1e-6)
    assert np.ptp([change.mean() for change in lighter]) > 0.1
    dark = np.full((2, 8, 8, 1), 0.01, np.float32)
    assert all(changed_video(dark, seed, brightness=0.5).min() > 0 for seed in range(10))


def test_cutout_paints_one_square_of_all_frames_with_the_mean_of_the_video():
    for seed in range(10):
        frames = video(channels=3)
        found = changed_video(frames, seed, cutout=6)
        is_painted = (found != frames).any(axis=(0, 3))
        rows, columns = np.flatnonzero(is_painted.any(axis=1)), np.flatnonzero(is_painted.any(axis=0))
        assert 0 < len(rows) <= 6
        assert 0 < len(columns) <= 6
        assert is_painted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        expected = np.broadcast_to(frames.mean(axis=(0, 1, 2)), (3, is_painted.sum(), 3))
        np.testing.assert_allclose(found[:, is_painted], expected, atol=1e-6)


def test_an_absent_video_stays_absent_and_other_features_stay():
    absent = {"video_frames": tf.zeros([2, 8, 8, 1]), "log_mel": clip()}
    found = ImageAugment()(absent, seed_of(0))
    assert not found["video_frames"].numpy().any()
    np.testing.assert_array_equal(found["log_mel"], clip())
    assert ImageAugment()({"log_mel": clip()}, seed_of(0)).keys() == {"log_mel"}


def test_videos_are_augmented_in_a_dataset_and_differ_from_seed_to_seed():
    dataset = seeded(3).map(lambda seed: ImageAugment()({"video_frames": video()}, seed))
    found = [example["video_frames"].numpy() for example in dataset]
    assert {one.shape for one in found} == {(3, 24, 24, 1)}
    assert not (found[0] == found[1]).all()
    assert not (found[1] == found[2]).all()
