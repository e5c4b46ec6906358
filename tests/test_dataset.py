"""Tests of pipelines.dataset: every utterance once, whole or cropped, padded with silence, in an order of its own."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from pipelines import audio, clips, normalisation, records, text, video
from pipelines.audio.speech_encoder import Encoder, EncoderSettings
from pipelines.command import InputError
from pipelines.corpora import goemotions, manifest
from pipelines.dataset import make_dataset
from pipelines.records import writer
from pipelines.utterance import Corpus, Utterance

SPEAKERS = ("01", "02", "03")


def examples_of(dataset):
    """Splits batches with metadata: utterance_id -> (features, label, metadata)."""
    examples = {}
    for features, label, metadata in dataset.unbatch():
        assert metadata["utterance_id"].numpy().decode() not in examples
        examples[metadata["utterance_id"].numpy().decode()] = (features, label, metadata)
    return examples


def order_of(dataset):
    return [name.decode() for *_, metadata in dataset for name in metadata["utterance_id"].numpy()]


@pytest.fixture(scope="module")
def examples(three_speaker_records):
    return examples_of(make_dataset(three_speaker_records, SPEAKERS, with_metadata=True))


@pytest.fixture(scope="module")
def split_records(three_speakers, tmp_path_factory):
    """Records without speakers: every third utterance is of the published split validation, the others of train."""
    utterances = tuple(
        dataclasses.replace(one, audio=None, speaker="", published_split="train" if number % 3 else "validation")
        for number, one in enumerate(three_speakers.utterances)
    )
    folder = tmp_path_factory.mktemp("records") / "split"
    corpus = dataclasses.replace(three_speakers, utterances=utterances)
    writer.prepare(writer.Preparation(corpus, folder, audio.FrontEnd()), 1)
    return folder


def test_every_utterance_of_the_chosen_speakers_comes_once(three_speakers, three_speaker_records):
    dataset = make_dataset(three_speaker_records, ["03", "01"], with_metadata=True)
    wanted = {one.utterance_id for one in three_speakers.utterances if one.speaker in ("01", "03")}
    assert set(examples_of(dataset)) == wanted
    assert len(dataset) == -(-60 // 32)
    assert {features["log_mel"].shape[0] for features, *_ in dataset} == {32, 28}


def test_shards_are_read_in_turns(three_speaker_records):
    names = sorted(records.read_metadata(three_speaker_records).shards)
    read = [order_of(make_dataset(three_speaker_records, [one], with_metadata=True)) for one in SPEAKERS]
    owners = [records.read_metadata(three_speaker_records).shards[name]["speakers"] for name in names]
    assert sorted(owners) == [[one] for one in SPEAKERS]
    by_shard = [read[SPEAKERS.index(speaker)] for [speaker] in owners]
    expected = [one for turn in itertools.zip_longest(*by_shard) for one in turn if one is not None]
    assert order_of(make_dataset(three_speaker_records, SPEAKERS, with_metadata=True)) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be tied to processors here")
def test_order_is_the_same_whatever_the_number_of_processors(three_speaker_records):
    options = {"with_metadata": True, "shuffled": "transcripts", "training": True, "seed": 3}
    script = (
        "import os, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from pathlib import Path; from pipelines.dataset import make_dataset\n"
        f"for features, _, about in make_dataset(Path(sys.argv[1]), {SPEAKERS}, **{options}):\n"
        "    print(*(one.decode() for one in about['utterance_id'].numpy()), features['token_ids'].numpy().sum(axis=1))"
    )
    command = [sys.executable, "-c", script, str(three_speaker_records)]
    alone = subprocess.run(command, check=True, text=True, capture_output=True).stdout
    here = [
        f"{' '.join(one.decode() for one in about['utterance_id'].numpy())} {features['token_ids'].numpy().sum(axis=1)}"
        for features, _, about in make_dataset(three_speaker_records, SPEAKERS, **options)
    ]
    assert alone.splitlines() == "\n".join(here).splitlines()


def test_labels_and_metadata_are_those_of_the_corpus(three_speakers, examples):
    for utterance in three_speakers.utterances:
        _, label, metadata = examples[utterance.utterance_id]
        assert three_speakers.emotions[label.numpy()] == utterance.emotion
        assert label.dtype == tf.int32
        assert metadata["speaker"].numpy().decode() == utterance.speaker
        assert json.loads(metadata["attributes"].numpy()) == utterance.attributes


def test_features_are_what_the_front_end_gives_for_the_recording(three_speakers, examples):
    for utterance in three_speakers.utterances[::20]:
        features = examples[utterance.utterance_id][0]
        waveform = audio.to_float(audio.decode(utterance.audio))[np.newaxis]
        computed, num_frames = audio.frame_features(waveform, audio.FrontEnd(), ["log_mel"])
        expected = audio.normalise(computed["log_mel"], num_frames)[0]
        count = num_frames.numpy()[0]
        assert features["num_frames"] == count
        np.testing.assert_allclose(features["log_mel"][:count], expected[:count], atol=1e-4)
        ids = text.token_ids([utterance.transcript]).to_list()[0]
        assert features["token_ids"].numpy()[: len(ids)].tolist() == ids
        assert not features["token_ids"].numpy()[len(ids) :].any()


ALL_FEATURES = ("log_mel", "acoustic")


@pytest.mark.parametrize("names", [("mfcc",), ("acoustic",), ("acoustic", "log_mel"), ("mfcc", "log_mel")])
def test_acoustic_features_are_what_the_front_end_gives_for_the_recording(three_speakers, acoustic_records, names):
    found = examples_of(make_dataset(acoustic_records, ["02"], audio_features=names, with_metadata=True))
    for utterance in [one for one in three_speakers.utterances if one.speaker == "02"][::7]:
        features = found[utterance.utterance_id][0]
        assert set(features) == {*names, "num_frames", "token_ids"}
        # The pause behind it is trimmed: it is there to be normalised with the clip, as padding.
        waveform = np.pad(audio.to_float(audio.decode(utterance.audio)), (0, 48000))[np.newaxis]
        computed, num_frames = audio.frame_features(waveform, audio.FrontEnd(), names)
        expected = audio.normalise_frames(computed, num_frames)
        assert features["num_frames"] == num_frames[0]
        for name in names:
            np.testing.assert_allclose(features[name], expected[name][0, : len(features[name])], rtol=1e-3, atol=1e-3)


def test_all_features_of_a_clip_are_cropped_at_the_same_place(acoustic_records):
    options = {"audio_features": ALL_FEATURES, "with_metadata": True}
    whole = examples_of(make_dataset(acoustic_records, ["01"], **options))
    for name, (features, *_) in examples_of(
        make_dataset(acoustic_records, ["01"], num_frames=50, training=True, **options)
    ).items():
        starts = []
        for feature in ALL_FEATURES:
            assert features[feature].shape[0] == 50
            distances = np.abs(whole[name][0][feature] - features[feature][0]).sum(axis=1)
            starts.append(distances.argmin())
            np.testing.assert_array_equal(features[feature], whole[name][0][feature][starts[-1] : starts[-1] + 50])
        assert len(set(starts)) == 1


def test_neighbours_change_no_acoustic_feature(acoustic_records):
    together, alone = (
        examples_of(
            make_dataset(acoustic_records, ["03"], audio_features=["mfcc"], batch_size=size, with_metadata=True)
        )
        for size in (32, 1)
    )
    for name, (features, *_) in alone.items():
        assert features["mfcc"].shape == (features["num_frames"], 80)
        np.testing.assert_array_equal(together[name][0]["mfcc"][: features["num_frames"]], features["mfcc"])


def test_augmentation_gets_all_features_of_a_clip_and_their_silence(acoustic_records):
    shapes = []

    def augment(example, seed):
        shapes.append({name: value.shape.as_list() for name, value in example.items()})
        return example

    options = {"audio_features": ALL_FEATURES, "training": True, "augment": augment}
    dataset = make_dataset(acoustic_records, ["01"], ["audio"], **options)
    assert set(dataset.element_spec[0]) == {*ALL_FEATURES, "num_frames"}
    assert shapes[0]["log_mel"] == [None, 64]
    assert shapes[0]["acoustic"] == [None, 103]
    assert (shapes[0]["log_mel_silence"], shapes[0]["acoustic_silence"]) == ([64], [103])


def test_shuffled_audio_moves_all_its_features_together(acoustic_records):
    def content(shuffled):
        options = {"audio_features": ALL_FEATURES, "shuffled": shuffled, "with_metadata": True}
        found = examples_of(make_dataset(acoustic_records, ["01"], **options))
        return {
            name: tuple(features[one][: features["num_frames"]].numpy().tobytes() for one in ALL_FEATURES)
            for name, (features, *_) in found.items()
        }

    before, after = content(""), content("audio")
    assert sorted(before.values()) == sorted(after.values())
    assert np.mean([before[name] != after[name] for name in before]) > 0.7


def test_states_of_an_encoder_are_read_alone_as_they_are_stored(three_speakers, encoder_checkpoint, encoder_records):
    dataset = make_dataset(encoder_records, ["01"], ["audio"], audio_features=["encoder"], with_metadata=True)
    for features, *_ in dataset:
        assert set(features) == {"encoder", "num_steps"}
        assert (features["encoder"].dtype, features["num_steps"].dtype) == (tf.float32, tf.int32)
        assert features["encoder"].shape[1] == features["num_steps"].numpy().max()
    found = examples_of(dataset)
    utterances = [one for one in three_speakers.utterances if one.speaker == "01"][::10]
    encode = Encoder(EncoderSettings(str(encoder_checkpoint), device="cpu"))
    for utterance, states in zip(utterances, encode([audio.decode(one.audio) for one in utterances]), strict=True):
        features = found[utterance.utterance_id][0]
        assert features["num_steps"] == len(states)
        np.testing.assert_array_equal(features["encoder"][: len(states)], states)
        np.testing.assert_array_equal(features["encoder"][len(states) :], 0)


def test_a_waveform_is_read_as_it_is_stored_and_padded_to_half_seconds(three_speakers, three_speaker_records):
    options = {"audio_features": ["waveform"], "with_metadata": True}
    for features, *_ in make_dataset(three_speaker_records, ["01"], ["audio"], **options):
        assert set(features) == {"waveform"}
        assert features["waveform"].dtype == tf.float32
        assert features["waveform"].shape[1] % 8000 == 0
    found = examples_of(make_dataset(three_speaker_records, ["01"], ["audio"], **options))
    for utterance in [one for one in three_speakers.utterances if one.speaker == "01"][::10]:
        samples, waveform = audio.decode(utterance.audio), found[utterance.utterance_id][0]["waveform"]
        np.testing.assert_array_equal(waveform[: len(samples)], samples / np.float32(32768))
        np.testing.assert_array_equal(waveform[len(samples) :], 0)


def test_a_changed_waveform_is_read_beside_its_features(three_speaker_records):
    def double(waveform, seed):
        return 2 * waveform

    options = {"audio_features": ["waveform", "log_mel"], "with_metadata": True}
    before = examples_of(make_dataset(three_speaker_records, ["01"], **options))
    after = examples_of(make_dataset(three_speaker_records, ["01"], training=True, change_waveform=double, **options))
    for name, (features, *_) in after.items():
        length = min(len(features["waveform"]), len(before[name][0]["waveform"]))
        np.testing.assert_allclose(features["waveform"][:length], 2 * before[name][0]["waveform"][:length], atol=1e-6)


def test_records_without_waveforms_feed_no_model_that_reads_them(encoder_records):
    with pytest.raises(InputError, match="hold no waveform: prepare them again with --store-waveform"):
        make_dataset(encoder_records, ["01"], ["audio"], audio_features=["waveform"])


def test_a_crop_of_frames_leaves_an_encoder_whole(encoder_records):
    options = {"audio_features": ["encoder", "log_mel"], "with_metadata": True}
    whole = examples_of(make_dataset(encoder_records, ["02"], **options))
    for name, (features, *_) in examples_of(
        make_dataset(encoder_records, ["02"], num_frames=20, training=True, **options)
    ).items():
        assert features["log_mel"].shape == (20, 64)
        assert features["num_steps"] == whole[name][0]["num_steps"] > 5
        count = features["num_steps"]
        np.testing.assert_array_equal(features["encoder"][:count], whole[name][0]["encoder"][:count])


def test_shuffled_audio_moves_an_encoder_along(encoder_records):
    def content(shuffled):
        options = {"audio_features": ["log_mel", "encoder"], "shuffled": shuffled, "with_metadata": True}
        found = examples_of(make_dataset(encoder_records, ["01"], **options))
        return {
            name: tuple(
                features[one][: features[length]].numpy().tobytes()
                for one, length in (("log_mel", "num_frames"), ("encoder", "num_steps"))
            )
            for name, (features, *_) in found.items()
        }

    before, after = content(""), content("audio")
    assert sorted(before.values()) == sorted(after.values())
    assert np.mean([before[name] != after[name] for name in before]) > 0.7


def test_clips_without_steps_are_padded_to_one(encoder_checkpoint, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 16000)
    utterance = Utterance("a", "01", "happy", tmp_path / "a.wav", "oh")
    corpus = Corpus("clips", tmp_path, "", ("happy", "sad"), (utterance,))
    settings = EncoderSettings(str(encoder_checkpoint), device="cpu")
    preparation = writer.Preparation(corpus, tmp_path / "r", audio.FrontEnd(), encoder=settings)
    writer.prepare(preparation, 1)
    [(features, _)] = make_dataset(tmp_path / "r", ["01"], ["audio"], audio_features=["encoder"])
    assert (features["num_steps"].numpy().tolist(), features["encoder"].numpy().tolist()) == ([0], [[[[0.0] * 8] * 2]])


def test_records_without_states_of_an_encoder_are_refused(three_speaker_records):
    with pytest.raises(InputError, match="hold no encoder: prepare them again with --encoder whisper"):
        make_dataset(three_speaker_records, ["01"], audio_features=["encoder"])


@pytest.mark.parametrize("name", ["mfcc", "acoustic"])
def test_records_without_acoustic_features_are_refused(three_speaker_records, name):
    with pytest.raises(InputError, match=f"hold no {name}: prepare them again with --acoustic"):
        make_dataset(three_speaker_records, ["01"], audio_features=["log_mel", name])


def test_padding_is_the_normalised_silence_of_the_clip(three_speakers, examples):
    utterance = three_speakers.utterances[0]
    waveform = np.pad(audio.to_float(audio.decode(utterance.audio)), (0, 32000))[np.newaxis]
    computed, num_frames = audio.frame_features(waveform, audio.FrontEnd(), ["log_mel"])
    expected = audio.normalise(computed["log_mel"], num_frames)[0]
    features = examples[utterance.utterance_id][0]
    padding = features["log_mel"][num_frames.numpy()[0] :]
    assert len(padding) > 0
    np.testing.assert_allclose(padding, expected[-len(padding) :], atol=1e-4)


def test_batch_neighbours_change_nothing(three_speaker_records, examples):
    alone = examples_of(make_dataset(three_speaker_records, SPEAKERS, batch_size=1, with_metadata=True))
    for name, (features, *_) in examples.items():
        count = features["num_frames"].numpy()
        assert alone[name][0]["log_mel"].shape == (count, 64)
        np.testing.assert_array_equal(alone[name][0]["log_mel"], features["log_mel"][:count])


@pytest.mark.parametrize(
    ("modalities", "keys"),
    [
        (["audio"], {"log_mel", "num_frames"}),
        (["text"], {"token_ids"}),
        (["text", "audio"], {"log_mel", "num_frames", "token_ids"}),
    ],
)
def test_features_are_those_of_the_modalities(three_speaker_records, modalities, keys):
    features, _ = next(iter(make_dataset(three_speaker_records, ["01"], modalities)))
    assert set(features) == keys


def test_long_clips_are_cropped_in_the_middle_and_short_ones_padded(three_speaker_records, examples):
    cropped = examples_of(
        make_dataset(three_speaker_records, SPEAKERS, num_frames=120, max_tokens=4, with_metadata=True)
    )
    for name, (features, *_) in examples.items():
        count = features["num_frames"].numpy()
        start = max(0, count - 120) // 2
        assert cropped[name][0]["log_mel"].shape == (120, 64)
        assert cropped[name][0]["num_frames"] == min(count, 120)
        kept = slice(start, start + min(count, 120))
        np.testing.assert_array_equal(cropped[name][0]["log_mel"][: min(count, 120)], features["log_mel"][kept])
        np.testing.assert_array_equal(cropped[name][0]["token_ids"], features["token_ids"][:4])


def test_training_crops_anywhere_and_anew_in_every_epoch(three_speaker_records, examples):
    options = {"num_frames": 50, "training": True, "with_metadata": True}
    starts = []
    for number in range(2):
        epoch = examples_of(make_dataset(three_speaker_records, SPEAKERS, epochs=range(number, number + 1), **options))
        for name, (features, *_) in epoch.items():
            distance = np.abs(examples[name][0]["log_mel"] - features["log_mel"][0]).sum(axis=1)
            start = distance.argmin()
            np.testing.assert_array_equal(features["log_mel"], examples[name][0]["log_mel"][start : start + 50])
            starts.append(start)
    first, second = np.split(np.array(starts), 2)
    assert len(set(starts)) > 40
    assert np.mean(first == second) < 0.2


@pytest.mark.parametrize("modalities", [["text"], ["audio"]])
@pytest.mark.parametrize("options", [{}, {"cache": False, "shuffle_size": 7}], ids=["in memory", "from disk"])
def test_training_shuffles_anew_in_every_epoch_and_the_same_for_the_same_seed(
    three_speaker_records, modalities, options
):
    def orders(seed, *epochs):
        dataset = make_dataset(
            three_speaker_records, SPEAKERS, modalities, training=True, with_metadata=True, seed=seed,
            epochs=range(*epochs), **options,
        )  # fmt: skip
        order, num_epochs = order_of(dataset), len(range(*epochs))
        return [order[number * len(order) // num_epochs :][: len(order) // num_epochs] for number in range(num_epochs)]

    whole = orders(0, 3)
    assert whole == orders(0, 3)
    assert len({tuple(order) for order in (*whole, *orders(1, 1))}) == 4
    assert len({tuple(sorted(order)) for order in whole}) == 1
    # What an epoch holds depends on its number alone, not on where reading began, nor on other random numbers.
    tf.random.set_seed(0)
    assert orders(0, 1, 3) == whole[1:]


def test_without_a_cache_shards_come_in_another_order_in_every_epoch(three_speaker_records):
    options = {"training": True, "with_metadata": True, "cache": False, "shuffle_size": 1}
    order = order_of(make_dataset(three_speaker_records, SPEAKERS, ["audio"], epochs=range(12), **options))
    speakers = [name.split("/")[-1].split("-")[-1] for name in order]
    firsts = {tuple(speakers[start : start + 3]) for start in range(0, len(speakers), len(speakers) // 12)}
    assert len(firsts) > 3
    assert all(set(first) == set(SPEAKERS) for first in firsts)


def test_enrolled_speakers_and_controls_do_not_depend_on_the_cache(three_speaker_records):
    statistics = normalisation.fit(three_speaker_records, "enrolled", ["log_mel"], ["01"])
    options = {"normalisation": statistics, "training": True, "with_metadata": True, "shuffled": "labels"}
    held, streamed = (
        examples_of(make_dataset(three_speaker_records, ["02", "03"], ["audio"], cache=cache, **options))
        for cache in (True, False)
    )
    assert set(held) == set(streamed)
    for name, (features, label, _) in held.items():
        assert streamed[name][1] == label
        np.testing.assert_array_equal(streamed[name][0]["log_mel"], features["log_mel"])


def test_without_training_every_epoch_has_the_order_of_the_shards(three_speaker_records):
    orders = [
        order_of(make_dataset(three_speaker_records, SPEAKERS, ["text"], with_metadata=True, cache=cache, seed=seed))
        for cache, seed in ((True, 0), (False, 0), (True, 1))
    ]
    assert orders[0] == orders[1] == orders[2]


def test_crops_are_the_same_for_the_same_seed(three_speaker_records):
    def batches(seed):
        dataset = make_dataset(three_speaker_records, SPEAKERS, ["audio"], num_frames=40, training=True, seed=seed)
        return np.concatenate([features["log_mel"] for features, _ in dataset])

    np.testing.assert_array_equal(batches(3), batches(3))
    assert not np.array_equal(batches(3), batches(4))


def test_class_weights_follow_the_labels(three_speaker_records):
    weights = {label: 1.0 + label for label in range(8)}
    for _, label, weight, metadata in make_dataset(
        three_speaker_records, ["02"], ["text"], class_weights=weights, with_metadata=True
    ):
        np.testing.assert_array_equal(weight, 1.0 + label.numpy())
        assert weight.dtype == tf.float32
        assert len(metadata["speaker"]) == len(label)


def test_augmentation_is_applied_in_training_only(three_speaker_records):
    def augment(example, seed):
        return example | {"log_mel": tf.fill(tf.shape(example["log_mel"]), 7.0)}

    for training in (True, False):
        dataset = make_dataset(three_speaker_records, ["01"], ["audio"], training=training, augment=augment)
        for features, _ in dataset:
            assert np.all(features["log_mel"].numpy()[:, 0] == 7.0) == training


def test_absent_recordings_have_no_frames_and_one_row_of_padding(tmp_path):
    record = {"speaker": "a", "label": [0], "log_mel": np.zeros((0, 64), np.float32)}
    records.write_shard(tmp_path / "0.tfrecord", [record, record])
    size = (tmp_path / "0.tfrecord").stat().st_size
    (tmp_path / "mine.csv").write_text("path,emotion,speaker\na.wav,neutral,a\n")
    corpus = manifest.read(tmp_path / "mine.csv", ("neutral", "happy"))
    preparation = writer.Preparation(corpus, tmp_path, audio.FrontEnd())
    counters = writer.Counters(num_utterances=2, counts={"a": {"neutral": 2}})
    metadata = writer._metadata(preparation, corpus, {"0.tfrecord": counters})
    assert metadata.shards["0.tfrecord"]["num_bytes"] == size
    records.write_metadata(tmp_path, metadata)
    ((features, _),) = make_dataset(tmp_path, ["a"], ["audio"])
    assert features["num_frames"].numpy().tolist() == [0, 0]
    assert features["log_mel"].shape == (2, 1, 64)
    assert np.isfinite(features["log_mel"]).all()
    ((features, _),) = make_dataset(tmp_path, ["a"], ["audio"], num_frames=7)
    assert features["log_mel"].shape == (2, 7, 64)


def test_published_splits_are_read_where_there_are_no_speakers(split_records, three_speakers):
    chosen = dict.fromkeys(("train", "validation"), None)
    for split in chosen:
        dataset = make_dataset(split_records, [split], ["text"], by="published_split", with_metadata=True)
        chosen[split] = set(order_of(dataset))
    names = [one.utterance_id for one in three_speakers.utterances]
    assert chosen == {"train": set(names) - set(names[::3]), "validation": set(names[::3])}


def test_single_utterances_are_read_by_name(three_speaker_records, examples):
    names = sorted(examples)[::7]
    dataset = make_dataset(three_speaker_records, names, by="utterance_id", with_metadata=True)
    assert sorted(order_of(dataset)) == names
    for name, (features, label, _) in examples_of(dataset).items():
        count = features["num_frames"].numpy()
        np.testing.assert_array_equal(features["log_mel"][:count], examples[name][0]["log_mel"][:count])
        assert label == examples[name][1]


def test_multi_label_records_give_a_1_for_each_label(goemotions_like, goemotions_records):
    corpus = goemotions.read(goemotions_like)
    wanted = {one.utterance_id: one.emotions for one in corpus.utterances if one.published_split == "train"}
    dataset = make_dataset(goemotions_records, ["train"], ["text"], by="published_split", with_metadata=True)
    assert dataset.element_spec[1].shape.as_list() == [None, 28]
    assert dataset.element_spec[1].dtype == tf.float32
    found = {}
    for name, (_, label, _) in examples_of(dataset).items():
        assert set(np.unique(label)) <= {0, 1}
        found[name] = tuple(corpus.emotions[number] for number in np.flatnonzero(label))
    assert found == wanted
    assert max(map(len, found.values())) == 2


def test_training_on_text_batches_like_lengths_and_each_utterance_once(goemotions_records):
    def read(training):
        return make_dataset(
            goemotions_records, ["train"], ("text",), by="published_split", batch_size=16, training=training, seed=3,
            with_metadata=True,
        )  # fmt: skip

    def padding(batches):
        return sum(int((features["token_ids"] == 0).numpy().sum()) for features, _, _ in batches)

    batches, plain = list(read(True)), list(read(False))
    names = [name for _, _, about in batches for name in about["utterance_id"].numpy()]
    assert sorted(names) == sorted(name for _, _, about in plain for name in about["utterance_id"].numpy())
    assert sorted(len(labels) for _, labels, _ in batches) == sorted(len(labels) for _, labels, _ in plain)
    assert padding(batches) < padding(plain) / 2
    lengths = [features["token_ids"].shape[1] for features, _, _ in batches]
    assert lengths != sorted(lengths)
    assert [batch[2]["utterance_id"].numpy().tolist() for batch in read(True)] == [
        batch[2]["utterance_id"].numpy().tolist() for batch in batches
    ]


def test_multi_label_utterances_come_once_also_where_a_speaker_is_named(goemotions_records):
    dataset = make_dataset(goemotions_records, [""], ["text"], batch_size=50, with_metadata=True)
    assert len(examples_of(dataset)) == 240
    assert len(list(dataset)) == 5


def test_shuffled_labels_of_multi_label_records_stay_together(goemotions_records):
    before, after = (
        [
            tuple(row)
            for _, labels in make_dataset(goemotions_records, ["test"], ["text"], by="published_split", shuffled=chosen)
            for row in labels.numpy()
        ]
        for chosen in ("", "labels")
    )
    assert sorted(before) == sorted(after)
    assert np.mean([one == other for one, other in zip(before, after, strict=True)]) < 0.3


def test_class_weights_are_refused_for_multi_label_records(goemotions_records):
    with pytest.raises(ValueError, match="class_weights are for records with one label each"):
        make_dataset(goemotions_records, [""], ["text"], class_weights=dict.fromkeys(range(28), 1.0))


def test_records_of_sentences_have_absent_audio(goemotions_records):
    features, _ = next(iter(make_dataset(goemotions_records, ["test"], by="published_split")))
    assert not features["num_frames"].numpy().any()
    assert features["log_mel"].shape == (32, 1, 64)
    assert (features["token_ids"].numpy()[:, 1] > 0).all()


def test_a_small_buffer_shuffles_near_by_and_loses_nothing(three_speaker_records):
    def order(**options):
        return order_of(make_dataset(three_speaker_records, SPEAKERS, ["audio"], with_metadata=True, **options))

    stored = order()
    places = [stored.index(one) for one in order(training=True, shuffle_size=8, batch_size=1)]
    assert sorted(places) == list(range(len(stored)))
    assert places != sorted(places)
    # A clip comes early by as many places as the buffer holds, at most.
    assert max(place - number for number, place in enumerate(places)) < 8


@pytest.mark.parametrize("max_tokens", [None, 512])
def test_blank_long_and_foreign_sentences_reach_the_batch(tmp_path, max_tokens):
    words = {"a": " ", "b": "😂👍🏽 да 嬉しい", "c": "word " * 10_000}
    utterances = tuple(Utterance(name, "", "happy", transcript=said) for name, said in words.items())
    corpus = Corpus("mine", tmp_path, "mine", ("happy", "sad"), utterances)
    writer.prepare(writer.Preparation(corpus, tmp_path / "r", audio.FrontEnd()))
    found = examples_of(make_dataset(tmp_path / "r", [""], ["text"], max_tokens=max_tokens, with_metadata=True))
    counts = {name: np.count_nonzero(features["token_ids"]) for name, (features, *_) in found.items()}
    assert counts["a"] == 1
    assert counts["b"] == len(text.token_ids([words["b"]]).to_list()[0]) > 5
    assert counts["c"] == (max_tokens or 10_001)


SHUFFLED = {"audio": "log_mel", "transcripts": "token_ids", "labels": "label"}


def content_of(dataset):
    """utterance_id -> the bytes of each thing that a control may shuffle, padding cut off."""
    found = {}
    for name, (features, label, metadata) in examples_of(dataset).items():
        count, ids = features["num_frames"].numpy(), features["token_ids"].numpy()
        found[name] = {
            "log_mel": features["log_mel"][:count].numpy().tobytes(),
            "token_ids": ids[ids > 0].tobytes(),
            "label": int(label),
            "speaker": metadata["speaker"].numpy(),
        }
    return found


@pytest.mark.parametrize("shuffled", SHUFFLED)
def test_what_is_shuffled_moves_among_the_chosen_and_all_else_stays(three_speaker_records, shuffled):
    before, after = (
        content_of(make_dataset(three_speaker_records, ["01", "03"], shuffled=chosen, with_metadata=True))
        for chosen in ("", shuffled)
    )
    assert before.keys() == after.keys()
    moved = SHUFFLED[shuffled]
    for field in ("log_mel", "token_ids", "label", "speaker"):
        old, new = ([content[name][field] for name in sorted(before)] for content in (before, after))
        assert sorted(old) == sorted(new)
        changed = np.mean([one != other for one, other in zip(old, new, strict=True)])
        assert changed > 0.7 if field == moved else changed == 0


def test_shuffled_recordings_keep_their_number_of_frames(three_speaker_records):
    for features, *_ in make_dataset(three_speaker_records, ["02"], shuffled="audio"):
        log_mel = features["log_mel"].numpy()
        for clip, count in zip(log_mel, features["num_frames"].numpy(), strict=True):
            assert np.all(clip[count:] == clip[count:][:1])
            assert count == 1 or (clip[count - 1] != clip[count - 2]).any()


def pairs_of(dataset):
    """Which transcript goes with which utterance."""
    return {name: found["token_ids"] for name, found in content_of(dataset).items()}


@pytest.mark.parametrize("cache", [True, False])
def test_shuffled_transcripts_are_the_same_in_every_epoch_though_the_order_is_not(three_speaker_records, cache):
    first, second = (
        make_dataset(
            three_speaker_records, ["01"], shuffled="transcripts", training=True, with_metadata=True, cache=cache,
            epochs=range(number, number + 1),
        )
        for number in range(2)
    )  # fmt: skip
    assert order_of(first) != order_of(second)
    assert pairs_of(first) == pairs_of(second)


def test_shuffled_labels_follow_the_seed_and_are_the_same_in_another_process(three_speaker_records):
    def labels(seed):
        dataset = make_dataset(three_speaker_records, ["01", "02"], ["text"], shuffled="labels", seed=seed)
        return [int(label) for _, batch in dataset for label in batch]

    script = (
        "import sys; from pathlib import Path; from pipelines.dataset import make_dataset\n"
        "dataset = make_dataset(Path(sys.argv[1]), ['01', '02'], ['text'], shuffled='labels', seed=5)\n"
        "print([int(label) for _, batch in dataset for label in batch])"
    )
    command = [sys.executable, "-c", script, str(three_speaker_records)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert json.loads(finished.stdout) == labels(5) != labels(6)


@pytest.mark.parametrize(("shuffled", "modality"), [("audio", "text"), ("transcripts", "audio")])
def test_what_a_model_does_not_read_cannot_be_shuffled(three_speaker_records, shuffled, modality):
    with pytest.raises(InputError, match=f"a model that reads no {shuffled} has none to shuffle"):
        make_dataset(three_speaker_records, SPEAKERS, [modality], shuffled=shuffled)


def test_a_speaker_named_twice_is_read_once(three_speaker_records):
    dataset = make_dataset(three_speaker_records, ["01", "01"], ["text"], with_metadata=True)
    assert len(order_of(dataset)) == 30
    assert len(dataset) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"members": ["01", "99"]}, InputError, "holds no speaker 99: it holds 01, 02, 03"),
        ({"members": []}, InputError, r"holds no speaker \(none named\)"),
        ({"modalities": ["audio", "smell"]}, InputError, "there is no modality smell: use audio, text"),
        ({"modalities": []}, InputError, "there is no modality"),
        ({"audio_features": ["smell"]}, InputError, "there is no audio feature smell: use log_mel, mfcc, acoustic"),
        ({"audio_features": []}, InputError, "there is no audio feature"),
        ({"num_frames": 0}, ValueError, "num_frames is 0"),
        ({"max_tokens": 0}, ValueError, "max_tokens is 0"),
        ({"max_tokens": -1}, ValueError, "max_tokens is -1"),
        ({"class_weights": {0: 1.0}}, ValueError, "class_weights are for labels"),
    ],
)
def test_bad_arguments_are_refused(three_speaker_records, arguments, error, message):
    with pytest.raises(error, match=message):
        make_dataset(three_speaker_records, **{"members": SPEAKERS} | arguments)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_tunes_what_a_dataset_does_and_maps_of_others_keep_that(three_speaker_records, training):
    dataset = make_dataset(three_speaker_records, SPEAKERS, training=training).map(lambda *batch: batch)
    # The thread that tunes may sleep for a minute when an iterator is dropped, and who drops it waits.
    assert not dataset.options().autotune.enabled


def test_incomplete_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no complete records"):
        make_dataset(tmp_path, SPEAKERS)


def video_features(dataset):
    return {name: features["video_frames"].numpy() for name, (features, *_) in examples_of(dataset).items()}


@pytest.fixture(scope="module")
def stored_frames(video_records):
    return video_features(make_dataset(video_records, SPEAKERS, ["video"], with_metadata=True))


def test_frames_of_videos_are_those_that_are_taken_of_the_file(seen_speakers, video_records, stored_frames):
    settings = records.read_metadata(video_records).video_settings
    for utterance in seen_speakers.utterances[::30]:
        clip = clips.read_clip(utterance.audio, utterance.video, settings)
        found = stored_frames[utterance.utterance_id]
        assert found.shape == (4, 32, 32, 1)
        np.testing.assert_allclose(found, video.to_array(clip.frames.images, settings), atol=1e-6)


def test_frames_of_videos_begin_where_the_front_end_says(seen_speakers, stored_frames, tmp_path):
    corpus = dataclasses.replace(seen_speakers, utterances=seen_speakers.utterances[:3])
    front_end, settings = audio.FrontEnd(trim_db=3.0), video.VideoSettings(4, 32)
    writer.prepare(writer.Preparation(corpus, tmp_path, front_end, video=settings), 1)
    found = video_features(make_dataset(tmp_path, corpus.speakers, ["video"], with_metadata=True))
    for utterance in corpus.utterances:
        clip = clips.read_clip(utterance.audio, utterance.video, settings, 3.0)
        frames = found[utterance.utterance_id]
        np.testing.assert_allclose(frames, video.to_array(clip.frames.images, settings), atol=1e-6)
        assert (frames != stored_frames[utterance.utterance_id]).any()


def test_face_boxes_come_with_the_metadata(video_records):
    dataset = make_dataset(video_records, SPEAKERS, ["video"], with_metadata=True)
    for _, _, about in dataset.unbatch():
        boxes = about["face_boxes"].numpy()
        assert boxes.shape == (4, 5)
        assert (boxes[:, 2:4] > 0.5).all()


def test_clips_without_a_video_are_zeros_beside_those_with_one(seen_speakers, stored_frames, tmp_path):
    utterances = tuple(
        dataclasses.replace(one, video=one.video if number % 2 else None)
        for number, one in enumerate(seen_speakers.utterances[:8])
    )
    corpus = dataclasses.replace(seen_speakers, utterances=utterances)
    writer.prepare(writer.Preparation(corpus, tmp_path, audio.FrontEnd(), video=video.VideoSettings(4, 32)), 1)
    dataset = make_dataset(tmp_path, ["01"], ["audio", "video"], with_metadata=True)
    for name, (features, *_) in examples_of(dataset).items():
        [utterance] = [one for one in utterances if one.utterance_id == name]
        expected = stored_frames[name] if utterance.video else np.zeros((4, 32, 32, 1))
        np.testing.assert_array_equal(features["video_frames"], expected)
        assert features["num_frames"] > 0


def test_training_draws_one_frame_of_each_stretch_anew_in_every_epoch(video_records, stored_frames):
    options = {"training": True, "num_video_frames": 2, "with_metadata": True}
    epochs = [
        video_features(make_dataset(video_records, ["01"], ["video"], epochs=range(number, number + 1), **options))
        for number in range(2)
    ]
    for epoch in epochs:
        for name, frames in epoch.items():
            assert frames.shape == (2, 32, 32, 1)
            places = [[bool((one == frame).all()) for one in stored_frames[name]] for frame in frames]
            assert any(places[0][:2])
            assert any(places[1][2:])
    assert any((epochs[0][name] != epochs[1][name]).any() for name in epochs[0])


def test_shuffled_video_goes_to_other_utterances_with_its_boxes_and_all_else_stays(
    video_records, stored_frames, examples
):
    arguments = (video_records, SPEAKERS, ["audio", "text", "video"])
    shuffled = examples_of(make_dataset(*arguments, shuffled="video", with_metadata=True))
    moved = {name: features["video_frames"].numpy() for name, (features, *_) in shuffled.items()}
    assert sum((moved[name] == stored_frames[name]).all() for name in stored_frames) < 10
    assert sorted(one.tobytes() for one in moved.values()) == sorted(one.tobytes() for one in stored_frames.values())
    for name, (features, label, about) in shuffled.items():
        np.testing.assert_array_equal(features["log_mel"], examples[name][0]["log_mel"])
        np.testing.assert_array_equal(features["token_ids"], examples[name][0]["token_ids"])
        assert label == examples[name][1]
        assert about["face_boxes"].shape == (4, 5)


def test_records_without_video_are_refused(three_speaker_records):
    with pytest.raises(InputError, match="hold no video: prepare them again with --video-frames"):
        make_dataset(three_speaker_records, SPEAKERS, ["video"])


@pytest.mark.parametrize("max_tokens", [None, 8])
def test_lines_of_context_stand_before_the_words_and_are_cropped_first(context_records, dialogues, max_tokens):
    options = {"by": "published_split", "max_tokens": max_tokens, "with_metadata": True}
    found = examples_of(make_dataset(context_records, ["train"], ["text"], **options))
    tokenizer = text.own_tokenizer()
    for name, (features, *_) in found.items():
        _, dialogue, line = name.split("-")
        before = [f"train {dialogue} line {number}" for number in range(max(0, int(line) - 2), int(line))]
        words = f"train {dialogue} line {int(line)}"
        expected = tokenizer([words], max_tokens, ["\n".join(before)]).to_list()[0]
        ids = [one for one in features["token_ids"].numpy().tolist() if one]
        own = tokenizer([words]).to_list()[0]
        assert ids == expected
        assert ids[-len(own) :] == own
