"""Tests of text models in whole runs: fusion, export and reload, transfer, and a preset whose folder is gone."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_branches import MEL_BINS, VOCABULARY_SIZE, audio_batch, clip, randomise, text_batch

from emotion_tf import fit as fit_module
from emotion_tf.config import TEXT_MODELS, AudioConfig, Config, TextConfig
from emotion_tf.evaluate import main as evaluate
from emotion_tf.export import export
from emotion_tf.fit import fit, main
from emotion_tf.models.build import build_model
from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.runs.compatibility import inputs_of, resolve
from emotion_tf.runs.folder import Run
from emotion_tf.serving.predictor import Predictor
from emotion_tf.training.checks import with_branches
from pipelines import text
from pipelines.command import InputError
from pipelines.dataset import make_dataset
from pipelines.records import read_index
from pipelines.text_encoder import load_text_encoder
from pipelines.text_presets import find_preset

pytestmark = pytest.mark.usefixtures("compared_here")

PRIOR = [0.25, 0.75]
WIDTHS = {"log_mel": MEL_BINS}


def text_config(model, preset="", **values):
    return TextConfig(4, (4,), 4, 16, model=model, layers=1, heads=2, preset=preset, **values)


@pytest.fixture(params=TEXT_MODELS)
def text_model(request, tiny_preset):
    return text_config(request.param, tiny_preset)


@pytest.fixture(scope="module")
def preset_copy(tiny_xlm_roberta, tmp_path_factory):
    """A copy of the preset that is removed after training; its padding is not 0."""
    return shutil.copytree(tiny_xlm_roberta, tmp_path_factory.mktemp("presets") / "copy")


@pytest.fixture(scope="module")
def preset_run(make_config, preset_copy, tmp_path_factory):
    """A finished run that fine-tuned a preset whose folder is gone."""
    config = dataclasses.replace(
        make_config("text", epochs=1, word_dropout=0.2, word_swap=0.2, word_mask=0.2, max_tokens=32),
        text=text_config("pretrained", str(preset_copy), states=2),
    )
    run = Run(tmp_path_factory.mktemp("runs") / "preset")
    fit(config, run)
    text.preset_tokenizer.cache_clear()
    find_preset.cache_clear()
    shutil.rmtree(preset_copy)
    return run


def fusion_batch():
    return audio_batch([clip(5), clip(9)], 9) | text_batch([[2, 7, 4, 3], [2, 8, 3]], 5)


@pytest.mark.parametrize("join", ["concat", "cross_attention"])
def test_every_text_model_learns_in_early_fusion(text_model, join):
    config = Config("fusion", "x", fusion="early", join=join, audio=AudioConfig((4,), 4, 16), text=text_model)
    model = randomise(build_model(config, WIDTHS, VOCABULARY_SIZE, PRIOR))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(fusion_batch()) ** 2)
    variables = [
        variable for variable in model.trainable_variables if variable.path.startswith(("text", "token", "tr"))
    ]
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert sum(float(tf.reduce_sum(tf.abs(tf.convert_to_tensor(gradient)))) for gradient in gradients) > 1e-4


def test_every_text_model_works_in_late_fusion(text_model):
    audio_config = Config("audio", "x", audio=AudioConfig((4,), 4, 4))
    configs = {"audio": audio_config, "text": Config("text", "x", text=text_model)}
    models = {name: randomise(build_model(c, WIDTHS, VOCABULARY_SIZE, PRIOR)) for name, c in configs.items()}
    batch = fusion_batch()
    fused = tf.nn.softmax(late_fusion(models, PRIOR)(batch))
    expected = [tf.nn.softmax(model({key: batch[key] for key in model.input})) for model in models.values()]
    np.testing.assert_allclose(fused, (expected[0] + expected[1]) / 2, atol=1e-5)


def test_a_dataset_cuts_stored_transcripts_by_a_given_tokenizer(three_speaker_records, tiny_preset):
    tokenizer = text.preset_tokenizer(tiny_preset)
    index = read_index(three_speaker_records)
    rows = tokenizer(index["transcript"].tolist(), 9).to_list()
    expected = dict(zip(index["utterance_id"], map(tuple, rows), strict=True))

    def found(**options):
        options |= {"max_tokens": 9, "tokenizer": tokenizer, "with_metadata": True}
        for features, _, about in make_dataset(three_speaker_records, ["01", "02"], ("text",), **options):
            ids = features["token_ids"].numpy()
            for utterance_id, row in zip(about["utterance_id"].numpy(), ids, strict=True):
                yield utterance_id.decode(), tuple(int(i) for i in row if i)

    plain, shuffled = dict(found()), dict(found(shuffled="transcripts"))
    assert plain == {utterance_id: expected[utterance_id] for utterance_id in plain}
    assert sorted(shuffled.values()) == sorted(plain.values())
    assert shuffled != plain


def test_a_run_keeps_its_tokenizer_and_says_which_it_is(preset_run):
    kept = preset_run.tokenizer()
    assert kept.pieces()[:4] == ("<pad>", "<s>", "</s>", "<unk>")
    assert preset_run.metadata().tokenizer == {"preset": kept.preset, "sha256": kept.sha256}
    audit = json.loads(preset_run.audit_path.read_text())
    assert audit["fitted"]["vocabulary"].startswith(f"of the preset {kept.preset}")


def test_the_fine_tuned_preset_differs_from_the_one_it_came_from(preset_run, tiny_xlm_roberta):
    before = load_text_encoder(tiny_xlm_roberta).get_weights()
    after = preset_run.model().get_layer("text_backbone").get_weights()
    distance = max(np.abs(one - other).max() for one, other in zip(before, after, strict=True))
    assert 0 < distance < 0.01


@pytest.mark.slow
def test_a_run_is_scored_exported_and_averaged_when_its_preset_is_gone(preset_run, audio_run, make_config, tmp_path):
    copy = Run(shutil.copytree(preset_run.folder, tmp_path / "run"))
    evaluate(["--run", str(copy.folder)])
    assert "test" in copy.scores()
    late = Run(tmp_path / "late")
    fit(make_config("fusion", fusion="late", runs=(str(audio_run.folder), str(copy.folder))), late)
    assert late.tokenizer().sha256 == copy.tokenizer().sha256
    export(late, tmp_path / "export")
    model, quiet = late.model(), np.zeros((1, 1600), np.float32)
    found = Predictor(tmp_path / "export").predict_batch(quiet, ["Happy kids!"]).probabilities
    ids = late.tokenizer()(["Happy kids!"]).to_tensor().numpy()
    features = {"log_mel": np.zeros((1, 1, 64), np.float32), "num_frames": np.zeros(1, np.int32), "token_ids": ids}
    np.testing.assert_allclose(found, tf.nn.softmax(model(features)), atol=1e-5)


def test_runs_of_several_tokenizers_cannot_be_averaged(preset_run, text_run, make_config):
    config = make_config("fusion", fusion="late", runs=(str(preset_run.folder), str(text_run.folder)))
    with pytest.raises(InputError, match="cut words by several tokenizers"):
        resolve(config, text_run.metadata())


def test_a_text_run_starts_the_text_branch_of_another_label_set(text_run, make_config, monkeypatch):
    from emotion_tf.training import train

    config = with_branches(make_config("text", init_text=str(text_run.folder)))
    metadata = dataclasses.replace(text_run.metadata(), emotions=["a", "b"], prior=PRIOR)
    model, trained = train.make_model(config, metadata, resolve(config, metadata), 1), text_run.model()
    for layer in model.layers:
        if layer.name.startswith("text_"):
            for one, other in zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(one, other)
    assert model.get_layer("emotions").kernel.shape[1] == 2
    assert config.text == text_run.config().text


def test_a_preset_learns_at_its_own_rate_and_a_frozen_one_not_at_all(make_config, tiny_preset, text_run):
    from emotion_tf.training import train

    tuned = dataclasses.replace(make_config("text"), text=text_config("distilbert", tiny_preset, preset_rate=1e-4))
    metadata = text_run.metadata()
    optimizer = train.make_model(tuned, metadata, resolve(tuned, metadata), 1).optimizer
    assert list(optimizer.multipliers.values()) == pytest.approx([5e-2] * len(optimizer.multipliers))
    frozen = dataclasses.replace(tuned, text=text_config("distilbert", tiny_preset, freeze=True))
    assert train.make_model(frozen, metadata, resolve(frozen, metadata), 1).optimizer.multipliers == {}


def test_learning_rates_decay_from_layer_to_layer_and_released_layers_alone_learn(make_config, tiny_preset, text_run):
    from emotion_tf.training import train

    def multipliers(**values):
        config = dataclasses.replace(make_config("text"), text=text_config("pretrained", tiny_preset, **values))
        return train.make_model(
            config, text_run.metadata(), resolve(config, text_run.metadata()), 1
        ).optimizer.multipliers

    found = multipliers(layer_decay=0.5, preset_rate=1e-4)
    assert {path.startswith("transformer_layer_0/"): rate for path, rate in found.items()} == {
        True: pytest.approx(5e-2),
        False: pytest.approx(2.5e-2),
    }
    released = multipliers(release=1)
    assert released
    assert all(path.startswith("transformer_layer_0/") for path in released)


def test_states_are_pooled_by_their_mean_over_what_is_no_padding(tiny_preset):
    config = Config("text", "x", text=text_config("pretrained", tiny_preset, pooling="mean"))
    model = build_model(config, {}, VOCABULARY_SIZE, PRIOR)
    pooled = keras.Model(model.input, model.get_layer("text_pooling").output)
    batch = text_batch([[2, 7, 4, 3], [2, 8, 3]], 5)
    states = np.asarray(load_text_encoder(tiny_preset)(batch["token_ids"]))[:, :, 0]
    np.testing.assert_allclose(pooled(batch), [states[0, :4].mean(0), states[1, :3].mean(0)], atol=1e-5)


def test_states_of_several_layers_are_summed_with_learned_weights(tmp_path, monkeypatch):
    import keras_nlp

    # The folder holds no tokenizer.
    monkeypatch.setattr("emotion_tf.models.branches.text.separator_of", lambda preset: 3)
    backbone = keras_nlp.models.BertBackbone(30, 3, 2, 8, 16, max_sequence_length=16)
    backbone.save_to_preset(str(tmp_path))
    config = Config("text", "x", text=text_config("pretrained", str(tmp_path), states=2, freeze=True))
    model = randomise(build_model(config, {}, VOCABULARY_SIZE, PRIOR))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(text_batch([[2, 7, 4, 3]], 4)) ** 2)
    scores = model.get_layer("text_states_sum").scores
    assert tuple(scores.shape) == (2,)
    assert float(tf.reduce_max(tf.abs(tape.gradient(loss, scores.value)))) > 1e-7


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"release": 2}, "--text-release 2 cannot work: .* has 1 layers"),
        ({"states": 2}, "--text-states 2 cannot work: .* has 1 layers"),
    ],
)
def test_more_layers_than_a_preset_has_get_a_sentence(make_config, tiny_preset, tmp_path, values, sentence):
    config = dataclasses.replace(
        make_config("text", max_tokens=32), text=text_config("pretrained", tiny_preset, **values)
    )
    with pytest.raises(InputError, match=sentence):
        fit(config, Run(tmp_path / "run"))


@pytest.mark.parametrize("spare", [-1, 2000])
def test_a_vocabulary_of_another_model_gets_a_sentence(make_config, hugging_face_folder, tmp_path, spare):
    folder = Path(shutil.copytree(hugging_face_folder, tmp_path / "other"))
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"vocab_size": values["vocab_size"] + spare}))
    config = dataclasses.replace(make_config("text", max_tokens=32), text=text_config("pretrained", str(folder)))
    with pytest.raises(InputError, match="its files belong to different models"):
        fit(config, Run(tmp_path / "run"))


def test_a_preset_of_a_loaded_branch_learns_at_a_share_of_its_own_rate(make_config, tiny_preset):
    from emotion_tf.training import optimizer, transfer

    tuned = make_config("text", freeze_epochs=1, release_rate=0.1, init_text="x")
    tuned = dataclasses.replace(tuned, text=text_config("distilbert", tiny_preset, preset_rate=1e-4))
    model = build_model(tuned, {}, VOCABULARY_SIZE, PRIOR)
    transfer.freeze_branches(model, tuned)
    optimizer.compile_model(model, tuned, 7, keras.losses.CategoricalCrossentropy())
    multipliers = model.optimizer.multipliers
    backbone = {variable.path for variable in model.get_layer("text_backbone").trainable_variables}
    assert [multipliers[path] for path in backbone] == pytest.approx([0.1 * 5e-2] * len(backbone))
    assert {multipliers[path] for path in set(multipliers) - backbone} == {0.1}
    assert (set(model.optimizer.frozen), model.optimizer.unfreeze_step) == (set(multipliers), 7)


@pytest.mark.parametrize(("model", "max_tokens"), [("transformer", 513), ("distilbert", 65), ("pretrained", 2)])
def test_more_words_than_a_model_has_places_for_get_a_sentence_before_a_run_begins(
    make_config, tiny_preset, tmp_path, model, max_tokens
):
    config = dataclasses.replace(make_config("text", max_tokens=max_tokens), text=text_config(model, tiny_preset))
    with pytest.raises(InputError, match=f"--max-tokens {max_tokens} cannot work for --text-model {model}"):
        fit(config, Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_read_get_a_sentence(make_config, tiny_preset, text_run, tmp_path):
    from emotion_tf.training import train

    folder = Path(shutil.copytree(tiny_preset, tmp_path / "broken"))
    (folder / "model.weights.h5").write_bytes(b"no weights")
    config = dataclasses.replace(make_config("text"), text=text_config("distilbert", str(folder)))
    with pytest.raises(InputError, match="cannot read the weights of the preset"):
        train.make_model(config, text_run.metadata(), inputs_of(text_run), 1)


def test_a_preset_that_cannot_be_read_gets_a_sentence_before_a_run_begins(make_config, tiny_preset, tmp_path):
    folder = Path(shutil.copytree(tiny_preset, tmp_path / "broken"))
    values = json.loads((folder / "config.json").read_text())
    del values["config"]["num_heads"]
    (folder / "config.json").write_text(json.dumps(values))
    config = dataclasses.replace(make_config("text"), text=text_config("distilbert", str(folder)))
    with pytest.raises(InputError, match="cannot read the preset"):
        fit(config, Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ["--text-units", "8", "--text-model", "transformer"],
            "--text-units belongs to --text-model gru or lstm, not tr",
        ),
        (["--text-layers", "2"], "--text-layers belongs to --text-model transformer, not gru"),
        (["--text-freeze"], "--text-freeze belongs to --text-model pretrained or distilbert, not gru"),
        (["--text-preset", "x"], "--text-preset belongs to --text-model pretrained or distilbert"),
        (["--text-model", "distilbert"], "needs --text-preset: name a preset such as distil_bert_base_en_uncased"),
        (["--text-model", "distilbert", "--text-preset", "x", "--word-dim", "3"], "--word-dim belongs to --text-model"),
        (["--text-model", "lstm", "--init-text", "x"], "--text-model cannot change the branch that --init-text starts"),
        (
            ["--text-model", "distilbert", "--text-preset", "x", "--text-freeze", "--text-preset-rate", "1"],
            "--text-preset-rate changes nothing with --text-freeze",
        ),
        (
            ["--text-model", "pretrained", "--text-preset", "x", "--text-freeze", "--layer-decay", ".9"],
            "--layer-decay changes nothing with --text-freeze",
        ),
        (["--text-pooling", "mean"], "--text-pooling belongs to --text-model pretrained or distilbert, not gru"),
        (["--init-audio", "x"], "belong to --branch fusion"),
    ],
)
def test_flags_of_another_text_model_are_refused_in_a_sentence(three_speaker_records, flags, sentence):
    with pytest.raises(InputError, match=sentence):
        main(["--branch", "text", "--records", str(three_speaker_records), *flags])


@pytest.mark.parametrize(
    "flags", [["--branch", "audio"], ["--branch", "fusion", "--fusion", "late", "--runs", "a", "b"]]
)
def test_text_flags_are_refused_where_no_text_branch_is_trained(three_speaker_records, flags):
    with pytest.raises(InputError, match="--text-model changes nothing here"):
        main([*flags, "--records", str(three_speaker_records), "--text-model", "lstm"])


def test_flags_become_the_config_of_the_text_branch(three_speaker_records, monkeypatch):
    configs = []
    monkeypatch.setattr(fit_module, "fit", lambda config, run, overwrite, placement: configs.append(config.text))
    start = ["--branch", "text", "--records", str(three_speaker_records), "--text-model"]
    main([*start, "lstm", "--text-units", "8", "4", "--word-dim", "16"])
    main([*start, "distilbert", "--text-preset", "here", "--text-freeze"])
    assert configs[0] == TextConfig(16, (8, 4), model="lstm")
    assert configs[1] == TextConfig(model="distilbert", preset="here", freeze=True)
