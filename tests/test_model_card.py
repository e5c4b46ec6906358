"""Tests of emotion_tf.exporting.model_card: a front matter that the Hub reads, and no number that scores.json lacks."""

import dataclasses
import json
import re
import shutil

import pytest
import yaml

from emotion_tf.exporting.model_card import _yaml, model_card
from emotion_tf.runs.folder import Run
from pipelines.files import write_json


def front_matter(card):
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


@pytest.fixture
def card(early_export):
    return (early_export / "1" / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture
def copied(early_run, early_export, tmp_path):
    """A copy of the run to change, and the metadata of its export."""
    run = Run(tmp_path / "copied")
    shutil.copytree(early_run.folder, run.folder)
    return run, json.loads((early_export / "1" / "metadata.json").read_text())


def test_the_front_matter_says_licence_language_task_and_scores(card, early_run):
    found = front_matter(card)
    assert (found["license"], found["license_name"]) == ("other", "none-needed-generated")
    assert (found["language"], found["pipeline_tag"]) == ("en", "audio-classification")
    assert found["tags"] == ["emotion-recognition", "audio", "text", "synthetic"]
    [model] = found["model-index"]
    [result] = model["results"]
    assert result["dataset"] == {"type": "synthetic", "name": "synthetic", "split": "validation"}
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    stored = early_run.scores()["validation"]
    assert values == {name: round(stored[name], 4) for name in values}
    assert "unweighted_average_recall" in values


def test_the_card_class_of_the_hub_reads_it(card):
    hub = pytest.importorskip("huggingface_hub")
    found = hub.ModelCard(card, ignore_metadata_errors=False).data
    assert found.license == "other"
    assert {result.metric_type for result in found.eval_results} >= {"unweighted_average_recall", "accuracy"}
    assert {result.dataset_split for result in found.eval_results} == {"validation"}


def test_every_score_of_the_card_stands_in_scores_json(card, early_run):
    rows = re.findall(r"^\| (.+) \| (0\.\d{3}) \| \[", card, re.MULTILINE)
    stored = early_run.scores()["validation"]
    known = {f"{value:.3f}" for value in stored.values() if isinstance(value, float)}
    known |= {f"{one['unweighted_average_recall']:.3f}" for one in stored["without"].values()}
    assert len(rows) >= 6
    assert {value for _, value in rows} <= known
    assert "UAR without audio" in dict(rows)


def test_a_test_split_that_was_not_read_is_said_and_one_that_was_has_its_scores(copied):
    run, metadata = copied
    assert "The test split was not read" in model_card(run, metadata)
    scores = run.scores()
    run.write_scores(scores | {"test": scores["validation"] | {"accuracy": 0.4321}, "test_reads": 1})
    card = model_card(run, metadata)
    assert "The test split was not read" not in card
    assert "The test split was read 1 time." in card
    assert "| accuracy | 0.432 |" in card
    splits = [result["dataset"]["split"] for result in front_matter(card)["model-index"][0]["results"]]
    assert splits == ["test", "validation"]


def test_the_licence_of_ravdess_is_that_of_the_card(copied, three_speaker_records, tmp_path):
    run, metadata = copied
    records = tmp_path / "records"
    shutil.copytree(three_speaker_records, records)
    stored = json.loads((records / "metadata.json").read_text())
    write_json(records / "metadata.json", stored | {"licence": "CC BY-NC-SA 4.0, doi 10.1371/journal.pone.0196391"})
    write_json(run.config_path, json.loads(dataclasses.replace(run.config(), records=str(records)).to_json()))
    card = model_card(run, metadata | {"corpus": "ravdess"})
    assert front_matter(card)["license"] == "cc-by-nc-sa-4.0"
    assert "acted speech" in card
    shutil.rmtree(records)
    assert front_matter(model_card(run, metadata))["license_name"] == "unknown"


def test_a_control_is_called_one(copied):
    run, metadata = copied
    write_json(run.config_path, json.loads(dataclasses.replace(run.config(), control="permuted-labels").to_json()))
    assert "This run is itself a control, `permuted-labels`" in model_card(run, metadata)


def test_blocks_of_yaml_are_read_as_they_were():
    value = {"a": ["x: y", "# no"], "b": [{"c": 1, "d": [{"e": 0.5}]}, {"c": "ö", "d": []}], "f": "yes"}
    assert yaml.safe_load(_yaml(value)) == value
