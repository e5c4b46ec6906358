"""Tests of pipelines.download and its sources: a corpus comes whole from a server on loopback, or from an archive."""

import hashlib
import http.server
import io
import json
import re
import zipfile

import pytest

from pipelines import download
from pipelines.command import InputError
from pipelines.downloads import fetch, sources
from pipelines.downloads.fetch import Remote, make_session
from pipelines.downloads.sources import SOURCES, of_dataverse, of_git_lfs, of_zenodo


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_wav", ".wav"), data)
    return content.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        content = self.server.pages.get(self.path)
        if isinstance(content, str):
            self.send_response(302)
            self.send_header("Location", content)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif content is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(content), 1000):
                block = content[start : start + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def server(monkeypatch, answering):
    """A server of `pages`, path -> content or where it leads to; in chunks, so that no length is stated."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.pages, server.asked, server.url = {}, [], f"http://127.0.0.1:{server.server_port}"
    return answering(server)


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"


def source(**options):
    facts = {"title": "Mine", "page": "http://mine", "licence": "MINE-1", "citation": "Me (2020)", "megabytes": 1.0}
    return sources.Source(**facts | {"suffix": ".wav", "folder": "mine"} | options)


@pytest.fixture
def offered(server, monkeypatch):
    """From options to a corpus "mine" that the command knows; returns what runs the command."""

    def offer(**options):
        monkeypatch.setattr(download, "SOURCES", {"mine": source(**options)})
        return lambda *flags: download.main(["mine", *map(str, flags)])

    return offer


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_archive_comes_is_unpacked_and_noted(server, offered, tmp_path, capsys):
    content = zipped(Actor_01__a_wav=b"a" * 5000, Actor_02__b_wav=b"b")
    server.pages = {"/there": content, "/mine.zip": "/there"}
    run = offered(files=(Remote(f"{server.url}/mine.zip", "mine.zip", len(content), md5(content)),))
    run("--accept-licence", "--output", tmp_path / "out")
    assert names(tmp_path / "out") == ["Actor_01/a.wav", "Actor_02/b.wav", "download-mine.json"]
    note = json.loads((tmp_path / "out" / "download-mine.json").read_text())
    assert note["licence"] == "MINE-1"
    assert note["files"] == ["Actor_01/a.wav", "Actor_02/b.wav"]
    output = capsys.readouterr().out
    assert all(fact in output for fact in ("about 1 MB", "licence: MINE-1", "cite: Me (2020)", "2 files"))
    run("--accept-licence", "--output", tmp_path / "out")
    assert "holds Mine already, 2 files" in capsys.readouterr().out
    assert server.asked == ["/mine.zip", "/there"]


def test_nothing_comes_before_the_licence_is_accepted(server, offered, tmp_path, capsys):
    run = offered(files=(Remote(f"{server.url}/mine.zip", "mine.zip"),))
    with pytest.raises(InputError, match="the licence of Mine is not accepted: read it, and add --accept-licence"):
        run("--output", tmp_path / "out")
    assert "licence: MINE-1" in capsys.readouterr().out
    assert server.asked == []
    assert not (tmp_path / "out").exists()


def test_an_archive_at_hand_is_unpacked_and_compared(server, offered, tmp_path, capsys):
    content = zipped(a_wav=b"a")
    (tmp_path / "kaggle.zip").write_bytes(content)
    run = offered(files=(Remote("http://absent/mine.zip", "mine.zip", len(content), md5(content)),))
    run("--accept-licence", "--from", tmp_path / "kaggle.zip", "--output", tmp_path / "out")
    assert "its checksum is theirs" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.wav", "download-mine.json"]
    (tmp_path / "kaggle.zip").write_bytes(zipped(b_wav=b"b"))
    run("--accept-licence", "--from", tmp_path / "kaggle.zip", "--output", tmp_path / "other")
    assert "compared with no checksum" in capsys.readouterr().err
    assert (tmp_path / "kaggle.zip").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [(zipped(a=b"a"), "holds no .wav file, so it is not Mine"), (b"<html>", "it is no ZIP, or damaged")],
)
def test_what_is_no_archive_of_the_corpus_leaves_nothing(offered, tmp_path, content, match):
    (tmp_path / "mine.zip").write_bytes(content)
    with pytest.raises(InputError, match=match):
        offered()("--accept-licence", "--from", tmp_path / "mine.zip", "--output", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_are_there_are_not_overwritten(offered, tmp_path):
    (tmp_path / "mine.zip").write_bytes(zipped(a_wav=b"a", b_wav=b"b"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav").write_bytes(b"my own")
    with pytest.raises(InputError, match=r"b.wav exists and differs"):
        offered()("--accept-licence", "--from", tmp_path / "mine.zip", "--output", tmp_path / "out")
    assert names(tmp_path / "out") == ["b.wav"]
    (tmp_path / "out" / "b.wav").write_bytes(b"b")
    offered()("--accept-licence", "--from", tmp_path / "mine.zip", "--output", tmp_path / "out")
    assert names(tmp_path / "out") == ["a.wav", "b.wav", "download-mine.json"]


def test_what_is_given_to_those_who_register_says_how(offered, tmp_path):
    with pytest.raises(InputError, match="given by its makers alone: register there, then give it to --from"):
        offered(by_hand="register there")("--accept-licence", "--output", tmp_path / "out")


def test_a_broken_command_continues_with_the_files_that_are_missing(server, offered, tmp_path):
    files = tuple(
        Remote(f"{server.url}/{name}", name, 2000, md5(name[:1].encode() * 2000)) for name in ("a.wav", "b.wav")
    )
    server.pages = {"/a.wav": b"a" * 2000}
    run = offered(files=files)
    with pytest.raises(InputError, match=r"/b.wav answers 404"):
        run("--accept-licence", "--output", tmp_path / "out")
    assert names(tmp_path / "out") == ["a.wav"]
    server.pages["/b.wav"] = b"b" * 2000
    run("--accept-licence", "--output", tmp_path / "out")
    assert names(tmp_path / "out") == ["a.wav", "b.wav", "download-mine.json"]
    assert server.asked.count("/a.wav") == 1


def test_a_record_of_zenodo_lists_its_files(server, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "_ZENODO", server.url)
    files = [
        {"key": name, "size": 3, "checksum": f"md5:{name}", "links": {"self": f"{server.url}/{name}"}}
        for name in ("Video_01.zip", "Audio.zip")
    ]
    server.pages = {"/7": json.dumps({"files": files}).encode(), "/8": b"[]", "/9": b'{"files": []}'}
    with make_session() as session:
        assert of_zenodo("7", r"Video_\d\d\.zip")(session, tmp_path) == [
            Remote(f"{server.url}/Video_01.zip", "Video_01.zip", 3, "md5:Video_01.zip")
        ]
        for record, match in (("8", "no list of files as it was known"), ("9", "lists no file"), ("6", "answers 404")):
            with pytest.raises(InputError, match=match):
                of_zenodo(record, ".*")(session, tmp_path)


def test_a_data_set_of_dataverse_lists_its_files(server, tmp_path):
    files = [
        {"label": label, "dataFile": {"id": number, "filesize": 4, "md5": "abc"}}
        for number, label in enumerate(("OAF_back_angry.wav", "readme.txt"))
    ]
    page = {"data": {"latestVersion": {"files": files}}}
    server.pages = {"/datasets/:persistentId/?persistentId=doi:10/x": json.dumps(page).encode()}
    with make_session() as session:
        assert of_dataverse(server.url, "doi:10/x", ".wav")(session, tmp_path) == [
            Remote(f"{server.url}/access/datafile/0", "OAF_back_angry.wav", 4, "md5:abc")
        ]


def test_files_of_git_lfs_come_with_the_sums_of_their_pointers(server, offered, tmp_path):
    sound = b"sound" * 1000
    digest = hashlib.sha256(sound).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(sound)}\n"
    server.pages = {
        "/repository.zip": zipped(
            CREMA__AudioWAV__one_wav=pointer, CREMA__AudioWAV__readme="x", CREMA__Video__v=pointer
        ),
        "/media/AudioWAV/one.wav": sound,
    }
    run = offered(listed=of_git_lfs(f"{server.url}/repository.zip", f"{server.url}/media", "AudioWAV/"))
    run("--accept-licence", "--output", tmp_path / "out")
    assert names(tmp_path / "out") == ["AudioWAV/one.wav", "download-mine.json"]
    assert (tmp_path / "out" / "AudioWAV" / "one.wav").read_bytes() == sound


@pytest.mark.parametrize("name", ["../evil.wav", "/evil.wav", "a/../../evil.wav", "a\\b.wav", ".hidden.wav"])
def test_a_list_cannot_write_elsewhere(offered, tmp_path, name):
    run = offered(listed=lambda session, folder: [Remote("http://absent", name)])
    with pytest.raises(InputError, match="lies outside of the folder"):
        run("--accept-licence", "--output", tmp_path / "out")


@pytest.mark.parametrize("corpus", SOURCES)
def test_every_source_says_what_a_user_must_know(corpus):
    one = SOURCES[corpus]
    assert one.page.startswith(("https://", "http://kahlan.eps.surrey.ac.uk/"))
    assert one.licence
    assert re.search(r"\(\d{4}\)", one.citation)
    for remote in one.files:
        assert remote.url.startswith("https://")
        assert remote.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}", remote.checksum)
    assert one.files or one.listed or "register" in one.by_hand
