"""Tests of pipelines.text_tokenizer: pieces are those of the tokenizers and sentencepiece libraries, in any graph."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.text import own_tokenizer
from pipelines.text_presets import preset_tokenizer, read_tokenizer
from pipelines.text_tokenizer import MAX_WORD_BYTES, BytePair, SentencePiece, WordPiece

ODD = (
    "Caf\u00e9 na\u00efve, Zo\u00eb's \u00c5ngstr\u00f6m",
    "cafe\u0301 o\u0308 combining",
    "\ufb01ne \ufb02ow stra\u00dfe \u0132 \u01c4",
    "\u4f60\u597d world \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4 \U00020000x",
    "\U0001f602\U0001f602lol\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "x" * 100 + " " + "y" * 101 + " " + "\u00e9" * 100,
    "don't we'LL it's!!! ???...,- #@ [NAME] $5 ^_^ `a` \u00bfque? \u2014\u201cso\u201d",
    "tab\there\nnew\r\nline\u00a0nbsp\u3000wide\u2003em\u0085next",
    "ze\x00ro be\x07ll de\x7fl zero\u200bwidth \ufeffmark soft\u00adhyphen \ufffd \ue000",
    "\u038c\u03a3\u039f\u03a3 \u0130stanbul \u0391\u0392 \u0416\u0414\u0418 \u0625\u0633\u0644\u0627\u0645",
    "12345 \u00b2\u00b3 \u00bd \u2167 3.14",
    "  two  spaces   at both ends  ",
    "a",
)
"""Accents, ligatures, ideographs, emoji, long words, punctuation, white space, control characters, capitals."""

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def pieces_of(tokenizer, texts):
    """Cuts texts and leaves the marks at both ends out."""
    return [[tokenizer.pieces()[i] for i in row[1:-1]] for row in tokenizer(texts).to_list()]


@pytest.fixture(scope="module")
def words():
    """Single characters, first and following, and some pieces: enough to spell most of `ODD`."""
    letters = sorted({c for text in ODD for c in text.lower() + text if c.isprintable() and c != " "})
    longer = ["cafe", "na", "##ive", "caf", "##\u00e9", "lol", "world", "don", "zer", "##ow", "str", "is", "##tan"]
    return dict.fromkeys([*MARKS, *longer, *letters, *("##" + c for c in letters if c.isalnum())])


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "split_on_cjk"), [(True, True, True), (False, False, True), (True, False, False)]
)
def test_wordpiece_gives_what_the_tokenizers_library_gives(words, lowercase, strip_accents, split_on_cjk):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    expected = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(words)}, unk_token="[UNK]"))
    options = {"lowercase": lowercase, "strip_accents": strip_accents, "handle_chinese_chars": split_on_cjk}
    expected.normalizer = normalizers.BertNormalizer(clean_text=True, **options)
    expected.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    settings = {"lowercase": lowercase, "strip_accents": strip_accents, "split_on_cjk": split_on_cjk}
    settings |= {"start": "[CLS]", "end": "[SEP]", "unknown": "[UNK]", "clean_text": True, "max_word_length": 100}
    found = pieces_of(WordPiece("x", tuple(words), settings), list(ODD))
    assert found == [expected.encode(text).tokens for text in ODD]
    assert sum(piece != "[UNK]" for row in found for piece in row) > 150


@pytest.fixture(scope="module")
def byte_pair():
    """A byte-level BPE of the `tokenizers` library, and ours."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator([*ODD, "the door the kids"] * 3, 400, 2, special_tokens=marks, show_progress=False)
    content = json.loads(trained.to_str())["model"]
    pieces = sorted(content["vocab"], key=content["vocab"].get)
    pieces[0], pieces[1] = pieces[1], pieces[0]
    merges = "\n".join(merge if isinstance(merge, str) else " ".join(merge) for merge in content["merges"])
    settings = {"start": "<s>", "end": "</s>", "unknown": "<unk>", "prefix_space": False}
    return trained, BytePair("x", tuple(pieces), settings, merges.encode())


def test_byte_level_bpe_gives_what_the_tokenizers_library_gives(byte_pair):
    expected, tokenizer = byte_pair
    # A zero byte, which ends strings in some ops, goes.
    assert pieces_of(tokenizer, list(ODD)) == [expected.encode(text.replace("\x00", "")).tokens for text in ODD]


def test_byte_level_bpe_crops_words_without_end(byte_pair):
    [pieces] = pieces_of(byte_pair[1], ["q" * 10_000])
    assert len("".join(pieces)) == MAX_WORD_BYTES


@pytest.fixture(scope="module")
def sentence_piece():
    import sentencepiece

    written = io.BytesIO()
    options = {f"{name}_piece": piece for name, piece in zip(("pad", "unk", "bos", "eos"), MARKS, strict=False)}
    options |= {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3, "vocab_size": 120, "hard_vocab_limit": False}
    options |= {"minloglevel": 2, "character_coverage": 0.98}
    sentences = iter([text for text in ODD if len(text) < 150] * 3)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=sentences, model_writer=written, **options)
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue()), written.getvalue()


def sentence_piece_tokenizer(sentence_piece, **settings):
    reference, model = sentence_piece
    pieces = tuple(reference.id_to_piece(i) for i in range(reference.vocab_size()))
    plain = {"lowercase": False, "keep_accents": True, "plain_quotes": False}
    return SentencePiece(
        "x", pieces, {"start": "[CLS]", "end": "[SEP]", "unknown": "[UNK]", **plain, **settings}, model
    )


def test_sentencepiece_gives_what_its_own_library_gives(sentence_piece):
    ids = [row[1:-1] for row in sentence_piece_tokenizer(sentence_piece)(list(ODD)).to_list()]
    assert ids == [sentence_piece[0].encode(text.replace("\x00", "")) for text in ODD]


def test_the_spelling_of_albert_comes_before_its_sentencepiece_model(sentence_piece):
    options = {"lowercase": True, "keep_accents": False, "plain_quotes": True}
    found = sentence_piece_tokenizer(sentence_piece, **options)(["``Caf\u00e9'' \ufb01ne"]).to_list()[0]
    assert found[1:-1] == sentence_piece[0].encode('"cafe" fine')


@pytest.fixture(params=["wordpiece", "bpe", "sentencepiece"])
def tokenizer(request, words):
    if request.param == "bpe":
        return request.getfixturevalue("byte_pair")[1]
    if request.param == "sentencepiece":
        return sentence_piece_tokenizer(request.getfixturevalue("sentence_piece"))
    settings = {"lowercase": True, "strip_accents": True, "split_on_cjk": True, "clean_text": True}
    marks = {"start": "[CLS]", "end": "[SEP]", "unknown": "[UNK]"}
    return WordPiece("x", tuple(words), {**marks, **settings, "max_word_length": 100})


@pytest.mark.parametrize("blank", ["", "   ", "\t\r\n", "\u200d\ufeff", "\x00", b"\xff"])
def test_a_blank_transcript_is_the_start_alone(tokenizer, blank):
    start = tokenizer.pieces().index(tokenizer.start)
    first, other = tokenizer([blank, "door"]).to_list()
    assert first == [start]
    assert tokenizer([blank]).to_list() == [[start]]
    assert (other[0], other[-1]) == (start, tokenizer.end_id)
    assert 0 not in other


def test_cropping_keeps_both_marks_of_ten_thousand_words(tokenizer):
    [whole] = tokenizer(["the door " * 20]).to_list()
    assert tokenizer(["the door " * 5000], 9).to_list() == [[*whole[:8], tokenizer.end_id]]


def test_a_written_tokenizer_is_read_back_the_same(tokenizer, tmp_path):
    tokenizer.write(tmp_path)
    again = read_tokenizer(tmp_path)
    assert (type(again), again.sha256) == (type(tokenizer), tokenizer.sha256)
    assert again(list(ODD)).to_list() == tokenizer(list(ODD)).to_list()


def test_a_dataset_map_that_comes_first_gives_the_same_ids(tokenizer, tmp_path):
    tokenizer.write(tmp_path)
    fresh = read_tokenizer(tmp_path)
    dataset = tf.data.Dataset.from_tensor_slices(list(ODD)).batch(4).map(lambda texts: fresh(texts, 9))
    assert [row for batch in dataset for row in batch.to_list()] == tokenizer(list(ODD), 9).to_list()


RELOAD = """
import json, sys
import tensorflow as tf, tensorflow_text
texts = tf.io.parse_tensor(tf.io.read_file(sys.argv[2]), tf.string)
print(json.dumps([tf.saved_model.load(f"{sys.argv[1]}/{kind}").signatures["serving_default"](texts)["ids"].numpy().tolist()
    for kind in sys.argv[3:]]))
"""


def test_exports_give_the_same_ids_in_a_new_process(byte_pair, sentence_piece, tmp_path):
    made = {"bpe": byte_pair[1], "sentencepiece": sentence_piece_tokenizer(sentence_piece)}
    for name, tokenizer in made.items():
        module = tf.Module()
        module.resources = list(tokenizer.resources)
        cut = tf.function(lambda texts, of=tokenizer: {"ids": of(texts, 64).to_tensor()})
        signature = cut.get_concrete_function(tf.TensorSpec([None], tf.string))
        tf.saved_model.save(module, str(tmp_path / name), signatures=signature)
    tf.io.write_file(str(tmp_path / "texts"), tf.io.serialize_tensor(tf.constant(ODD)))
    command = [sys.executable, "-c", RELOAD, str(tmp_path), str(tmp_path / "texts"), *made]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [tokenizer(list(ODD), 64).to_tensor().numpy().tolist() for tokenizer in made.values()]


def test_words_begin_where_their_kind_says_so(byte_pair, sentence_piece, words):
    for tokenizer in (byte_pair[1], sentence_piece_tokenizer(sentence_piece)):
        ids = tokenizer(["a the kids door"]).to_list()[0][1:-1]
        assert np.sum(np.array(tokenizer.begins_word())[ids][1:]) == 3


def test_a_context_and_a_sentence_are_the_pair_of_the_tokenizers_library(words):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    expected = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(words)}, unk_token="[UNK]"))
    expected.normalizer = normalizers.BertNormalizer(strip_accents=True)
    expected.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    expected.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    settings = {"lowercase": True, "strip_accents": True, "split_on_cjk": True, "clean_text": True}
    settings |= {"start": "[CLS]", "end": "[SEP]", "unknown": "[UNK]", "max_word_length": 100}
    found = WordPiece("x", tuple(words), settings)(list(ODD), contexts=list(ODD[::-1])).to_list()
    assert found == [expected.encode(one, other).ids for one, other in zip(ODD[::-1], ODD, strict=True)]


def test_roberta_has_two_separators_between_a_context_and_a_sentence(byte_pair):
    _, tokenizer = byte_pair
    [own], [context], [pair] = (
        tokenizer(*given).to_list() for given in ((["b"],), (["a a"],), (["b"], None, ["a\na"]))
    )
    assert pair == [*context, tokenizer.end_id, *own[1:]]


@pytest.mark.parametrize("kind", ["own", "preset"])
def test_a_crop_takes_the_far_end_of_a_context_first_and_then_the_end_of_the_words(tiny_preset, kind):
    cut = own_tokenizer() if kind == "own" else preset_tokenizer(tiny_preset)
    context, words = ["kids are\ntalking by the"], ["happy door"]
    before, own = ([cut.pieces()[i] for i in cut(one).to_list()[0] if i > 4] for one in (context, words))
    marks = 2 + bool(cut.end_id)
    for room in range(1, len(before) + len(own) + 3):
        [row] = cut(words, room + marks, context).to_list()
        pieces = [cut.pieces()[i] for i in row if i > 4]
        left = max(0, room - len(own))
        assert pieces == [*before[max(0, len(before) - left) :], *own[:room]]
        assert len(row) <= room + marks


@pytest.mark.parametrize("kind", ["own", "preset"])
def test_a_blank_context_leaves_its_separator_and_a_blank_sentence_the_start_alone(tiny_preset, kind):
    cut = own_tokenizer() if kind == "own" else preset_tokenizer(tiny_preset)
    start, end = [cut.pieces().index(cut.start)], [cut.end_id] if cut.end_id else []
    [alone] = cut(["door"]).to_list()
    first, blank = cut(["door", " "], 9, ["", "kids"]).to_list()
    assert (first, blank) == ([*start, *cut.separator, *alone[1:]], start)
    with pytest.raises(ValueError, match=f"a row {3 + bool(end)}"):
        cut(["door"], 2 + bool(end), ["kids"])
