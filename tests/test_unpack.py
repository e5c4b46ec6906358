"""Tests of pipelines.downloads.unpack: archives of strangers do no harm."""

import stat
import zipfile

import pytest

from pipelines.command import InputError
from pipelines.downloads.unpack import unpack


@pytest.fixture
def make(tmp_path):
    def make(*entries, compression=zipfile.ZIP_DEFLATED):
        path = tmp_path / "corpus.zip"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for entry in entries:
                archive.writestr(*entry)
        return path

    return make


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_files_come_out_as_they_were_and_what_desktops_add_does_not(make, folder):
    told = []
    archive = make(("Actor_01/a.wav", b"a" * 1000), ("b.wav", b"b"), ("__MACOSX/._b.wav", b"x"), ("x/.DS_Store", b"x"))
    paths = unpack(archive, folder, told.append)
    assert sorted(path.as_posix() for path in paths) == ["Actor_01/a.wav", "b.wav"]
    assert (folder / "Actor_01" / "a.wav").read_bytes() == b"a" * 1000
    assert sum(told) == 1001
    assert sorted(one.name for one in folder.iterdir()) == ["Actor_01", "b.wav"]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil", "C:evil", "\\\\server\\evil", ".."]
)
def test_no_path_leaves_the_folder(make, folder, name):
    with pytest.raises(InputError, match="lies outside of its folder"):
        unpack(make(("good.wav", b"1"), (name, b"2")), folder)
    assert list(folder.parent.rglob("evil*")) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(make, folder, kind):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with pytest.raises(InputError, match="a link or a device"):
        unpack(make((info, b"/etc/passwd")), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a.wav", "A.WAV"])
def test_two_files_of_one_name_are_refused(make, folder, second):
    with pytest.raises(InputError, match="twice"):
        unpack(make(("a.wav", b"1"), (second, b"2")), folder)


def test_bombs_are_refused_before_anything_is_written(make, folder):
    with pytest.raises(InputError, match=r"would unpack to 1 files"):
        unpack(make(("zeros", bytes(1000))), folder, most_bytes=999)
    with pytest.raises(InputError, match=r"would unpack to 3 files"):
        unpack(make(*[(f"{number}", b"1") for number in range(3)]), folder, most_files=2)
    assert list(folder.iterdir()) == []


def test_a_file_that_is_larger_than_it_states_is_not_written_on(make, folder):
    archive = make(("zeros.wav", bytes(5_000_000)))
    content = bytearray(archive.read_bytes())
    place = content.rindex(b"PK\x01\x02") + 24
    assert int.from_bytes(content[place : place + 4], "little") == 5_000_000
    content[place : place + 4] = (1000).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(InputError, match="cannot be unpacked"):
        unpack(archive, folder)
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 1000


def test_what_is_damaged_or_no_zip_is_said(make, folder, tmp_path):
    archive = make(("a.wav", b"content" * 100), compression=zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"content", b"CONTENT", 1))
    with pytest.raises(InputError, match="Bad CRC"):
        unpack(archive, folder)
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(InputError, match="it is no ZIP, or damaged"):
        unpack(tmp_path / "page.zip", folder)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_stream_of_any_compression_is_said(make, folder, compression):
    archive = make(("a.wav", bytes(range(256)) * 8), compression=compression)
    content = bytearray(archive.read_bytes())
    content[45:60] = b"\xff" * 15  # Behind the header of the file, in what is compressed.
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be unpacked .*get it again"):
        unpack(archive, folder)


def test_a_password_is_said(make, folder):
    archive = make(("a.wav", b"1"))
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match="under a password"):
        unpack(archive, folder)
