"""Tests of pipelines.downloads.fetch against a server that breaks off, lies, resumes and changes its file."""

import hashlib
import http.server
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.command import InputError
from pipelines.downloads import fetch as fetching
from pipelines.downloads.fetch import Remote, fetch, make_session

CONTENT = bytes(range(256)) * 2000
OTHER = CONTENT[::-1]
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server(http.server.ThreadingHTTPServer):
    """Serves one file in a way that a test sets, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.modified = CONTENT, '"one"', None
        self.knows_ranges, self.checks_if_range = True, True
        self.break_after, self.stated = [], None
        self.statuses, self.extra = [], {}
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/corpus.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if server.statuses:
            self.send_response(server.statuses.pop(0))
            for name, value in {"Content-Length": "0", **server.extra}.items():
                self.send_header(name, value)
            self.end_headers()
            return
        start = self._start()
        self.send_response(206 if start else 200)
        body = server.content[start:]
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.stated != "nothing":
            self.send_header("Content-Length", str(server.stated or len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        for name, value in server.extra.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if server.break_after:
            body = body[: server.break_after.pop(0)]
        self.wfile.write(body)

    def _start(self):
        server, asked = self.server, self.headers.get("Range")
        if not asked or not server.knows_ranges:
            return 0
        version = self.headers.get("If-Range")
        if server.checks_if_range and version and version not in (server.etag, server.modified):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))


@pytest.fixture
def server(answering):
    return answering(Server())


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    with make_session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def path(tmp_path):
    return tmp_path / "corpus.zip"


def whole(path):
    """Whether the file is there, and nothing beside it."""
    return path.read_bytes() == CONTENT and [one.name for one in path.parent.iterdir()] == [path.name]


def broken_off(server, session, path, checksum=MD5, after=100_000):
    """Lets a download end for good behind so many bytes."""
    server.break_after = [after]
    server.statuses = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching, "MOST_ATTEMPTS", 0)
        with pytest.raises(InputError, match="breaks off"):
            fetch(Remote(server.url, path.name, None, checksum), path, session)
    assert not path.exists()
    server.break_after = []


def test_a_file_comes_whole_with_its_progress(server, session, path):
    told = []
    fetch(Remote(server.url, path.name, len(CONTENT), MD5), path, session, told.append)
    assert whole(path)
    assert sum(told) == len(CONTENT)


def test_what_breaks_off_again_and_again_is_continued(server, session, path):
    server.break_after = [100_000, 50_000, 200_000]
    fetch(Remote(server.url, path.name, len(CONTENT), MD5), path, session)
    assert whole(path)
    assert server.asked == [None, "bytes=100000-", "bytes=150000-", "bytes=350000-"]


def test_a_later_command_continues_where_the_first_one_stopped(server, session, path):
    broken_off(server, session, path)
    told = []
    fetch(Remote(server.url, path.name, None, MD5), path, session, told.append)
    assert whole(path)
    assert server.asked == [None, "bytes=100000-"]
    assert told[0] == 100_000
    assert sum(told) == len(CONTENT)


def test_a_server_without_ranges_sends_it_again(server, session, path):
    server.knows_ranges, server.break_after = False, [100_000]
    told = []
    fetch(Remote(server.url, path.name, None, MD5), path, session, told.append)
    assert whole(path)
    assert sum(told) == len(CONTENT)


@pytest.mark.parametrize("checks_if_range", [True, False])
def test_a_file_that_changed_in_between_is_not_glued_together(server, session, path, checks_if_range):
    broken_off(server, session, path, checksum=None)
    server.content, server.etag, server.checks_if_range = OTHER, '"two"', checks_if_range
    fetch(Remote(server.url, path.name), path, session)
    assert path.read_bytes() == OTHER


def test_without_a_version_or_a_checksum_nothing_is_continued(server, session, path):
    server.etag = None
    broken_off(server, session, path, checksum=None)
    server.content = OTHER
    fetch(Remote(server.url, path.name), path, session)
    assert path.read_bytes() == OTHER
    assert server.asked == [None, None]


def test_a_date_tells_versions_apart_where_there_is_no_etag(server, session, path):
    server.etag, server.modified = 'W/"weak"', "Mon, 01 Jan 2024 00:00:00 GMT"
    broken_off(server, session, path, checksum=None)
    fetch(Remote(server.url, path.name), path, session)
    assert whole(path)
    assert server.asked == [None, "bytes=100000-"]


def test_a_server_that_states_too_much_is_given_up(server, session, path):
    server.stated = len(CONTENT) + 1000
    server.knows_ranges = False
    with pytest.raises(InputError, match=r"breaks off .* times without a further byte"):
        fetch(Remote(server.url, path.name, None, MD5), path, session)
    assert not path.exists()


def test_a_server_that_states_too_little_is_found_by_the_checksum(server, session, path):
    server.stated = 1000
    with pytest.raises(InputError, match=r"another file than its source states .its md5 is"):
        fetch(Remote(server.url, path.name, None, MD5), path, session)
    assert list(path.parent.iterdir()) == []


def test_a_file_of_no_stated_length_is_measured_by_its_source(server, session, path):
    server.stated = "nothing"
    fetch(Remote(server.url, path.name, len(CONTENT), MD5), path, session)
    assert whole(path)
    server.break_after = [1000] * 50
    with pytest.raises(InputError, match="breaks off"):
        fetch(Remote(server.url, "other", 10 * len(CONTENT)), path.with_name("other"), session)


def test_another_release_is_refused_before_it_comes(server, session, path):
    with pytest.raises(InputError, match=r"it has 512,000 bytes and not 512,001"):
        fetch(Remote(server.url, path.name, len(CONTENT) + 1, MD5), path, session)
    assert list(path.parent.iterdir()) == []


def test_a_damaged_file_is_removed(server, session, path):
    server.content = OTHER
    with pytest.raises(InputError, match="it was removed"):
        fetch(Remote(server.url, path.name, len(CONTENT), MD5), path, session)
    assert list(path.parent.iterdir()) == []


def test_an_absent_file_is_said_at_once_and_a_busy_server_is_asked_again(server, session, path):
    server.statuses = [404]
    with pytest.raises(InputError, match=r"answers 404 Not Found: .* --from"):
        fetch(Remote(server.url, path.name), path, session)
    assert len(server.asked) == 1
    server.statuses, server.extra = [503, 429], {"Retry-After": "1"}
    fetch(Remote(server.url, path.name, len(CONTENT), MD5), path, session)
    assert whole(path)


def test_a_server_that_stays_busy_or_is_away_is_given_up(server, session, path):
    server.statuses = [503] * 50
    with pytest.raises(InputError, match="503 Service Unavailable"):
        fetch(Remote(server.url, path.name), path, session)
    with pytest.raises(InputError, match="breaks off"):
        fetch(Remote("http://127.0.0.1:1/a.zip", path.name), path, session)


def test_a_page_in_the_place_of_an_archive_is_called_that(server, session, path):
    server.extra = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(InputError, match=r"is a web page and not the file corpus.zip"):
        fetch(Remote(server.url, path.name), path, session)


def test_a_full_disk_is_one_sentence_and_costs_nothing_that_came(server, path):
    """A limit of the process on the size of files stands for the disk."""
    code = (
        "import resource, sys; from pathlib import Path; from pipelines.command import run_command;"
        "from pipelines.downloads.fetch import *; url, path = sys.argv[1:];"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY));"
        "session = make_session(); session.trust_env = False;"
        "sys.exit(run_command(lambda argv: fetch(Remote(url, 'corpus.zip'), Path(path), session)))"
    )
    root = Path(__file__).parents[1]
    finished = subprocess.run(
        [sys.executable, "-c", code, server.url, str(path)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "cannot be written (File too large): free some space" in finished.stderr
    assert not path.exists()
    part = path.with_name(".unfinished-corpus.zip")
    assert part.read_bytes() == CONTENT[: part.stat().st_size]
    assert part.stat().st_size > 100_000
    with make_session() as session:
        session.trust_env = False
        fetch(Remote(server.url, path.name), path, session)
    assert whole(path)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200_000


def test_a_disk_that_is_too_small_is_said_before(server, session, path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(InputError, match="needs 1 MB more"):
        fetch(Remote(server.url, path.name), path, session)


def test_a_note_of_another_file_makes_the_part_worthless(server, session, path):
    broken_off(server, session, path)
    note = path.with_name(".unfinished-corpus.zip.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"url": "http://other"}))
    fetch(Remote(server.url, path.name, None, MD5), path, session)
    assert whole(path)
    assert server.asked == [None, None]
