"""Tests of pipelines.corpora.folders: a folder for each emotion, and speakers who are found, or known to be unknown."""

import corpus_trees
import pytest

from pipelines.command import InputError
from pipelines.corpora import folders
from pipelines.corpora.recordings import Speakers

BY_NAME = Speakers(r"/([a-z]+)_\d+\.")


def tree(folder):
    return corpus_trees.place(folder, "angry/anna_1.wav", "angry/bo_1.wav", "sad/anna_2.WAV")


def test_the_folder_is_the_emotion_and_the_pattern_finds_who_speaks(tmp_path):
    corpus = folders.read(tree(tmp_path / "mine"), (), BY_NAME)
    assert [(one.utterance_id, one.speaker, one.emotion) for one in corpus.utterances] == [
        ("angry/anna_1", "anna", "angry"),
        ("angry/bo_1", "bo", "angry"),
        ("sad/anna_2", "anna", "sad"),
    ]
    assert (corpus.name, corpus.emotions) == ("mine", ("angry", "sad"))


def test_emotions_give_the_order_and_folders_of_splits_lie_above_them(tmp_path):
    corpus_trees.place(tmp_path, "Train/sad/anna_1.wav", "val/angry/bo_1.wav", "test/sad/cy_1.wav")
    corpus = folders.read(tmp_path, ("sad", "angry"), BY_NAME)
    assert corpus.emotions == ("sad", "angry")
    splits = {one.speaker: one.published_split for one in corpus.utterances}
    assert splits == {"anna": "train", "bo": "validation", "cy": "test"}


def test_a_file_twice_in_two_formats_is_read_once_as_wav(tmp_path):
    corpus_trees.place(tree(tmp_path), "angry/anna_1.mp3")
    corpus = folders.read(tmp_path, (), BY_NAME)
    assert corpus.ignored == {"a second file of the same name": 1}
    assert corpus.utterances[0].audio.suffix == ".wav"


def test_speakers_who_are_not_known_are_refused_with_what_that_means_or_left_out(tmp_path):
    with pytest.raises(InputError, match=r"nothing says who speaks, and .* --speaker-regex .* or --no-speakers"):
        folders.read(tree(tmp_path), (), Speakers())
    corpus = folders.read(tmp_path, (), Speakers(is_unknown=True))
    assert {one.speaker for one in corpus.utterances} == {""}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"--speaker-regex \( is no regular expression"),
        ("[a-z]+", r"--speaker-regex \[a-z\]\+ has no group"),
        ("(x)", r"3 recordings below .* cannot be used:\n  .*finds no speaker in angry/anna_1\.wav"),
        (r"(\d)_", "finds no speaker in angry/anna_1.wav: mend the pattern"),
    ],
)
def test_patterns_that_find_nobody_are_refused(tmp_path, pattern, message):
    with pytest.raises(InputError, match=message):
        folders.read(tree(tmp_path), (), Speakers(pattern))


def test_flat_empty_and_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="it holds no recording"):
        folders.read(tmp_path, (), BY_NAME)
    with pytest.raises(InputError, match=r"a_1\.wav lies in it directly"):
        folders.read(corpus_trees.place(tree(tmp_path), "a_1.wav"), (), BY_NAME)
    with pytest.raises(InputError, match="has the labels sad, which are none of angry, calm"):
        folders.read(tree(tmp_path / "b"), ("angry", "calm"), BY_NAME)
