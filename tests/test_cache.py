"""Tests of pipelines.transcripts.cache: what is kept, and what half a file, a spreadsheet or another table does."""

import os

import pytest

from pipelines.command import InputError
from pipelines.transcripts.cache import TranscriptCache, write_table

SETTINGS = {"model": "base", "language": "en"}


def cache(folder, **settings):
    return TranscriptCache(folder / "words.csv", SETTINGS | settings, ("audio_sha256", "seconds", "transcript"))


def row(key, transcript):
    return {"audio_sha256": key, "seconds": "1.0", "transcript": transcript}


def test_rows_read_back_as_written(tmp_path):
    texts = ["", "oh, no", 'she said "no"', "好 😀", "one\nline \r\n only"]
    for number, transcript in enumerate(texts):
        cache(tmp_path).add(row(f"{number}", transcript))
    again = cache(tmp_path)
    assert [again.get(f"{number}") for number in range(5)] == [*texts[:4], "one line only"]
    assert again.get("5") is None
    lines = (tmp_path / "words.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["audio_sha256,model,language,seconds,transcript", "0,base,en,1.0,", '1,base,en,1.0,"oh, no"']
    assert len(lines) == 6


def test_rows_of_other_settings_do_not_count(tmp_path):
    cache(tmp_path).add(row("a", "ja"))
    assert cache(tmp_path, language="de").get("a") is None
    cache(tmp_path, language="de").add(row("a", "nein"))
    assert (cache(tmp_path).get("a"), cache(tmp_path, language="de").get("a")) == ("ja", "nein")


def test_a_file_that_ends_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path):
    cache(tmp_path).add(row("a", "eins"))
    cache(tmp_path).add(row("b", "zwei 好, und drei"))
    whole = (tmp_path / "words.csv").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "words.csv").write_bytes(whole[:length])
        again = cache(tmp_path)
        lines = whole[:length].count(b"\n")
        assert [again.get("a"), again.get("b")] == [["eins", None][lines < 2], None], length
        again.add(row("b", "vier"))
        assert cache(tmp_path).get("b") == "vier"


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path):
    cache(tmp_path).add(row("a", "oh"))
    content = (tmp_path / "words.csv").read_text(encoding="utf-8").replace("\n", "\r\n")
    (tmp_path / "words.csv").write_text("\ufeff" + content, encoding="utf-8", newline="")
    assert cache(tmp_path).get("a") == "oh"


@pytest.mark.parametrize(
    "content", [b"path,emotion\na,b\n", b"\xff\xfe\x00\n", b'a,"b"c\n', b"\n", b"my notes", b"a,b\nhalf"]
)
def test_another_file_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "words.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"words\.csv is no CSV of transcripts.*: remove it"):
        cache(tmp_path)
    assert (tmp_path / "words.csv").read_bytes() == content


def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for write in (cache, lambda folder: write_table(folder / "table.csv", [{"a": "b"}])):
        with pytest.raises(InputError, match=r"file.* cannot be made .*give another folder to --transcript-cache"):
            write(tmp_path / "file" / "below")


def test_a_folder_in_the_place_of_a_table_gets_a_sentence(tmp_path):
    words = cache(tmp_path)
    (tmp_path / "words.csv").mkdir()
    for use in (
        lambda: cache(tmp_path),
        lambda: words.add(row("a", "oh")),
        lambda: write_table(tmp_path / "words.csv", [{"a": "b"}]),
    ):
        with pytest.raises(InputError, match=r"words\.csv cannot be read and written \(Is a directory\)"):
            use()
    assert words.get("a") is None


def test_a_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "table.csv"
    write_table(path, [{"id": "a", "transcript": "oh, no"}, {"id": "b", "transcript": "\udcff"}])
    assert path.read_text() == 'id,transcript\na,"oh, no"\nb,?\n'

    def fail(*arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_table(path, [])
    assert [one.name for one in path.parent.iterdir()] == ["table.csv"]
    assert path.read_text().count("\n") == 3
