"""Predicts the files of folders and tables into one file: decoded in processes, predicted in batches, row by row."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from emotion_tf.serving.embedding_file import open_embeddings
from emotion_tf.serving.listing import Item
from emotion_tf.serving.prediction import Given, Prediction, printable
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.sources import read_utterance
from emotion_tf.serving.table import Table, row_of
from pipelines.clips import Clip
from pipelines.command import InputError, progress_bar
from pipelines.records.decode_workers import decoding
from pipelines.utterance import Utterance

_AT_ONCE = 16
"""Files that a process decodes before it hands them on."""

_POOLED = 8
"""Of these handfuls, which are predicted together: files of like length are batched among them."""

Take = Callable[[Clip, Item], Given]
"""Takes a decoded file; it may transcribe it, or enrol its speaker."""


def predict_files(
    predictor: Predictor,
    items: Sequence[Item],
    table: Table,
    take: Take,
    *,
    embeddings: Path | None = None,
    num_workers: int | None = None,
) -> None:
    """Predicts files that have no row yet, and adds their rows in their order. What cannot be used has a row, too.

    Args:
      predictor: The model.
      items: The files.
      table: Where the rows go.
      take: Makes of a decoded file what is predicted.
      embeddings: An .npz for embeddings of the files that were predicted; None: none.
      num_workers: Processes that decode; None: one a core.
    """
    done = table.done
    left = [item for item in items if printable(str(item.path.absolute())) not in done]
    files = [file for file, error in table.rows if not error]
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(open_embeddings(embeddings, files, _dim(predictor))) if embeddings else None
        progress = stack.enter_context(progress_bar(len(items), "predicting", "file", initial=len(items) - len(left)))
        for chosen, clips in stack.enter_context(_decoded(predictor, left, num_workers)):
            found = _predicted(predictor, chosen, clips, take, with_embedding=kept is not None)
            rows = [row_of(item.path, one, table.settings) for item, one in zip(chosen, found, strict=True)]
            if kept is not None:
                kept.append(
                    [one.embedding for one in found if isinstance(one, Prediction) and one.embedding is not None]
                )
                files += [row["file"] for row in rows if row["error"] is None]
            table.append(rows)
            progress.update(len(rows))


def _dim(predictor: Predictor) -> int:
    predictor.stop_without_embedding()
    return int(predictor.metadata["embedding_dim"])


@contextlib.contextmanager
def _decoded(
    predictor: Predictor, items: Sequence[Item], num_workers: int | None
) -> Iterator[Iterator[tuple[Sequence[Item], list[Clip | str]]]]:
    """Decodes files in other processes, pool by pool, in their order."""
    if not items:
        yield iter([])
        return
    video, trim_db = predictor.video, predictor.front_end.silence_db
    read = functools.partial(read_utterance, video_settings=video, trim_db=trim_db)
    files = [Utterance(str(item.path), "", "", item.path, video=item.path) for item in items]
    batches = [files[start : start + _AT_ONCE] for start in range(0, len(files), _AT_ONCE)]
    with decoding(batches, num_workers, read=read) as decoded:
        yield _pools(items, decoded)


def _pools(
    items: Sequence[Item], decoded: Iterator[list[tuple[Utterance, Clip | str]]]
) -> Iterator[tuple[Sequence[Item], list[Clip | str]]]:
    start, clips = 0, list[Clip | str]()
    for number, batch in enumerate(decoded, 1):
        clips += [clip for _, clip in batch]
        # The first answer comes early, and with it what is wrong with all of them.
        if number == 1 or number % _POOLED == 0:
            yield items[start : start + len(clips)], clips
            start, clips = start + len(clips), []
    if clips:
        yield items[start:], clips


def _predicted(
    predictor: Predictor, items: Sequence[Item], clips: Sequence[Clip | str], take: Take, *, with_embedding: bool
) -> list[Prediction | InputError]:
    """Predicts what can be used; the reason stands in the place of what cannot."""
    found: list[Given | InputError] = []
    for item, clip in zip(items, clips, strict=True):
        try:
            found.append(InputError(clip) if isinstance(clip, str) else take(clip, item))
        except InputError as error:
            found.append(error)
    given = [one for one in found if isinstance(one, Given)]
    predictions = iter(predictor.predict_all_given(given, with_embedding=with_embedding))
    return [next(predictions) if isinstance(one, Given) else one for one in found]
