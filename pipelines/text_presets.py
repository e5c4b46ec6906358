"""Presets of pretrained encoders of text: which model a name or a folder holds, and its tokenizer.

A folder is one that keras-hub wrote, or one of Hugging Face: config.json, model.safetensors, and the tokenizer in
tokenizer.json or in the files that its kind has (vocab.txt; vocab.json and merges.txt; a SentencePiece model).
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.command import InputError
from pipelines.text_tokenizer import KINDS, MODEL_FILE, PIECES_FILE, SETTINGS_FILE, Tokenizer

MODELS = {
    "bert": "Bert",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "albert": "Albert",
    "deberta-v2": "DebertaV3",
}
"""Model type of Hugging Face -> what the names of keras-hub's classes begin with."""

_NOT_CONVERTED = ("electra", "deberta-v2")
"""Model types whose weights keras-hub does not read from Hugging Face's files."""

_KIND_OF = {"Roberta": "bpe", "XLMRoberta": "sentencepiece", "Albert": "sentencepiece", "DebertaV3": "sentencepiece"}
_SENTENCEPIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model")

_EXAMPLES = "bert_tiny_en_uncased or distil_bert_base_en_uncased"
_LONGEST_REASON = 200

_KNOWN = "BERT, DistilBERT, ELECTRA, RoBERTa, XLM-RoBERTa, ALBERT or DeBERTa-v3"


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pretrained model that was found.

    Attributes:
      name: As it was given.
      model: What the names of its classes in keras-hub begin with.
      config: Hugging Face's config.json; empty for a preset of keras-hub.
    """

    name: str
    model: str
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where its files lie, if it is a folder."""
        return Path(self.name)

    @property
    def kind(self) -> str:
        """The kind of its tokenizer."""
        return _KIND_OF.get(self.model, "wordpiece")


@functools.cache
def find_preset(name: str) -> Preset:
    """Finds out what a preset is, before anything is downloaded or built.

    Args:
      name: A name that keras-hub downloads, a folder that it wrote, or one of Hugging Face.

    Raises:
      InputError: No such preset, one of another architecture, or a folder without weights that can be read.
    """
    if not Path(name).exists():
        return _named(name)
    path = Path(name) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        is_hugging_face = "model_type" in config and "class_name" not in config
        found = str(config["model_type"] if is_hugging_face else config.get("class_name"))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name} is no preset folder: cannot read {path} ({reason}).") from None
    model = MODELS.get(found, "") if is_hugging_face else found.removesuffix("Backbone")
    if model not in MODELS.values():
        raise InputError(f"{name} is a preset of the architecture {found}: give one of {_KNOWN}.")
    if is_hugging_face and found in _NOT_CONVERTED:
        raise InputError(
            f"{name} holds {found} as Hugging Face does, which keras-hub cannot read: give a preset of its own."
        )
    _require_weights(Path(name), is_hugging_face)
    return Preset(name, model, config if is_hugging_face else {})


def _named(name: str) -> Preset:
    """Finds a preset that keras-hub downloads."""
    import keras_nlp

    if "://" in name:
        return _at(name)
    for model in MODELS.values():
        if name in _backbone(model).presets:
            return Preset(name, model)
    is_known = name in keras_nlp.models.Backbone.presets
    what = "a preset of another architecture" if is_known else "no folder and no preset that keras-hub knows"
    what = "a folder that does not exist" if "/" in name else what
    raise InputError(f"{name} is {what}: give a folder or a preset of {_KNOWN}, such as {_EXAMPLES}.")


def _at(address: str) -> Preset:
    """Asks keras-hub what lies at an address, such as kaggle://..., and downloads its config."""
    import keras_nlp

    if address.startswith("hf://"):
        raise InputError(f"{address} is read from a folder alone: download it and give its path to --text-preset.")
    try:
        found = type(keras_nlp.models.Backbone.from_preset(address, load_weights=False)).__name__
    except Exception as error:  # Whatever a download raises.
        raise InputError(f"cannot read the preset {address}: {reason_of(error)}.") from error
    if (model := found.removesuffix("Backbone")) not in MODELS.values():
        raise InputError(f"{address} is a preset of the architecture {found}: give one of {_KNOWN}.")
    return Preset(address, model)


def _backbone(model: str) -> Any:
    import keras_nlp

    return getattr(keras_nlp.models, f"{model}Backbone")


def _require_weights(folder: Path, is_hugging_face: bool) -> None:
    """Stops on a folder whose weights are missing, or are pickled, which could run anything."""
    names = {path.name for path in folder.iterdir()}
    wanted = (
        {"model.safetensors", "model.safetensors.index.json"}
        if is_hugging_face
        else {"model.weights.h5", "model.weights.json"}
    )
    if names & wanted:
        return
    if pickled := sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))):
        raise InputError(
            f"{folder} holds its weights only as a pickle ({pickled[0]}), which is not opened: write model.safetensors"
            " where you trust it, with transformers' AutoModel.from_pretrained(folder).save_pretrained(other)."
        )
    raise InputError(f"{folder} holds no weights: {' or '.join(sorted(wanted))} is missing.")


@functools.cache
def preset_tokenizer(name: str) -> Tokenizer:
    """Reads the tokenizer of a pretrained model, once a process.

    Args:
      name: As `find_preset` takes it.

    Raises:
      InputError: What `find_preset` stops on, or a tokenizer that cannot be read.
    """
    preset = find_preset(name)
    try:
        pieces, settings, model = (_read_hugging_face if preset.config else _read_keras)(preset)
        made = _with_padding_first(preset, pieces, settings, model)
        made([""])
    except Exception as error:  # Whatever downloads, archives and their readers raise.
        raise InputError(f"cannot read the tokenizer of the preset {name}: {reason_of(error)}.") from error
    return made


def reason_of(error: Exception) -> str:
    """Says why a preset cannot be read, by an error of whatever reads it: its first line where that is for people."""
    said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if isinstance(error, KeyError):
        return f"its files have no entry {said}, so they are damaged, or of another model"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    if "shape" in said:
        return "its weights have other shapes than config.json says"
    if isinstance(error, TypeError | AttributeError | IndexError | ArithmeticError):
        return "its files are damaged, or of another model"
    return said if len(said) <= _LONGEST_REASON else said[:_LONGEST_REASON] + "..."


def padding_id(preset: Preset) -> int:
    """Returns which id is padding in the pretrained model itself; in ours it changes places with 0."""
    return 1 if preset.model in ("Roberta", "XLMRoberta") else 0


def _with_padding_first(preset: Preset, pieces: Sequence[str], settings: Mapping[str, Any], model: bytes) -> Tokenizer:
    """Makes the tokenizer, with the piece of padding in the place of id 0."""
    ordered, place = list(pieces), padding_id(preset)
    if "pad" not in ordered[place].lower():
        raise ValueError(f"its vocabulary has {ordered[place]}, not padding, in place {place}")
    if missing := sorted({settings[mark] for mark in ("start", "end", "unknown")} - set(ordered)):
        raise ValueError(f"its vocabulary has no {' and no '.join(missing)}")
    ordered[0], ordered[place] = ordered[place], ordered[0]
    return KINDS[preset.kind](preset.name, tuple(ordered), settings, model)


def read_tokenizer(folder: Path) -> Tokenizer:
    """Reads what `Tokenizer.write` wrote.

    Raises:
      InputError: Files that are missing or corrupt.
    """
    try:
        pieces = (folder / PIECES_FILE).read_text(encoding="utf-8").split("\n")[:-1]
        settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        kind, preset = KINDS[settings.pop("kind")], settings.pop("preset")
        model = (folder / MODEL_FILE).read_bytes() if (folder / MODEL_FILE).exists() else b""
        return kind(preset, tuple(pieces), settings, model)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder} is missing or corrupt ({error}): train again with --overwrite.") from None


Found = tuple[Sequence[str], dict[str, Any], bytes]
"""Pieces in the order of the model's own ids, settings, and the model of the kind."""


def _read_keras(preset: Preset) -> Found:
    """Reads the tokenizer of a preset of keras-hub."""
    found = _tokenizer_class(preset).from_preset(preset.name)
    if preset.kind == "wordpiece":
        names = ("lowercase", "strip_accents", "split_on_cjk")
        return found.get_vocabulary(), _bert_settings({name: bool(getattr(found, name)) for name in names}), b""
    if preset.kind == "bpe":
        return _of_bpe(found.vocabulary, found.merges, prefix_space=bool(found.add_prefix_space))
    return _of_sentencepiece(found, {"lowercase": False, "keep_accents": True, "plain_quotes": False})


def _read_hugging_face(preset: Preset) -> Found:
    """Reads tokenizer.json where there is one, which is what `transformers` goes by; else the files of the kind."""
    path = preset.folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if preset.kind == "sentencepiece":
        return _sentencepiece_of(preset, config)
    if (path := preset.folder / "tokenizer.json").exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        return (_bpe_of if preset.kind == "bpe" else _wordpiece_of)(content)
    needed = ("vocab.json", "merges.txt") if preset.kind == "bpe" else ("vocab.txt",)
    if missing := [name for name in needed if not (preset.folder / name).exists()]:
        raise ValueError(f"it has neither tokenizer.json nor {' and '.join(missing)}")
    if preset.kind == "bpe":
        pieces = json.loads((preset.folder / "vocab.json").read_text(encoding="utf-8"))
        merges = (preset.folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        return _of_bpe(pieces, merges, prefix_space=bool(config.get("add_prefix_space", False)))
    accents, lowercase = config.get("strip_accents"), bool(config.get("do_lower_case", True))
    settings = {
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else bool(accents),
        "split_on_cjk": bool(config.get("tokenize_chinese_chars", True)),
    }
    lines = (preset.folder / "vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return lines, _bert_settings(settings), b""


def _bert_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    marks = {"start": "[CLS]", "end": "[SEP]", "unknown": "[UNK]"}
    return {**marks, "clean_text": True, "max_word_length": 100, **settings}


def _wordpiece_of(content: Mapping[str, Any]) -> Found:
    """Reads tokenizer.json of BERT and its like."""
    normalizer, model = content.get("normalizer") or {}, content["model"]
    _require("normalizer", normalizer.get("type"), "BertNormalizer")
    _require("pre_tokenizer", (content.get("pre_tokenizer") or {}).get("type"), "BertPreTokenizer")
    _require("model", model.get("type", "WordPiece"), "WordPiece")
    _require("continuing_subword_prefix", model.get("continuing_subword_prefix", "##"), "##")
    lowercase, accents = bool(normalizer["lowercase"]), normalizer.get("strip_accents")
    settings = {
        "lowercase": lowercase,
        "strip_accents": lowercase if accents is None else bool(accents),
        "split_on_cjk": bool(normalizer.get("handle_chinese_chars", True)),
        "clean_text": bool(normalizer.get("clean_text", True)),
        "max_word_length": int(model.get("max_input_chars_per_word", 100)),
        "unknown": model["unk_token"],
    }
    return _in_order(model["vocab"], content), _bert_settings(settings), b""


def _bpe_of(content: Mapping[str, Any]) -> Found:
    """Reads tokenizer.json of RoBERTa."""
    pre_tokenizer, model = content.get("pre_tokenizer") or {}, content["model"]
    _require("normalizer", (content.get("normalizer") or {}).get("type"), None)
    _require("pre_tokenizer", pre_tokenizer.get("type"), "ByteLevel")
    _require("model", model.get("type", "BPE"), "BPE")
    pieces = _in_order(model["vocab"], content)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    by_piece = {piece: index for index, piece in enumerate(pieces)}
    return _of_bpe(by_piece, merges, prefix_space=bool(pre_tokenizer.get("add_prefix_space", False)))


def _in_order(vocabulary: Mapping[str, int], content: Mapping[str, Any]) -> list[str]:
    """Puts pieces in the order of their ids, those that were added among them."""
    if not isinstance(vocabulary, Mapping):
        raise ValueError("the vocabulary in tokenizer.json is no object")
    found = dict(vocabulary) | {added["content"]: added["id"] for added in content.get("added_tokens", [])}
    by_id = {index: piece for piece, index in found.items()}
    if sorted(by_id) != list(range(len(by_id))):
        raise ValueError("the ids of its vocabulary have gaps")
    return [by_id[index] for index in range(len(by_id))]


def _require(name: str, found: Any, wanted: Any) -> None:
    """Refuses what tokenizer.json asks for, and what is not done here."""
    if found != wanted:
        raise ValueError(f"tokenizer.json asks for the {name} {found}, and only {wanted or 'none'} is known")


def _of_bpe(vocabulary: Mapping[str, int], merges: Sequence[str], *, prefix_space: bool) -> Found:
    settings = {"start": "<s>", "end": "</s>", "unknown": "<unk>", "prefix_space": prefix_space}
    kept = [merge.rstrip("\n") for merge in merges if merge.strip() and not merge.startswith("#version")]
    return sorted(vocabulary, key=vocabulary.__getitem__), settings, "\n".join(kept).encode()


def _sentencepiece_of(preset: Preset, config: Mapping[str, Any]) -> Found:
    """Reads the SentencePiece model of a folder of Hugging Face."""
    found = [preset.folder / name for name in _SENTENCEPIECE_FILES if (preset.folder / name).exists()]
    if not found:
        raise FileNotFoundError(f"it needs the SentencePiece model, one of {', '.join(_SENTENCEPIECE_FILES)}")
    is_albert = preset.model == "Albert"
    settings = {
        "lowercase": is_albert and bool(config.get("do_lower_case", True)),
        "keep_accents": not is_albert or bool(config.get("keep_accents", False)),
        "plain_quotes": is_albert,
    }
    return _of_sentencepiece(_tokenizer_class(preset)(found[0].read_bytes()), settings)


def _of_sentencepiece(tokenizer: Any, settings: Mapping[str, Any]) -> Found:
    """Takes pieces and model of a tokenizer of keras-hub."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.proto)
    marks = {"start": tokenizer.start_token, "end": tokenizer.end_token, "unknown": model.id_to_piece(model.unk_id())}
    return list(tokenizer.get_vocabulary()), {**marks, **settings}, tokenizer.proto


def _tokenizer_class(preset: Preset) -> Any:
    import keras_nlp

    return getattr(keras_nlp.models, f"{preset.model}Tokenizer")
