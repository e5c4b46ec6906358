"""Embeddings of many files as one .npz, which grows as a plain file of numbers beside it until all is done."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pipelines.command import InputError, make_folder
from pipelines.files import replacing

FLAG = "--embeddings"

SUFFIX = ".npz"


class EmbeddingFile:
    """An open file of embeddings; `open_embeddings` makes one."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def append(self, embeddings: Sequence[np.ndarray]) -> None:
        """Adds vectors [embedding_dim]: all that was added is there after the process was killed."""
        self._file.write(b"".join(vector.astype("<f4").tobytes() for vector in embeddings))
        self._file.flush()


def check_name(path: Path) -> None:
    """Stops on a name of another kind of file.

    Raises:
      InputError: It is one.
    """
    if path.suffix.lower() != SUFFIX:
        raise InputError(f"{path} does not end in {SUFFIX}: give {FLAG} a name that does.")


@contextlib.contextmanager
def open_embeddings(path: Path, files: list[str], embedding_dim: int) -> Iterator[EmbeddingFile]:
    """Opens a file of embeddings, a new one or one that was begun.

    Args:
      path: The .npz. At the end of the context it holds `files` [num_files] and `embeddings` [num_files,
        embedding_dim].
      files: Those whose embeddings it has, in their order; further ones are added while the context lasts. What it
        holds beyond them is cut off.
      embedding_dim: Of the model.

    Raises:
      InputError: Another suffix, a folder that cannot be written to, or a file that lacks embeddings of these files.
    """
    check_name(path)
    make_folder(path.parent, FLAG)
    journal = path.with_name(f"{path.name}.rows")
    if not journal.exists():
        stored = _stored(path)
        if stored and not files:
            raise InputError(f"{path} is there, and is of other predictions: give {FLAG} another name, or remove it.")
        with replacing(journal) as temporary:
            temporary.write_bytes(stored)
    num_bytes = 4 * embedding_dim * len(files)
    if journal.stat().st_size < num_bytes:
        raise InputError(f"{path} lacks embeddings of what is predicted already: give another --output and {FLAG}.")
    with journal.open("ab") as file:
        file.truncate(num_bytes)
        yield EmbeddingFile(file)
    embeddings = np.fromfile(journal, "<f4").reshape(len(files), embedding_dim)
    with replacing(path) as temporary:
        np.savez(temporary, files=np.array(files, str), embeddings=embeddings)
    journal.unlink()


def _stored(path: Path) -> bytes:
    """Reads the embeddings of a file that was finished; none of another one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found: bytes = stored["embeddings"].astype("<f4").tobytes()
            return found
    except (OSError, ValueError, KeyError):
        return b""
