"""Tests of pipelines.corpora.kaldi: data folders without pipes."""

import corpus_trees
import pytest

from pipelines.command import InputError
from pipelines.corpora import kaldi
from pipelines.corpora.recordings import Speakers
from pipelines.utterance import Segment


def data(folder, **tables):
    """A data folder with two recordings beside it; a table of None is left out."""
    folder.mkdir(parents=True)
    corpus_trees.place(folder.parent, "clips/r1.wav", "clips/r2.wav")
    found = {"wav.scp": "u1 clips/r1.wav\nu2 clips/r2.wav\n", "utt2emo": "u1 happy\nu2\tsad\n"}
    found |= {"utt2spk": "u1 anna\nu2 bo\n", "text": "u1 well that went fine\n", "spk2gender": "anna f\nbo m\n"}
    for name, content in {**found, **{key.replace("_", "."): value for key, value in tables.items()}}.items():
        if content is not None:
            (folder / name).write_text(content, encoding="utf-8")
    return folder


def read(folder, speakers=Speakers()):  # noqa: B008
    return kaldi.read(folder, (), speakers)


def test_tables_meet_by_identifier_and_paths_begin_at_the_folder_or_above_it(tmp_path):
    one, other = read(data(tmp_path / "data")).utterances
    assert (one.utterance_id, one.speaker, one.emotion) == ("u1", "anna", "happy")
    assert (one.transcript, one.attributes, one.segment) == ("well that went fine", {"sex": "female"}, None)
    assert (other.emotion, other.transcript, other.attributes) == ("sad", "", {"sex": "male"})
    assert one.audio.is_file()


def test_segments_cut_recordings_and_minus_one_is_the_end(tmp_path):
    folder = data(tmp_path / "data", wav_scp="r1 clips/r1.wav\n", segments="u1 r1 0.0 0.1\nu2 r1 0.1 -1\n")
    assert [one.segment for one in read(folder).utterances] == [Segment(0.0, 0.1), Segment(0.1, None)]


def test_folders_of_splits_are_one_corpus(tmp_path):
    data(tmp_path / "all" / "train")
    data(tmp_path / "all" / "dev", wav_scp="v1 clips/r1.wav\n", utt2emo="v1 sad\n", utt2spk="v1 cy\n")
    found = {one.utterance_id: one.published_split for one in read(tmp_path / "all").utterances}
    assert found == {"u1": "train", "u2": "train", "v1": "validation"}
    data(tmp_path / "all" / "other", wav_scp="w1 clips/r1.wav\n", utt2emo="w1 sad\n")
    with pytest.raises(InputError, match=r"other is no split \(train, "):
        read(tmp_path / "all")


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"wav_scp": "u1 sph2pipe -f wav a.sph |\nu2 clips/r2.wav\n"}, r"wav\.scp, line 1 is a command \(a pipe\)"),
        ({"wav_scp": "u2 clips/r2.wav\n"}, r"utt2emo, line 1: u1 does not stand in .*wav\.scp"),
        ({"wav_scp": "u1\nu2 clips/r2.wav\n"}, r"wav\.scp, line 1 names no file"),
        ({"utt2emo": None}, "has no utt2emo or utt2emotion: write a line"),
        ({"utt2emo": "u1 happy\nu1 sad\n"}, "utt2emo, line 2: u1 stands there twice"),
        ({"utt2spk": None}, r"utt2emo, line 1: u1: nothing says who speaks"),
        ({"segments": "u1 r1 0 1\n"}, r"2 lines of"),
        ({"segments": "u1 r1 2 1\nu2 r1 x\n"}, r"the segment ends at 1 s(.|\n)*line 2 is not 'utterance rec"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_with_the_line(tmp_path, tables, message):
    with pytest.raises(InputError, match=message):
        read(data(tmp_path / "data", **tables))


def test_other_folders_are_refused_and_speakers_may_be_left_out(tmp_path):
    with pytest.raises(InputError, match=r"is no Kaldi data folder: .* must hold wav\.scp and utt2emo"):
        read(tmp_path)
    folder = data(tmp_path / "data", utt2spk=None)
    assert {one.speaker for one in read(folder, Speakers(is_unknown=True)).utterances} == {""}
    assert [one.speaker for one in read(folder, Speakers(r"(r\d)")).utterances] == ["r1", "r2"]
