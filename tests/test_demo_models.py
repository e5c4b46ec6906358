"""Tests of the exports that the page offers."""

import json
import shutil

from emotion_tf.serving import demo_models
from emotion_tf.serving.demo_models import find_exports


def copy(export, folder, **facts):
    shutil.copytree(export, folder)
    path = folder / "7" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return folder


def test_exports_are_found_with_the_chosen_one_first(loud_export, tmp_path):
    root = tmp_path / "saved"
    copy(loud_export, root / "a", run="a")
    (root / "no-export").mkdir()
    chosen = copy(loud_export, root / "b", run="b")
    assert [export.name for export in find_exports(root)] == ["a", "b"]
    assert [export.name for export in find_exports(root, chosen)] == ["b", "a"]


def test_a_folder_that_is_absent_holds_none(tmp_path):
    assert find_exports(tmp_path / "absent") == []


def test_an_export_made_anew_is_another_one(loud_export, tmp_path):
    folder = copy(loud_export, tmp_path / "saved" / "a")
    [before] = find_exports(tmp_path / "saved")
    shutil.copyfile(folder / "7" / "saved_model.pb", folder / "7" / "new.pb")
    (folder / "7" / "new.pb").rename(folder / "7" / "saved_model.pb")
    [after] = find_exports(tmp_path / "saved")
    assert before != after


def test_the_card_loses_its_front_matter_and_keeps_its_code(loud_export, tmp_path):
    folder = copy(loud_export, tmp_path / "saved" / "a")
    (folder / "7" / "MODEL_CARD.md").write_text(
        "---\nlicense: x\n---\n\n# name\n\n```sh\n# a remark\n```\n\n## Limits\n"
    )
    [export] = find_exports(tmp_path / "saved")
    assert export.card() == "#### name\n\n```sh\n# a remark\n```\n\n##### Limits"


def test_scores_are_rows_with_interval_and_chance(loud_export, tmp_path):
    found = {"name": "UAR", "score": 0.5, "interval": [0.4, 0.6], "chance": 0.125}
    few = {"name": "accuracy", "score": 0.25, "interval": None, "chance": None}
    scores = {"test": {"num_utterances": 12, "unit": "speaker", "unweighted_average_recall": found, "accuracy": few}}
    copy(loud_export, tmp_path / "saved" / "a", scores=scores)
    [export] = find_exports(tmp_path / "saved")
    first, second = export.scores()
    assert list(first.values()) == ["test", "UAR", "0.500", "0.40 to 0.60, speakers", "0.125", "12"]
    assert list(second.values()) == ["test", "accuracy", "0.250", "too few speakers", "", "12"]


def test_an_export_of_before_has_no_scores(loud_export):
    [export] = find_exports(loud_export.parent / "none", loud_export)
    assert list(export.scores()) == []
    assert not export.is_synthetic
    assert demo_models.LoadedModel(export).predictor.emotions == ("angry", "calm")
