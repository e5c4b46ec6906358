"""Tests of the video branch: absent frames and neighbours change nothing; every pooling trains, joins and is stored."""

import keras
import numpy as np
import pytest
from test_branches import randomise, unreached

from emotion_tf.config import (
    JOIN_MEANINGS,
    VIDEO_POOLINGS,
    AudioConfig,
    Config,
    TextConfig,
    TrainingConfig,
    VideoConfig,
)
from emotion_tf.evaluation.calibration import set_temperature
from emotion_tf.evaluation.split import take_away
from emotion_tf.models.branches.layers import StandardiseFrames
from emotion_tf.models.branches.video import video_branch
from emotion_tf.models.build import build_model
from emotion_tf.models.inputs import audio_features_of, make_inputs, modalities_of
from emotion_tf.models.late_fusion import late_fusion, shares_model
from pipelines.command import InputError

SIZE = 32
WIDTHS = {"log_mel": 8, "video_frames": (SIZE, SIZE, 1)}
PRIOR = (0.2, 0.5, 0.3)


def config_of(pooling, **values):
    return VideoConfig((2, 3), 4, 6, pooling=pooling, **values)


def model_of(pooling, channels=1):
    inputs = make_inputs(("video",), {"video_frames": (SIZE, SIZE, channels)})
    return randomise(keras.Model(inputs, video_branch(inputs["video_frames"], config_of(pooling)).embedding))


@pytest.fixture(scope="module", params=VIDEO_POOLINGS)
def video_model(request):
    return model_of(request.param)


def frames(*counts, length, channels=1):
    """Videos of some frames each, behind which frames are absent; a video is the same whatever is beside it."""
    batch = np.zeros((len(counts), length, SIZE, SIZE, channels), np.float32)
    for row, count in zip(batch, counts, strict=True):
        row[:count] = np.random.default_rng([count]).uniform(0.1, 1, (count, SIZE, SIZE, channels))
    return {"video_frames": batch}


def test_absent_frames_and_neighbours_change_no_embedding(video_model):
    alone = np.concatenate([video_model(frames(count, length=count)) for count in (1, 3, 5)])
    beside = video_model(frames(0, 1, 3, 5, length=7)).numpy()[1:]
    np.testing.assert_allclose(beside, alone, atol=1e-5)
    assert np.abs(alone).max(axis=1).min() > 0.01


def test_a_clip_without_frames_has_a_finite_embedding(video_model):
    assert np.isfinite(video_model(frames(0, 2, length=3))).all()


def test_clips_without_video_move_no_statistics_in_training():
    present = frames(3, 3, length=3)
    beside = {"video_frames": np.concatenate([present["video_frames"], 0 * present["video_frames"]])}
    found = []
    for batch in (present, beside):
        model = model_of("mean")
        model(batch, training=True)
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        found.append(np.concatenate([np.ravel(v) for norm in norms[:1] for v in norm.non_trainable_variables]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_only_the_gru_minds_the_order_of_frames():
    batch = frames(5, length=5)
    back = {"video_frames": batch["video_frames"][:, ::-1]}
    for pooling in VIDEO_POOLINGS:
        change = np.abs(model_of(pooling)(batch) - model_of(pooling)(back)).max()
        assert (change > 1e-3) == (pooling == "gru")


def test_light_changes_no_embedding(video_model):
    batch = frames(4, length=4)["video_frames"]
    dimmed = {"video_frames": 0.5 * batch + 0.25}
    np.testing.assert_allclose(video_model(dimmed), video_model({"video_frames": batch}), atol=1e-4)


def test_frames_are_standardised_over_the_whole_video_and_absent_ones_stay_zero():
    batch = frames(3, 0, length=4, channels=3)["video_frames"]
    found = StandardiseFrames()(batch, (batch > 0).any(axis=(2, 3, 4))).numpy()
    np.testing.assert_allclose(found[0, :3], (batch[0, :3] - batch[0, :3].mean()) / batch[0, :3].std(), atol=1e-4)
    assert not found[0, 3].any()
    assert not found[1].any()


def test_a_picture_of_one_colour_stays_small():
    batch = np.full((1, 2, SIZE, SIZE, 1), 0.7, np.float32)
    assert np.abs(StandardiseFrames()(batch, np.ones((1, 2), bool))).max() < 1e-3


def test_each_of_four_convolutions_halves_the_frame():
    inputs = make_inputs(("video",), {"video_frames": (64, 64, 3)})
    model = keras.Model(inputs, video_branch(inputs["video_frames"], VideoConfig()).embedding)
    assert [model.get_layer(f"video_{index}_pool").output.shape[1:] for index in range(4)] == [
        (32, 32, 16),
        (16, 16, 32),
        (8, 8, 64),
        (4, 4, 96),
    ]
    assert model.output.shape == (None, 128)


def test_a_loss_reaches_every_weight(video_model):
    assert unreached(video_model, frames(3, 2, length=3)) == []
    assert all(layer.name.startswith("video_") for layer in video_model.layers if layer.weights)


def test_a_model_comes_back_from_its_file_in_safe_mode(video_model, tmp_path):
    video_model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    batch = frames(3, 0, 2, length=3)
    np.testing.assert_array_equal(loaded(batch), video_model(batch))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"channels": (0,)}, "--video-channels 0 cannot work"),
        ({"channels": (1,) * 6}, "--video-channels 6 cannot work: give a number of them from 1 to 5"),
        ({"dropout": 1.0}, "--video-dropout 1.0 cannot work"),
        ({"pooling": "vote"}, "--video-pooling vote cannot work: give one of mean, attention, gru"),
    ],
)
def test_settings_that_cannot_work_get_a_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        VideoConfig(**values)


def joined(modalities, **values):
    parts = {"audio": AudioConfig((4, 4), 4, 6), "text": TextConfig(4, (4,), 4, 6), "video": config_of("mean")}
    branch = "fusion" if len(modalities) > 1 else modalities[0]
    config = Config(branch, "x", modalities=modalities, **parts, **values)
    model = randomise(build_model(config, WIDTHS, 20, PRIOR))
    set_temperature(model, 10.0)  # Of such weights some probabilities would be 1, and hide what changes them.
    return model


def batch_of(count=2, num_frames=9, seed=0):
    """Two utterances with everything."""
    rng = np.random.default_rng(seed)
    return {
        "log_mel": rng.standard_normal((count, num_frames, 8)).astype(np.float32),
        "num_frames": np.full(count, num_frames, np.int32),
        "token_ids": np.array([[2, 7, 4]] * count, np.int32),
        **frames(*[3] * count, length=3),
    }


def probabilities(model, batch):
    return keras.ops.softmax(model({key: np.asarray(batch[key]) for key in model.input})).numpy()


SETS = [("audio", "video"), ("text", "video"), ("audio", "text", "video")]


@pytest.mark.parametrize("join", JOIN_MEANINGS)
@pytest.mark.parametrize("modalities", SETS)
def test_early_fusion_joins_video_and_leaves_it_out_where_it_is_absent(modalities, join):
    model, batch = joined(modalities, join=join), batch_of()
    assert modalities_of(model) == modalities
    whole, without = probabilities(model, batch), probabilities(model, take_away(batch, "video"))
    assert np.abs(whole - without).max() > 1e-4
    one = take_away(batch, "video", np.array([True, False]))
    np.testing.assert_allclose(probabilities(model, one), [without[0], whole[1]], atol=1e-6)


@pytest.mark.parametrize("join", JOIN_MEANINGS)
def test_with_everything_absent_probabilities_are_the_prior(join):
    batch = batch_of()
    for modality in SETS[-1]:
        batch = take_away(batch, modality)
    np.testing.assert_allclose(probabilities(joined(SETS[-1], join=join), batch), [PRIOR] * 2, atol=1e-6)


def test_a_gradient_reaches_every_branch_through_modality_dropout():
    training = TrainingConfig(modality_dropout=0.3)
    for join in JOIN_MEANINGS:
        missed = unreached(joined(SETS[-1], join=join, training=training), batch_of())
        assert [path for path in missed if path.startswith(("audio_", "text_", "video_"))] == []


def test_late_fusion_leaves_a_model_of_absent_video_out_and_gives_the_shares():
    models = {"audio": joined(("audio",)), "video": joined(("video",))}
    model, batch = late_fusion(models, PRIOR, "mean"), batch_of()
    alone = {name: probabilities(one, batch) for name, one in models.items()}
    np.testing.assert_allclose(probabilities(model, batch), (alone["audio"] + alone["video"]) / 2, atol=1e-6)
    without = take_away(batch, "video")
    np.testing.assert_allclose(probabilities(model, without), alone["audio"], atol=1e-6)
    assert modalities_of(model) == ("audio", "video")
    assert audio_features_of(model) == ("log_mel",)
    weighs = shares_model(model)
    np.testing.assert_allclose(weighs({key: batch[key] for key in model.input}), [[0.5, 0.5]] * 2)
    np.testing.assert_allclose(weighs({key: np.asarray(without[key]) for key in model.input}), [[1, 0]] * 2)
