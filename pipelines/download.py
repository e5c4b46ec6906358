"""Gets a corpus from its makers: `python -m pipelines.download NAME --accept-licence [--output DIR]`.

Says how large it is, under which licence it stands and what to cite; --accept-licence accepts that. Continues what was
broken off, compares checksums where the makers publish them, unpacks archives without harm, and writes download.json
last, which says that all is there. `--from FILE.zip` takes an archive that you have, a copy of Kaggle for instance.
"""

import argparse
import filecmp
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipelines.command import InputError, progress_bar, run_command
from pipelines.downloads.fetch import Remote, check, fetch, make_session
from pipelines.downloads.sources import SOURCES, Source
from pipelines.downloads.unpack import unpack
from pipelines.files import UNFINISHED, locked, read_json, write_json
from pipelines.parsers import add_flag, command_parser

_AT_ONCE = 4
_PACKED = f"{UNFINISHED}unpacked"


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, gets the corpus and says where it is.

    Raises:
      InputError: A licence that was not accepted, or whatever keeps the corpus from coming whole.
    """
    arguments = make_parser().parse_args(argv)
    source = SOURCES[arguments.corpus]
    folder = arguments.output or Path("data") / source.folder
    given = arguments.given
    print(describe(source))
    if given is not None and not given.is_file():
        raise InputError(f"{given} is not a file: give --from the ZIP archive.")
    if source.is_by_hand and given is None:
        raise InputError(f"{source.title} is given by its makers alone: {source.by_hand}, then give it to --from.")
    if not arguments.accept_licence:
        raise InputError(f"the licence of {source.title} is not accepted: read it, and add --accept-licence.")
    with locked(folder, "--output"):
        note = folder / f"download-{arguments.corpus}.json"
        if note.exists():
            count = len(read_json(note, "remove it, and run the same command again", {"files": list})["files"])
            print(f"{folder} holds {source.title} already, {count} files")
            return
        files = _from_archive(source, given, folder) if given else _from_makers(source, folder)
        facts = {"corpus": source.title, "page": source.page, "licence": source.licence, "citation": source.citation}
        write_json(note, facts | {"from": str(given) if given else "its makers", "files": sorted(files)})
    print(f"{folder} holds {source.title}, {len(files)} files")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("pipelines.download", __doc__, "NAME --accept-licence [FLAG ...]")
    add_flag(parser, "corpus", "Get this corpus.", ", ".join(SOURCES), choices=SOURCES, metavar="NAME")
    add_flag(parser, "--accept-licence", "Accept its licence, which is printed.", action="store_true")
    sentence = "Write it to this folder."
    add_flag(parser, "--output", sentence, type=Path, metavar="DIR", shown="where its reader looks, below data")
    sentence = "Unpack this archive of it instead of downloading one."
    add_flag(parser, "--from", sentence, type=Path, metavar="FILE.zip", dest="given")
    return parser


def describe(source: Source) -> str:
    """Says what a corpus is, how large, under which licence, and what to cite."""
    size = f"about {source.megabytes:g} MB" if source.megabytes else "size not stated by its source"
    lines = (
        f"{source.title}, {source.page}",
        f"size: {size}",
        f"licence: {source.licence}",
        f"cite: {source.citation}",
    )
    return "\n".join(lines)


def _from_archive(source: Source, archive: Path, folder: Path) -> list[str]:
    """Unpacks an archive that the user has."""
    known = [remote for remote in source.files if remote.is_archive]
    if known and any(check(archive, remote) is None for remote in known):
        print(f"{archive} is the makers' archive: its checksum is theirs", file=sys.stderr)
    else:
        print(f"{archive} is compared with no checksum of the makers", file=sys.stderr)
    return _unpacked(source, archive, folder)


def _from_makers(source: Source, folder: Path) -> list[str]:
    """Fetches the files of a corpus, and unpacks those that are archives."""
    with make_session() as session:
        remotes: Sequence[Remote] = source.files
        if source.listed is not None:
            print(f"reading the list of files of {source.title}", file=sys.stderr)
            remotes = source.listed(session, folder)
        _stop_on_unsafe(remotes)
        total = sum(remote.size or 0 for remote in remotes) if all(remote.size for remote in remotes) else None
        if total:
            print(f"{len(remotes)} files, {total / 1e6:,.1f} MB", file=sys.stderr)
        pending = [remote for remote in remotes if not _is_there(folder / remote.name, remote)]
        with progress_bar(total, f"downloading {source.title}", "B") as progress:
            progress.unit_scale = True
            progress.update(sum(remote.size or 0 for remote in remotes if remote not in pending))
            _fetch_all(pending, folder, session, progress.update)
    unverified = sum(remote.checksum is None for remote in remotes)
    if unverified:
        print(f"{unverified} files have no published checksum", file=sys.stderr)
    files = []
    for remote in remotes:
        files += _unpacked(source, folder / remote.name, folder) if remote.is_archive else [remote.name]
    for remote in remotes:
        if remote.is_archive:
            (folder / remote.name).unlink()
    return files


def _fetch_all(remotes: Sequence[Remote], folder: Path, session: Any, told: Any) -> None:
    """Fetches several files at once; the first error ends all."""
    for remote in remotes:
        (folder / remote.name).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(_AT_ONCE if len(remotes) > _AT_ONCE else 1) as pool:
        waiting = [pool.submit(fetch, remote, folder / remote.name, session, told) for remote in remotes]
        try:
            for one in waiting:
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _is_there(path: Path, remote: Remote) -> bool:
    """Tells whether a file came whole before; one without a checksum comes again."""
    return path.is_file() and remote.checksum is not None and check(path, remote) is None


def _stop_on_unsafe(remotes: Sequence[Remote]) -> None:
    """Stops on names of a list that lead out of the folder."""
    for remote in remotes:
        path = Path(remote.name)
        if path.is_absolute() or ".." in path.parts or "\\" in remote.name or not path.name or path.name[0] == ".":
            raise InputError(f"the list of files names {remote.name!r}, which lies outside of the folder.")


def _unpacked(source: Source, archive: Path, folder: Path) -> list[str]:
    """Unpacks beside what is there, and moves the files when all are whole."""
    aside = folder / _PACKED
    shutil.rmtree(aside, ignore_errors=True)  # Of a run that was killed.
    aside.mkdir()
    try:
        with progress_bar(None, f"unpacking {archive.name}", "B") as progress:
            progress.unit_scale = True
            paths = unpack(archive, aside, progress.update)
        if not any(path.suffix.lower() == source.suffix for path in paths):
            raise InputError(f"{archive} holds no {source.suffix} file, so it is not {source.title}: correct the path.")
        for path in paths:
            if (folder / path).exists() and not _is_same(folder / path, aside / path):
                raise InputError(f"{folder / path} exists and differs from that of {archive}: give another --output.")
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).replace(folder / path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [path.as_posix() for path in paths]


def _is_same(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    sys.exit(run_command(main))
