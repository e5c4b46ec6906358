"""Scores: `python -m emotion_tf.evaluate --run saved_models/NAME...` reads the test split of finished runs.

Writes scores.json, predictions.csv, audit.json and plots/ of each run, and prints its scores, or a table of several
runs. The test split is read once: a second call prints the stored scores; --again reads anew and counts it in
`test_reads`.

`--run saved_models/NAME --records OTHER [--label-map NAME]` scores every utterance of other records instead, into
saved_models/NAME/cross_corpus/OTHER/. With several records (`--records A B C --label-map A=NAME`) it prints the
cross-corpus matrix, a row a run and a column records, and writes it to --output (default:
saved_models/NAME/cross_corpus/) as matrix.json, matrix.csv and matrix.png; where the records are the run's own, its
test split is scored. `--predictions FILE.csv [--output DIR]` scores predictions of any toolkit.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.runs.audit import audit_again, audit_cross_corpus
from emotion_tf.runs.compatibility import label_targets, misfit, targets_by_name
from emotion_tf.runs.folder import Run, Scored
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.files import write_json
from pipelines.parsers import add_flag, command_parser, label_map
from pipelines.records import Metadata, marks_of, read_index, read_metadata, remote
from pipelines.utterance import SPLITS

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from emotion_tf.evaluation.split import Split


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, reads what was not read yet and prints the scores.

    Raises:
      InputError: A folder that holds no finished run, records that are gone or do not fit, predictions that are none.
    """
    arguments = make_parser().parse_args(argv)
    arguments.records = [remote.local(one) for one in arguments.records]
    arguments.label_map = [(remote.local_name(one), name) for one, name in arguments.label_map]
    _check_flags(arguments)
    if arguments.predictions:
        print(_score_file(arguments.predictions, arguments.output))
        return
    runs = [Run(folder).require_finished() for folder in arguments.run]
    if _is_matrix(arguments):
        print(_matrix(runs, arguments))
        return
    scores = {str(run.folder): _scores(run, arguments) for run in runs}
    print("\n\n".join(report(name, found) for name, found in scores.items()) if len(runs) == 1 else _comparison(scores))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    usage = "--run RUN [RUN ...] [FLAG ...]\n       %(prog)s --predictions FILE.csv [--output DIR]"
    parser = command_parser("emotion_tf.evaluate", __doc__, usage)
    what = parser.add_mutually_exclusive_group(required=True)
    sentence = "Score the test split of these finished runs."
    add_flag(what, "--run", sentence, type=Path, nargs="+", metavar="RUN")
    sentence = "Score this file, the predictions of any toolkit in the format of predictions.csv."
    add_flag(what, "--predictions", sentence, type=Path, metavar="FILE.csv")
    sentence = "Read the test split of --run once more, and count that in test_reads."
    add_flag(parser, "--again", sentence, action="store_true")
    sentence = "Score every utterance of these other records with --run instead (cross-corpus)."
    add_flag(parser, "--records", sentence, type=remote.location, nargs="+", metavar="DIR", default=[])
    sentence = "Map the labels of --records, or of one of them, to those of the run by this label map."
    options: dict[str, Any] = {"nargs": "+", "type": label_map, "metavar": "NAME|DIR=NAME", "default": []}
    add_flag(parser, "--label-map", sentence, "listed by pipelines.prepare --list-label-maps", **options)
    sentence = "Write the scores and plots of --predictions, or the matrix, to this folder."
    add_flag(parser, "--output", sentence, type=Path, metavar="DIR")
    return parser


def _check_flags(arguments: argparse.Namespace) -> None:
    if arguments.predictions and (arguments.again or arguments.records):
        raise InputError("--again and --records belong to --run: predictions are scored as they are.")
    if arguments.output and not (arguments.predictions or _is_matrix(arguments)):
        raise InputError(
            "--output belongs to --predictions and to the matrix of several --records: the scores of a run go to the"
            " run."
        )
    names = [folder.resolve().name for folder in arguments.records]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--records names two folders {twice[0]}, whose scores would go to one: name each once.")
    for folder, name in arguments.label_map:
        if folder and not any(folder in (str(one), one.resolve().name) for one in arguments.records):
            raise InputError(f"--label-map {folder}={name} is for none of --records: write DIR=NAME with one of them.")
    if arguments.output and arguments.output.exists() and not arguments.output.is_dir():
        raise InputError(f"{arguments.output} is a file: give --output a folder.")
    if arguments.output and any((arguments.output / name).exists() for name in ("config.json", "crossval.json")):
        raise InputError(f"{arguments.output} holds a run, whose scores are its own: give --output another folder.")
    if arguments.label_map and not arguments.records:
        raise InputError("--label-map belongs to --records: the labels of a run's own records need no map.")


def _scores(run: Run, arguments: argparse.Namespace) -> dict[str, Any]:
    """Reads what was asked for, unless it was read before."""
    if arguments.records:
        return _cross_scores(run, arguments.records[0], arguments)
    if arguments.again or "test" not in run.scores():
        return evaluate(run)
    return run.scores()


def _cross_scores(run: Run, records: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores other records, unless they were scored before; a map that is for all of --records is for these, too."""
    maps = dict(arguments.label_map)
    chosen = next((maps[name] for name in (str(records), records.resolve().name, "") if name in maps), "")
    place = run.cross_corpus(records)
    found = place.scores() if place.scores_path.exists() else {}
    is_same = found.get("records") == str(records) and found.get("label_map") == chosen
    return found if is_same and not arguments.again else evaluate_cross_corpus(run, records, chosen)


def _is_matrix(arguments: argparse.Namespace) -> bool:
    """Whether there are several records to score runs on."""
    return not arguments.predictions and len(arguments.records) > 1


def _matrix(runs: list[Run], arguments: argparse.Namespace) -> str:
    """Scores each run on each of the records, its own by its test split; writes the matrix, and draws it as text.

    Cells whose scores could not be believed, or whose labels do not meet, hold the reason.
    """
    from emotion_tf.reporting import matrix

    cells: dict[str, dict[str, Any]] = {}
    read: set[Path] = set()
    for run in runs:
        row = cells.setdefault(run.folder.name, {})
        for records in arguments.records:
            try:
                corpus = _own_corpus(run, records)
                if corpus is None:
                    found = matrix.cell(_cross_scores(run, records, arguments))
                else:
                    is_read = "test" in run.scores() and (not arguments.again or run.folder in read)
                    read.add(run.folder)
                    found = matrix.cell(run.scores() if is_read else evaluate(run), own=corpus)
                row[records.resolve().name] = found | {"records_label_map": read_metadata(records).label_map}
            except InputError as error:
                row[records.resolve().name] = {"reason": str(error)}
    if not any("score" in cell for row in cells.values() for cell in row.values()):
        reason = next(iter(next(iter(cells.values())).values()))["reason"]
        raise InputError(f"no run could be scored on any of --records: {reason}")
    folder = arguments.output or runs[0].folder / "cross_corpus"
    matrix.write(cells, folder)
    return f"{matrix.table(cells)}\n\n{folder}/matrix.json, matrix.csv, matrix.png"


def _own_corpus(run: Run, records: Path) -> str | None:
    """Finds whether a run was trained on other speakers of some records.

    Returns:
      The name of their corpus where they are some of several that were joined, empty where they are the run's, None
      where they are others.
    """
    own = Path(run.config().records)
    if own.resolve() == records.resolve():
        return ""
    parts = read_metadata(own).corpora if own.exists() else {}
    return next((name for name, part in parts.items() if Path(part["records"]).resolve() == records.resolve()), None)


def _comparison(scores: Mapping[str, Mapping[str, Any]]) -> str:
    from emotion_tf.reporting import tables

    return tables.comparison(scores, "test")


def report(name: str, scores: Mapping[str, Any]) -> str:
    """Writes the scores of one run, or of one file of predictions, as lines and tables."""
    from emotion_tf.reporting import tables

    splits = [split for split in SPLITS if split in scores]
    headline = scores.get("headline", "unweighted_average_recall")
    lines = [line for split in splits for line in tables.headlines(scores, split, name)]
    if dropped := scores.get("dropped"):
        named = ", ".join(f"{count} {label}" for label, count in dropped.items())
        lines.append(f"left out, for the run does not know their labels: {named}")
    if reads := scores.get("test_reads"):
        lines.append(f"the test split was read {reads} time{'s' * (reads > 1)}")
    last = scores[splits[-1]]
    about = [tables.calibration(last), tables.selective(last)]
    lines += [f"{splits[-1]}: {line}" for line in about if line]
    blocks = ["\n".join(lines), tables.per_emotion(last, headline), tables.groups(last, headline)]
    return "\n\n".join(block for block in blocks if block)


def evaluate(run: Run) -> dict[str, Any]:
    """Reads the test split of one run and writes audit, scores, predictions and plots.

    Returns:
      What scores.json holds.
    """
    import_tensorflow()
    import pandas as pd

    from emotion_tf.evaluation.split import score_split, split_of
    from emotion_tf.models.inputs import audio_features_of, modalities_of
    from emotion_tf.reporting.board import write_board
    from emotion_tf.reporting.plots import draw_scores

    audit = audit_again(run)
    model = run.model()
    marks = list(dict.fromkeys([*run.scores()["marks"], *audit["marks"]]))
    split = split_of(run, "test", modalities_of(model), audio_features_of(model))
    found, predictions = score_split(run, model, split)
    draw_scores(run.plots, predictions[""], found, run.temperature(), marks)
    write_board(run, model, split, predictions[""], found)
    for without, rows in predictions.items():
        before = run.predictions(without)
        run.write_predictions(pd.concat([before[before["split"] != "test"], rows]), without)
    scores = run.scores()
    scores = scores | {"marks": marks, "test": found, "test_reads": scores["test_reads"] + 1}
    run.write_scores(scores)
    return scores


def evaluate_cross_corpus(run: Run, records: Path, label_map: str) -> dict[str, Any]:
    """Scores every utterance of other records and writes audit, scores, predictions and plots below the run.

    Args:
      run: A finished run.
      records: Folder of records with the run's front end and vocabulary.
      label_map: Name of a map from their labels to those of the run; empty where their names lead there.

    Returns:
      What scores.json holds: marks, headline, records, label_map, dropped (label, or reason -> utterances left out),
      test, test_reads.

    Raises:
      InputError: Records that do not fit, or that hold what the run was trained on.
    """
    import_tensorflow()
    from emotion_tf.evaluation.split import score_split
    from emotion_tf.reporting.plots import draw_scores

    found, place = read_metadata(records), run.cross_corpus(records)
    numbers = _label_targets(run, found.emotions, label_map, records)
    index = read_index(records)
    audit = audit_cross_corpus(run, index, found.corpus, str(records))
    marks = list(dict.fromkeys([*audit["marks"], *marks_of(found)]))
    model = run.model()
    split = _whole_records(run, model, records, found, index, numbers)
    scores, predictions = score_split(run, model, split)
    draw_scores(place.plots, predictions[""], scores, run.temperature(), marks)
    by_f1 = split.is_multi_label or not (found.has_audio or found.video)
    before = place.scores() if place.scores_path.exists() else {}
    reads = before["test_reads"] if before.get("records") == str(records) else 0
    write_json(place.folder / "audit.json", audit)
    for without, rows in predictions.items():
        place.write_predictions(rows, without)
    place.write_scores(
        {
            "marks": marks,
            "headline": "macro_f1" if by_f1 else "unweighted_average_recall",
            "records": str(records),
            "label_map": label_map,
            "dropped": _dropped(index, found.emotions, numbers, split.is_multi_label),
            "test": scores,
            "test_reads": reads + 1,
        }
    )
    return place.scores()


def _label_targets(run: Run, labels: list[str], label_map: str, records: Path) -> list[int | None]:
    """Finds to which emotion of a run each label of other records leads; None: its utterances are left out."""
    emotions = run.metadata().emotions
    targets = label_targets(labels, emotions, [label_map] if label_map else [], str(records), "the run")
    if label_map and targets == targets_by_name(labels, emotions):
        raise InputError(
            f"--label-map {label_map} changes nothing, the labels of {records} lead to those of the run by their names:"
            " leave it out."
        )
    return targets


def _whole_records(
    run: Run, model: "keras.Model", records: Path, found: Metadata, index: "pd.DataFrame", numbers: list[int | None]
) -> "Split":
    """Makes one split of all utterances of other records whose labels a run knows."""
    from emotion_tf.evaluation.split import Split, shuffled_in_scoring
    from emotion_tf.models.inputs import audio_features_of, modalities_of

    config, metadata = run.config(), run.metadata()
    if what := misfit(metadata, found, ("front_end", "vocabulary_sha256", "context", "encoder", "video")):
        raise InputError(f"{records} were made with another {what} than {run.folder} knows: prepare them with it.")
    if modalities_of(model) == ("audio",) and not found.has_audio:
        raise InputError(f"{records} hold no audio, and {run.folder} reads nothing else: choose a run with text.")
    if modalities_of(model) == ("text",) and found.num_without_words == found.num_utterances:
        raise InputError(f"{records} hold no words, and {run.folder} reads nothing else: prepare them with some.")
    split = Split(
        records,
        index["utterance_id"].tolist(),
        "test",
        metadata.emotions,
        modalities_of(model),
        "utterance_id",
        numbers,
        is_multi_label=metadata.is_multi_label,
        thresholds=run.thresholds(),
        audio_features=audio_features_of(model),
        max_tokens=config.training.max_tokens,
        tokenizer=run.tokenizer(),
        normalisation=run.normalisation(),
        shuffled=shuffled_in_scoring(config.control),
        cache=config.training.shuffle_size is None,
        seed=config.seed,
    )
    if not len(split.utterances):
        raise InputError(f"{records} hold no utterance with a label of {run.folder}: choose another --label-map.")
    return split


def _dropped(
    index: "pd.DataFrame", labels: list[str], numbers: list[int | None], is_multi_label: bool
) -> dict[str, int]:
    """Counts the utterances that are left out, by their labels.

    Utterances that a map leaves several emotions count under "two or more emotions" where a run knows one each.
    """
    dropped: Counter[str] = Counter()
    for of_utterance in index["labels"]:
        targets = {numbers[label] for label in of_utterance} - {None}
        if not targets:
            dropped["|".join(labels[label] for label in of_utterance)] += 1
        elif len(targets) > 1 and not is_multi_label:
            dropped["two or more emotions"] += 1
    return dict(dropped)


def _score_file(path: Path, output: Path | None) -> str:
    """Scores each split of a file of predictions; no audit is possible beyond what the file shows itself."""
    from emotion_tf.evaluation import metrics
    from emotion_tf.reporting.plots import draw_scores
    from emotion_tf.runs.predictions import emotions_of, is_multi_label, leaks, read_predictions

    predictions = read_predictions(path)
    emotions = emotions_of(predictions)
    splits: dict[str, pd.DataFrame] = {
        split: rows for split in SPLITS if len(rows := predictions[predictions["split"] == split])
    }
    headline = "macro_f1" if is_multi_label(predictions) else "unweighted_average_recall"
    scores: dict[str, Any] = {"marks": leaks(predictions), "headline": headline}
    scores |= {split: metrics.scores(rows, emotions) for split, rows in splits.items()}
    if output:
        output.mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            draw_scores(Scored(output).plots, rows, scores[split], None, scores["marks"])
        Scored(output).write_scores(scores)
    return report(str(path), scores)


if __name__ == "__main__":
    sys.exit(run_command(main))
