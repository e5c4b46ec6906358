"""Reads the test part of finished runs: `python -m emotion_tf.evaluate --run saved_models/NAME`.

Writes scores.json, predictions.csv and plots/confusion-*.png of each run, and prints a table. The test part is read
once: a second call prints the stored scores; --again reads anew and counts it in `test_reads`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.run import Run, misfit
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.records import read_metadata

if TYPE_CHECKING:
    import keras
    import pandas as pd


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, reads the test parts that were not read yet and prints the scores.

    Raises:
      InputError: A folder that holds no finished run, or records that are gone.
    """
    parser = argparse.ArgumentParser(prog="python -m emotion_tf.evaluate", description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="folders of finished runs")
    parser.add_argument("--again", action="store_true", help="read the test part once more, and count it")
    arguments = parser.parse_args(argv)
    runs = [Run(folder).require_finished() for folder in arguments.run]
    for run in runs:
        if arguments.again or "test" not in run.scores():
            import_tensorflow()
            evaluate(run)
    print(_report({str(run.folder): run.scores() for run in runs}))


def _report(scores: dict[str, dict[str, Any]]) -> str:
    from emotion_tf import metrics

    if len(scores) > 1:
        return metrics.comparison(scores, "test")
    [(name, run)] = scores.items()
    lines = [metrics.headline(run[split], f"{name} {split}", run["marks"]) for split in ("validation", "test")]
    reads = run["test_reads"]
    return "\n".join([*lines, f"the test part was read {reads} time{'s' * (reads > 1)}", metrics.recalls(run)])


def evaluate(run: Run) -> dict[str, Any]:
    """Reads the test part of one run and writes scores, predictions and confusion matrices.

    Returns:
      What scores.json holds.
    """
    import pandas as pd

    part, predictions = score_part(run, run.model(), "test")
    before = run.predictions()
    run.write_predictions(pd.concat([before[before["split"] != "test"], predictions]))
    scores = run.scores()
    scores = scores | {"test": part, "test_reads": scores["test_reads"] + 1}
    run.write_scores(scores)
    return scores


def score_part(run: Run, model: "keras.Model", split: str) -> "tuple[dict[str, Any], pd.DataFrame]":
    """Predicts one part, draws its confusion matrix, and returns its scores and its rows of predictions.csv."""
    from emotion_tf import metrics, plots

    emotions = run.metadata()["emotions"]
    predictions, _ = Part(run, split, modalities_of(model)).predict(model)
    scores = metrics.scores(predictions, emotions)
    marks = "".join(f" [{mark}]" for mark in run.metadata()["marks"])
    title = f"{run.folder.name}, {split}{marks}: UAR {scores['unweighted_average_recall']:.3f}"
    figure = plots.confusion_matrix(metrics.confusion(predictions, emotions), emotions, title)
    plots.save(figure, run.plots / f"confusion-{split}.png")
    return scores, predictions


def _check_records(run: Run) -> None:
    """Makes sure that the records are what the run was trained on."""
    folder = Path(run.config().records)
    if what := misfit(vars(read_metadata(folder)), run.metadata()):
        raise InputError(
            f"{folder} were made with another {what} since {run.folder} was trained: prepare them as before."
        )


def modalities_of(model: "keras.Model") -> tuple[str, ...]:
    """Tells from a model's inputs what it listens to."""
    return tuple(m for m, key in (("audio", "log_mel"), ("text", "token_ids")) if key in model.input)


class Part:
    """The utterances of one part of a run's fold, kept in memory to be predicted again and again.

    Args:
      run: A started run.
      split: "train", "validation" or "test".
      modalities: What the models to come listen to.
    """

    def __init__(self, run: Run, split: str, modalities: Sequence[str]):
        import pandas as pd

        from pipelines.dataset import make_dataset

        config, metadata = run.config(), run.metadata()
        _check_records(run)
        self.split, self.emotions = split, metadata["emotions"]
        dataset = make_dataset(
            Path(config.records),
            metadata["fold"][split],
            modalities,
            max_tokens=config.training.max_tokens,
            with_metadata=True,
        )
        rows = [(label.numpy(), about) for _, label, about in dataset]
        self.utterances = pd.DataFrame(
            {
                "utterance_id": [name.decode() for _, about in rows for name in about["utterance_id"].numpy()],
                "speaker": [name.decode() for _, about in rows for name in about["speaker"].numpy()],
                "label": [number for labels, _ in rows for number in labels],
            }
        )
        self.features = dataset.map(lambda features, label, about: features)

    def predict(self, model: "keras.Model") -> "tuple[pd.DataFrame, float]":
        """Returns the rows of predictions.csv, and the mean negative log-likelihood of the labels."""
        import numpy as np
        import scipy.special

        from emotion_tf import metrics

        logits = model.predict(self.features, verbose=0)
        with np.errstate(invalid="ignore"):  # The caller looks at the loss.
            likelihoods = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
        loss = -likelihoods[np.arange(len(logits)), self.utterances["label"]].mean()
        return metrics.predictions_table(self.utterances, np.exp(likelihoods), self.emotions, self.split), float(loss)


if __name__ == "__main__":
    sys.exit(run_command(main))
