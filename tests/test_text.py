"""Tests of pipelines.text: one spelling, one vocabulary, the same ids eagerly, in Dataset.map and in an export."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import text
from pipelines.command import InputError

NASTY = (
    b"",
    b" \t\r\n ",
    "I’m “fine”… don´t".encode(),
    "he\x92s isn`t ʼcause ＇tis \x93so\x94".encode(),
    "great😂😂👍🏽 👨‍👩‍👧".encode(),
    "مرحبا بالعالم".encode(),
    "你好，世界 中国人".encode(),
    "नमस्ते दुनिया".encode(),
    "cafe\u0301 café Straße ﬁne ＦＵＬＬ İ".encode(),
    "zero\u200dwidth\u200b\ufeff and \u202eturned\u202c".encode(),
    b"nul\x00 bell\x07 caf\xe9 \xff\xfe \xed\xa0\x80 \xf0\x9f",
    b"x" * 1000,
    b"happy and sad " * 3334,
    b"[START] [PAD] [UNK] ##ing",
)
SENTENCES = ["I never said that!", "haaaappy people unhappily misunderstanding", "what?? 3.50$ for *that*"]


def ids_of(transcripts, max_tokens=None):
    return text.token_ids(transcripts, max_tokens).to_list()


def pieces_of(transcript):
    return [text.vocabulary()[token_id] for token_id in ids_of([transcript])[0]]


def greedy_pieces(word):
    """Cuts off the longest known beginning again and again."""
    pieces, begin = [], 0
    while begin < len(word):
        prefix = "##" if begin else ""
        ends = [end for end in range(begin + 1, len(word) + 1) if prefix + word[begin:end] in text.vocabulary()]
        if not ends:
            return ["[UNK]"]
        pieces.append(prefix + word[begin : ends[-1]])
        begin = ends[-1]
    return pieces


@pytest.mark.parametrize(
    ("written", "normalised"),
    [
        ("  Hello,\t\n\u00a0 World ", "hello, world"),
        ("I’m “FINE”", 'i\'m "fine"'),
        ("don´t", "don't"),
        ("he\x92s \x93fine\x94", 'he\'s "fine"'),
        ("ŉ ＇ ＂", "'n ' \""),
        ("wait…", "wait..."),
        ("cafe\u0301", "caf\u00e9"),
        ("ﬁ ＦＵＬＬ Straße", "fi full strasse"),
        ("a\u200db\u200bc\ufeff", "abc"),
        ("a\x00b\x07 \x01 c", "ab c"),
        ("", ""),
    ],
)
def test_normalise_gives_one_spelling(written, normalised):
    assert text.normalise(tf.constant(written)).numpy().decode() == normalised


@pytest.mark.parametrize("apostrophe", text.APOSTROPHES)
def test_whatever_people_write_for_an_apostrophe_is_one(apostrophe):
    assert {"`", "´", "\x92", "\u2019", "\u02bc", "\uff07"} < set(text.APOSTROPHES)
    assert ids_of([f"He{apostrophe}s here, don{apostrophe}t!"]) == ids_of(["he's here, don't!"])


def test_normalising_any_character_twice_changes_nothing():
    characters = [chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    once = text.normalise(tf.constant(characters))
    changed = np.flatnonzero(text.normalise(once).numpy() != once.numpy())
    assert [hex(ord(characters[index])) for index in changed] == []


def test_normalise_drops_bytes_that_are_no_utf8():
    assert text.normalise(tf.constant([b"\xff\xfebad \xc3", b"\xed\xa0\x80"])).numpy().tolist() == [b"bad", b""]


def test_normalise_keeps_any_shape():
    assert text.normalise(tf.constant([[["A"], ["B"]]])).numpy().tolist() == [[[b"a"], [b"b"]]]


def test_normalising_twice_changes_nothing():
    once = text.normalise(tf.constant(NASTY))
    np.testing.assert_array_equal(text.normalise(once).numpy(), once.numpy())


def test_vocabulary_has_8192_distinct_pieces_and_the_reserved_ids():
    pieces = text.vocabulary()
    assert len(pieces) == len(set(pieces)) == text.VOCABULARY_SIZE == 8192
    assert pieces[:3] == ("[PAD]", "[UNK]", "[START]")
    assert (text.PAD_ID, text.UNKNOWN_ID, text.START_ID) == (0, 1, 2)


def test_every_piece_is_normalised():
    pieces = [piece.removeprefix("##") for piece in text.vocabulary()[3:]]
    assert text.normalise(tf.constant(pieces)).numpy().tolist() == [piece.encode() for piece in pieces]


def test_vocabulary_hash_is_of_the_file():
    assert text.vocabulary_sha256() == hashlib.sha256(text.VOCABULARY_PATH.read_bytes()).hexdigest()


@pytest.mark.parametrize("blank", ["", "   ", "\t\r\n", "\u00a0\u2003", "\u200d\ufeff", "\x00", b"\xff"])
def test_a_blank_transcript_is_start_alone(blank):
    assert ids_of([blank, "words"])[0] == [2]


def test_every_row_starts_with_start_and_reserved_ids_cannot_be_typed():
    rows = ids_of(NASTY)
    assert all(row[0] == 2 and 0 not in row and 2 not in row[1:] for row in rows)
    assert pieces_of("[START] [PAD]") == ["[START]", "[", "start", "]", "[", "pad", "]"]


def test_a_word_without_known_characters_and_an_endless_word_are_unknown():
    assert ids_of(["नमस्ते", "x" * 1000]) == [[2, 1], [2, 1]]


def test_emoji_and_punctuation_are_words_of_their_own():
    assert pieces_of("Great😂😂!?") == ["[START]", "great", "😂", "😂", "!", "?"]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_pieces_are_the_longest_that_fit(sentence):
    spaced = "".join(f" {c} " if not (c.isalnum() or c == " ") else c for c in sentence.lower())
    expected = [piece for word in spaced.split() for piece in greedy_pieces(word)]
    assert pieces_of(sentence) == ["[START]", *expected]


def test_ids_are_ragged_int32_and_pad_with_zero():
    ids = text.token_ids(["", "happy"])
    assert isinstance(ids, tf.RaggedTensor)
    assert ids.dtype == tf.int32
    assert ids.to_tensor().numpy().tolist() == [[2, 0], [2, text.vocabulary().index("happy")]]


def test_no_transcripts_give_no_rows():
    assert ids_of([]) == []


def test_batch_neighbours_change_nothing():
    assert ids_of(NASTY) == [ids_of([transcript])[0] for transcript in NASTY]


def test_ten_thousand_words_keep_all_their_ids():
    assert len(ids_of(["happy " * 10_000])[0]) == 10_001


@pytest.mark.parametrize("max_tokens", [1, 2, 5])
def test_cropping_keeps_start_and_the_first_ids(max_tokens):
    assert ids_of(NASTY, max_tokens) == [row[:max_tokens] for row in ids_of(NASTY)]


def test_cropping_to_nothing_is_refused():
    with pytest.raises(ValueError, match="max_tokens is 0"):
        text.token_ids(["hello"], max_tokens=0)


def test_eager_ids_equal_those_of_a_dataset_map_that_comes_first():
    text.tokenizer.cache_clear()
    text.own_tokenizer.cache_clear()
    dataset = tf.data.Dataset.from_tensor_slices(list(NASTY)).batch(4).map(text.token_ids, tf.data.AUTOTUNE)
    assert [row for batch in dataset for row in batch.to_list()] == ids_of(NASTY)
    text.own_tokenizer.cache_clear()  # what another device or strategy does: a second trace over the same tokenizer
    assert [row for batch in dataset for row in batch.to_list()] == ids_of(NASTY)


def test_normalise_is_the_same_in_a_dataset_map():
    dataset = tf.data.Dataset.from_tensor_slices(list(NASTY)).map(text.normalise)
    assert [row.numpy() for row in dataset] == text.normalise(tf.constant(NASTY)).numpy().tolist()


RELOAD = """
import json, sys
import tensorflow as tf, tensorflow_text
transcripts = tf.io.parse_tensor(tf.io.read_file(sys.argv[2]), tf.string)
model = tf.saved_model.load(sys.argv[1])
print(json.dumps(model.signatures["serving_default"](transcripts)["token_ids"].numpy().tolist()))
"""


def test_an_export_gives_the_same_padded_ids_in_a_new_process(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(transcripts):
        return {"token_ids": text.token_ids(transcripts, max_tokens=600).to_tensor()}

    tf.saved_model.save(tf.Module(), tmp_path / "export", signatures=serve.get_concrete_function())
    tf.io.write_file(str(tmp_path / "transcripts"), tf.io.serialize_tensor(tf.constant(NASTY)))
    reloaded = new_process("-c", RELOAD, tmp_path / "export", tmp_path / "transcripts")
    assert json.loads(reloaded) == text.token_ids(NASTY, 600).to_tensor().numpy().tolist()


def new_process(*arguments, **environment):
    """Runs this Python on arguments and returns what it printed."""
    command = [sys.executable, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=True)
    return finished.stdout


def test_own_tokenizer_gives_the_shared_ids():
    own = text.own_tokenizer()
    assert own(SENTENCES, 5).to_list() == ids_of(SENTENCES, 5)
    assert (own.vocabulary_size, own.sha256, own.end_id) == (8192, text.vocabulary_sha256(), 0)
    assert own.pieces() == text.vocabulary()


# The first word stands 50 times, each next one 5 times less.
WORDS = ["Happy", "sad", "angry", "calm", "fear", "joy", "love", "hate", "glad"]
FEELINGS = [word for i, word in enumerate(WORDS) for _ in range(50 - 5 * i)]
LEARN = """
import json, sys
from pipelines import text
print(json.dumps(text.learn_vocabulary(json.loads(sys.argv[1]), 37)))
"""


def test_learning_gives_the_same_vocabulary_in_another_process():
    learned = text.learn_vocabulary([*FEELINGS, "😂"], 37)
    assert json.loads(new_process("-c", LEARN, json.dumps([*FEELINGS, "😂"]), PYTHONHASHSEED="7")) == learned


def test_learned_vocabulary_holds_all_characters_and_then_the_frequent_pieces():
    learned = text.learn_vocabulary([*FEELINGS, "😂"], 37)
    assert learned[:22] == ["[PAD]", "[UNK]", "[START]", *"acdefghjlmnoprstvy😂"]
    assert learned[22:35] == ["##" + character for character in "adeglmnoprtvy"]
    assert learned[35:] == ["##ad", "happy"]


def test_learning_from_too_little_is_refused():
    with pytest.raises(InputError, match="not 8192: it takes a larger corpus"):
        text.learn_vocabulary(SENTENCES)
    with pytest.raises(InputError, match="no words"):
        text.learn_vocabulary([" "])


def test_main_writes_one_piece_a_line_and_takes_quotes_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(text, "learn_vocabulary", lambda transcripts: transcripts)
    (tmp_path / "train.tsv").write_bytes(b'"so what\t3,4\tid1\nhe said "no"\t27\tid2\n')
    text.main(["--learn-vocabulary", str(tmp_path / "train.tsv"), "--output", str(tmp_path / "pieces.txt")])
    assert (tmp_path / "pieces.txt").read_text() == '"so what\nhe said "no"\n'
    assert "2 pieces" in capsys.readouterr().out


def test_main_names_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.tsv: No such file"):
        text.main(["--learn-vocabulary", str(tmp_path / "absent.tsv"), "--output", str(tmp_path / "pieces.txt")])


def test_importing_the_module_imports_no_tensorflow():
    code = "import sys, pipelines.text; print([m for m in sys.modules if m.startswith(('tensorflow', 'keras'))])"
    assert new_process("-c", code).strip() == "[]"


@pytest.mark.real_data
@pytest.mark.skipif("EMOTION_TF_REAL_DATA" not in os.environ, reason="EMOTION_TF_REAL_DATA is not set")
def test_fewer_than_one_token_in_200_of_unseen_sentences_is_unknown():
    path = Path(os.environ.get("EMOTION_TF_REAL_DATA", "")) / "goemotions" / "dev.tsv"
    sentences = [line.partition("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()]
    ids = text.token_ids(sentences).flat_values.numpy()
    assert len(ids) > 90_000
    assert np.mean(ids == text.UNKNOWN_ID) < 0.005


@pytest.mark.parametrize(
    "transcript",
    [
        *("", " ", "hello", "Größe", "好", "😀", "zürich 好", "ﬁne", "ΑΒΓ", "привет", "x" * 101, "x" * 100),
        *("...", "\u200b", "don\N{RIGHT SINGLE QUOTATION MARK}t", "ſo", "\x00", "a_b", "_", "שלום עולם", "ไทย"),
        *("ｆｕｌｌ", "½", "한국어", "a\x00b", "\u200bhi"),
    ],
)
def test_what_the_vocabulary_cannot_spell_is_found_without_tensorflow(transcript):
    [ids] = text.token_ids([transcript]).to_list()
    assert text.knows_no_word(transcript) == text.is_unknown(ids)
