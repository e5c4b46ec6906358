"""Tests of pipelines.normalisation: statistics as numpy has them, over the clips that they are said to be over."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines import audio, records
from pipelines import normalisation as module
from pipelines.command import InputError
from pipelines.dataset import make_dataset
from pipelines.normalisation import (
    Normalisation,
    Sums,
    fit,
    least_std,
    make_leave_one_out,
    normalise,
    normalise_states,
    pooled,
    read_sums,
    speaker_sums,
)

LOG_MEL = ["log_mel"]
NARROW = audio.FrontEnd(mel_bins=2, fft_length=512, max_hz=4000.0)
FITTED = Normalisation("enrolled", {"log_mel": [1.0, 2.0]}, {"log_mel": [3.0, 4.0]})


def clips_of(folder):
    """utterance_id -> speaker and log-mel, as they are stored."""
    metadata = records.read_metadata(folder)
    shards = [str(folder / name) for name in metadata.shards]
    fields = ("utterance_id", "speaker", "log_mel")
    dataset = tf.data.TFRecordDataset(shards).map(lambda s: records.parse(s, fields, metadata.columns))
    return {
        one["utterance_id"].decode(): (one["speaker"].decode(), one["log_mel"]) for one in dataset.as_numpy_iterator()
    }


def clip(num_frames, seed=0, num_columns=2):
    return np.random.default_rng(seed).normal(-3, 5, (num_frames, num_columns)).astype(np.float32)


def test_sums_give_mean_and_std():
    clips = [clip(7, 1), clip(1, 2), clip(30, 3)]
    mean, std = pooled([Sums.of(one) for one in clips], 2).statistics(0.1)
    frames = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, frames.std(axis=0), rtol=1e-12)


def test_an_absent_clip_counts_for_nothing_and_nothing_has_finite_statistics():
    sums = Sums.of(clip(5)) + Sums.of(clip(0))
    assert (sums.num_clips, sums.counts.tolist()) == (1, [5, 5])
    mean, std = pooled([], 3).statistics(0.1)
    assert mean.tolist() == [0, 0, 0]
    assert std.tolist() == [0.1] * 3


def test_frames_and_steps_of_a_clip_are_counted_for_themselves():
    frames, steps = clip(9, 1), clip(4, 2, 3)
    sums = Sums.of(frames, steps) + Sums.of(frames[:0], steps)
    assert (sums.num_clips, sums.counts.tolist()) == (2, [9, 9, 8, 8, 8])
    mean, std = sums.statistics(0.1)
    np.testing.assert_allclose(mean, [*frames.mean(axis=0), *steps.mean(axis=0)], rtol=1e-5)
    np.testing.assert_allclose(std, [*frames.std(axis=0), *steps.std(axis=0)], rtol=1e-5)


def test_a_column_that_does_not_vary_is_not_blown_up():
    mean, std = Sums.of(np.full((50, 1), -11.5, np.float32)).statistics(0.1)
    assert mean[0] == pytest.approx(-11.5)
    assert std[0] == 0.1


@pytest.mark.parametrize("mode", ["training", "enrolled"])
def test_what_is_fitted_are_the_statistics_of_all_training_frames(three_speaker_records, mode):
    found = fit(three_speaker_records, mode, LOG_MEL, ["01", "03"])
    frames = [log_mel for speaker, log_mel in clips_of(three_speaker_records).values() if speaker != "02"]
    frames = np.concatenate(frames).astype(np.float64)
    np.testing.assert_allclose(found.mean["log_mel"], frames.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.std["log_mel"], frames.std(axis=0), rtol=1e-9)
    assert (found.mode, found.num_alone) == (mode, 0)


def test_single_utterances_can_be_the_training_split(three_speaker_records):
    clips = clips_of(three_speaker_records)
    chosen = sorted(clips)[::9]
    found = fit(three_speaker_records, "training", LOG_MEL, chosen, "utterance_id")
    np.testing.assert_allclose(
        found.mean["log_mel"], np.concatenate([clips[name][1] for name in chosen]).mean(axis=0), rtol=1e-4
    )


def test_speakers_with_a_single_clip_of_audio_are_counted(three_speaker_records, monkeypatch):
    one, two, absent = (Sums.of(clip(count, num_columns=64)) for count in (3, 4, 0))
    sums = {"a": one + two, "b": one, "c": two + absent}
    monkeypatch.setattr(module, "read_sums", lambda *arguments: sums)
    assert fit(three_speaker_records, "enrolled", LOG_MEL, ["a"]).num_alone == 2
    assert fit(three_speaker_records, "training", LOG_MEL, ["a"]).num_alone == 0


@pytest.mark.parametrize("in_map", [False, True])
def test_a_speakers_other_clips_are_all_but_the_clip(three_speaker_records, in_map):
    clips = clips_of(three_speaker_records)
    fitted = Normalisation("enrolled", {"log_mel": [1.0] * 64}, {"log_mel": [3.0] * 64})
    least = least_std(LOG_MEL, audio.FrontEnd())
    leave_one_out = make_leave_one_out(speaker_sums(three_speaker_records, LOG_MEL), fitted, LOG_MEL, least)
    for name in sorted(clips)[::17]:
        speaker, log_mel = clips[name]
        others = [one for other, (who, one) in clips.items() if who == speaker and other != name]
        others = np.concatenate(others).astype(np.float64)
        found = leave_one_out(tf.constant(speaker), tf.constant(log_mel))
        if in_map:
            [found] = tf.data.Dataset.from_tensors((tf.constant(speaker), log_mel)).map(leave_one_out)
        np.testing.assert_allclose(found[0], others.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(found[1], others.std(axis=0), atol=1e-5)


def test_training_stands_in_for_a_speaker_without_another_clip():
    alone, pair = clip(9), [clip(4, 1), clip(6, 2)]
    sums = {"alone": Sums.of(alone) + Sums.of(clip(0)), "pair": Sums.of(pair[0]) + Sums.of(pair[1])}
    leave_one_out = make_leave_one_out(sums, FITTED, LOG_MEL, least_std(LOG_MEL, NARROW))
    mean, std = leave_one_out(tf.constant("alone"), tf.constant(alone))
    np.testing.assert_allclose(mean, FITTED.mean["log_mel"])
    np.testing.assert_allclose(std, FITTED.std["log_mel"])
    mean, _ = leave_one_out(tf.constant("pair"), tf.constant(pair[0]))
    np.testing.assert_allclose(mean, pair[1].mean(axis=0), rtol=1e-5)


def test_a_std_of_zeros_stands_for_a_speaker_who_is_not_enrolled():
    log_mel = tf.constant(np.stack([clip(4, 1), clip(4, 2)]))
    mean, std = np.array([[0.0, 0.0], [5.0, 6.0]], np.float32), np.array([[0, 0], [7, 8]], np.float32)
    found = normalise({"log_mel": log_mel}, tf.constant([4, 4]), FITTED, mean, std)["log_mel"].numpy()
    np.testing.assert_allclose(found[0], (log_mel[0] - [1, 2]) / [3, 4], rtol=1e-5)
    np.testing.assert_allclose(found[1], (log_mel[1] - [5, 6]) / [7, 8], rtol=1e-5)


def test_what_never_varied_in_an_enrolled_speaker_is_divided_by_the_std_of_training():
    log_mel, mean = clip(4, 1)[None], np.array([[5.0, 6.0]], np.float32)
    std = np.array([[7.0, 0.0]], np.float32)
    found = normalise({"log_mel": tf.constant(log_mel)}, tf.constant([4]), FITTED, mean, std)["log_mel"]
    np.testing.assert_allclose(found, (log_mel - [5, 6]) / [7, 4], rtol=1e-5)


def test_each_feature_is_scaled_by_its_own_columns():
    log_mel, mfcc = clip(4, 1)[None], clip(4, 2, 3)[None]
    both = FITTED.with_features_of(Normalisation("enrolled", {"mfcc": [7.0, 8.0, 9.0]}, {"mfcc": [1.0, 2.0, 3.0]}))
    found = normalise({"log_mel": tf.constant(log_mel), "mfcc": tf.constant(mfcc)}, tf.constant([4]), both)
    np.testing.assert_allclose(found["log_mel"], (log_mel - [1, 2]) / [3, 4], rtol=1e-5)
    np.testing.assert_allclose(found["mfcc"], (mfcc - [7, 8, 9]) / [1, 2, 3], rtol=1e-5)
    np.testing.assert_allclose(both.vectors(["log_mel", "mfcc"])[0], [1, 2, 7, 8, 9])


def test_without_a_speaker_and_without_statistics_clips_are_normalised_by_training_or_by_themselves():
    features, num_frames = {"log_mel": tf.constant(clip(4)[None])}, tf.constant([4])
    found = normalise(features, num_frames, FITTED)["log_mel"]
    np.testing.assert_allclose(found, (features["log_mel"] - [1, 2]) / [3, 4], rtol=1e-5)
    alone = normalise(features, num_frames, None)["log_mel"]
    np.testing.assert_allclose(tf.reduce_mean(alone, axis=1), 0, atol=1e-5)


def test_utterances_without_a_speaker_cannot_be_enrolled(goemotions_records):
    for refused in (
        lambda: speaker_sums(goemotions_records, LOG_MEL),
        lambda: fit(goemotions_records, "enrolled", LOG_MEL, [""]),
    ):
        with pytest.raises(InputError, match="name no speakers, and --normalise enrolled rests on a speaker's other"):
            refused()


def test_sums_of_chosen_records_leave_the_others_out(three_speaker_records):
    assert set(read_sums(three_speaker_records, LOG_MEL, ["02"])) == {"02"}
    assert set(read_sums(three_speaker_records, LOG_MEL)) == {"01", "02", "03"}


def test_states_are_scaled_column_by_column_and_block_by_block(encoder_records):
    found = fit(encoder_records, "training", ["log_mel", "encoder"], ["01", "03"])
    options = {"audio_features": ["encoder"], "batch_size": 200}
    [(stored, _)] = make_dataset(encoder_records, ["01", "03"], ["audio"], **options)
    [(scaled, _)] = make_dataset(encoder_records, ["01", "03"], ["audio"], normalisation=found, **options)
    is_step = tf.sequence_mask(stored["num_steps"], stored["encoder"].shape[1]).numpy()
    steps = stored["encoder"].numpy()[is_step].astype(np.float64)  # [num_steps, num_blocks, width]
    assert steps.shape[1:] == (2, 8)
    np.testing.assert_allclose(found.mean["encoder"], steps.mean(axis=0).reshape(-1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.std["encoder"], steps.std(axis=0).reshape(-1), rtol=1e-6)
    values = scaled["encoder"].numpy()
    np.testing.assert_allclose(values[is_step].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(values[is_step].std(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(values[~is_step], 0)


@pytest.mark.parametrize("names", [["encoder"], ["log_mel", "encoder"]])
def test_states_of_enrolled_speakers_are_scaled_by_their_other_clips(encoder_records, names):
    found = fit(encoder_records, "enrolled", names, ["01", "03"])
    training = fit(encoder_records, "training", names, ["01", "03"])
    assert (found.mean, found.std) == (training.mean, training.std)
    options = {"audio_features": names, "batch_size": 200}
    [(stored, _)] = make_dataset(encoder_records, ["02"], ["audio"], **options)
    [(scaled, _)] = make_dataset(encoder_records, ["02"], ["audio"], normalisation=found, **options)
    states, counts = stored["encoder"].numpy().astype(np.float64), stored["num_steps"].numpy()
    clips = [one[:count] for one, count in zip(states, counts, strict=True)]
    for row in range(0, len(clips), 11):
        others = np.concatenate(clips[:row] + clips[row + 1 :])
        expected = (clips[row] - others.mean(axis=0)) / others.std(axis=0)
        result = scaled["encoder"].numpy()[row]
        np.testing.assert_allclose(result[: len(expected)], expected, atol=1e-3)
        np.testing.assert_array_equal(result[len(expected) :], 0)


def test_states_have_the_last_columns_of_a_speaker():
    states, log_mel = tf.constant(clip(12, 3).reshape(2, 3, 2, 2)), tf.constant(clip(8, 4).reshape(2, 4, 2))
    fitted = FITTED.with_features_of(Normalisation("enrolled", {"encoder": [1.0] * 4}, {"encoder": [2.0] * 4}))
    mean = np.array([[0] * 6, [5, 6, 7, 8, 9, 10]], np.float32)
    std = np.array([[0] * 6, [1, 2, 3, 4, 0, 6]], np.float32)
    found = normalise_states(states, fitted, mean, std)
    np.testing.assert_allclose(found[0], (states[0] - 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(found[1], (states[1] - [[7, 8], [9, 10]]) / [[3, 4], [2, 6]], rtol=1e-5)
    frames = normalise({"log_mel": log_mel}, tf.constant([4, 4]), fitted, mean, std)["log_mel"]
    np.testing.assert_allclose(frames[0], (log_mel[0] - [1, 2]) / [3, 4], rtol=1e-5)
    np.testing.assert_allclose(frames[1], (log_mel[1] - [5, 6]) / [1, 2], rtol=1e-5)


def test_states_stay_as_they_are_where_nothing_was_fitted():
    states = tf.ones([1, 3, 2, 8], tf.float16)
    assert normalise_states(states, None) is states


def test_features_of_a_run_that_looks_at_each_clip_alone_stay_so_beside_those_of_training():
    both = FITTED.with_features_of(Normalisation(FITTED.mode, {"encoder": [1.0] * 4}, {"encoder": [2.0] * 4}))
    mixed = both.with_clips(["log_mel"])
    assert (mixed.scale_of("log_mel"), mixed.scale_of("encoder"), list(mixed.mean)) == (
        "clip",
        FITTED.mode,
        ["encoder"],
    )
    log_mel, states = tf.constant(clip(4, 4)[np.newaxis]), tf.constant(clip(6, 3).reshape(1, 3, 2, 2))
    found = normalise({"log_mel": log_mel}, tf.constant([4]), mixed)["log_mel"]
    np.testing.assert_array_equal(found, normalise({"log_mel": log_mel}, tf.constant([4]), None)["log_mel"])
    np.testing.assert_allclose(normalise_states(states, mixed), (states - 1) / 2, rtol=1e-5)
    assert normalise_states(states, both.with_clips(["encoder"])) is states


def test_some_features_of_frames_are_scaled_by_training_and_others_clip_by_clip():
    log_mel, mfcc = tf.constant(clip(4, 4)[np.newaxis]), tf.constant(clip(4, 3, 3)[np.newaxis])
    features = {"log_mel": log_mel, "mfcc": mfcc}
    fitted = Normalisation("training", {"mfcc": [1.0] * 3}, {"mfcc": [2.0] * 3}, by_clip=("log_mel",))
    found = normalise(features, tf.constant([4]), fitted)
    assert list(found) == ["log_mel", "mfcc"]
    np.testing.assert_allclose(found["mfcc"], (mfcc - 1) / 2, rtol=1e-5)
    np.testing.assert_array_equal(found["log_mel"], normalise(features, tf.constant([4]), None)["log_mel"])
