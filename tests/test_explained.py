"""Tests of emotion_tf.reporting.explained: what a report says of single answers, and what it needs for that."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from emotion_tf.reporting import explained, pictures
from emotion_tf.reporting.blocks import Picture, Table, Text
from emotion_tf.reporting.clips import read_stored
from emotion_tf.reporting.content import gather
from emotion_tf.reporting.subjects import read_subjects
from emotion_tf.runs.folder import Run
from emotion_tf.serving.explanation import GRADIENTS
from pipelines.files import write_json


def with_export(run, export, folder):
    shutil.copytree(run.folder, folder)
    if export:
        shutil.copytree(export, folder / "export")
    return Run(folder)


@pytest.fixture(scope="module")
def run(early_run, early_export, tmp_path_factory):
    return with_export(early_run, early_export, tmp_path_factory.mktemp("explained") / "early")


@pytest.fixture(scope="module")
def subject(run):
    return read_subjects([run.folder])[0]


@pytest.fixture(scope="module")
def stored(subject):
    return read_stored(Path(subject.config.records), explained.chosen(subject, "validation"))


def section_of(subject, stored, gone=""):
    records = subject.config.records
    with pictures.theme():
        found = explained.explained([subject], "validation", {records: stored}, {records: gone} if gone else {})
    return found.sections[0].blocks


@pytest.fixture(scope="module")
def blocks(subject):
    """Of the section in a whole report."""
    with pictures.theme():
        [section] = [one for one in gather([subject]).sections if one.title == "Why these answers"]
    return section.sections[0].blocks


def test_the_surest_right_answer_comes_first_and_then_the_surest_errors(subject):
    rows = subject.rows("validation").set_index("utterance_id")
    right, *wrong = explained.chosen(subject, "validation")
    top = rows.filter(like="probability_").max(axis=1)
    is_right = rows["label"] == rows["predicted"]
    assert top[right] == top[is_right].max()
    assert sorted(top[wrong]) == sorted(top[~is_right])[-3:]


def test_pictures_say_in_words_what_is_explained(blocks, subject):
    found = [block for block in blocks if isinstance(block, Picture)]
    names = explained.chosen(subject, "validation")
    assert len(found) == len(names) == 4
    rows = subject.rows("validation").set_index("utterance_id")
    for name, picture in zip(names, found, strict=True):
        assert picture.alt.startswith(f"Why the model answers {rows.loc[name, 'predicted']} of {name}, labelled")
        assert all(part in picture.alt for part in ("audio ", "text ", "strongest words", "seconds"))
        assert picture.caption.startswith(f"{name}: {rows.loc[name, 'predicted']} (")


def test_the_attribution_is_complete_and_the_table_says_so(blocks):
    [table] = [block for block in blocks if isinstance(block, Table)]
    assert len(table.rows) == 4
    for _, total, difference, missing, _ in table.rows:
        assert float(missing) == pytest.approx(abs(float(total) - float(difference)), abs=2e-4)
        assert float(missing) <= 0.01 * max(abs(float(difference)), 0.01) + 1e-4


def test_stored_utterances_get_the_probabilities_of_the_run(blocks):
    texts = [block.text for block in blocks if isinstance(block, Text)]
    assert len(texts) == 1
    assert GRADIENTS in texts[0]


def test_an_export_of_another_state_is_told_by_its_probabilities():
    rows = pd.DataFrame({"probability_sad": [0.7, 0.7]}, index=["a", "b"])
    found = {
        name: SimpleNamespace(emotion="sad", prediction=SimpleNamespace(probabilities={"sad": probability}))
        for name, probability in (("a", 0.69), ("b", 0.9))
    }
    [text] = explained._differences(found, rows)
    assert text.startswith("The export gives sad of b 90%, predictions.csv 70%")


@pytest.mark.parametrize("name", ["1/metadata.json", "1/saved_model.pb", "1/variables/variables.index"])
def test_half_an_export_gets_a_sentence(name, run, stored, tmp_path):
    broken = with_export(run, None, tmp_path / "broken")
    (broken.folder / "export" / name).unlink()
    [text] = section_of(*read_subjects([broken.folder]), stored)
    assert text.text.startswith("Answers are not explained: ")
    assert "export" in text.text


def test_an_export_of_other_facts_gets_a_sentence(run, stored, tmp_path):
    older = with_export(run, None, tmp_path / "older")
    path = older.folder / "export" / "1" / "metadata.json"
    facts = json.loads(path.read_text())
    write_json(path, facts | {"front_end": facts["front_end"] | {"frame_millis": 25}})
    [text] = section_of(*read_subjects([older.folder]), stored)
    assert text.text.startswith("Answers are not explained: the export cannot be used (")
    assert text.text.endswith(": export the run again.")


def test_records_without_waveforms_get_a_sentence_that_names_what_to_do(subject, stored):
    bare = {name: one.__class__(**vars(one) | {"waveform": np.zeros(0, np.int16)}) for name, one in stored.items()}
    [text] = section_of(subject, bare)
    assert text.text.endswith("hold no waveforms: prepare them again with --store-waveform.")
    [text] = section_of(subject, {}, "they are gone.")
    assert text.text == "Answers are not explained: they are gone."


def test_the_first_run_with_an_export_is_explained_unless_all_are_asked_for(run, text_run, late_run, tmp_path):
    control = with_export(run, None, tmp_path / "control")
    config = json.loads(control.config_path.read_text())
    write_json(control.config_path, config | {"control": "shuffled-audio"})
    again = with_export(run, None, tmp_path / "again")
    subjects = read_subjects([one.folder for one in (text_run, control, run, late_run, again)])
    assert [one.name for one in explained.explainable(subjects, every=False)] == ["early"]
    assert [one.name for one in explained.explainable(subjects, every=True)] == ["early", "again"]
    assert explained.explained([], "validation", {}, {}) is None
