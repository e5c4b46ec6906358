"""Fetches files over HTTP: a broken download continues where it was, and nothing half-fetched has the file's name.

requests keeps connections, follows proxies and redirects and stops on short answers. It continues no download, and
neither does pooch, so that is done here: RFC 9110, sections 13.1.5 (If-Range), 14 (Range) and 15.3.7 (206).
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.command import InputError, is_disk_full
from pipelines.files import UNFINISHED

if TYPE_CHECKING:
    import requests

MOST_ATTEMPTS = 6
"""That may follow each other without a further byte."""

_BLOCK = 1 << 18
_TIMEOUT_SECONDS = 60
_LONGEST_PAUSE_SECONDS = 60.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class Remote(NamedTuple):
    """A file at its maker's.

    Attributes:
      url: Where it lies.
      name: Where it goes, relative to the folder of the corpus, or the name of an archive to unpack there.
      size: Bytes; None: no source states it.
      checksum: "md5:..." or "sha256:..."; None: no source states it.
    """

    url: str
    name: str
    size: int | None = None
    checksum: str | None = None

    @property
    def is_archive(self) -> bool:
        """Whether it is unpacked."""
        return self.name.endswith(".zip")


Told = Callable[[int], Any]
"""Is told how many bytes came, or, negative, are fetched again."""


class _BrokenError(Exception):
    """The connection broke or the server was busy: another try may help."""

    def __init__(self, reason: str, pause: float = 0.0):
        super().__init__(reason)
        self.pause = pause


def fetch(remote: Remote, path: Path, session: "requests.Session", told: Told = lambda count: None) -> None:
    """Fetches a file, continues what an earlier call began, and makes sure that it is the right one.

    Args:
      remote: What to fetch.
      path: Its name here; its folder exists. A file of that name is replaced.
      session: Whose connections are used.
      told: Of progress.

    Raises:
      InputError: The server does not have it, breaks off again and again, or sends another file than was stated; the
        disk is full. What came so far is kept, unless it is wrong.
    """
    download = _Download(remote, path, session, told)
    attempts, most = 0, download.size
    while True:
        try:
            download.attempt()
            break
        except _BrokenError as error:
            attempts = 0 if download.size > most else attempts + 1
            most = max(most, download.size)
            if attempts >= MOST_ATTEMPTS:
                raise InputError(
                    f"{remote.url} breaks off ({error}), {attempts} times without a further byte: run the same command"
                    " later, which continues where it stopped."
                ) from None
            time.sleep(min(error.pause or 2.0**attempts / 4, _LONGEST_PAUSE_SECONDS))
    download.finish()


def make_session() -> "requests.Session":
    """Makes what keeps connections."""
    import requests

    session = requests.Session()
    # Of a file that is compressed on its way neither length nor ranges mean anything.
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "emotion_tf"})
    return session


def read_json(url: str, session: "requests.Session") -> Any:
    """Reads a list of files that a repository gives as JSON.

    Raises:
      InputError: The server does not give it.
    """
    import requests

    try:
        answer = session.get(url, timeout=_TIMEOUT_SECONDS)
        if answer.status_code != 200:
            raise InputError(f"{url} answers {answer.status_code} {answer.reason}: run the same command later.")
        return answer.json()
    except (requests.RequestException, ValueError) as error:
        raise InputError(f"{url} cannot be read ({_first_line(error)}): run the same command later.") from None


def check(path: Path, remote: Remote) -> str | None:
    """Compares a file with what its source states; returns what differs, None where nothing does."""
    if remote.size is not None and path.stat().st_size != remote.size:
        return f"it has {path.stat().st_size:,} bytes and not {remote.size:,}"
    if remote.checksum is not None:
        kind, _, stated = remote.checksum.partition(":")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != stated.lower():
            return f"its {kind} is {found} and not {stated}"
    return None


class _Download:
    """What came of a file so far, and the note beside it that says of which file it is a part."""

    def __init__(self, remote: Remote, path: Path, session: "requests.Session", told: Told):
        self._remote, self._path, self._session, self._told = remote, path, session, told
        self._part = path.with_name(f"{UNFINISHED}{path.name}")
        self._note = path.with_name(f"{UNFINISHED}{path.name}.json")
        self._state = self._read_state()
        told(self.size)

    @property
    def size(self) -> int:
        """Bytes that came."""
        return self._part.stat().st_size if self._part.exists() else 0

    def attempt(self) -> None:
        """Asks for what is missing, and takes it."""
        import requests

        if self.size and self.size == self._state["size"]:
            return
        if not (self._state["validator"] or self._remote.checksum):
            self._start_over()  # Nothing would tell whether the rest is of the same file.
        headers = {}
        if self.size:
            headers = {"Range": f"bytes={self.size}-"}
            if self._state["validator"]:
                headers["If-Range"] = self._state["validator"]
        try:
            with self._session.get(self._remote.url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
                self._take(answer)
        except requests.RequestException as error:
            if isinstance(error, requests.exceptions.MissingSchema | requests.exceptions.InvalidURL):
                raise InputError(f"{self._remote.url} is no address: {error}.") from None
            raise _BrokenError(_first_line(error)) from None

    def finish(self) -> None:
        """Gives the file its name, if it is the right one."""
        if wrong := check(self._part, self._remote):
            self._start_over()
            raise InputError(
                f"{self._remote.url} is another file than its source states ({wrong}): it was removed; the makers may"
                " have changed it, or something damaged it on its way, so run the same command again."
            )
        self._part.replace(self._path)
        self._note.unlink(missing_ok=True)

    def _take(self, answer: "requests.Response") -> None:
        self._stop_on_refusal(answer)
        is_rest = answer.status_code == 206
        total = self._total_of_rest(answer) if is_rest else _content_length(answer)
        if answer.status_code == 416 or (is_rest and total is None):
            # The part is no beginning of what is there now.
            self._start_over()
            raise _BrokenError("the server cannot continue it")
        if not is_rest:
            self._start_over()
        if self._remote.size is not None and total is not None and total != self._remote.size:
            self._start_over()
            raise InputError(
                f"{self._remote.url} is another file than its source states (it has {total:,} bytes and not"
                f" {self._remote.size:,}): the makers may have changed it; get it by hand, and give it to --from."
            )
        total = self._remote.size if total is None else total
        self._stop_on_full_disk(total)
        self._write_state(answer, total)
        self._write(_blocks(answer), total)
        if total is not None and self.size < total:
            raise _BrokenError(f"it ends after {self.size:,} of {total:,} bytes")

    def _stop_on_refusal(self, answer: "requests.Response") -> None:
        status = answer.status_code
        if status in _WORTH_ANOTHER_TRY:
            pause = answer.headers.get("Retry-After", "")
            raise _BrokenError(f"{status} {answer.reason}", float(pause) if pause.isdigit() else 0.0)
        if status not in (200, 206, 416):
            raise InputError(
                f"{self._remote.url} answers {status} {answer.reason}: the file is not there (any more); get it by"
                " hand, and give it to --from."
            )
        if self._remote.url.startswith("https:") and not answer.url.startswith("https:"):
            raise InputError(f"{self._remote.url} leads to {answer.url}, which is not encrypted: get it by hand.")
        is_page = answer.headers.get("Content-Type", "").startswith("text/html")
        if is_page and not self._remote.name.endswith((".html", ".htm")):
            raise InputError(
                f"{self._remote.url} is a web page and not the file {self._remote.name}, perhaps one that asks for a"
                " login: get the file by hand, and give it to --from."
            )

    def _total_of_rest(self, answer: "requests.Response") -> int | None:
        """Returns the length of the whole file of an answer that continues this part; None of one that does not."""
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self.size or found[3] == "*":
            return None
        is_same = self._state["size"] in (None, int(found[3]))
        validator = _validator(answer)
        if validator and self._state["validator"] and validator != self._state["validator"]:
            return None
        return int(found[3]) if is_same else None

    def _write(self, blocks: Iterator[bytes], total: int | None) -> None:
        try:
            with self._part.open("ab") as file:
                for block in blocks:
                    if total is not None and file.tell() + len(block) > total:
                        raise _BrokenError("it sends more bytes than it states")
                    file.write(block)
                    self._told(len(block))
        except OSError as error:
            import requests

            if isinstance(error, requests.RequestException):
                raise
            if is_disk_full(error):
                raise
            raise InputError(
                f"{self._part} cannot be written ({error.strerror}): free some space, or give another --output; the"
                " same command continues."
            ) from None

    def _stop_on_full_disk(self, total: int | None) -> None:
        free = shutil.disk_usage(self._path.parent).free
        if total is not None and total - self.size > free:
            raise InputError(
                f"{self._remote.name} needs {(total - self.size) / 1e6:,.0f} MB more, and the disk of"
                f" {self._path.parent} has {free / 1e6:,.0f} MB free: free some space, or give another --output."
            )

    def _read_state(self) -> dict[str, Any]:
        """Reads the note beside a part; without a fitting one the part is worth nothing."""
        try:
            state = json.loads(self._note.read_text(encoding="utf-8"))
            if state["url"] == self._remote.url and (state["validator"] or self._remote.checksum):
                return {"url": state["url"], "validator": state["validator"], "size": state["size"]}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._part.unlink(missing_ok=True)
        return {"url": self._remote.url, "validator": None, "size": None}

    def _write_state(self, answer: "requests.Response", total: int | None) -> None:
        self._state = {"url": self._remote.url, "validator": _validator(answer), "size": total}
        self._note.write_text(json.dumps(self._state), encoding="utf-8")

    def _start_over(self) -> None:
        self._told(-self.size)
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._state = {"url": self._remote.url, "validator": None, "size": None}


def _blocks(answer: "requests.Response") -> Iterator[bytes]:
    """Yields what came, up to the last byte before the connection broke: `iter_content` drops a block that began."""
    import urllib3

    try:
        while block := answer.raw.read1(_BLOCK):
            yield block
    except urllib3.exceptions.HTTPError as error:
        raise _BrokenError(_first_line(error)) from None


def _validator(answer: "requests.Response") -> str | None:
    """Returns what tells one version of a file from another: a strong ETag, or else when it was changed."""
    etag = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    return answer.headers.get("Last-Modified")


def _content_length(answer: "requests.Response") -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
