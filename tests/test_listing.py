"""Tests of emotion_tf.serving.listing: which recordings folders and tables mean."""

import pytest

from emotion_tf.serving.listing import Item, find_items
from pipelines.command import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("b.wav", "sub/a.MP3", "sub/c.mp4", "notes.txt", "._b.wav"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "clips"


def table(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def test_a_folder_means_its_recordings_and_videos_at_any_depth_in_order(folder):
    expected = [folder / "b.wav", folder / "sub" / "a.MP3", folder / "sub" / "c.mp4"]
    assert [item.path for item in find_items([folder])] == expected


def test_a_table_means_its_paths_from_its_own_folder_with_their_words(tmp_path):
    source = table(tmp_path / "files.csv", '\ufeffpath,transcript\nx/a.wav,"oh, no"\n/b.wav,\n')
    assert find_items([source]) == [Item(tmp_path / "x" / "a.wav", "oh, no"), Item(type(source)("/b.wav"))]


def test_a_file_that_is_named_twice_comes_once(folder):
    assert len(find_items([folder, folder / "b.wav"])) == 3


def test_two_transcripts_of_one_file_get_a_sentence(tmp_path):
    source = table(tmp_path / "files.csv", "path,transcript\na.wav,oh\na.wav,no\n")
    with pytest.raises(InputError, match=r"a\.wav comes twice, with two transcripts \('oh' and 'no'\)"):
        find_items([source])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("file\na.wav\n", r"has no column path \(found: file\)"),
        ("path\n", "holds a header and no rows"),
        ("", "has no column path"),
        ("path,transcript\n,oh\n", "line 2: the cell path is empty"),
        ("path\na.wav,b.wav\n", "line 2 has more cells than the header"),
    ],
)
def test_a_table_that_cannot_be_used_gets_a_sentence(tmp_path, content, sentence):
    with pytest.raises(InputError, match=sentence):
        find_items([table(tmp_path / "files.csv", content)])


def test_what_holds_nothing_or_is_not_there_gets_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"holds no recordings: name a folder of \.aac"):
        find_items([tmp_path])
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        find_items([tmp_path / "none.csv"])
    (tmp_path / "latin.csv").write_bytes(b"path\n\xff.wav\n")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        find_items([tmp_path / "latin.csv"])
