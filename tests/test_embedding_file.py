"""Tests of emotion_tf.serving.embedding_file: vectors go with the rows that are there, and none is lost."""

import numpy as np
import pytest

from emotion_tf.serving.embedding_file import open_embeddings
from pipelines.command import InputError


def vectors(*numbers):
    return [np.full(3, number, np.float32) for number in numbers]


class Killed(BaseException):
    """Ends a context as no error does."""


def write(path, files, *numbers, ends=None):
    with open_embeddings(path, files, 3) as kept:
        kept.append(vectors(*numbers))
        if ends is not None:
            raise ends
        files += [f"{number}.wav" for number in numbers]


def stored(path):
    with np.load(path, allow_pickle=False) as found:
        return found["files"].tolist(), found["embeddings"][:, 0].tolist()


def test_it_holds_names_and_vectors_in_their_order_and_goes_on(tmp_path):
    path = tmp_path / "new" / "e.npz"
    write(path, [], 1, 2)
    assert stored(path) == (["1.wav", "2.wav"], [1, 2])
    write(path, ["1.wav", "2.wav"], 3)
    assert stored(path) == (["1.wav", "2.wav", "3.wav"], [1, 2, 3])
    assert [one.name for one in path.parent.iterdir()] == ["e.npz"]


def test_vectors_without_a_row_are_written_again(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(Killed):
        write(path, [], 1, 2, ends=Killed)
    with (tmp_path / "e.npz.rows").open("ab") as file:
        file.write(b"half")
    write(path, ["1.wav"], 5)
    assert stored(path) == (["1.wav", "5.wav"], [1, 5])


def test_what_does_not_belong_to_the_rows_gets_a_sentence(tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(InputError, match="lacks embeddings of what is predicted already"):
        write(path, ["1.wav"])
    write(tmp_path / "other.npz", [], 1)
    with pytest.raises(InputError, match="is of other predictions"):
        write(tmp_path / "other.npz", [], 2)
    with pytest.raises(InputError, match=r"does not end in \.npz"):
        write(tmp_path / "e.npy", [])
