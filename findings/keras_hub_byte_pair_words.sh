#!/usr/bin/env bash
# Guess: byte-level BPE of keras-hub cuts text into words before it merges, as GPT-2 does ("the same functionality as
# the official GPT-2 tokenizer") or Llama 3 (Llama3Tokenizer), so the same vocabulary and merges give the pieces that
# they give in the tokenizers library.
# Behaviour (keras-hub 0.32.0, tokenizers 0.23.3): called on strings it cuts nothing. Its regular expression of words
# goes to pre_tokenizers.Split as a string, which is looked for letter by letter, so the whole text is one word. Merges
# run on wherever one fits the border of two words: two newlines before a word become one piece, which GPT-2 keeps
# apart, and long numbers are cut elsewhere than Llama 3 cuts them. Other words come out the same.
# Seen: "GPT2Tokenizer We Ġmet . ĊĊ We Ġate . for We Ġmet . Ċ Ċ We Ġate .", "Llama3Tokenizer Ġ 12 345 for Ġ 123 45".
# Source: keras_hub.tokenizers.BytePairTokenizer, SPLIT_PATTERN_TOKENIZERS; tokenizers.pre_tokenizers.Split, pattern.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check -q keras-hub==0.32.0 keras==3.15.1 \
    tensorflow==2.21.0 tensorflow-text==2.21.1 tokenizers==0.23.3
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import json

import keras_hub
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

# As in the tokenizer.json of both models.
pattern = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
words = pre_tokenizers.Split(Regex(pattern), "isolated")
llama3 = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
corpus = ["We met.\n\n", "We ate 34 of 234.\n\n", "We paid 345 or 123, not 45."] * 2
names = ("endoftext", "begin_of_text", "end_of_text", "eot_id", "start_header_id", "end_header_id")
marks = [f"<|{name}|>" for name in names]
cases = {
    "GPT2Tokenizer": (gpt2, "We met.\n\nWe ate.", "We Ġmet . Ċ Ċ We Ġate .", "We Ġmet . ĊĊ We Ġate ."),
    "Llama3Tokenizer": (llama3, " 12345", "Ġ 123 45", "Ġ 12 345"),
}
for name, (splitter, text, library_pieces, hub_pieces) in cases.items():
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = splitter
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        corpus, trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=marks, show_progress=False)
    )
    model = json.loads(library.to_str())["model"]
    hub = getattr(keras_hub.tokenizers, name)(model["vocab"], [" ".join(merge) for merge in model["merges"]])
    expected, found = (
        " ".join(map(library.id_to_token, ids)) for ids in (library.encode(text).ids, map(int, hub(text)))
    )
    print(name, found, "for", expected)
    assert (expected, found) == (library_pieces, hub_pieces)
    assert list(map(int, hub("We paid, not 45."))) == library.encode("We paid, not 45.").ids
PYTHON
