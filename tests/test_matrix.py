"""Tests of emotion_tf.reporting.matrix: a cell a run and corpus, with what it rests on, as text and as a picture."""

import csv
import json

from emotion_tf.reporting import matrix


def scores(value, interval=(0.4, 0.6), **more):
    name = "unweighted_average_recall"
    test = {name: value, f"{name}_interval": interval, "chance": {name: 0.25}, "unit": "speaker", "num_utterances": 80}
    return {"marks": [], "headline": name, "test": test, **more}


def cells():
    own = matrix.cell(scores(0.614), own="")
    other = matrix.cell(scores(0.35, None, label_map="emodb-four", dropped={"boredom": 3}, marks=["paired"]))
    own["records_label_map"] = "crema-d-six"
    gone = {"reason": "the labels differ"}
    return {"on-crema": {"crema-d": own, "emodb": other}, "on-tess": {"crema-d": gone, "emodb": own}}


def test_the_table_has_a_line_a_run_and_says_what_each_cell_rests_on():
    lines = matrix.table(cells()).splitlines()
    assert lines[:4] == [
        "UAR, 95 % interval; * the test split of the run's own records",
        "run       crema-d                  emodb",
        "on-crema  0.614 (0.400 to 0.600)*  0.350",
        "on-tess   -                        0.614 (0.400 to 0.600)*",
    ]
    facts = "80 utterances, 3 left out, labels by emodb-four, chance 0.250, 95 % interval [too few speakers] [paired]"
    assert f"on-crema on emodb: {facts}" in lines
    facts = "80 utterances, labels by crema-d-six, chance 0.250, 95 % interval [0.400, 0.600]"
    assert f"on-crema on crema-d: {facts}" in lines
    assert "on-tess on crema-d: no score, the labels differ" in lines


def test_a_run_on_several_corpora_has_a_score_of_each():
    name = "unweighted_average_recall"
    found = scores(0.5)
    found["test"]["by"] = {"corpus": {"TESS": {name: 0.75, f"{name}_interval": None, "num_utterances": 14}}}
    one = matrix.cell(found, "TESS")
    assert (one["score"], one["num_utterances"], one["is_own"]) == (0.75, 14, True)
    assert matrix.cell(found, "SAVEE") == {"reason": "no speaker of SAVEE is in the test split of the run"}


def test_the_files_hold_every_cell(tmp_path):
    matrix.write(cells(), tmp_path / "m")
    assert json.loads((tmp_path / "m" / "matrix.json").read_text()) == json.loads(json.dumps(cells()))
    with (tmp_path / "m" / "matrix.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["records"], row["score"], row["low"]) for row in rows] == [
        ("on-crema", "crema-d", "0.614", "0.4"),
        ("on-crema", "emodb", "0.35", ""),
        ("on-tess", "crema-d", "", ""),
        ("on-tess", "emodb", "0.614", "0.4"),
    ]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["matrix.csv", "matrix.json", "matrix.png"]
