"""Tests of emotion_tf.runs.metadata: what is written is what is read, and nothing else is."""

import dataclasses
import json

import pytest

from emotion_tf.runs.metadata import RUN_VERSION, RunMetadata, read_run_metadata
from pipelines.command import InputError
from pipelines.files import write_json
from pipelines.folds import Fold


def test_metadata_comes_back_from_disk_as_it_was_written(make_run_metadata, tmp_path):
    fold = Fold(("01", "02"), ("03",), ("04",), absent=("05",), by="speaker")
    metadata = make_run_metadata(fold=fold, prior=[1 / 3, 2 / 3], audio_features=("log_mel", "acoustic"))
    write_json(tmp_path / "metadata.json", metadata.to_json())
    assert read_run_metadata(tmp_path / "metadata.json") == metadata


def test_the_file_holds_every_attribute_and_the_version(make_run_metadata):
    names = {field.name for field in dataclasses.fields(RunMetadata)}
    assert set(make_run_metadata().to_json()) == {*names, "run_version"}
    assert make_run_metadata().to_json()["run_version"] == RUN_VERSION


def test_widths_are_of_all_features_that_the_records_hold(make_run_metadata):
    assert make_run_metadata().widths == {"log_mel": 64}
    encoder, video = {"blocks": [2, 3], "width": 8}, {"num_frames": 4, "size": 32, "is_colour": False}
    found = make_run_metadata(acoustic=["a"] * 103, encoder=encoder, video=video).widths
    assert {name: found[name] for name in ("log_mel", "acoustic", "encoder")} == {
        "log_mel": 64,
        "acoustic": 103,
        "encoder": (2, 8),
    }
    assert found["video_frames"] == (32, 32, 1)


REQUIRED = [
    field.name
    for field in dataclasses.fields(RunMetadata)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
]


@pytest.mark.parametrize("change", [{"unknown": 1}, {"fold": {"train": ["01"]}}, {"fold": None}, {"modalities": 1}])
def test_unknown_keys_and_values_of_another_kind_get_the_sentence_of_a_corrupt_file(
    make_run_metadata, tmp_path, change
):
    write_json(tmp_path / "metadata.json", make_run_metadata().to_json() | change)
    with pytest.raises(InputError, match=r"metadata\.json is corrupt \(.*\): train again with --overwrite"):
        read_run_metadata(tmp_path / "metadata.json")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_key_is_named(make_run_metadata, tmp_path, name):
    values = make_run_metadata().to_json()
    del values[name]
    write_json(tmp_path / "metadata.json", values)
    with pytest.raises(InputError, match=rf"metadata\.json is corrupt \(missing or unknown: {name}\)"):
        read_run_metadata(tmp_path / "metadata.json")


@pytest.mark.parametrize("content", ["[]", "1", "null"])
def test_json_of_another_kind_is_corrupt(tmp_path, content):
    (tmp_path / "metadata.json").write_text(content)
    with pytest.raises(InputError, match=r"metadata\.json is missing or corrupt \(no object\): train again"):
        read_run_metadata(tmp_path / "metadata.json")


@pytest.mark.parametrize(("version", "found"), [(None, "no run_version"), (1, "run_version 1")])
def test_a_run_of_another_version_is_refused_with_what_to_do(make_run_metadata, tmp_path, version, found):
    values = make_run_metadata().to_json() | {"run_version": version, "a_key_of_before": 1}
    if version is None:
        del values["run_version"]
    (tmp_path / "metadata.json").write_text(json.dumps(values))
    sentence = rf"metadata\.json is of a run that another .* \(it has {found}, .* {RUN_VERSION}\): train again with"
    with pytest.raises(InputError, match=sentence):
        read_run_metadata(tmp_path / "metadata.json")
