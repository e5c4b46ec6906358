"""Tests of emotion_tf.exporting.verify: examples of every subset of modalities, and an export that disagrees."""

import dataclasses
import shutil

import numpy as np
import pytest

from emotion_tf.export import export
from emotion_tf.exporting import verify
from emotion_tf.exporting.facts import export_metadata
from emotion_tf.runs.folder import Run
from emotion_tf.serving.predictor import Predictor
from pipelines.command import InputError


def test_an_export_that_disagrees_is_refused_and_leaves_nothing(text_run, tmp_path, monkeypatch):
    class Disagreeing:
        returncode, stdout, stderr = 0, "0.25\n", ""

    monkeypatch.setattr(verify.subprocess, "run", lambda *arguments, **settings: Disagreeing)
    with pytest.raises(InputError, match=r"differs from .* by 2\.5e-01, more than 1e-05: it was not written"):
        export(text_run, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_does_not_load_is_refused(text_run, tmp_path, monkeypatch):
    monkeypatch.setattr(verify.sys, "executable", "/bin/false")
    with pytest.raises(InputError, match="the export does not load in a new process"):
        export(text_run, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_without_stored_waveforms_noise_stands_in_and_the_sentence_says_so(text_run, tmp_path):
    run = Run(tmp_path / "text")
    shutil.copytree(text_run.folder, run.folder)
    run.write_metadata(dataclasses.replace(run.metadata(), has_waveform=False))
    assert "agrees with the run on 50 examples of generated clips (none stored)" in export(run, run.export)
    assert [path.name for path in run.export.parent.glob(".export-*")] == []


def test_float16_that_changes_answers_is_refused(text_run, tmp_path, monkeypatch):
    class Disagreeing:
        returncode, stdout, stderr = 0, "0.002\n", ""

    monkeypatch.setattr(verify.subprocess, "run", lambda *arguments, **settings: Disagreeing)
    sentence = r"--variables float16 changes probabilities of .* by 2\.0e-03, more than 1e-03: it was not written"
    with pytest.raises(InputError, match=sentence):
        export(text_run, tmp_path / "export", variables="float16")
    assert list(tmp_path.iterdir()) == []


def test_every_subset_of_modalities_is_absent_in_some_examples_and_of_one_modality_none():
    absences = dict(verify._absences(["audio", "text", "video"]))
    assert set(absences) == {"audio", "text", "video"}
    assert len(set(zip(*(absent.tolist() for absent in absences.values()), strict=True))) == 2**3
    assert dict(verify._absences(["audio"])) == {}


def test_what_is_left_out_is_zeros_and_empty_transcripts_and_the_others_stay(early_run):
    metadata = export_metadata(early_run, early_run.model())
    given, _, source = verify._raw_examples(early_run, metadata)
    absences = dict(verify._absences(metadata["modalities"]))
    assert source == "stored clips"
    np.testing.assert_array_equal(given["waveforms"].any(axis=1), ~absences["audio"])
    np.testing.assert_array_equal(given["transcripts"] != "", ~absences["text"])


def test_an_export_is_compared_with_what_is_expected_of_it(early_export, early_run, tmp_path):
    """In this process; the command starts another one."""
    given, _, _ = verify._raw_examples(early_run, export_metadata(early_run, early_run.model()))
    few = {name: values[:3].astype(str) if name == "transcripts" else values[:3] for name, values in given.items()}
    expected = Predictor(early_export).predict_batch(**few).probabilities
    for difference in (0.0, 0.125):
        np.savez(tmp_path / "examples.npz", expected=expected + np.float32(difference), **few)
        found = verify.compare(str(early_export), str(tmp_path / "examples.npz"))
        assert found == pytest.approx(difference, abs=1e-6)
