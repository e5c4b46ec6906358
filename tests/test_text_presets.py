"""Tests of pipelines.text_presets: what a preset is, its tokenizer from whatever files it has, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import text
from pipelines.command import InputError
from pipelines.text_presets import find_preset, preset_tokenizer, read_tokenizer


@pytest.fixture(params=["keras", "hugging face", "tokenizer.json", "written"])
def tokenizer(request, tiny_preset, hugging_face_folder, tmp_path):
    """DistilBERT's tokenizer from each place that it can come from."""
    if request.param == "hugging face":
        return preset_tokenizer(hugging_face_folder)
    if request.param == "tokenizer.json":
        return preset_tokenizer(as_tokenizer_json(hugging_face_folder, tmp_path / "folder"))
    if request.param == "written":
        preset_tokenizer(tiny_preset).write(tmp_path / "tokenizer")
        return read_tokenizer(tmp_path / "tokenizer")
    return preset_tokenizer(tiny_preset)


def as_tokenizer_json(source, folder, **changes):
    """Copies a folder that has its tokenizer in tokenizer.json alone."""
    shutil.copytree(source, folder)
    pieces = (folder / "vocab.txt").read_text().split("\n")[:-1]
    (folder / "vocab.txt").unlink()
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    content = {
        "normalizer": {**normalizer, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {piece: i for i, piece in enumerate(pieces)}},
        "added_tokens": [{"content": "[MASK]", "id": 4}],
    }
    (folder / "tokenizer.json").write_text(json.dumps(content | changes))
    return str(folder)


def test_a_preset_puts_words_between_its_own_marks(tokenizer):
    rows = tokenizer(["Unhappily, KIDS!", "Caf\u00e9 \u4f60"]).to_list()
    pieces = [[tokenizer.pieces()[i] for i in row] for row in rows]
    assert pieces[0] == ["[CLS]", "un", "##happi", "##ly", ",", "kids", "!", "[SEP]"]
    assert pieces[1] == ["[CLS]", "cafe", "[UNK]", "[SEP]"]
    assert tokenizer(["a"]).dtype == "int32"


def test_cropping_for_a_preset_keeps_both_marks(tokenizer):
    assert tokenizer(["the door, the door", "a", ""], 4).to_list() == [[2, 10, 11, 3], [2, 13, 3], [2]]
    with pytest.raises(ValueError, match=r"max_tokens is 2, but \[CLS\] alone takes 1"):
        tokenizer(["a"], 2)


def test_a_tokenizer_says_where_it_came_from_and_what_it_is(tokenizer, tiny_preset):
    assert tokenizer.sha256 == preset_tokenizer(tiny_preset).sha256 != text.vocabulary_sha256()
    assert Path(tokenizer.preset).is_dir()


def test_a_hugging_face_folder_of_cased_words_keeps_case_and_accents(hugging_face_folder, tmp_path):
    folder = shutil.copytree(hugging_face_folder, tmp_path / "cased")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert preset_tokenizer(str(folder))(["the Door Caf\u00e9"]).to_list() == [[2, 10, 1, 1, 3]]


BERT = '{"model_type": "bert"}'
WEIGHTS = {"model.safetensors": ""}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, r"is no preset folder: cannot read .*config\.json \(No such file"),
        ({"config.json": "{"}, "is no preset folder"),
        ({"config.json": "[]"}, "is no preset folder"),
        ({"config.json": '{"class_name": "ViTBackbone"}'}, "is a preset of the architecture ViTBackbone: give one of"),
        ({"config.json": '{"class_name": "GPT2Backbone"}'}, "is a preset of the architecture GPT2Backbone"),
        ({"config.json": '{"class_name": "FNetBackbone"}'}, "is a preset of the architecture FNetBackbone"),
        ({"config.json": '{"model_type": "gpt2"}'}, "is a preset of the architecture gpt2: give one of BERT"),
        ({"config.json": '{"model_type": "electra"}'}, "holds electra as Hugging Face does, which keras-hub cannot"),
        ({"config.json": BERT}, r"holds no weights: model\.safetensors or .* is missing"),
        ({"config.json": '{"class_name": "BertBackbone"}'}, r"holds no weights: model\.weights\.h5 or"),
        (
            {"config.json": BERT, "pytorch_model.bin": ""},
            r"only as a pickle \(pytorch_model\.bin\), which is not opened: write model\.safetensors",
        ),
        ({"config.json": BERT, **WEIGHTS}, r"tokenizer of the preset .*it has neither tokenizer\.json nor vocab\.txt"),
        ({"config.json": BERT, "vocab.txt": "a\nb\n", **WEIGHTS}, "its vocabulary has a, not padding, in place 0"),
        ({"config.json": BERT, "vocab.txt": "[PAD]\na\n", **WEIGHTS}, r"has no \[CLS\] and no \[SEP\] and no \[UNK\]"),
        ({"config.json": BERT, "tokenizer.json": "{}", **WEIGHTS}, "have no entry 'model', so they are damaged, or of"),
        ({"config.json": BERT, "tokenizer.json": "[]", **WEIGHTS}, "its files are damaged, or of another model"),
        ({"config.json": '{"model_type": "albert"}', **WEIGHTS}, "needs the SentencePiece model, one of"),
        ({"config.json": '{"model_type": "roberta"}', **WEIGHTS}, r"vocab\.json"),
    ],
)
def test_a_folder_that_is_no_encoder_of_text_gets_a_sentence(tmp_path, files, sentence):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence):
        preset_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"normalizer": {"type": "NFKC"}}, "asks for the normalizer NFKC, and only BertNormalizer is known"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "asks for the pre_tokenizer Metaspace"),
        ({"model": {"type": "Unigram"}}, "asks for the model Unigram"),
        ({"added_tokens": [{"content": "[NEW]", "id": 99}]}, "the ids of its vocabulary have gaps"),
        ({"model": {"unk_token": "[UNK]", "vocab": ["a"]}}, "the vocabulary in tokenizer.json is no object"),
    ],
)
def test_what_tokenizer_json_asks_for_and_nothing_does_gets_a_sentence(
    hugging_face_folder, tmp_path, changes, sentence
):
    folder = as_tokenizer_json(hugging_face_folder, tmp_path / "folder", **changes)
    with pytest.raises(InputError, match=sentence):
        preset_tokenizer(folder)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpt2_base_en", "is a preset of another architecture"),
        ("nonsense", "is no folder and no preset that keras-hub knows"),
        ("presets/gone", "is a folder that does not exist"),
    ],
)
def test_a_name_that_is_no_encoder_of_text_gets_a_sentence_with_names(name, sentence):
    with pytest.raises(InputError, match=f"{name} {sentence}.*distil_bert_base_en_uncased"):
        preset_tokenizer(name)


def test_an_address_whose_config_is_not_at_hand_gets_a_sentence():
    with pytest.raises(InputError, match="hf://any/model is read from a folder alone: download it"):
        find_preset("hf://any/model")


@pytest.mark.parametrize(
    ("name", "model"), [("bert_base_en", "Bert"), ("roberta_base_en", "Roberta"), ("albert_base_en_uncased", "Albert")]
)
def test_the_class_of_a_named_preset_is_found_without_a_download(name, model):
    assert find_preset(name).model == model


def test_a_download_that_fails_gets_a_sentence(monkeypatch):
    import keras_nlp

    def fail(preset):
        raise ConnectionError("no network\nmore")

    monkeypatch.setattr(keras_nlp.models.DistilBertTokenizer, "from_preset", fail)
    with pytest.raises(InputError, match=r"preset distil_bert_base_en_uncased: no network\.$"):
        preset_tokenizer("distil_bert_base_en_uncased")


def test_a_tokenizer_whose_files_are_gone_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match="is missing or corrupt"):
        read_tokenizer(tmp_path)
    (tmp_path / "vocabulary.txt").write_text("[PAD]\n")
    for content in ("{", "{}", "[]", "null", '{"kind": "other", "preset": ""}'):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(InputError, match="is missing or corrupt"):
            read_tokenizer(tmp_path)


def test_importing_the_module_imports_no_tensorflow():
    code = (
        "import sys, pipelines.text_presets; print([m for m in sys.modules if m.startswith(('tensorflow', 'keras'))])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
