"""Tokenizers: what all have in common, and how WordPiece, SentencePiece and byte-level BPE cut words, as graph ops.

Ids begin with 0 for padding, whatever a pretrained model calls 0: where its padding is another id, both change places.
"""

import abc
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf

PIECES_FILE, SETTINGS_FILE, MODEL_FILE = "vocabulary.txt", "settings.json", "model"

_CJK = (
    r"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}"
    r"\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}])"
)
_PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
_UNSPELT = "\U0010ffff"
"""No character, so no vocabulary has it; it stands for words that are too long, and between words of byte-level BPE."""

_SPACES = r"\t-\r\x{85}\p{Z}"
_GPT2_WORDS = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACES}\p{{L}}\p{{N}}{_UNSPELT}]+|[{_SPACES}]+"

_BLANK = r"[\s\p{Z}\p{C}]*"

MAX_WORD_BYTES = 256
"""Of a word in byte-level BPE: merging takes steps that grow with its square."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer(abc.ABC):
    """Turns transcripts into token ids: by the project's vocabulary, or as a pretrained model wants them.

    The first id of every row is the start, [START], [CLS] or <s>, and a blank transcript is that alone. 0 is padding.

    Attributes:
      preset: Name or folder of the pretrained model; empty: the project's own vocabulary.
      vocabulary: Pieces in the order of their ids.
      settings: Of a pretrained model: "start", "end" and "unknown" are pieces, further ones belong to the kind.
      model: What the kind needs beside its pieces: merges of BPE, one a line, or the file of a SentencePiece model.
    """

    preset: str
    vocabulary: tuple[str, ...]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: bytes = b""

    kind = ""

    def __call__(
        self,
        transcripts: "tf.Tensor | Sequence[str]",
        max_tokens: int | None = None,
        contexts: "tf.Tensor | Sequence[str] | None" = None,
    ) -> "tf.RaggedTensor":
        """Gives the ids of transcripts, as graph ops.

        Args:
          transcripts: [batch] strings.
          max_tokens: Of a row; first the far end of its context is cropped, then the end of its words. None: all.
          contexts: [batch] strings, the lines before each transcript; None: rows have no place for them.

        Returns:
          Ragged int32 [batch, (num_tokens)]. With contexts, also with blank ones, the separator stands before the
          words of a transcript. A blank transcript is the start alone, whatever its context.

        Raises:
          ValueError: max_tokens below what a row of one piece takes.
        """
        import tensorflow as tf

        least = self.least_tokens(has_context=contexts is not None)
        if max_tokens is not None and max_tokens < least:
            raise ValueError(f"max_tokens is {max_tokens}, but {self.start} alone takes 1, a row {least}.")
        pieces = self._traced(tf.convert_to_tensor(transcripts, tf.string))
        room = None if max_tokens is None else max_tokens - self._num_marks(has_context=contexts is not None)
        pieces = pieces if room is None else pieces[:, :room]
        has_words = pieces.row_lengths() > 0
        start = tf.fill([pieces.nrows(), 1], self.vocabulary.index(self.start))
        rows = [tf.RaggedTensor.from_tensor(start)]
        if contexts is not None:
            lines = self._traced(tf.strings.regex_replace(contexts, "\n", " "))
            left = lines.row_lengths() if room is None else room - pieces.row_lengths()
            rows += [_last_of(lines, tf.where(has_words, left, 0)), _where(has_words, self.separator)]
        rows.append(pieces)
        if self.end_id:
            rows.append(_where(has_words, (self.end_id,)))
        return tf.concat(rows, axis=1)

    @property
    def vocabulary_size(self) -> int:
        """How many pieces there are."""
        return len(self.vocabulary)

    @property
    def start(self) -> str:
        """The piece that every row starts with."""
        return self.settings.get("start", "[START]")

    @property
    def unknown_id(self) -> int:
        """Of a word that the vocabulary cannot spell."""
        return self.vocabulary.index(self.settings.get("unknown", "[UNK]"))

    @property
    def end_id(self) -> int:
        """Of the piece that every row with words ends with; 0: there is none."""
        return self.vocabulary.index(self.settings["end"]) if "end" in self.settings else 0

    @property
    def separator(self) -> tuple[int, ...]:
        """Ids between context and words: the end once, of RoBERTa and its like twice; without an end the start."""
        if not self.end_id:
            return (self.vocabulary.index(self.start),)
        return (self.end_id,) * (2 if self.start == "<s>" else 1)

    def least_tokens(self, *, has_context: bool = False) -> int:
        """Counts the ids that a row may be cropped to at least."""
        num_marks = self._num_marks(has_context=has_context)
        return 1 if num_marks == 1 else num_marks + 1

    def _num_marks(self, *, has_context: bool) -> int:
        return 1 + has_context * len(self.separator) + bool(self.end_id)

    @functools.cached_property
    def sha256(self) -> str:
        """Identity: ids mean nothing under another one."""
        settings = dict(sorted(self.settings.items()))
        written = json.dumps([self.kind, self.vocabulary, settings]).encode() + self.model
        return hashlib.sha256(written).hexdigest()

    def pieces(self) -> tuple[str, ...]:
        """Returns the pieces in the order of their ids."""
        return self.vocabulary

    def begins_word(self) -> list[bool]:
        """Tells of each piece whether a word begins with it."""
        return [not piece.startswith("##") for piece in self.vocabulary]

    def write(self, folder: Path) -> None:
        """Writes what `pipelines.text.read_tokenizer` reads: pieces, the model of the kind, then the settings."""
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{piece}\n" for piece in self.vocabulary)
        (folder / PIECES_FILE).write_text(text, encoding="utf-8", newline="\n")
        if self.model:
            (folder / MODEL_FILE).write_bytes(self.model)
        settings = {"preset": self.preset, "kind": self.kind, **self.settings}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @abc.abstractmethod
    def cutter(self) -> "tuple[Callable[[tf.Tensor], tf.RaggedTensor], tuple[Any, ...]]":
        """Makes the function from transcripts [batch], UTF-8, to ids [batch, (num_pieces)] int32, without marks.

        Returns:
          The function, and what it looks things up in, which a SavedModel has to keep.
        """

    @property
    def resources(self) -> tuple[Any, ...]:
        """What the graph looks things up in: a module that is saved with it has to hold them."""
        return self._cutter[1]

    @functools.cached_property
    def _cutter(self) -> "tuple[Callable[[tf.Tensor], tf.RaggedTensor], tuple[Any, ...]]":
        import tensorflow as tf

        # The first call may come from inside Dataset.map: the vocabulary must not become part of that graph.
        with tf.init_scope():
            return self.cutter()

    @functools.cached_property
    def _traced(self) -> "Callable[[tf.Tensor], tf.RaggedTensor]":
        """Traces transcripts [batch] -> pieces once."""
        import tensorflow as tf

        def cut(transcripts: "tf.Tensor") -> "tf.RaggedTensor":
            """Cuts what is no blank."""
            text = tf.strings.unicode_transcode(transcripts, "UTF-8", "UTF-8", errors="ignore")
            # A zero byte would end a string in some of the ops.
            text = tf.strings.regex_replace(text, r"\x{0}", "")
            text = tf.where(tf.strings.regex_full_match(text, _BLANK), "", text)
            return self._cutter[0](text)

        return tf.function(cut, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


class WordPiece(Tokenizer):
    """Words as BERT has them, and the longest pieces of each.

    Settings: lowercase, strip_accents, split_on_cjk and clean_text, and max_word_length in characters: a longer word is
    unknown. Characters newer than Unicode 8 aside, ids are those of the `tokenizers` library for the same settings, but
    for marks that stand in a sentence, such as [SEP]: here they are words.
    """

    kind = "wordpiece"

    def cutter(self) -> "tuple[Callable[[tf.Tensor], tf.RaggedTensor], tuple[Any, ...]]":
        import tensorflow as tf
        import tensorflow_text

        longest = self.settings["max_word_length"]
        # Four bytes a character at most. Without a tokenization of its own it takes words.
        cut = tensorflow_text.FastWordpieceTokenizer(
            list(self.vocabulary),
            unknown_token=self.settings["unknown"],
            max_bytes_per_word=4 * longest,
            no_pretokenization=True,
            token_out_type=tf.int32,
        )

        def tokenize(transcripts: "tf.Tensor") -> "tf.RaggedTensor":
            """Cuts words."""
            words = _split(_bert_spelling(transcripts, self.settings), rf"[{_SPACES}]", _PUNCTUATION)
            is_long = tf.strings.length(words.flat_values, unit="UTF8_CHAR") > longest
            words = words.with_flat_values(tf.where(is_long, _UNSPELT, words.flat_values))
            return cut.tokenize(words).merge_dims(1, 2)

        return tokenize, ()


class SentencePiece(Tokenizer):
    """Pieces of a SentencePiece model.

    Settings: lowercase, keep_accents and plain_quotes are what is done to a transcript before, as ALBERT wants it.
    """

    kind = "sentencepiece"

    def begins_word(self) -> list[bool]:
        return [piece.startswith("\N{LOWER ONE EIGHTH BLOCK}") for piece in self.vocabulary]

    def cutter(self) -> "tuple[Callable[[tf.Tensor], tf.RaggedTensor], tuple[Any, ...]]":
        import tensorflow as tf
        import tensorflow_text

        cut = tensorflow_text.SentencepieceTokenizer(self.model, out_type=tf.int32)
        ids = {piece: index for index, piece in enumerate(self.vocabulary)}
        own_pieces = cut.id_to_string(tf.range(cut.vocab_size())).numpy()
        # Models number the pieces their own way, and not all of them.
        index_of = tf.constant([ids.get(piece.decode(), self.unknown_id) for piece in own_pieces], tf.int32)

        def tokenize(transcripts: "tf.Tensor") -> "tf.RaggedTensor":
            """Cuts sentences."""
            found = cut.tokenize(_albert_spelling(transcripts, self.settings))
            return found.with_flat_values(tf.gather(index_of, found.flat_values))

        return tokenize, (cut,)


class BytePair(Tokenizer):
    """Byte-level BPE as GPT-2 and RoBERTa have it. Words are cropped to `MAX_WORD_BYTES`."""

    kind = "bpe"

    def begins_word(self) -> list[bool]:
        return [piece.startswith("\u0120") for piece in self.vocabulary]

    def cutter(self) -> "tuple[Callable[[tf.Tensor], tf.RaggedTensor], tuple[Any, ...]]":
        import tensorflow as tf

        merges = [merge for merge in self.model.decode().split("\n") if merge]
        ranks = _table(merges, list(range(len(merges))), len(merges))
        ids = _table(self.vocabulary, list(range(len(self.vocabulary))), self.unknown_id)
        characters = tf.constant(_byte_characters())

        def tokenize(transcripts: "tf.Tensor") -> "tf.RaggedTensor":
            """Cuts words."""
            text = tf.strings.regex_replace(transcripts, _UNSPELT, "")
            if self.settings["prefix_space"]:
                text = tf.strings.regex_replace(text, rf"^([^{_SPACES}])", r" \1")
            # The last space before a word belongs to it.
            text = tf.strings.regex_replace(text, rf"([{_SPACES}])([^{_SPACES}])", rf"{_UNSPELT}\1\2")
            words = _split(text, _UNSPELT, _GPT2_WORDS)
            spelt = tf.strings.bytes_split(tf.strings.substr(words.flat_values, 0, MAX_WORD_BYTES))
            codes = tf.cast(tf.reshape(tf.io.decode_raw(spelt.flat_values, tf.uint8), [-1]), tf.int32)
            spelt = spelt.with_flat_values(tf.gather(characters, codes))
            merged = _merge(spelt, ranks, len(merges))
            found = merged.with_flat_values(ids.lookup(merged.flat_values))
            return words.with_flat_values(found).merge_dims(1, 2)

        return tokenize, (ranks, ids)


def _last_of(rows: "tf.RaggedTensor", counts: "tf.Tensor") -> "tf.RaggedTensor":
    """Keeps the last ids of rows [batch, (num_tokens)], as many as counts [batch] int64 says of each."""
    import tensorflow as tf

    lengths = rows.row_lengths()
    is_kept = tf.ragged.range(lengths) >= tf.maximum(lengths - counts, 0)[:, tf.newaxis]
    return tf.ragged.boolean_mask(rows, is_kept)


def _where(condition: "tf.Tensor", ids: Sequence[int]) -> "tf.RaggedTensor":
    """Makes rows of the ids where a condition [batch] holds, and empty ones where not."""
    import tensorflow as tf

    counts = tf.cast(condition, tf.int64)
    return tf.RaggedTensor.from_row_lengths(
        tf.tile(tf.constant(list(ids), tf.int32), [tf.reduce_sum(counts)]), counts * len(ids)
    )


KINDS = {kind.kind: kind for kind in (WordPiece, SentencePiece, BytePair)}


def _split(texts: "tf.Tensor", delimiter: str, kept: str) -> "tf.RaggedTensor":
    """Splits texts [batch] at what either pattern matches, and keeps what the second one does: [batch, (num_words)]."""
    import tensorflow_text

    return tensorflow_text.regex_split(texts, f"{delimiter}|{kept}", keep_delim_regex_pattern=kept)


def _bert_spelling(text: "tf.Tensor", settings: Mapping[str, Any]) -> "tf.Tensor":
    """Spells as BertNormalizer of the `tokenizers` library does."""
    import tensorflow as tf
    import tensorflow_text

    if settings["clean_text"]:
        text = tf.strings.regex_replace(text, r"[\t\n\r\p{Z}]", " ")
        text = tf.strings.regex_replace(text, r"[\p{Cc}\p{Cf}\p{Co}\x{FFFD}]", "")
    if settings["split_on_cjk"]:
        text = tf.strings.regex_replace(text, _CJK, r" \1 ")
    if settings["strip_accents"]:
        text = tf.strings.regex_replace(tensorflow_text.normalize_utf8(text, "NFD"), r"\p{Mn}", "")
    return _lower(text) if settings["lowercase"] else text


def _albert_spelling(text: "tf.Tensor", settings: Mapping[str, Any]) -> "tf.Tensor":
    """Spells as ALBERT's tokenizer does before its model comes."""
    import tensorflow as tf
    import tensorflow_text

    if settings["plain_quotes"]:
        text = tf.strings.regex_replace(text, "``|''", '"')
    if not settings["keep_accents"]:
        text = tf.strings.regex_replace(tensorflow_text.normalize_utf8(text, "NFKD"), r"\p{Mn}", "")
    return _lower(text) if settings["lowercase"] else text


def _lower(text: "tf.Tensor") -> "tf.Tensor":
    """Makes letters small, each by itself: TensorFlow alone would give the last sigma of a word another shape."""
    import tensorflow as tf

    return tf.strings.lower(tf.strings.regex_replace(text, "\u03a3", "\u03c3"), encoding="utf-8")


def _byte_characters() -> list[str]:
    """Returns the character that stands for each byte in the pieces of byte-level BPE.

    Source: Radford et al. 2019, GPT-2: printable bytes stand for themselves, others for characters from 256 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def _table(keys: Sequence[str], values: Sequence[int], default: int) -> "tf.lookup.StaticHashTable":
    import tensorflow as tf

    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values, tf.int32))
    return tf.lookup.StaticHashTable(initializer, default)


def _merge(words: "tf.RaggedTensor", ranks: "tf.lookup.StaticHashTable", no_rank: int) -> "tf.RaggedTensor":
    """Merges neighbours in each word [num_words, (num_pieces)], those of the lowest rank first, until none has one."""
    import tensorflow as tf

    def rank(pieces: "tf.Tensor") -> "tf.Tensor":
        """Ranks neighbours, behind the last of them an empty piece: [num_words, num_pieces]."""
        following = tf.pad(pieces[:, 1:], [[0, 0], [0, 1]], constant_values="")
        return ranks.lookup(tf.strings.join([pieces, following], " "))

    def step(pieces: "tf.Tensor", found: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        """Merges one pair in every word that has one."""
        best = tf.argmin(found, axis=1, output_type=tf.int32)[:, tf.newaxis]
        has_one = tf.reduce_min(found, axis=1, keepdims=True) < no_rank
        places = tf.range(tf.shape(pieces)[1])[tf.newaxis]
        following = tf.pad(pieces[:, 1:], [[0, 0], [0, 1]], constant_values="")
        # Pieces behind the pair move up by one.
        moved = tf.where(places > best, following, tf.where(places == best, pieces + following, pieces))
        pieces = tf.where(has_one, moved, pieces)
        return pieces, rank(pieces)

    pieces = tf.pad(words.to_tensor(""), [[0, 0], [0, 1]], constant_values="")
    shapes = (tf.TensorShape([None, None]), tf.TensorShape([None, None]))
    pieces, _ = tf.while_loop(
        lambda _, found: tf.reduce_any(found < no_rank), step, (pieces, rank(pieces)), shape_invariants=shapes
    )
    return tf.RaggedTensor.from_tensor(pieces, padding="")
