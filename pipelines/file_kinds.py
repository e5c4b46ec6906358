"""What a file is that is not what its name says: what a download leaves in the place of a recording or a table."""

from pathlib import Path

_BEGINNING = 1024

_LFS = b"version https://git-lfs.github.com/spec/"


def foreign_kind(path: Path) -> str:
    """Recognises by its first bytes a file that stands for another one, or is the answer of a server.

    Args:
      path: A file that could not be read as what it should be.

    Returns:
      The end of a sentence that begins with the path; empty for anything else, also for what cannot be opened.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
    except OSError:
        return ""
    start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(_LFS):
        return "is a git-lfs pointer, not the file itself: fetch that with git lfs pull."
    if b"/annex/objects/" in start.partition(b"\n")[0]:
        return "is a git-annex pointer, not the file itself: fetch that with git annex get."
    if start[:9].lower().startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "is a web page, perhaps the answer of a server that wants a login: download the file again."
    if start[:5].lower() == b"<?xml" or start.startswith((b"<Error>", b'{"error', b'{"message')):
        return "is an answer in XML or JSON, not the file itself: download the file again."
    return ""
