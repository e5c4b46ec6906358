"""Tests of emotion_tf.exporting.model_card: a front matter that the Hub reads, and no number that scores.json lacks."""

import dataclasses
import json
import re
import shutil

import pytest
import yaml

from emotion_tf.exporting.model_card import _CORPORA, _license, _yaml, model_card
from emotion_tf.runs.folder import Run
from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.corpora.file_names import CORPORA
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
    assert (found["license"], found["license_name"]) == ("other", "none-needed")
    assert (found["language"], found["pipeline_tag"]) == (["en"], "audio-classification")
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


def test_an_audit_that_is_gone_is_made_again_and_that_is_said(copied, capsys):
    run, metadata = copied
    expected, audit = model_card(run, metadata), json.loads(run.audit_path.read_text())
    run.audit_path.unlink()
    assert model_card(run, metadata) == expected
    assert json.loads(run.audit_path.read_text()) == audit
    assert capsys.readouterr().err.count(f"note: {run.audit_path} was gone: made again, of ") == 1
    run.audit_path.write_text("{")
    with pytest.raises(InputError, match=r"audit\.json is missing or corrupt .*: remove it, and it is made again"):
        model_card(run, metadata)


def test_without_audit_and_records_there_is_a_sentence(copied):
    run, metadata = copied
    run.audit_path.unlink()
    config = json.loads(run.config_path.read_text())
    run.config_path.write_text(json.dumps(config | {"records": "gone"}))
    with pytest.raises(InputError, match=r"audit\.json is gone and cannot be made again: gone"):
        model_card(run, metadata)
    assert not run.audit_path.exists()


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


def with_licence(run, licence, records, to):
    """Lets a run be of a copy of records with another licence."""
    shutil.copytree(records, to)
    stored = json.loads((to / "metadata.json").read_text())
    write_json(to / "metadata.json", stored | {"licence": licence})
    write_json(run.config_path, json.loads(dataclasses.replace(run.config(), records=str(to)).to_json()))


def test_the_licence_of_ravdess_is_that_of_the_card(copied, three_speaker_records, tmp_path):
    run, metadata = copied
    with_licence(run, ravdess.LICENCE, three_speaker_records, tmp_path / "records")
    for name in (ravdess.NAME, ravdess.SONG, ravdess.WITH_SONG):
        card = model_card(run, metadata | {"corpus": name})
        assert front_matter(card)["license"] == "cc-by-nc-sa-4.0"
        assert front_matter(card)["language"] == ["en"]
        assert "professional actors of one accent" in card
    shutil.rmtree(tmp_path / "records")
    assert front_matter(model_card(run, metadata))["license_name"] == "unknown"


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=lambda corpus: corpus.name)
def test_of_each_corpus_the_card_knows_the_language_and_the_licence_that_the_hub_has(corpus):
    assert corpus.name in _CORPORA
    assert _license([corpus.name], corpus.licence) in (
        {"license": "odbl"},
        {"license": "cc-by-nc-nd-4.0"},
        {"license": "other", "license_name": "not-stated-by-the-makers"},
        {"license": "other", "license_name": "for-research"},
    )


def test_of_several_corpora_no_single_licence_is_named_and_the_limits_of_each(copied, three_speaker_records, tmp_path):
    run, metadata = copied
    licence = f"{ravdess.NAME}: {ravdess.LICENCE}; EMO-DB: {CORPORA['emodb'].licence}"
    with_licence(run, licence, three_speaker_records, tmp_path / "records")
    card = model_card(run, metadata | {"corpus": f"{ravdess.NAME} + EMO-DB"})
    assert front_matter(card)["license"] == "other"
    assert front_matter(card)["language"] == ["de", "en"]
    assert f"licence: {licence}." in card
    assert "professional actors of one accent" in card
    assert "ten actors act each emotion on ten sentences, in German" in card


def test_marks_are_said_with_what_they_mean(card):
    assert "- `synthetic`: the corpus is made by a program" in card


def test_the_call_of_the_card_runs_in_its_folder(card, early_export, three_speakers, tmp_path, monkeypatch, capsys):
    version = tmp_path / "1"
    shutil.copytree(early_export / "1", version)
    shutil.copy(three_speakers.utterances[0].audio, version / "clip.wav")
    monkeypatch.chdir(version)
    exec(card.partition("```python\n")[2].partition("```")[0], {})
    assert capsys.readouterr().out.split()[0] in three_speakers.emotions


def test_inputs_of_the_card_are_those_of_the_signature(card, early_export):
    interface = json.loads((early_export / "1" / "metadata.json").read_text())["interface"]
    listed = re.findall(r"^- `(\w+)` \[", card, re.MULTILINE)
    assert listed == list(interface["serving_default"]["inputs"])


def test_a_control_is_called_one(copied):
    run, metadata = copied
    write_json(run.config_path, json.loads(dataclasses.replace(run.config(), control="permuted-labels").to_json()))
    assert "This run is itself a control, `permuted-labels`" in model_card(run, metadata)


def test_blocks_of_yaml_are_read_as_they_were():
    value = {"a": ["x: y", "# no"], "b": [{"c": 1, "d": [{"e": 0.5}]}, {"c": "ö", "d": []}], "f": "yes"}
    assert yaml.safe_load(_yaml(value)) == value
