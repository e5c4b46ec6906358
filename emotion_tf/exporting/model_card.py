"""MODEL_CARD.md of an export, in the form of Hugging Face's model cards: what was measured, and what was not.

Source: https://huggingface.co/docs/hub/model-cards; the front matter is YAML that `huggingface_hub.ModelCard` reads.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emotion_tf.evaluation.counts import TITLES, UAR
from emotion_tf.reporting.wording import format_count, format_interval
from emotion_tf.runs.audit import read_audit
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import AGAIN
from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.files import read_json
from pipelines.records import read_metadata

NAME = "MODEL_CARD.md"

_LICENCES = {
    "CC BY-NC-ND 4.0": "cc-by-nc-nd-4.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "Open Database License 1.0": "odbl",
    "Apache-2.0": "apache-2.0",
    "GPL-3.0": "gpl-3.0",
}
"""Words with which the licence of a corpus begins -> its identifier on the Hub."""

_TASKS = {"audio": "audio-classification", "text": "text-classification", "video": "video-classification"}

_NOT_ACTING = " How people sound who do not act, and say what they mean, was not measured."


class _Known(NamedTuple):
    """What is known of a corpus: the language of its words, and what a model that learnt from it did not hear."""

    language: str
    limits: str


_RAVDESS = _Known(
    "en",
    "professional actors of one accent (North American English) act each emotion on two sentences (Livingstone & Russo"
    f" 2018, https://doi.org/10.1371/journal.pone.0196391).{_NOT_ACTING}",
)

_CORPORA: Mapping[str, _Known] = {
    **dict.fromkeys((ravdess.NAME, ravdess.SONG, ravdess.WITH_SONG), _RAVDESS),
    "CREMA-D": _Known("en", f"actors act each emotion on twelve sentences, in English.{_NOT_ACTING}"),
    "TESS": _Known("en", f"two actresses act each emotion on one English sentence with a changing word.{_NOT_ACTING}"),
    "EMO-DB": _Known("de", f"ten actors act each emotion on ten sentences, in German.{_NOT_ACTING}"),
    "SAVEE": _Known("en", f"four men act each emotion on sentences of British English.{_NOT_ACTING}"),
    "IEMOCAP": _Known("en", f"ten actors act dialogues, some of them improvised, in English.{_NOT_ACTING}"),
    "MELD": _Known("en", "lines of one television series, acted and in English."),
    "GoEmotions": _Known("en", "comments of Reddit, written and in English; speech was not measured."),
    "synthetic": _Known("en", "sounds and sentences are made by a program; the model knows nothing of people."),
}
"""Name of a corpus, as records have it -> what is known of it."""

_UNKNOWN = "how its recordings came about is known to those who made them, not here."


def model_card(run: Run, metadata: Mapping[str, Any]) -> str:
    """Writes the card of a run.

    Args:
      run: A finished run.
      metadata: What `export_metadata` collected.

    Returns:
      Markdown with a front matter.
    """
    scores, licence = run.scores(), _licence(run)
    sections = {
        f"# {metadata['run']}": _summary(metadata, scores),
        "## Model": _model(run, metadata),
        "## Intended use": _intended_use(),
        "## How to use": _how_to_use(metadata),
        "## Data": _data(run, metadata, licence),
        "## Protocol": _protocol(run),
        "## Scores": _scores(run, scores),
        "## Controls": _controls(run, scores),
        "## Limits": _limits(run, metadata),
    }
    body = "\n\n".join(f"{head}\n\n{text}" for head, text in sections.items())
    return f"---\n{_yaml(_front_matter(metadata, scores, licence))}---\n\n{body}\n"


def _licence(run: Run) -> str:
    """Returns the licence of the corpus, as the records say it; empty where they are gone or say none."""
    try:
        return read_metadata(Path(run.config().records)).licence
    except InputError:
        return ""


def _corpora(metadata: Mapping[str, Any]) -> list[str]:
    """Names the corpora of an export: records of several name them all."""
    return metadata["corpus"].split(" + ")


def _license(corpora: Sequence[str], licence: str) -> dict[str, str]:
    """Says the licence as the Hub has it; corpora of several licences, and of others than it knows, have another one.

    Args:
      corpora: Their names.
      licence: As the records say it; of several corpora as "NAME: LICENCE; NAME: LICENCE".
    """
    if len(corpora) > 1:
        return {"license": "other", "license_name": "of-each-corpus"}
    identifier = next((found for words, found in _LICENCES.items() if licence.startswith(words)), None)
    return {"license": identifier} if identifier else {"license": "other", "license_name": _slug(licence)}


def _front_matter(metadata: Mapping[str, Any], scores: Mapping[str, Any], licence: str) -> dict[str, Any]:
    corpora, modalities = _corpora(metadata), metadata["modalities"]
    languages = sorted({_CORPORA[name].language for name in corpora if name in _CORPORA})
    return {
        **_license(corpora, licence),
        **({"language": languages} if languages else {}),
        "library_name": "keras",
        "pipeline_tag": _TASKS[modalities[0]],
        "tags": ["emotion-recognition", *modalities, *metadata["marks"]],
        "metrics": [scores.get("headline", UAR)],
        "model-index": [{"name": metadata["run"], "results": list(_results(metadata, scores))}],
    }


def _slug(words: str) -> str:
    """Makes a name of the first words of a licence, those before a bracket, comma or colon."""
    return re.sub("[^a-z0-9]+", "-", re.split("[(,;:]", words.lower())[0]).strip("-") or "unknown"


def _results(metadata: Mapping[str, Any], scores: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a result for each split that was scored, as `model-index` has it."""
    for split in ("test", "validation"):
        if split not in scores:
            continue
        found = scores[split]
        yield {
            "task": {"type": _TASKS[metadata["modalities"][0]], "name": "emotion recognition"},
            "dataset": {"type": metadata["corpus"], "name": metadata["corpus"], "split": split},
            "metrics": [
                {"type": name, "name": TITLES[name], "value": round(found[name], 4)}
                for name in dict.fromkeys((scores.get("headline", UAR), *TITLES))
                if name in found
            ],
        }


def _yaml(value: Any, indent: str = "") -> str:
    """Writes dictionaries and lists as YAML blocks; scalars as JSON, which is YAML."""
    lines = []
    for key, one in value.items() if isinstance(value, dict) else ((None, one) for one in value):
        head = f"{indent}{key}:" if key else f"{indent}-"
        if isinstance(one, (dict, list)) and one:
            block = _yaml(one, indent + "  ")
            lines.append(f"{head}\n{block}" if key else f"{head} {block.lstrip()}")
        else:
            lines.append(f"{head} {json.dumps(one, ensure_ascii=False)}\n")
    return "".join(lines)


def _summary(metadata: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    from emotion_tf.reporting.about import meaning_of

    kind = "some of" if metadata["is_multi_label"] else "one of"
    marks = "".join(f"\n- `{mark}`: {meaning_of(mark)}" for mark in scores["marks"])
    marks = f"\n\nIts scores carry:\n{marks}" if marks else ""
    return (
        f"From {' and '.join(metadata['modalities'])} to calibrated probabilities of {kind}"
        f" {len(metadata['emotions'])} emotions: {', '.join(metadata['emotions'])}. Made by"
        f" `python -m emotion_tf.export`.{marks}"
    )


def _model(run: Run, metadata: Mapping[str, Any]) -> str:
    """Lists the parts of the model, as far as the run has drawn them, and what it was trained with."""
    lines = []
    if run.graph_path.exists():
        columns = read_json(run.graph_path, AGAIN, {"columns": list})["columns"]
        lines += [f"- **{title}**: {', '.join(about)}" for column in columns for title, about, _ in column]
    if found := metadata["encoder"]:
        lines.append(f"- It reads states of the encoder {found['kind']} {found['model']}, trained on other data.")
    if preset := metadata["tokenizer"]["preset"]:
        lines.append(f"- Its text branch began with the preset {preset}, trained on other data.")
    for modality, source in run.config().inits.items():
        lines.append(f"- Its {modality} branch began with that of the run {Path(source).name}.")
    if run.training_path.exists():
        versions = read_json(run.training_path, AGAIN, {"versions": dict})["versions"]
        lines.append(f"- Trained with {', '.join(f'{name} {number}' for name, number in versions.items())}.")
    return "\n".join(lines) or "Nothing is known of it but its numbers."


def _intended_use() -> str:
    return (
        "For research and teaching: to compare models and modalities, and to try what such a model can and cannot do"
        " on recordings of the same kind.\n\n"
        "Not for decisions about people: not in hiring, at work, in education, policing, insurance, medicine or"
        " credit. What is predicted is how an expression was labelled, not what somebody feels. In the European Union"
        " inferring emotions at work and in education is prohibited but for medical and safety reasons (Regulation"
        " (EU) 2024/1689, Article 5(1)(f))."
    )


def _how_to_use(metadata: Mapping[str, Any]) -> str:
    said = ', transcript="Kids are talking by the door"' if "text" in metadata["modalities"] else ""
    file = "clip.mp4" if "video" in metadata["modalities"] else "clip.wav"
    first = "None" if not {"audio", "video"} & set(metadata["modalities"]) else f'"{file}"'
    return (
        "```python\nfrom emotion_tf.serving import Predictor\n\n"
        'predictor = Predictor(".")  # The folder of this card.\n'
        f"prediction = predictor.predict({first}{said})\n"
        "print(prediction.emotion, prediction.probabilities)\n```\n\n"
        "The SavedModel also serves alone (`import tensorflow_text` first). Its signature `serving_default` takes:\n\n"
        f"{_inputs(metadata)}\n\n"
        f"Signatures: {', '.join(f'`{name}`' for name in metadata['signatures'])}; metadata.json beside this card"
        " describes them."
    )


def _inputs(metadata: Mapping[str, Any]) -> str:
    """Lists the inputs of `serving_default`, as metadata.json says them."""
    return "\n".join(
        f"- `{name}` [{', '.join(map(str, found['shape']))}] {found['dtype']}: {found['unit']}; {found['meaning']}"
        for name, found in metadata["interface"]["serving_default"]["inputs"].items()
    )


def _data(run: Run, metadata: Mapping[str, Any], licence: str) -> str:
    splits = read_audit(run)["splits"]
    rows = [
        f"| {name} | {found['num_utterances']} | {_people(found.get('speakers', []))} |"
        for name, found in splits.items()
    ]
    words = f" Its words come from: {run.metadata().transcript_source}." if "text" in metadata["modalities"] else ""
    words += f" Before them stand {metadata['context']} lines of the dialogue." if metadata["context"] else ""
    return "\n".join(
        [
            f"Corpus `{metadata['corpus']}`, licence: {licence or 'not known here'}. What the licence of the corpus"
            f" says of derivatives holds for these weights.{words}",
            "",
            "| split | utterances | speakers |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def _people(speakers: Sequence[str]) -> str:
    return f"{len(speakers)}: {', '.join(speakers)}" if 0 < len(speakers) <= 40 else str(len(speakers) or "not named")


def _protocol(run: Run) -> str:
    config, scores = run.config(), run.scores()
    independent = "random" if config.folds == "random" else "speaker-independent"
    if run.metadata().fold.by != "speaker" and independent != "random":
        independent = "the corpus's own"
    return (
        f"Folds `{config.folds}`, fold {config.fold}; splits are {independent}, and an audit of speakers, trials and"
        " samples in two splits ran before. What was chosen or fitted besides weights (the epoch, the temperature, the"
        " numbers of a late rule) was so on the validation split."
        f" The test split was read {format_count(scores['test_reads'], 'time')}."
    )


def _scores(run: Run, scores: Mapping[str, Any]) -> str:
    """Draws a table of each split that was scored, and says which were not."""
    parts = [
        _table(scores[split], split, scores.get("headline", UAR)) for split in ("test", "validation") if split in scores
    ]
    if "test" not in scores:
        parts.insert(0, "The test split was not read: no score of speakers on whom nothing was chosen was measured.")
    others = sorted((run.folder / "cross_corpus").glob("*/scores.json"))
    for path in others:
        found = read_json(path, AGAIN)
        tables = {split: one for split, one in found.items() if isinstance(one, dict) and "per_emotion" in one}
        headline = found.get("headline", UAR)
        parts += [_table(one, f"{path.parent.name} ({split})", headline) for split, one in tables.items()]
    if not others:
        parts.append("Another corpus was not read (`python -m emotion_tf.evaluate --records`).")
    return "\n\n".join(parts)


def _table(found: Mapping[str, Any], name: str, headline: str) -> str:
    """Draws the scores of a split with their intervals, those without a modality, and its emotions."""
    unit = found["unit"]
    rows = [
        f"| {name}: {found['num_utterances']} utterances | score | 95 % over {unit}s | chance | majority class |",
        "| --- " * 5 + "|",
    ]
    shown = dict.fromkeys((headline, "accuracy", "macro_f1", "weighted_f1", "micro_f1"))
    for score in (score for score in shown if score in found):
        rows.append(_row(TITLES[score], found, score, unit))
    for modality, without in found.get("without", {}).items():
        rows.append(_row(f"{TITLES[headline]} without {modality}", without, headline, unit))
    if "expected_calibration_error" in found:
        rows.append(_row("calibration error", found, "expected_calibration_error", unit))
    recalls = [f"{emotion} {one['recall']:.2f}" for emotion, one in found["per_emotion"].items() if one["count"]]
    return "\n".join([*rows, "", f"Recall of each emotion: {', '.join(recalls)}."])


def _row(title: str, found: Mapping[str, Any], score: str, unit: str) -> str:
    interval = format_interval(found[f"{score}_interval"], unit, scale=1, digits=3)
    guesses = [found[what].get(score) for what in ("chance", "majority")]
    cells = ("-" if value is None else f"{value:.3f}" for value in guesses)
    return f"| {title} | {found[score]:.3f} | {interval} | {' | '.join(cells)} |"


def _controls(run: Run, scores: Mapping[str, Any]) -> str:
    if control := run.config().control:
        return f"This run is itself a control, `{control}`: it shows what remains of a score, and is of no other use."
    found = (
        "With one modality taken away it reads what the table above says. " if "without" in scores["validation"] else ""
    )
    return (
        f"{found}Runs on permuted labels and on shuffled modalities (`--control` of `emotion_tf.fit`) are runs of their"
        " own: none is part of this folder."
    )


def _limits(run: Run, metadata: Mapping[str, Any]) -> str:
    num_speakers = len(read_audit(run)["splits"]["train"].get("speakers", []))
    speakers = (
        f"It was trained on {format_count(num_speakers, 'speaker')}" if num_speakers else "Its speakers are not known"
    )
    lines = [f"Corpus {name}: {_CORPORA[name].limits if name in _CORPORA else _UNKNOWN}" for name in _corpora(metadata)]
    lines += [
        f"It knows {len(metadata['emotions'])} labels and no other, and gives each input some of them. It gives no"
        " arousal and no valence: such heads are not there yet.",
        f"{speakers}. Scores by age, accent, language, illness, microphone and room were not measured unless a table"
        " above says so.",
    ]
    if "audio" in metadata["modalities"]:
        lines.append(
            f"Its recordings are of up to {metadata['longest_seconds']:g} s of speech after silent ends are cut."
        )
    return "\n".join(f"- {line}" for line in lines)
