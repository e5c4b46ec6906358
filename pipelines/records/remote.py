"""Records on an object store, `s3://bucket/folder` or any other URL of fsspec, read through a folder of this machine.

That folder begins with metadata.json alone. A shard comes when it is first read, is compared with the size and the
SHA-256 that metadata.json tells of it, and takes its name when it is whole; what a killed process leaves of one is gone
on with. A process reads the records that it began with: where another one fetches newer ones into the folder, it stops.
Where the folder of all of them grows beyond a limit, the shards go that were used longest ago. So

    EMOTION_TF_RECORDS_CACHE      where: ~/.cache/emotion_tf/records
    EMOTION_TF_RECORDS_CACHE_GB   how much: no limit

are of every command. Who may read the URL is up to the store: for S3 the usual variables and files of AWS.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.command import InputError, is_disk_full, make_folder
from pipelines.files import UNFINISHED, replacing

FOLDER_VARIABLE = "EMOTION_TF_RECORDS_CACHE"
LIMIT_VARIABLE = "EMOTION_TF_RECORDS_CACHE_GB"

ORIGIN = "remote.json"
"""File of a folder whose shards come from a URL, which it names; written first."""

_METADATA = "metadata.json"
_ENCODER = "encoder"
_SHARD = re.compile(r"\d{5,}-of-\d{5,}\.tfrecord")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.IGNORECASE)
_CHUNK = 8 * 2**20

# Shards that stay whatever the limit is: so many may be open, or about to be.
_LEAST_SHARDS = 32


def is_url(text: str) -> bool:
    """Whether records are named by a URL, and not by a folder."""
    return _URL.fullmatch(text) is not None


def location(text: str) -> str | Path:
    """Reads the value of a flag: a folder, or a URL, in which a path would lose a slash."""
    return text if is_url(text) else Path(text)


def local(records: str | Path) -> Path:
    """Names the folder of this machine for records; those of a URL have one that is made, and nothing is fetched yet.

    Raises:
      InputError: A URL that cannot be one of records, or a cache that cannot be written to.
    """
    if isinstance(records, Path) or not is_url(records):
        return Path(records)
    scheme, rest = _parts(records.rstrip("/"))
    url = f"{scheme}://{rest}"
    parts = [part for part in rest.split("/") if part]
    if not parts or any(part in (".", "..") or part.startswith("~") for part in parts):
        raise InputError(f"{records} names no folder of records: write s3://BUCKET/FOLDER.")
    folder = _root().joinpath(scheme, *parts)
    make_folder(folder, f"the variable {FOLDER_VARIABLE}")
    # One that is spelled otherwise, s3://bucket//folder, may lead to the same folder, and be wrong.
    if url_of(folder) != url:
        with replacing(folder / ORIGIN, is_shared=True) as temporary:
            temporary.write_text(json.dumps({"url": url}) + "\n", encoding="utf-8")
    return folder


def local_name(text: str) -> str:
    """Names the folder of this machine where records are named by a URL; returns what else `--label-map` names."""
    return str(local(text)) if is_url(text) else text


def url_of(folder: Path) -> str:
    """Names the URL that a folder's shards come from; empty where they are the folder's own."""
    try:
        return str(json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, TypeError, KeyError):
        pass
    # Another machine of a cluster may name it, whose cache is called alike.
    parts = folder.relative_to(_root()).parts if folder.is_relative_to(_root()) and not folder.exists() else ()
    return f"{parts[0]}://{'/'.join(parts[1:])}" if len(parts) > 1 else ""


def refresh(folder: Path) -> None:
    """Fetches metadata.json anew, once a process, and drops shards that are other ones now; nothing for own shards.

    Weights of an encoder that the records keep are fetched with it.

    Raises:
      InputError: The URL cannot be read or holds no records, or the limit is no number.
    """
    if url := url_of(folder):
        _limit_bytes()  # What is wrong with it is said before anything is fetched.
        _refreshed(local(url), url)


@functools.cache
def _refreshed(folder: Path, url: str) -> dict[str, Any]:
    """Returns what metadata.json tells of each shard; within this process that stays what it is."""
    with _alone(folder):
        with _told(url, f"{url}/{_METADATA}"):
            content = _file_system(url).cat_file(f"{url}/{_METADATA}")
        path = folder / _METADATA
        if not path.exists() or path.read_bytes() != content:
            _drop_changed(folder, path.read_bytes() if path.exists() else content, content)
            with replacing(path, is_shared=True) as temporary:
                temporary.write_bytes(content)
    if _values(content).get("encoder"):
        _fetch_encoder(folder, url)
    return _shards(content)


def _drop_changed(folder: Path, before: bytes, content: bytes) -> None:
    """Drops what an older metadata.json tells otherwise than the new one."""
    if _values(before).get("encoder") != _values(content).get("encoder"):
        for stale in (folder / _ENCODER).glob("*"):  # Weights of the same size may be other ones.
            stale.unlink(missing_ok=True)
    new, old = _shards(content), _shards(before)
    for name in {name for name in old if old[name] != new.get(name)}:
        for stale in (folder / name, _partial(folder / name)):
            stale.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from changing meanwhile which records a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # Some file systems of networks know no locks.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _shards(content: bytes) -> dict[str, Any]:
    """Reads which shards a metadata.json names, and what it tells of each.

    That of older versions tells no hash: each shard may be another one where anything in it is, so its own stands in.
    """
    found = _values(content).get("shards")
    if not isinstance(found, dict):
        return {}
    of_all = {"metadata_sha256": hashlib.sha256(content).hexdigest()}
    shards = {name: facts for name, facts in found.items() if _SHARD.fullmatch(name)}
    return {name: facts if "sha256" in facts else {**facts, **of_all} for name, facts in shards.items()}


def _values(content: bytes) -> dict[str, Any]:
    """Reads a metadata.json; nothing of what is no such file, of which others complain."""
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _fetch_encoder(folder: Path, url: str) -> None:
    """Fetches the weights beside the shards, where there are any that are not here."""
    with _told(url, f"{url}/{_ENCODER}"):
        system = _file_system(url)
        found = system.ls(f"{url}/{_ENCODER}", detail=True) if system.exists(f"{url}/{_ENCODER}") else []
    (folder / _ENCODER).mkdir(exist_ok=True)
    for one in found:
        path = folder / _ENCODER / Path(one["name"]).name
        if one.get("type") == "file" and not (path.exists() and path.stat().st_size == one["size"]):
            _download(f"{url}/{_ENCODER}/{path.name}", path, {"num_bytes": one["size"]})


def fetched(folder: Path, name: str) -> Path:
    """Names a shard that is there: one of a URL is fetched where it is not, and counts as used now.

    Raises:
      InputError: It cannot be fetched, is another one than metadata.json says, or is no longer the one that this
        process began with.
    """
    path, url = folder / name, url_of(folder)
    if not url:
        return path
    facts = _refreshed(local(url), url).get(name)
    if facts is None:
        raise InputError(f"{url} names no shard {name}: prepare these records again, and upload them.")
    _stop_on_newer(path, url, facts)
    with contextlib.suppress(OSError):  # Another process may drop it, and the next line finds that out.
        if path.stat().st_size == facts["num_bytes"]:
            os.utime(path)
        else:
            path.unlink()
    if not path.is_file():
        _download(f"{url}/{name}", path, facts, lambda: _stop_on_newer(path, url, facts))
        _make_room()
    return path


def _stop_on_newer(path: Path, url: str, facts: dict[str, Any]) -> None:
    """Stops where another process has found other records at the URL since this one began.

    Raises:
      InputError: The shard is another one there.
    """
    if _shards((path.parent / _METADATA).read_bytes()).get(path.name) != facts:
        raise InputError(
            f"the records at {url} were made anew while this command reads them, and another one has fetched the new"
            " ones: run the same command again, which reads those alone."
        )


def _download(url: str, path: Path, facts: dict[str, Any], check: Callable[[], None] = lambda: None) -> None:
    """Fetches a file, or goes on with it; it takes its name once it is whole and the one that is meant.

    Args:
      url, path: From where, and to where.
      facts: Its size, and its hash where that is known.
      check: Raises where it is not to take the name.
    """
    partial = _partial(path)
    with partial.open("ab") as file:
        # Whoever else wants it waits here, and finds it made.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.is_file():
            partial.unlink(missing_ok=True)
            return
        was_begun = file.tell() > 0
        if not _append(url, partial, file, facts):
            file.truncate(0)
            if not (was_begun and _append(url, partial, file, facts)):
                raise InputError(
                    f"{url} is not the file that its {_METADATA} names, changed meanwhile or uploaded in part: upload"
                    " the whole folder again, and run the same command again."
                )
        file.flush()
        os.fsync(file.fileno())
        with _alone(path.parent):
            check()
            partial.replace(path)


def _append(url: str, partial: Path, file: Any, facts: dict[str, Any]) -> bool:
    """Writes what is missing of a file behind what is there; tells whether the whole is what the facts say."""
    digest, size = hashlib.sha256(), 0
    with partial.open("rb") as begun:
        while chunk := begun.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    with _told(url, url), _file_system(url).open(url, "rb", cache_type="none", block_size=_CHUNK) as remote:
        if remote.size != facts["num_bytes"] or size > remote.size:
            return False
        remote.seek(size)
        while chunk := remote.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
    file.flush()
    # Records of before tell the size alone.
    return facts.get("sha256", digest.hexdigest()) == digest.hexdigest()


def _make_room() -> None:
    """Drops the shards of all URLs that were used longest ago, down to the limit."""
    limit = _limit_bytes()
    if limit is None:
        return
    found = []
    for origin in _root().rglob(ORIGIN):
        for path in origin.parent.glob("*.tfrecord"):
            with contextlib.suppress(FileNotFoundError):  # Another process dropped it.
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    found.sort()
    total = sum(size for _, size, _ in found)
    # A shard that is open stays readable without its name.
    for _, size, path in found[:-_LEAST_SHARDS]:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def _limit_bytes() -> float | None:
    given = os.environ.get(LIMIT_VARIABLE, "")
    if not given:
        return None
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise InputError(f"the variable {LIMIT_VARIABLE} is {given}: give it gigabytes above 0, or leave it out.")
    return gigabytes * 1e9


def _root() -> Path:
    given = os.environ.get(FOLDER_VARIABLE, "")
    return Path(given).absolute() if given else Path.home() / ".cache" / "emotion_tf" / "records"


def _partial(path: Path) -> Path:
    return path.with_name(f"{UNFINISHED}{path.name}")


def _parts(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    return scheme.lower(), rest


def _file_system(url: str) -> Any:
    """Opens the store of a URL."""
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{url} is read by fsspec, which is not installed: {_INSTALL}.") from None
    scheme = _parts(url)[0]
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise InputError(f"{url} needs a package that is not installed ({error}): {_INSTALL}.") from None
    except ValueError:
        raise InputError(
            f"{url} begins with {scheme}://, which nothing here reads: write s3://BUCKET/FOLDER."
        ) from None


_INSTALL = "python -m pip install 'emotion_tf[cloud]', for gs:// gcsfs too"


@contextlib.contextmanager
def _told(url: str, what: str) -> Iterator[None]:
    """Turns what stores raise, each in its own words, into a sentence.

    Raises:
      InputError: There is nothing, it may not be read, or cannot be reached.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, FileNotFoundError):
            sentence = f"{what} is not there ({reason}): correct the URL, or upload the folder of the records to it"
        elif isinstance(error, PermissionError) or "credential" in f"{type(error).__name__} {reason}".lower():
            sentence = f"{url} may not be read ({reason}): set the credentials of the store, for S3 those of AWS"
        else:
            sentence = f"{url} cannot be read ({type(error).__name__}: {reason}): see to the connection and try again"
        raise InputError(f"{sentence}.") from None
