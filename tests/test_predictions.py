"""Tests of emotion_tf.runs.predictions: tables of any toolkit, and a sentence with the line of what is wrong."""

import itertools

import numpy as np
import pandas as pd
import pytest

from emotion_tf.runs.predictions import (
    GROUPS,
    emotion_probabilities,
    emotions_of,
    find_disagreement,
    holds_all,
    is_multi_label,
    leaks,
    predictions_table,
    probability_columns,
    read_predictions,
)
from pipelines.command import InputError
from pipelines.files import write_csv

EMOTIONS = ("sad", "calm", "angry")
HEADER = "utterance_id,speaker,split,label,predicted"
ROW = "a,01,test,sad,calm"
WITH_PROBABILITIES = f"{HEADER},probability_sad,probability_calm\n"


@pytest.fixture
def utterances():
    return pd.DataFrame(
        {
            "utterance_id": ["u1", "u2", "u3"],
            "speaker": ["01", "01", "02"],
            "label": [0, 2, 1],
            "statement": ["kids", "dogs", "kids"],
            "sex": ["male", "male", "female"],
            "repetition": ["1", "1", "2"],
        }
    )


@pytest.fixture
def probabilities():
    return np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.0, 1.0, 0.0]])


def read(folder, content):
    path = folder / "theirs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_predictions(path)


def test_predictions_have_exactly_these_columns(utterances, probabilities):
    table = predictions_table(utterances, probabilities, EMOTIONS, "test")
    named = [f"probability_{emotion}" for emotion in EMOTIONS]
    assert list(table) == [*HEADER.split(","), *named, "sex", "statement"]
    assert (table["split"] == "test").all()
    assert list(table["label"]) == ["sad", "angry", "calm"]
    assert list(table["predicted"]) == ["sad", "calm", "calm"]
    np.testing.assert_array_equal(table[named], probabilities)


def test_what_is_written_is_read(tmp_path, utterances, probabilities):
    table = predictions_table(utterances, probabilities, EMOTIONS, "validation").assign(fold=1, seed=0)
    write_csv(tmp_path / "predictions.csv", table)
    found = read_predictions(tmp_path / "predictions.csv")
    pd.testing.assert_frame_equal(found, table, check_dtype=False)
    assert emotions_of(found) == EMOTIONS


def test_five_columns_in_any_order_are_enough(tmp_path):
    table = read(tmp_path, "predicted,speaker,label,split,utterance_id\ncalm,,sad,train,x\ncalm,,angry,test,x\n")
    assert list(table) == ["predicted", "speaker", "label", "split", "utterance_id"]
    assert table["split"].tolist() == ["train", "test"]
    assert emotions_of(table) == ("angry", "calm", "sad")


def test_names_that_look_like_numbers_or_nothing_stay_text(tmp_path):
    table = read(tmp_path, f"{HEADER},sex\n007,01,test,null,NA,nan\n1e5,2.0,test,NA,null,\n")
    assert table.to_numpy().tolist() == [
        ["007", "01", "test", "null", "NA", "nan"],
        ["1e5", "2.0", "test", "NA", "null", ""],
    ]
    assert emotions_of(table) == ("NA", "null")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + f"{HEADER}\n{ROW}\n".encode(),
        f"{HEADER}\r\n{ROW}\r\n",
        f"{HEADER}\n\n{ROW}\n,,,,\n",
        f"{HEADER},,\n{ROW},,\n",
        f"{HEADER}\n{ROW}".replace(",", ", "),
        f'"utterance_id","speaker","split","label","predicted"\n{ROW}',
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, content):
    table = read(tmp_path, content)
    assert table.to_numpy().tolist() == [ROW.split(",")]
    assert list(table) == HEADER.split(",")


def test_folds_and_seeds_are_numbers_and_probabilities_are_exact(tmp_path):
    content = f"{HEADER},fold,probability_sad,probability_calm,seed\n{ROW},3,.1,0.9,0\n{ROW},10,1e-7,1.0000001,0\n"
    table = read(tmp_path, content)
    assert table["fold"].tolist() == [3, 10]
    assert table[["probability_sad", "probability_calm"]].to_numpy().tolist() == [[0.1, 0.9], [1e-7, 1.0]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", r"has no column utterance_id, .*found: nothing"),
        (f"{HEADER}\n", "holds a header and no rows: add"),
        (HEADER.replace("label", "truth"), "has no column label .*found: utterance_id, .* truth"),
        (HEADER.replace(",", ";"), "separated by commas"),
        (f"{HEADER},label\n{ROW},sad\n", "has the column label twice: keep one"),
        (f"{HEADER}\n{ROW},loud\n", "line 2 has more cells than the header"),
        (f"{HEADER}\n{ROW}\n{ROW.rpartition(',')[0]}", "line 3 has fewer cells than the header, cut off perhaps"),
        (f'{HEADER}\n"a\n', "is no CSV"),
        (f"{HEADER}\n{ROW}\n\xff".encode("latin-1"), "is not UTF-8 text"),
        (f"{HEADER}\n{ROW}\n,01,test,sad,sad\n", "line 3: the cell utterance_id is empty: fill it"),
        (f"{HEADER}\na,01,test,sad,\n", "line 2: the cell predicted is empty: fill it"),
        (f"{HEADER}\na,01,test,,sad\n", "line 2: the cell label is empty: fill it"),
        (f"{HEADER}\na,01,dev,sad,sad\n", "line 2: the split 'dev' is none of train, validation, test"),
        (f"{HEADER}\n{ROW}\nb,,test,sad,sad\n", "line 3: the cell speaker is empty, but other rows name one"),
        (f"{HEADER},fold\n{ROW},one\n", "line 2: the fold 'one' is no whole number"),
        (f"{HEADER},seed\n{ROW},\n", "line 2: the seed '' is no whole number"),
        (WITH_PROBABILITIES + "a,01,test,joy,sad,.5,.5\n", "line 2: label 'joy' has no column .*are sad, calm"),
        (WITH_PROBABILITIES + "a,01,test,sad,Sad,.5,.5\n", "line 2: predicted 'Sad' has no column"),
        (WITH_PROBABILITIES + "a,01,test,sad|joy,sad,.5,.5\n", "line 2: label 'joy' has no column .*are sad, calm"),
        (f"{HEADER}\n{ROW}\nb,01,test,sad,|sad\n", r"line 3: predicted '\|sad' lacks a name beside a bar: fill it"),
        (WITH_PROBABILITIES + f"{ROW},.5,\n", "line 2: probability_calm is '': write a number from 0 to 1"),
        (WITH_PROBABILITIES + f"{ROW},.5,nan\n", "line 2: probability_calm is 'nan'"),
        (WITH_PROBABILITIES + f"{ROW},-.5,1.5\n", "line 2: probability_sad is '-.5'"),
        (
            WITH_PROBABILITIES + f"{ROW},.5,.48\nb,01,test,sad,sad,.5,.5\n",
            "line 2: the probabilities sum to 0.98: write",
        ),
        (f"{HEADER},seed\n{ROW},0\nb,01,test,sad,sad,1\n", "seeds 0 and 1 hold different utterances in the test split"),
        (f'{HEADER}\n"a\nb",1,test,sad,sad\n\n{ROW}\n{ROW}\n', r"line 6 repeats line 5 \(utterance_id a, split test\)"),
        (f"{HEADER},fold\n{ROW},1\n{ROW},2\n{ROW},1\n", r"line 4 repeats line 2 \(.*, fold 1\): keep one"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence_with_its_place(tmp_path, content, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(str(tmp_path / "theirs.csv"))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("one", "other"), [("01", "1"), ("Anna", "anna"), ("1", "1.0")])
def test_one_speaker_in_two_spellings_is_no_two(tmp_path, one, other):
    with pytest.raises(InputError, match=rf"theirs\.csv: the speakers '{one}' and '{other}' differ in zeros, case"):
        read(tmp_path, f"{HEADER}\na,{other},test,sad,sad\nb,{one},test,sad,sad\n")


@pytest.mark.parametrize(
    ("label_sets", "expected"),
    [
        ([("sad", "calm")], True),
        ([("sad", "calm"), ("calm", "sad")], True),
        ([("sad",), ("calm", "sad", "joy"), ("joy", "calm")], True),
        ([("sad", "calm"), ("sad", "joy")], False),
        ([("fear", "sad"), ("fearful", "sad", "joy")], False),
    ],
)
def test_label_sets_fit_where_one_holds_all(label_sets, expected):
    assert holds_all(label_sets) == expected


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv is not a file: name a CSV with the columns utterance_id, "):
        read_predictions(tmp_path / "nowhere.csv")


def test_probabilities_of_three_digits_are_rounded_ones(tmp_path):
    assert len(read(tmp_path, WITH_PROBABILITIES + f"{ROW},.333,.666\n")) == 1


@pytest.mark.parametrize("fits", [["fold"], ["seed"], ["fold", "seed"]])
def test_a_speaker_leaks_within_a_fit_only(fits):
    rows = [
        {"speaker": speaker, "split": split, **dict.fromkeys(fits, fit)}
        for fit, (speaker, split) in itertools.product((0, 1), [("01", "test"), ("02", "validation")])
    ]
    rows[2]["split"], rows[3]["split"] = "validation", "test"
    assert leaks(pd.DataFrame(rows)) == []
    assert leaks(pd.DataFrame(rows).drop(columns=fits)) == ["speaker-leaking"]
    rows[3]["speaker"] = "01"
    assert leaks(pd.DataFrame(rows)) == ["speaker-leaking"]


def test_no_speaker_leaks_where_none_is_named():
    assert leaks(pd.DataFrame({"speaker": ["", ""], "split": ["train", "test"]})) == []


def test_the_dialogue_comes_last(utterances, probabilities):
    table = predictions_table(utterances.assign(dialogue=["1", "1", "2"]), probabilities, EMOTIONS, "test")
    assert list(table)[-3:] == ["sex", "statement", "dialogue"]


def test_joined_names_are_several_emotions(tmp_path):
    table = read(tmp_path, WITH_PROBABILITIES + "a,,test,sad|calm,calm,.9,.8\nb,,test,sad,sad,.9,.1\n")
    assert is_multi_label(table)
    assert table["label"].tolist() == ["sad|calm", "sad"]
    assert table["probability_calm"].tolist() == [0.8, 0.1]
    bare = read(tmp_path, f"{HEADER}\na,,test,sad|calm,angry\n")
    assert is_multi_label(bare)
    assert emotions_of(bare) == ("angry", "calm", "sad")


def test_probabilities_that_are_no_distribution_are_of_several_emotions(tmp_path):
    table = read(tmp_path, WITH_PROBABILITIES + "a,,test,sad,sad,.9,.8\nb,,test,sad,sad,.1,.2\n")
    assert is_multi_label(table)
    assert table["probability_sad"].tolist() == [0.9, 0.1]


def test_rounded_distributions_are_of_one_emotion(tmp_path, utterances, probabilities):
    assert not is_multi_label(read(tmp_path, WITH_PROBABILITIES + f"{ROW},.333,.666\n"))
    assert not is_multi_label(read(tmp_path, f"{HEADER}\n{ROW}\n"))
    assert not is_multi_label(predictions_table(utterances, probabilities.astype(np.float32), EMOTIONS, "test"))


def test_speakers_are_the_first_group():
    assert GROUPS == ("speaker", "sex", "intensity", "statement", "corpus")


def test_rounded_probabilities_are_made_to_sum_to_one(tmp_path):
    path = tmp_path / "rounded.csv"
    path.write_text(WITH_PROBABILITIES + f"{ROW},.5,.49\nb,01,test,sad,sad,.25,.75\n")
    table = read_predictions(path)
    np.testing.assert_allclose(table["probability_sad"], [0.5 / 0.99, 0.25])
    np.testing.assert_allclose(table["probability_calm"], [0.49 / 0.99, 0.75])


def test_probabilities_are_called_by_their_emotions(utterances, probabilities):
    table = predictions_table(utterances, probabilities, EMOTIONS, "test")
    assert probability_columns(table) == [f"probability_{emotion}" for emotion in EMOTIONS]
    assert list(emotion_probabilities(table)) == list(EMOTIONS)
    np.testing.assert_array_equal(emotion_probabilities(table), probabilities)
    assert emotion_probabilities(table[HEADER.split(",")]).empty


def rows(*labels, speaker="01"):
    return pd.DataFrame({"utterance_id": [f"u{n}" for n in range(len(labels))], "label": labels, "speaker": speaker})


def test_two_labels_of_one_utterance_are_a_disagreement():
    found = find_disagreement({"one": rows("sad", "calm"), "two": rows("sad", "angry"), "three": rows("calm")}, "label")
    assert (found.utterance_id, str(found)) == ("u0", "'sad' in one and 'calm' in three")
    found = find_disagreement({"one": rows("sad", "calm"), "two": rows("sad", "angry")}, "label")
    assert (found.utterance_id, str(found)) == ("u1", "'calm' in one and 'angry' in two")
    speakers = find_disagreement({"one": rows("sad"), "two": rows("sad", speaker="02")}, "speaker")
    assert str(speakers) == "'01' in one and '02' in two"


def test_a_table_can_disagree_with_itself():
    crossval = pd.concat([rows("sad"), rows("calm")])
    assert str(find_disagreement({"crossval": crossval}, "label")) == "'sad' in crossval and 'calm' in crossval"


def test_the_order_of_several_labels_is_no_disagreement():
    assert find_disagreement({"one": rows("sad|calm"), "two": rows("calm|sad")}, "label") is None
    found = find_disagreement({"one": rows("sad|calm"), "two": rows("sad")}, "label")
    assert str(found) == "'sad|calm' in one and 'sad' in two"
