"""Tests of pipelines.stored_audio: stored features, or those of changed waveforms, brought to one scale."""

import numpy as np
import pytest
import tensorflow as tf
from test_dataset import ALL_FEATURES, SPEAKERS, content_of, examples_of

from pipelines import records
from pipelines.command import InputError
from pipelines.dataset import make_dataset
from pipelines.normalisation import Normalisation, fit
from pipelines.stored_audio import StoredAudio


def test_what_is_read_of_a_record_is_a_field_for_each_feature_or_the_waveform(acoustic_records):
    metadata = records.read_metadata(acoustic_records)

    def fields(names, change=None):
        return StoredAudio(acoustic_records, metadata, names, change=change).fields

    assert fields(["log_mel", "mfcc", "acoustic"]) == ["log_mel", "acoustic"]
    assert fields(["mfcc"], unchanged) == ["waveform"]
    assert fields(["log_mel", "encoder"], unchanged) == ["waveform", "encoder"]
    assert fields(["encoder"]) == fields(["encoder"], unchanged) == ["encoder"]
    assert fields(["encoder", "waveform"]) == ["encoder", "waveform"]
    assert fields(["log_mel", "waveform"]) == ["log_mel", "waveform"]
    assert fields(["log_mel", "waveform"], unchanged) == ["waveform"]
    assert fields([]) == fields([], unchanged) == []


def stored_clips(folder):
    """utterance_id -> speaker and log-mel, as they are stored."""
    metadata = records.read_metadata(folder)
    fields = ("utterance_id", "speaker", "log_mel")
    dataset = tf.data.TFRecordDataset([str(folder / name) for name in metadata.shards])
    dataset = dataset.map(lambda s: records.parse(s, fields, metadata.columns))
    return {
        one["utterance_id"].decode(): (one["speaker"].decode(), one["log_mel"]) for one in dataset.as_numpy_iterator()
    }


def assert_scaled(features, log_mel, mean, std):
    """The clip, and the silence behind it, are brought to one scale."""
    count = features["num_frames"].numpy()
    assert count == len(log_mel)
    np.testing.assert_allclose(features["log_mel"][:count], (log_mel - mean) / std, atol=1e-4)
    padding = features["log_mel"][count:]
    silence = (np.log(3e-3) - np.asarray(mean)) / std
    np.testing.assert_allclose(padding, np.broadcast_to(silence, padding.shape), atol=1e-4)


def test_training_statistics_bring_clips_and_their_padding_to_one_scale(three_speaker_records):
    fitted = fit(three_speaker_records, "training", ["log_mel"], ["01"])
    stored = stored_clips(three_speaker_records)
    dataset = make_dataset(three_speaker_records, ["02", "03"], normalisation=fitted, with_metadata=True)
    for name, (features, *_) in examples_of(dataset).items():
        assert_scaled(features, stored[name][1], *fitted.vectors(["log_mel"]))


@pytest.mark.parametrize("by", ["speaker", "utterance_id"])
def test_enrolled_speakers_are_known_by_all_their_other_clips(three_speaker_records, by):
    stored = stored_clips(three_speaker_records)
    members = ["02", "03"] if by == "speaker" else sorted(stored)[::20]
    fitted = fit(three_speaker_records, "enrolled", ["log_mel"], ["01"])
    dataset = make_dataset(three_speaker_records, members, by=by, normalisation=fitted, with_metadata=True)
    found = examples_of(dataset)
    for name in sorted(found)[::7]:
        speaker, log_mel = stored[name]
        others = [one for other, (who, one) in stored.items() if who == speaker and other != name]
        others = np.concatenate(others).astype(np.float64)
        assert_scaled(found[name][0], log_mel, others.mean(axis=0), others.std(axis=0))


def test_audio_that_is_shuffled_to_another_utterance_keeps_the_statistics_of_its_own_speaker(three_speaker_records):
    fitted = fit(three_speaker_records, "enrolled", ["log_mel"], ["01"])
    before, after = (
        content_of(
            make_dataset(three_speaker_records, SPEAKERS, shuffled=shuffled, normalisation=fitted, with_metadata=True)
        )
        for shuffled in ("", "audio")
    )
    old, new = ([content[name]["log_mel"] for name in sorted(before)] for content in (before, after))
    assert old != new
    assert sorted(old) == sorted(new)


def test_shuffled_states_keep_the_statistics_of_their_own_speaker(encoder_records):
    options = {"audio_features": ["log_mel", "encoder"], "with_metadata": True}
    options["normalisation"] = fit(encoder_records, "enrolled", options["audio_features"], ["01"])
    old, new = (
        [
            features["encoder"][: features["num_steps"]].numpy().tobytes()
            for _, (features, *_) in sorted(examples_of(make_dataset(encoder_records, SPEAKERS, **chosen)).items())
        ]
        for chosen in (options, options | {"shuffled": "audio"})
    )
    assert old != new
    assert sorted(old) == sorted(new)


def test_records_without_speakers_enrol_none(goemotions_records):
    with pytest.raises(InputError, match="name no speakers"):
        make_dataset(
            goemotions_records,
            [""],
            normalisation=Normalisation("enrolled", {"log_mel": [0.0] * 64}, {"log_mel": [1.0] * 64}),
        )


def unchanged(waveform, seed):
    return waveform


@pytest.mark.parametrize("mode", ["clip", "training", "enrolled"])
def test_features_of_an_unchanged_waveform_are_those_that_are_stored(acoustic_records, mode):
    options = {"training": True, "with_metadata": True, "num_frames": 400, "audio_features": ALL_FEATURES}
    if mode != "clip":
        options["normalisation"] = fit(acoustic_records, mode, ALL_FEATURES, ["01"])
    plain, recomputed = (
        examples_of(make_dataset(acoustic_records, ["02"], change_waveform=change, **options))
        for change in (None, unchanged)
    )
    assert set(plain) == set(recomputed)
    for name, (features, label, metadata) in plain.items():
        assert set(recomputed[name][0]) == set(features)
        assert recomputed[name][0]["num_frames"] == features["num_frames"]
        for feature in ALL_FEATURES:
            differing = np.abs(recomputed[name][0][feature] - features[feature]) > 1e-2
            assert differing.mean() < 1e-3  # A pitch may fall on another trough.
        np.testing.assert_array_equal(recomputed[name][0]["token_ids"], features["token_ids"])
        assert recomputed[name][1] == label
        assert recomputed[name][2]["speaker"] == metadata["speaker"]


def test_columns_of_all_features_are_scaled_by_a_speakers_other_clips(acoustic_records):
    metadata = records.read_metadata(acoustic_records)
    dataset = tf.data.TFRecordDataset([str(acoustic_records / name) for name in metadata.shards])
    fields = ("utterance_id", "speaker", "acoustic")
    dataset = dataset.map(lambda s: records.parse(s, fields, metadata.columns)).as_numpy_iterator()
    stored = {one["utterance_id"].decode(): one["acoustic"][:, :80] for one in dataset if one["speaker"] == b"02"}
    fitted = fit(acoustic_records, "enrolled", ["log_mel", "mfcc"], ["01"])
    options = {"audio_features": ["log_mel", "mfcc"], "normalisation": fitted, "with_metadata": True}
    found = examples_of(make_dataset(acoustic_records, ["02"], **options))
    for name in sorted(found)[::9]:
        others = np.concatenate([one for other, one in stored.items() if other != name]).astype(np.float64)
        expected = (stored[name] - others.mean(axis=0)) / others.std(axis=0)
        np.testing.assert_allclose(found[name][0]["mfcc"][: len(expected)], expected, atol=1e-3)


def test_waveforms_are_changed_anew_in_every_epoch_the_same_for_the_same_seed_and_in_training_only(
    three_speaker_records,
):
    def noisier(waveform, seed):
        return waveform + 0.01 * tf.random.stateless_normal(tf.shape(waveform), seed)

    def epoch(number, seed, training):
        dataset = make_dataset(
            three_speaker_records, ["02"], ["audio"], change_waveform=noisier, training=training, seed=seed,
            normalisation=fitted, with_metadata=True, epochs=range(number, number + 1),
        )  # fmt: skip
        return {name: found[0]["log_mel"][0].numpy() for name, found in examples_of(dataset).items()}

    def epochs(seed, training=True):
        return [epoch(number, seed, training) for number in range(2)]

    fitted = Normalisation("training", {"log_mel": [0.0] * 64}, {"log_mel": [1.0] * 64})
    (first, second), (again, _) = epochs(3), epochs(3)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert np.mean([np.array_equal(first[name], second[name]) for name in first]) < 0.1
    (plain, same) = epochs(3, training=False)
    assert all(np.array_equal(plain[name], same[name]) for name in plain)


def test_changed_waveforms_go_with_shuffled_audio(three_speaker_records):
    plain, recomputed = (
        examples_of(
            make_dataset(
                three_speaker_records, ["01", "03"], shuffled="audio", change_waveform=change, training=True,
                with_metadata=True,
            )
        )
        for change in (None, unchanged)
    )  # fmt: skip
    assert all(plain[name][0]["num_frames"] == recomputed[name][0]["num_frames"] for name in plain)


def test_records_without_waveforms_have_none_to_change(encoder_records):
    options = {"training": True, "change_waveform": unchanged}
    with pytest.raises(InputError, match="hold no waveforms to change: prepare them again with --store-waveform"):
        make_dataset(encoder_records, ["01"], **options)
    assert make_dataset(encoder_records, ["01"], ["text"], **options)
