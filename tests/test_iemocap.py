"""Tests of pipelines.corpora.iemocap: labels of turns, who speaks them, and folds of whole sessions."""

import corpus_trees
import pytest

from pipelines.command import InputError
from pipelines.corpora import iemocap


def read(folder):
    return iemocap.read(folder, is_part=True)


def test_a_turn_has_its_own_speaker_words_and_ratings(tmp_path):
    corpus = read(corpus_trees.iemocap(tmp_path))
    assert corpus.speakers == ("Ses01F", "Ses01M", "Ses02F", "Ses02M", "Ses03F", "Ses03M")
    found = {one.utterance_id: one for one in corpus.utterances}
    assert len(found) == 12
    turn, last = found["Ses01F_impro01_M000"], found["Ses01F_impro01_M001"]
    assert (turn.speaker, turn.emotion, turn.transcript) == ("Ses01M", "fru", "Excuse me.")
    ratings = {"valence": "2.5000", "activation": "2.5000", "dominance": "3.0"}
    assert turn.attributes == {"session": "01", "sex": "male", "style": "improvised", **ratings}
    assert (last.emotion, last.transcript) == ("exc", "")
    assert turn.audio.is_file()


def test_folds_leave_whole_sessions_out_and_the_next_validates(tmp_path):
    folds = read(corpus_trees.iemocap(tmp_path)).folds
    assert [fold["test"] for fold in folds] == [(f"Ses0{n}F", f"Ses0{n}M") for n in (1, 2, 3)]
    assert folds[2] == {
        "train": ("Ses02F", "Ses02M"),
        "validation": ("Ses01F", "Ses01M"),
        "test": ("Ses03F", "Ses03M"),
    }


def test_the_release_may_lie_one_folder_deeper_and_one_session_has_no_folds(tmp_path):
    corpus_trees.iemocap(tmp_path / "IEMOCAP_full_release")
    assert len(read(tmp_path).utterances) == 12
    one = read(tmp_path / "IEMOCAP_full_release" / "Session1")
    assert (len(one.utterances), one.folds) == (4, ())


def test_four_classes_join_excited_and_drop_what_raters_disagree_on(tmp_path):
    corpus = read(corpus_trees.iemocap(tmp_path)).relabelled("iemocap-four")
    assert {one.emotion for one in corpus.utterances} == {"neutral", "happy"}
    assert corpus.ignored == {"fru (dropped by iemocap-four)": 3, "xxx (dropped by iemocap-four)": 3}


def test_missing_turns_other_labels_a_part_and_other_folders_are_refused(tmp_path):
    folder = corpus_trees.iemocap(tmp_path / "a")
    with pytest.raises(InputError, match="holds 12 of the 10039 recordings of IEMOCAP, of 6 of its 10 speakers"):
        iemocap.read(folder)
    with pytest.raises(InputError, match="holds no IEMOCAP, whose labels lie in Session1/dialog/EmoEvaluation"):
        read(folder / "Session1" / "sentences")
    (folder / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav").unlink()
    with pytest.raises(InputError, match=r"Ses02F_impro01_F000\.wav is not there, and 1 of 12 labelled turns"):
        read(folder)
    labels = folder / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    labels.write_text(labels.read_text().replace("\tneu\t", "\tbored\t"))
    with pytest.raises(InputError, match=r"Ses01F_impro01\.txt, line 3: 'bored' is none of the labels neu, hap"):
        read(folder)
