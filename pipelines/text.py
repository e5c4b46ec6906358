"""Transcripts to token ids by the project's own vocabulary: normalisation, then WordPiece.

The vocabulary beside this file was learned once, from the training split of GoEmotions; the command below writes
the identical file again, in any process:

    python -m pipelines.text --learn-vocabulary data/goemotions/train.tsv --output pipelines/vocabulary.txt

The graph ops are TensorFlow's own and those of tensorflow-text, so a process that loads an export of them imports
`tensorflow_text` first.
"""

import argparse
import functools
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import text_python
from pipelines.command import InputError, run_command
from pipelines.parsers import add_flag, command_parser
from pipelines.text_presets import preset_tokenizer, read_tokenizer
from pipelines.text_python import APOSTROPHES, PAD_ID, QUOTES, START_ID, UNKNOWN_ID, VOCABULARY_PATH
from pipelines.text_tokenizer import Tokenizer

if TYPE_CHECKING:
    import keras_nlp
    import tensorflow as tf

__all__ = ["PAD_ID", "START_ID", "Tokenizer", "own_tokenizer", "preset_tokenizer", "read_tokenizer", "token_ids"]

VOCABULARY_SIZE = 8192
RESERVED = ("[PAD]", "[UNK]", "[START]")

_CONTROLS = (
    (r"[\t-\r\x{1C}-\x{1F}\x{85}\p{Z}]", " "),
    (r"[\p{Cc}\p{Cf}]", ""),
)
# In this order: NFKC would take the acute accent and the double prime apart, and a newline is a control character too.
_REPLACEMENTS = (
    ("[" + "".join(f"\\x{{{ord(character):X}}}" for character in APOSTROPHES) + "]", "'"),
    (r"\x{149}", "'n"),
    ("[" + "".join(f"\\x{{{ord(character):X}}}" for character in QUOTES) + "]", '"'),
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


def knows_no_word(transcript: str) -> bool:
    """Tells whether a transcript has words, and the vocabulary can spell none of them, without TensorFlow."""
    return is_unknown(text_python.token_ids(transcript))


class OwnTokenizer(Tokenizer):
    """Cuts words by the vocabulary beside this module."""

    @property
    def sha256(self) -> str:
        return vocabulary_sha256()

    def cutter(self) -> "tuple[Callable[[tf.Tensor], tf.RaggedTensor], tuple[Any, ...]]":
        cut = tokenizer()
        return lambda transcripts: cut.tokenize(_words(transcripts)), ()


@functools.cache
def own_tokenizer() -> Tokenizer:
    """Makes the tokenizer over the vocabulary beside this module, once a process."""
    return OwnTokenizer("", vocabulary())


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
