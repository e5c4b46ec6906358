"""Sets text runs beside TF-IDF and logistic regression: `benchmarks/text_baseline.py --records DIR [--runs RUN...]`.

DIR holds records with a published split. Unigrams and bigrams of words and punctuation, a logistic regression (one an
emotion where utterances have several), its strength chosen on the validation split by weighted F1 (macro-F1 with
thresholds fitted there, where utterances have several); the test split is scored by the code that scores runs. --runs
are runs or crossvals whose test split was read; docs/text.md has the commands of those in its table. Writes
saved_models/<records>-tfidf.csv, which evaluate and compare read like the predictions of a run, and
results/text_baseline-<records>.json beside this file.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.result_files import write_result
from emotion_tf.runs.folder import ROOT, Scored
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.files import write_csv
from pipelines.records import Metadata, parse, read_metadata
from pipelines.utterance import SPLITS

STRENGTHS = (0.3, 1.0, 3.0, 10.0)
SHOWN = ("weighted_f1", "macro_f1", "micro_f1", "accuracy")


def main(argv: list[str] | None = None) -> None:
    """Fits, scores, prints and writes the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    arguments = parser.parse_args(argv)
    for run in arguments.runs:
        if not run.is_dir():
            raise InputError(f"{run} does not exist: train it as docs/text.md says, or leave it out of --runs.")
        if not Scored(run).scores_path.exists() or "test" not in Scored(run).scores():
            raise InputError(f"{run} has no scores of the test split: read it first, with evaluate or crossval.")
    start = time.perf_counter()
    predictions, strength = baseline(arguments.records)
    name = arguments.records.resolve().name
    ROOT.mkdir(exist_ok=True)
    write_csv(ROOT / f"{name}-tfidf.csv", predictions)
    result = {
        "records": name,
        "strength": strength,
        "seconds": round(time.perf_counter() - start, 1),
        "test": {"tf-idf + logistic regression": _shown(_scores(predictions, arguments.records))}
        | {run.resolve().name: _shown(Scored(run).scores()["test"]) for run in arguments.runs},
    }
    write_result(f"text_baseline-{name}", result)
    print(json.dumps(result, indent=1))


def baseline(folder: Path) -> tuple[pd.DataFrame, float]:
    """Fits TF-IDF and logistic regression on the training split, chooses and thresholds on the validation split.

    Returns:
      Rows of predictions.csv of the test split, and the chosen strength C.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    metadata, rows = read_metadata(folder), _read(folder)
    splits = {split: rows[rows["split"] == split] for split in SPLITS}
    if any(utterances.empty for utterances in splits.values()):
        raise InputError(f"{folder} has no published split: name records of a corpus that has one.")
    # Punctuation counts as words, too: without "!" and "?" MELD reads nine points less.
    token = r"(?u)\w+|[^\w\s]"
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, sublinear_tf=True, strip_accents="unicode", token_pattern=token
    )
    words.fit(splits["train"]["transcript"])
    fitted = {strength: _fit(words.transform(splits["train"]["transcript"]), splits["train"], metadata, strength)
              for strength in STRENGTHS}  # fmt: skip
    tables = {c: [_predict(model, words, splits[s], metadata) for s in SPLITS[1:]] for c, model in fitted.items()}
    decided = {c: _decide(validation, test, metadata) for c, (validation, test) in tables.items()}
    measure = "macro_f1" if metadata.is_multi_label else "weighted_f1"
    best = max(STRENGTHS, key=lambda strength: _scores(decided[strength][0], folder)[measure])
    return decided[best][1], best


def _read(folder: Path) -> pd.DataFrame:
    """Reads utterance_id, split, transcript, dialogue and labels of all records."""
    import_tensorflow()
    import tensorflow as tf

    metadata = read_metadata(folder)
    fields = ("utterance_id", "published_split", "transcript", "attributes", "label")
    shards = [str(folder / name) for name in sorted(metadata.shards)]
    dataset = tf.data.TFRecordDataset(shards).map(lambda record: parse(record, fields, metadata.columns))
    rows = [{name: record[name] for name in fields} for record in dataset.as_numpy_iterator()]
    return pd.DataFrame(
        {
            "utterance_id": [row["utterance_id"].decode() for row in rows],
            "split": [row["published_split"].decode() for row in rows],
            "transcript": [row["transcript"].decode() for row in rows],
            "dialogue": [json.loads(row["attributes"] or "{}").get("dialogue", "") for row in rows],
            "labels": [row["label"].tolist() for row in rows],
        }
    )


def _fit(features: Any, rows: pd.DataFrame, metadata: Metadata, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=strength, max_iter=1000)
    if not metadata.is_multi_label:
        return model.fit(features, [labels[0] for labels in rows["labels"]])
    return OneVsRestClassifier(model).fit(features, _multi_hot(rows["labels"], len(metadata.emotions)))


def _multi_hot(labels: Sequence[Sequence[int]], num_emotions: int) -> np.ndarray:
    hot = np.zeros((len(labels), num_emotions), int)
    for row, numbers in zip(hot, labels, strict=True):
        row[numbers] = 1
    return hot


def _predict(model: Any, words: Any, rows: pd.DataFrame, metadata: Metadata) -> pd.DataFrame:
    """Makes rows of predictions.csv in which the most probable emotion is predicted."""
    probabilities = model.predict_proba(words.transform(rows["transcript"]))
    names = np.array(metadata.emotions)
    table = pd.DataFrame(
        {
            "utterance_id": rows["utterance_id"].to_numpy(),
            "speaker": "",
            "split": rows["split"].to_numpy(),
            "label": ["|".join(names[sorted(labels)]) for labels in rows["labels"]],
            "predicted": names[probabilities.argmax(axis=1)],
        }
    )
    table[[f"probability_{emotion}" for emotion in names]] = probabilities
    return table.assign(dialogue=rows["dialogue"].to_numpy())


def _decide(validation: pd.DataFrame, test: pd.DataFrame, metadata: Metadata) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where utterances carry several emotions, predicts those above thresholds fitted on the validation split."""
    from emotion_tf.evaluation import multilabel

    if not metadata.is_multi_label:
        return validation, test
    columns = [f"probability_{emotion}" for emotion in metadata.emotions]
    truths = multilabel.memberships(validation["label"], metadata.emotions)
    thresholds = multilabel.fit_thresholds(validation[columns].to_numpy(), truths)

    def decided(table: pd.DataFrame) -> pd.DataFrame:
        chosen = multilabel.decide(table[columns].to_numpy(), thresholds)
        return table.assign(predicted=multilabel.joined(chosen, metadata.emotions))

    return decided(validation), decided(test)


def _scores(predictions: pd.DataFrame, folder: Path) -> dict[str, Any]:
    from emotion_tf.evaluation import metrics

    return metrics.scores(predictions, read_metadata(folder).emotions)


def _shown(scores: dict[str, Any]) -> dict[str, Any]:
    names = [name for measure in SHOWN if measure in scores for name in (measure, f"{measure}_interval")]
    return {name: scores[name] for name in names} | {"num_seeds": scores["num_seeds"]}


if __name__ == "__main__":
    sys.exit(run_command(main))
