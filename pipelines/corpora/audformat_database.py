"""Databases in audformat, as `audb` downloads them: `db.yaml` with tables of whole files and of segments beside it.

The scheme `emotion` gives the labels, and `speaker`, `transcription` and `gender` what they name; where schemes have
other names, `--columns` says so. Tables are read from CSV and Parquet; pickles, which run code when they are read and
which audformat would prefer, are not.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.command import InputError
from pipelines.corpora.folders import SPLIT_NAMES, stop_on_others
from pipelines.corpora.recordings import Refusals, Speakers, stop_on_pointer
from pipelines.corpora.tables import text_of
from pipelines.utterance import Corpus, Segment, Utterance

if TYPE_CHECKING:
    import audformat

COLUMNS = ("emotion", "speaker", "transcript", "sex")
"""What --columns may name."""

_SCHEMES = {"emotion": "emotion", "speaker": "speaker", "transcript": "transcription", "sex": "gender"}
_HEADER = "db.yaml"


def read(source: Path, emotions: Sequence[str], speakers: Speakers, columns: Mapping[str, str]) -> Corpus:
    """Reads the tables of a database.

    Args:
      source: The folder that holds db.yaml.
      emotions: The labels that may be there, in label order; none: those that are there, in the order of the scheme.
      speakers: How speakers are found where the database has no scheme for them.
      columns: Name of `COLUMNS` -> scheme of the database, where it has another name.

    Raises:
      InputError: audformat is not installed, no such database, one without tables that can be read or without the
        scheme, labels of two raters that differ, rows that cannot be used, all of them named.
    """
    if not (source / _HEADER).is_file():
        raise InputError(f"{source} holds no {_HEADER}: name the folder of a database in audformat.")
    stop_on_pointer(source / _HEADER)
    schemes = {**_SCHEMES, **columns}
    database, splits = _load(source)
    rows = _rows(database, schemes, source)
    refusals, utterances = Refusals(f"rows of {source}"), []
    for (file, start, end), row in rows:
        with refusals.of_one():
            utterances.append(_utterance(source, file, _segment(start, end), row, splits, speakers, schemes))
    refusals.stop()
    held = {utterance.emotion for utterance in utterances}
    found = tuple(sorted(held, key=lambda label: (_order(database, schemes["emotion"], label), label)))
    stop_on_others(found, emotions, str(source))
    licence = str(database.license or "not stated in its header")
    ordered = tuple(sorted(utterances, key=lambda utterance: utterance.utterance_id))
    return Corpus(f"audformat {database.name}", source, licence, tuple(emotions) or found, ordered)


def _load(source: Path) -> "tuple[audformat.Database, dict[str, str]]":
    """Loads a database through a folder that shows all of it but pickles; returns file -> split, too."""
    try:
        import audformat
    except ImportError:
        raise InputError(f"{source} is read with audformat: install emotion_tf[audformat].") from None
    tables = [*source.glob("db.*.csv"), *source.glob("db.*.parquet")]
    with tempfile.TemporaryDirectory() as shown:
        for path in (source / _HEADER, *tables):
            (Path(shown) / path.name).symlink_to(path.resolve())
        try:
            database = audformat.Database.load(shown, load_data=True, verbose=False)
        except Exception as error:
            reason = str(error).partition("\n")[0].replace(shown, str(source))
            raise InputError(f"{source} cannot be read as audformat ({reason}): mend or download it again.") from None
        found: dict[str, str] = {}
        for table in database.tables.values():
            split = database.splits[table.split_id].type if table.split_id else ""
            if split in SPLIT_NAMES:
                found |= dict.fromkeys(table.files, SPLIT_NAMES[split])
    return database, found


def _rows(
    database: "audformat.Database", schemes: Mapping[str, str], source: Path
) -> list[tuple[tuple[str, Any, Any], dict[str, str]]]:
    """Joins the tables: (file, start, end) -> cells under our names; start and end of a whole file are None."""
    import pandas as pd

    emotion = schemes["emotion"]
    try:
        found = database.get(emotion, [schemes[name] for name in COLUMNS[1:]])
    except (ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{source}: the labels of {emotion!r} contradict each other, of several raters perhaps ({reason}): name the"
            " one of the gold standard with --columns emotion=COLUMN."
        ) from None
    found = found[found[emotion].notna()] if emotion in found else found.iloc[:0]
    if not len(found):
        known = ", ".join([*database.schemes, *(name for table in database.tables.values() for name in table.columns)])
        raise InputError(
            f"{source} has no labels under {emotion!r} (its schemes and columns are {known}): name another with"
            " --columns emotion=SCHEME."
        )
    is_segmented = found.index.nlevels == 3
    cells = [["" if pd.isna(value) else text_of(value).strip() for value in row] for row in found.values.tolist()]
    places = found.index.tolist() if is_segmented else [(file, None, None) for file in found.index]
    names = list(COLUMNS)
    return [(place, dict(zip(names, row, strict=True))) for place, row in zip(places, cells, strict=True)]


def _segment(start: Any, end: Any) -> Segment | None:
    """Makes seconds of times; None for a whole file, whose end audformat leaves open."""
    import pandas as pd

    begin, until = (None if pd.isna(one) else one.total_seconds() for one in (start, end))
    return None if until is None and not begin else Segment(begin or 0.0, until)


def _utterance(
    source: Path,
    file: str,
    segment: Segment | None,
    row: Mapping[str, str],
    splits: Mapping[str, str],
    speakers: Speakers,
    schemes: Mapping[str, str],
) -> Utterance:
    name = Path(file).with_suffix("").as_posix() + (f"@{segment}" if segment else "")
    where = f"{source}, {schemes['emotion']} of {name}"
    path = source / file
    if not path.is_file():
        raise InputError(f"{where}: {path} is not there: download the media, too (audb.load without only_metadata).")
    return Utterance(
        utterance_id=name,
        speaker=speakers.of(file, row["speaker"], where),
        emotion=row["emotion"],
        audio=path,
        video=path,  # Its content decides whether it is one.
        transcript=row["transcript"],
        trial=name,
        published_split=splits.get(file, ""),
        attributes={"sex": row["sex"]} if row["sex"] else {},
        segment=segment,
        place=where,
    )


def _order(database: "audformat.Database", scheme: str, label: str) -> int:
    """Finds the place of a label in its scheme; those of none come last."""
    known = [str(one) for one in (database.schemes[scheme].labels or ())] if scheme in database.schemes else []
    return known.index(label) if label in known else len(known)
