"""Tests of emotion_tf.serving.versions: a new version is named once, when it no longer changes."""

from emotion_tf.serving.versions import VersionWatch, number_of


def write(folder, content=b"model"):
    folder.mkdir(exist_ok=True)
    (folder / "saved_model.pb").write_bytes(content)
    return folder.resolve()


def test_the_highest_number_is_named_once_its_files_no_longer_change(tmp_path):
    current = write(tmp_path / "9")
    watch = VersionWatch(tmp_path, current)
    assert watch.look() is None
    (tmp_path / "10").mkdir()
    (tmp_path / "11.tmp").mkdir()
    assert [watch.look(), watch.look()] == [None, None]  # Nothing that loads is in it.
    newest = write(tmp_path / "10", b"mo")
    assert watch.look() is None
    write(tmp_path / "10", b"model")
    assert [watch.look() for _ in range(4)] == [None, newest, None, None]
    write(tmp_path / "10", b"another one")  # One that did not load is tried again when it changes.
    assert [watch.look() for _ in range(3)] == [None, newest, None]
    watch.current = newest
    assert [watch.look(), watch.look()] == [None, None]


def test_the_version_before_is_named_when_the_current_one_is_removed(tmp_path):
    first, second = write(tmp_path / "1"), write(tmp_path / "2")
    watch = VersionWatch(tmp_path, second)
    (second / "saved_model.pb").unlink()
    assert [watch.look(), watch.look()] == [None, first]


def test_a_folder_that_went_away_names_nothing(tmp_path):
    watch = VersionWatch(tmp_path / "none", tmp_path / "none" / "1")
    assert watch.look() is None
    assert [number_of(tmp_path / name) for name in ("12", "x")] == [12, 1]
