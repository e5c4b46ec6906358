"""Transcripts to token ids: normalisation, then WordPiece. The only place where text becomes ids.

The vocabulary beside this file was learned once, from the training split of GoEmotions; the command below writes
the identical file again, in any process:

    python -m pipelines.text --learn-vocabulary data/goemotions/train.tsv --output pipelines/vocabulary.txt

The graph ops are TensorFlow's own and those of tensorflow-text, so a process that loads an export of them imports
`tensorflow_text` first.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.command import InputError, run_command
from pipelines.parsers import add_flag, command_parser

if TYPE_CHECKING:
    import keras_nlp
    import tensorflow as tf

VOCABULARY_PATH = Path(__file__).with_name("vocabulary.txt")
VOCABULARY_SIZE = 8192
RESERVED = ("[PAD]", "[UNK]", "[START]")
PAD_ID, UNKNOWN_ID, START_ID = range(3)

APOSTROPHES = (
    "`\N{ACUTE ACCENT}\N{PRIME}\N{REVERSED PRIME}\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{SINGLE LOW-9 QUOTATION MARK}\N{SINGLE HIGH-REVERSED-9 QUOTATION MARK}\N{MODIFIER LETTER PRIME}"
    "\N{MODIFIER LETTER TURNED COMMA}\N{MODIFIER LETTER APOSTROPHE}\N{MODIFIER LETTER REVERSED COMMA}"
    "\N{MODIFIER LETTER ACUTE ACCENT}\N{MODIFIER LETTER GRAVE ACCENT}\N{GREEK NUMERAL SIGN}\N{GREEK KORONIS}"
    "\N{GREEK PSILI}\N{GREEK VARIA}\N{GREEK OXIA}\N{ARMENIAN APOSTROPHE}\N{LATIN CAPITAL LETTER SALTILLO}"
    "\N{LATIN SMALL LETTER SALTILLO}\N{FULLWIDTH APOSTROPHE}\N{FULLWIDTH GRAVE ACCENT}\x91\x92"
)
"""What people and programs write for an apostrophe; the last two are those of Windows, read as Latin-1."""

_CONTROLS = (
    (r"[\t-\r\x{1C}-\x{1F}\x{85}\p{Z}]", " "),
    (r"[\p{Cc}\p{Cf}]", ""),
)
# Bytes of Windows' encoding that were read as Latin-1: else they would go as control characters.
_QUOTES_OF_WINDOWS = ((r"[\x{91}\x{92}]", "'"), (r"[\x{93}\x{94}]", '"'))
# In this order: NFKC would take the acute accent and the double prime apart, and a newline is a control character too.
_REPLACEMENTS = (
    ("[" + "".join(f"\\x{{{ord(character):X}}}" for character in APOSTROPHES) + "]", "'"),
    (r"\x{149}", "'n"),
    (r"[\x{93}\x{94}\x{201C}-\x{201F}\x{2033}\x{2034}\x{2036}\x{2037}\x{2057}]", '"'),
    *_CONTROLS,
)
# Each a word of its own. Emoji carry feeling, and people glue them to words and to each other.
_ALONE = r"[\p{P}\p{S}\p{Han}]"


def normalise(transcripts: "tf.Tensor") -> "tf.Tensor":
    """Brings transcripts into the one spelling that the vocabulary was learned from, as graph ops.

    Curly quotes and `APOSTROPHES` become straight ones, runs of white space one space, letters lower case and NFKC
    ("ﬁ" is "fi", "ß" is "ss"); control and zero-width characters, bytes that are no UTF-8, and spaces at both ends go.

    Args:
      transcripts: String tensor of any shape.

    Returns:
      String tensor of the same shape, valid UTF-8. Normalising it again changes nothing.

    Source:
      The Unicode Standard, section 3.13, toNFKC_Casefold.
    """
    import tensorflow as tf
    import tensorflow_text

    text = tf.strings.unicode_transcode(transcripts, "UTF-8", "UTF-8", errors="ignore")
    for pattern, replacement in _REPLACEMENTS:
        text = tf.strings.regex_replace(text, pattern, replacement)
    # tf.strings.lower would cut a string at a zero byte, and leaves "ﬁ" and full-width letters alone.
    text = tensorflow_text.case_fold_utf8(text)
    return tf.strings.strip(tf.strings.regex_replace(text, " +", " "))


def token_ids(transcripts: "tf.Tensor | Sequence[str]", max_tokens: int | None = None) -> "tf.RaggedTensor":
    """Turns transcripts into token ids; the same graph runs eagerly, in `Dataset.map` and in an export.

    `.to_list()` gives lists for a writer of records, `.to_tensor()` the padded ids [batch, num_tokens], 0 = [PAD].

    Args:
      transcripts: Strings [batch], as a tensor or a sequence.
      max_tokens: Longer rows are cropped to this many ids, [START] among them; None keeps all.

    Returns:
      Ragged int32 [batch, (num_tokens)]. Every row starts with [START] = 2, and a blank transcript is [START] alone.
      A word that the vocabulary cannot spell, or of more than 100 bytes, is one [UNK] = 1.

    Raises:
      ValueError: max_tokens is less than 1.
    """
    return own_tokenizer()(transcripts, max_tokens)


def is_unknown(ids: "Sequence[int]") -> bool:
    """Tells whether a row of `token_ids` has words, and the vocabulary can spell none of them."""
    return len(ids) > 1 and all(piece == UNKNOWN_ID for piece in ids[1:])


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """Turns transcripts into token ids: by the vocabulary beside this module, or as a pretrained model wants them.

    The first id of every row is [START] or [CLS], and a blank transcript is that alone. 0 is [PAD].

    Attributes:
      preset: Name or folder of the pretrained model; empty: the vocabulary beside this module.
      vocabulary: Pieces in the order of their ids.
      settings: Of the pretrained model's tokenizer: lowercase, strip_accents, split_on_cjk.
    """

    preset: str
    vocabulary: tuple[str, ...]
    settings: Mapping[str, bool] = dataclasses.field(default_factory=dict)

    def __call__(self, transcripts: "tf.Tensor | Sequence[str]", max_tokens: int | None = None) -> "tf.RaggedTensor":
        """Gives the ids of transcripts [batch]: ragged int32 [batch, (num_tokens)], max_tokens a row at most.

        Raises:
          ValueError: max_tokens below what a row of one piece takes.
        """
        import tensorflow as tf

        if max_tokens is not None and max_tokens < self.min_tokens:
            raise ValueError(f"max_tokens is {max_tokens}, but {self.start} alone takes 1, a row {self.min_tokens}.")
        pieces = self._traced(tf.convert_to_tensor(transcripts, tf.string))
        if max_tokens is not None:
            pieces = pieces[:, : max_tokens - 1 - bool(self.end_id)]
        start = tf.fill([pieces.nrows(), 1], self.vocabulary.index(self.start))
        rows = [tf.RaggedTensor.from_tensor(start), pieces]
        if self.end_id:
            has_words = tf.cast(pieces.row_lengths() > 0, tf.int64)
            ends = tf.fill([tf.reduce_sum(has_words)], self.end_id)
            rows.append(tf.RaggedTensor.from_row_lengths(ends, has_words))
        return tf.concat(rows, axis=1)

    @property
    def vocabulary_size(self) -> int:
        """How many pieces there are."""
        return len(self.vocabulary)

    @property
    def start(self) -> str:
        """The piece that every row starts with."""
        return "[CLS]" if self.preset else RESERVED[START_ID]

    @property
    def unknown_id(self) -> int:
        """Of a word that the vocabulary cannot spell."""
        return self.vocabulary.index("[UNK]")

    @property
    def end_id(self) -> int:
        """Of the piece that every row with words ends with; 0: there is none."""
        return self.vocabulary.index("[SEP]") if self.preset else 0

    @property
    def min_tokens(self) -> int:
        """Ids that a row may be cropped to at least."""
        return 3 if self.preset else 1

    @property
    def sha256(self) -> str:
        """Identity: ids mean nothing under another one."""
        if not self.preset:
            return vocabulary_sha256()
        return hashlib.sha256(json.dumps([self.vocabulary, dict(sorted(self.settings.items()))]).encode()).hexdigest()

    def pieces(self) -> tuple[str, ...]:
        """Returns the pieces in the order of their ids."""
        return self.vocabulary

    def write(self, folder: Path) -> None:
        """Writes what `read_tokenizer` reads: vocabulary.txt, then settings.json."""
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{piece}\n" for piece in self.vocabulary)
        (folder / "vocabulary.txt").write_text(text, encoding="utf-8", newline="\n")
        settings = {"preset": self.preset, **self.settings}
        (folder / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    @functools.cached_property
    def _traced(self) -> "Callable[[tf.Tensor], tf.RaggedTensor]":
        """Traces transcripts [batch] -> pieces once: called eagerly a keras-nlp tokenizer returns numpy or lists."""
        import tensorflow as tf

        # The first call may come from inside Dataset.map: the vocabulary must not become part of that graph.
        with tf.init_scope():
            cut = _distil_bert_tokenizer(self.vocabulary, self.settings) if self.preset else tokenizer()
        spell = _as_utf8 if self.preset else _words
        signature = [tf.TensorSpec([None], tf.string)]
        return tf.function(lambda transcripts: cut.tokenize(spell(transcripts)), input_signature=signature)


@functools.cache
def own_tokenizer() -> Tokenizer:
    """Makes the tokenizer over the vocabulary beside this module, once a process."""
    return Tokenizer("", vocabulary())


@functools.cache
def preset_tokenizer(preset: str) -> Tokenizer:
    """Reads the tokenizer of a pretrained DistilBERT, once a process.

    Args:
      preset: A name that keras-nlp downloads, a folder that keras-nlp wrote, or one of Hugging Face with config.json,
        vocab.txt and, where it has one, tokenizer_config.json.

    Raises:
      InputError: No such preset, one of another architecture, or one that cannot be read.
    """
    _require_distil_bert(preset)
    try:
        is_hugging_face = (Path(preset) / "vocab.txt").exists()
        found, settings = _read_hugging_face(Path(preset)) if is_hugging_face else _read_preset(preset)
        made = Tokenizer(preset, tuple(found), settings)
        _distil_bert_tokenizer(made.vocabulary, settings)
    except Exception as error:  # Whatever downloads, archives and their readers raise.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read the tokenizer of the preset {preset}: {reason.rstrip('.')}.") from error
    if made.vocabulary[PAD_ID] != RESERVED[PAD_ID]:
        raise InputError(f"the vocabulary of the preset {preset} starts with {made.vocabulary[PAD_ID]}, not [PAD].")
    return made


def read_tokenizer(folder: Path) -> Tokenizer:
    """Reads what `Tokenizer.write` wrote.

    Raises:
      InputError: Files that are missing or corrupt.
    """
    try:
        pieces = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        return Tokenizer(settings.pop("preset"), tuple(pieces), settings)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder} is missing or corrupt ({error}): train again with --overwrite.") from None


def _require_distil_bert(preset: str) -> None:
    """Refuses what is no DistilBERT before keras-nlp complains at length."""
    import keras_nlp

    path = Path(preset) / "config.json"
    if Path(preset).exists():
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            name = str(config.get("class_name") or config.get("model_type"))
        except (OSError, ValueError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{preset} is no preset folder: cannot read {path} ({reason}).") from None
        if name not in ("DistilBertBackbone", "distilbert"):
            raise InputError(f"{preset} is a preset of the architecture {name}: give one of DistilBERT.")
    elif "://" not in preset and preset not in keras_nlp.models.DistilBertBackbone.presets:
        is_known = preset in keras_nlp.models.Backbone.presets
        what = "a preset of another architecture" if is_known else "no folder and no preset that keras-nlp knows"
        names = ", ".join(keras_nlp.models.DistilBertBackbone.presets)
        raise InputError(f"{preset} is {what}: give a folder of DistilBERT, or one of {names}.")


def _read_hugging_face(folder: Path) -> tuple[list[str], dict[str, bool]]:
    """Reads vocabulary and settings; keras-nlp's own converter leaves accents where Hugging Face strips them."""
    path = folder / "tokenizer_config.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    lowercase = bool(found.get("do_lower_case", True))
    accents = found.get("strip_accents")
    settings = {
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else bool(accents),
        "split_on_cjk": bool(found.get("tokenize_chinese_chars", True)),
    }
    return (folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n"), settings


def _read_preset(preset: str) -> tuple[list[str], dict[str, bool]]:
    import keras_nlp

    found = keras_nlp.models.DistilBertTokenizer.from_preset(preset)
    names = ("lowercase", "strip_accents", "split_on_cjk")
    return found.get_vocabulary(), {name: bool(getattr(found, name)) for name in names}


def _distil_bert_tokenizer(
    pieces: Sequence[str], settings: Mapping[str, bool]
) -> "keras_nlp.tokenizers.WordPieceTokenizer":
    import keras_nlp

    return keras_nlp.models.DistilBertTokenizer(list(pieces), **settings)


def _as_utf8(transcripts: "tf.Tensor") -> "tf.Tensor":
    """Drops bytes that are no UTF-8 and control characters, for a zero byte would end a transcript; keeps quotes."""
    import tensorflow as tf

    decoded = tf.strings.unicode_transcode(transcripts, "UTF-8", "UTF-8", errors="ignore")
    for pattern, replacement in (*_QUOTES_OF_WINDOWS, *_CONTROLS):
        decoded = tf.strings.regex_replace(decoded, pattern, replacement)
    return decoded


@functools.cache
def tokenizer() -> "keras_nlp.tokenizers.WordPieceTokenizer":
    """Builds the WordPiece tokenizer over the vocabulary, once a process. It takes words, not sentences."""
    import keras_nlp
    import tensorflow as tf

    # The first call may come from inside Dataset.map: the vocabulary must not become part of that graph.
    with tf.init_scope():
        return keras_nlp.tokenizers.WordPieceTokenizer(vocabulary(), oov_token=RESERVED[UNKNOWN_ID], split=False)


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Reads the pieces, in the order of their ids."""
    return tuple(VOCABULARY_PATH.read_text(encoding="utf-8").splitlines())


def vocabulary_sha256() -> str:
    """Hashes the vocabulary file; records and exports carry the hash, for ids mean nothing under another one."""
    return hashlib.sha256(VOCABULARY_PATH.read_bytes()).hexdigest()


def learn_vocabulary(transcripts: Sequence[str], num_pieces: int = VOCABULARY_SIZE) -> list[str]:
    """Learns a WordPiece vocabulary: reserved pieces, all single characters, then the most frequent longer pieces.

    Args:
      transcripts: Sentences as written; they are normalised here.
      num_pieces: Size of the vocabulary, reserved pieces included.

    Returns:
      num_pieces distinct pieces. The same transcripts give the same list in any process.

    Raises:
      InputError: The transcripts hold no words, or too few for that many pieces.

    Source:
      Schuster and Nakajima, Japanese and Korean voice search, 2012, with the learner of tensorflow-text.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    counts = _count_words(transcripts)
    if not counts:
        raise InputError("there are no words to learn from.")
    # The learner stops up to 5 % below the size it is asked for: ask for that much more and keep the first ones.
    learned = learner.learn(counts, int(num_pieces / 0.95) + 1, list(RESERVED), lower_thresh=1)
    first = {character for word in counts for character in word}
    following = {"##" + character for word in counts for character in word[1:]}
    longer = [piece for piece in learned[len(RESERVED) :] if len(piece.removeprefix("##")) > 1]
    pieces = [*RESERVED, *sorted(first), *sorted(following), *longer]
    if len(pieces) < num_pieces:
        raise InputError(f"learning gave {len(pieces)} pieces, not {num_pieces}: it takes a larger corpus.")
    return pieces[:num_pieces]


def main(argv: list[str] | None = None) -> None:
    """Learns the vocabulary anew and writes it, one piece a line."""
    arguments = make_parser().parse_args(argv)
    pieces = learn_vocabulary(_read_sentences(arguments.learn_vocabulary))
    try:
        arguments.output.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"cannot write {arguments.output}: {error.strerror}.") from error
    print(f"{arguments.output}: {len(pieces)} pieces")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("pipelines.text", __doc__, "--learn-vocabulary TSV --output FILE")
    sentence = "Learn the vocabulary anew from this training split of GoEmotions."
    add_flag(parser, "--learn-vocabulary", sentence, type=Path, required=True, metavar="TSV")
    add_flag(parser, "--output", "Write the vocabulary to this file.", type=Path, required=True, metavar="FILE")
    return parser


def _words(transcripts: "tf.Tensor") -> "tf.RaggedTensor":
    """Splits transcripts [batch] into normalised words [batch, (num_words)], for learning as for use."""
    import tensorflow_text

    return tensorflow_text.regex_split(normalise(transcripts), " |" + _ALONE, keep_delim_regex_pattern=_ALONE)


def _count_words(transcripts: Sequence[str]) -> Counter[str]:
    import tensorflow as tf

    return Counter(word.decode() for word in _words(tf.constant(transcripts, tf.string)).flat_values.numpy())


def _read_sentences(path: Path) -> list[str]:
    """Reads the first column of a tab-separated file in which quotes mean nothing."""
    try:
        lines = path.read_bytes().decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    return [line.partition("\t")[0] for line in lines if line]


if __name__ == "__main__":
    raise SystemExit(run_command(main))
