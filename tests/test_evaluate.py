"""Tests of emotion_tf.evaluate: the test split is read once, counted, and scored like scikit-learn would."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import soundfile

from emotion_tf import evaluate as evaluate_module
from emotion_tf.evaluate import main
from emotion_tf.runs.folder import Run
from pipelines import audio
from pipelines.command import InputError
from pipelines.corpora import manifest
from pipelines.emotions import LABEL_MAPS, RAVDESS
from pipelines.files import write_json
from pipelines.records import writer


@pytest.fixture
def run(text_run, tmp_path):
    """A finished run whose test split was not read yet."""
    shutil.copytree(text_run.folder, tmp_path / "text")
    return Run(tmp_path / "text")


def evaluate(*arguments):
    main(["--run", *map(str, arguments)])


def test_the_test_part_is_read_once_unless_asked_again(run, capsys, monkeypatch):
    evaluate(run.folder)
    first, output = run.scores(), capsys.readouterr().out
    assert first["test_reads"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate", None)
        evaluate(run.folder)
    assert capsys.readouterr().out == output
    assert run.scores() == first
    evaluate(run.folder, "--again")
    assert run.scores() == first | {"test_reads": 2}
    assert "the test split was read 2 times" in capsys.readouterr().out
    assert run.predictions().duplicated(["utterance_id", "split"]).sum() == 0


def test_a_fused_run_is_scored_without_each_modality_too(late_run, tmp_path, capsys):
    run = Run(tmp_path / "late")
    shutil.copytree(late_run.folder, run.folder)
    evaluate(run.folder)
    scores = run.scores()
    lines = capsys.readouterr().out.splitlines()
    for modality in ("audio", "text"):
        rows = run.predictions(modality).query("split == 'test'")
        assert len(rows) == scores["test"]["num_utterances"] == 30
        found = scores["test"]["without"][modality]["accuracy"]
        assert found == pytest.approx((rows["label"] == rows["predicted"]).mean())
        [line] = [line for line in lines if f"test without {modality}: UAR" in line]
        assert f"accuracy {found:.3f}" in line
    splits = {name: set(run.predictions(name)["split"]) for name in ("audio", "text")}
    assert splits == {name: {"validation", "test"} for name in ("audio", "text")}


def test_predictions_have_these_columns_and_add_up_to_one(run):
    evaluate(run.folder)
    predictions, emotions = run.predictions(), run.metadata().emotions
    columns = [f"probability_{emotion}" for emotion in emotions]
    first, groups = ["utterance_id", "speaker", "split", "label", "predicted"], ["sex", "intensity", "statement"]
    assert list(predictions) == [*first, *columns, *groups]
    np.testing.assert_allclose(predictions[columns].sum(axis=1), 1, atol=1e-5)
    fold = run.metadata().fold
    for split in ("validation", "test"):
        rows = predictions[predictions["split"] == split]
        assert sorted(rows["speaker"].unique()) == list(getattr(fold, split))
        assert len(rows) == rows["utterance_id"].nunique() == 30
    assert list(predictions["predicted"]) == [emotions[winner] for winner in predictions[columns].to_numpy().argmax(1)]


def test_scores_hold_these_keys_and_agree_with_scikit_learn(run):
    evaluate(run.folder)
    scores = json.loads(run.scores_path.read_text())
    assert set(scores) == {"marks", "headline", "validation", "test", "test_reads"}
    assert scores["marks"] == ["synthetic"]
    assert scores["headline"] == "unweighted_average_recall"
    measures = {"unweighted_average_recall", "accuracy", "macro_f1", "weighted_f1"}
    measures |= {"negative_log_likelihood", "brier", "expected_calibration_error"}
    assert set(scores["test"]) == {
        *measures,
        *(f"{name}_interval" for name in measures),
        *("area_under_curve", "selective_accuracy", "uncalibrated", "per_emotion", "by", "chance", "majority"),
        *("counts", "num_utterances", "num_seeds", "speakers", "unit", "num_units"),
    }
    assert set(scores["test"]["by"]) == {"speaker", "sex", "intensity", "statement"}
    rows = run.predictions().query("split == 'test'")
    expected = sklearn.metrics.recall_score(rows["label"], rows["predicted"], average="macro")
    assert scores["test"]["unweighted_average_recall"] == pytest.approx(expected)


def test_the_report_of_one_run_has_chance_on_the_headline_and_tables_below(run, capsys):
    evaluate(run.folder)
    headlines, *tables = capsys.readouterr().out.strip().split("\n\n")
    validation, test, reads, *about = headlines.splitlines()
    for line in (validation, test):
        assert "(chance 0.125)" in line
        assert "majority class" in line
        assert line.endswith("[synthetic] [few speakers]")
    assert reads == "the test split was read 1 time"
    assert all(line.startswith("test: ") for line in about)
    assert "before calibration" in about[0]
    first_words = [table.split()[0] for table in tables]
    assert first_words == ["emotion", "speaker", "sex", "intensity", "statement"]
    assert len(tables[0].splitlines()) == 9


def test_an_audit_that_is_gone_is_made_again_and_that_is_said(run, capsys):
    run.audit_path.unlink()
    evaluate(run.folder)
    assert f"note: {run.audit_path} was gone: made again, of " in capsys.readouterr().err
    evaluate(run.folder, "--again")
    assert "was gone" not in capsys.readouterr().err
    audit, fold = json.loads(run.audit_path.read_text()), run.metadata().fold
    assert {name: split["speakers"] for name, split in audit["splits"].items()} == {
        name: list(getattr(fold, name)) for name in ("train", "validation", "test")
    }


def test_a_fold_with_a_speaker_in_two_splits_is_not_scored(run):
    metadata = run.metadata()
    fold = dataclasses.replace(metadata.fold, test=metadata.fold.train)
    run.write_metadata(dataclasses.replace(metadata, fold=fold))
    with pytest.raises(InputError, match="is in train and in test"):
        evaluate(run.folder)
    assert run.scores()["test_reads"] == 0


def test_several_runs_make_a_table_with_a_line_each(run, text_run, tmp_path, capsys):
    shutil.copytree(text_run.folder, tmp_path / "other")
    evaluate(run.folder, tmp_path / "other")
    head, *lines = capsys.readouterr().out.splitlines()
    assert "chance" in head
    assert [line.split()[0] for line in lines] == [str(run.folder), str(tmp_path / "other")]


def test_a_run_that_is_none_or_not_finished_gets_a_sentence(tmp_path, make_config):
    with pytest.raises(InputError, match="holds no run"):
        evaluate(tmp_path)
    Run(tmp_path / "begun").start(make_config("text"))
    with pytest.raises(InputError, match="is not finished"):
        evaluate(tmp_path / "begun")


def test_records_that_changed_or_are_gone_get_a_sentence(run, three_speaker_records, tmp_path):
    records = tmp_path / "records"
    config = json.loads(run.config_path.read_text()) | {"records": str(records)}
    run.config_path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="records holds no complete records"):
        evaluate(run.folder)
    shutil.copytree(three_speaker_records, records)
    metadata = json.loads((records / "metadata.json").read_text())
    metadata["front_end"]["trim_db"] = 20.0
    (records / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="were made with another front end"):
        evaluate(run.folder)
    assert run.scores()["test_reads"] == 0


def score_file(*arguments):
    main(["--predictions", *map(str, arguments)])


@pytest.fixture(scope="module")
def tested(text_run, tmp_path_factory):
    """A run whose test split was read, by a model so decided that seven digits make no ties. Nobody may change it."""
    run = Run(tmp_path_factory.mktemp("tested") / "text")
    shutil.copytree(text_run.folder, run.folder)
    model = run.model()
    weights = model.get_layer("emotions").get_weights()
    model.get_layer("emotions").set_weights([1000 * weight for weight in weights])
    model.save(run.model_path)
    evaluate(run.folder)
    return run


def agree(found, expected):
    """Compares scores, whose probabilities went through seven digits of a CSV."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            agree(found[name], expected[name])
    else:
        assert found == (expected if isinstance(expected, str) else pytest.approx(expected, abs=1e-9))


def test_the_predictions_of_a_run_get_the_scores_of_the_run(tested, tmp_path, capsys):
    score_file(tested.predictions_path, "--output", tmp_path / "scored")
    found = json.loads((tmp_path / "scored" / "scores.json").read_text())
    expected = tested.scores()
    agree(found["test"], {name: value for name, value in expected["test"].items() if name != "uncalibrated"})
    for name in ("unweighted_average_recall", "accuracy", "macro_f1"):
        assert found["validation"][name] == pytest.approx(expected["validation"][name])
    assert found["marks"] == []
    assert {path.name for path in (tmp_path / "scored" / "plots").iterdir()} >= {
        "confusion-validation.png",
        "confusion-test.png",
    }
    assert capsys.readouterr().out.startswith(f"{tested.predictions_path} validation: UAR ")


def test_predictions_of_any_toolkit_need_no_probabilities_and_nothing_is_written(tested, tmp_path, capsys):
    columns = ["utterance_id", "speaker", "split", "label", "predicted"]
    tested.predictions()[columns].to_csv(tmp_path / "theirs.csv", index=False)
    score_file(tmp_path / "theirs.csv")
    uar = tested.scores()["test"]["unweighted_average_recall"]
    assert f"theirs.csv test: UAR {uar:.3f}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.csv"]


def test_predictions_of_several_emotions_are_scored_by_macro_f1(tmp_path, capsys):
    header = "utterance_id,speaker,split,label,predicted,probability_joy,probability_fear"
    rows = ["a,,test,joy|fear,joy,.9,.4", "b,,test,joy,joy,.8,.1", "c,,test,fear,joy|fear,.6,.7"]
    (tmp_path / "theirs.csv").write_text("\n".join([header, *rows]))
    score_file(tmp_path / "theirs.csv", "--output", tmp_path / "scored")
    found = json.loads((tmp_path / "scored" / "scores.json").read_text())
    assert found["headline"] == "macro_f1"
    assert found["test"]["macro_f1"] == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)
    assert "theirs.csv test: macro-F1 0.733 [" in capsys.readouterr().out
    assert (tmp_path / "scored" / "plots" / "per-emotion-test.png").exists()


def test_predictions_with_a_speaker_in_two_splits_carry_the_mark(tested, tmp_path, capsys):
    table = tested.predictions().assign(speaker="01")
    table.to_csv(tmp_path / "theirs.csv", index=False)
    score_file(tmp_path / "theirs.csv")
    lines = capsys.readouterr().out.splitlines()
    assert all("[speaker-leaking]" in line for line in lines[:2])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--predictions", "x.csv", "--again"], "--again and --records belong to --run"),
        (["--predictions", "x.csv", "--records", "r"], "--again and --records belong to --run"),
        (["--run", "r", "--output", "o"], "--output belongs to --predictions"),
        (["--run", "r", "--label-map", "ravdess-seven"], "--label-map belongs to --records"),
        (["--run", "r", "--records", "a/x", "b/x"], "--records names two folders x, whose scores would go to one"),
        (["--run", "r", "--records", "a", "--label-map", "b=tess-six"], "b=tess-six is for none of --records"),
        (["--predictions", "nowhere.csv"], "nowhere.csv is not a file"),
    ],
)
def test_flags_that_do_not_fit_get_a_sentence(flags, sentence):
    with pytest.raises(InputError, match=sentence):
        main(flags)


@pytest.fixture(scope="module")
def make_other(tmp_path_factory):
    """From a name and labels to records of a manifest: other speakers, other audio, one clip a label and speaker."""

    def make(name, labels, emotions=None, **front_end):
        folder = tmp_path_factory.mktemp("other")
        rng = np.random.default_rng(len(name))
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "emotion", "speaker", "transcript"])
            for speaker in ("anna", "ben", "cleo"):
                for label in labels:
                    path = folder / f"{speaker}-{label}.wav"
                    soundfile.write(path, 0.1 * rng.standard_normal(8000), 16000)
                    table.writerow([path.name, label, speaker, f"{speaker} says {label}"])
        corpus = manifest.read(folder / f"{name}.csv", tuple(emotions or labels))
        writer.prepare(writer.Preparation(corpus, folder / name, audio.FrontEnd(**front_end)), 1)
        return folder / name

    return make


@pytest.fixture(scope="module")
def other(make_other):
    """Records with the labels of the runs, two of which occur."""
    return make_other("mine", ["calm", "angry"], RAVDESS)


def test_every_utterance_of_other_records_is_scored_below_the_run(run, other, capsys):
    before = run.scores_path.read_text(), run.predictions_path.read_text()
    evaluate(run.folder, "--records", other)
    place = run.cross_corpus(other)
    assert place.folder == run.folder / "cross_corpus" / "mine"
    scores, predictions = place.scores(), place.predictions()
    assert (scores["marks"], scores["test_reads"], scores["dropped"]) == (["synthetic"], 1, {})
    assert (scores["records"], scores["label_map"]) == (str(other), "")
    assert scores["test"]["counts"] == dict.fromkeys(RAVDESS, 0) | {"calm": 3, "angry": 3}
    assert set(predictions["speaker"]) == {"anna", "ben", "cleo"}
    assert list(predictions["label"]) == [name.split("-")[1] for name in predictions["utterance_id"]]
    audit = json.loads((place.folder / "audit.json").read_text())
    assert audit["splits"]["test"] == {"speakers": ["anna", "ben", "cleo"], "num_utterances": 6}
    assert audit["sources"][0]["run"] == str(run.folder)
    assert (place.plots / "confusion-test.png").exists()
    assert (run.scores_path.read_text(), run.predictions_path.read_text()) == before
    assert "6 clips of 3 speakers" in capsys.readouterr().out


def test_scores_on_other_records_are_stored_and_read_again_only_when_asked(run, other, capsys, monkeypatch):
    evaluate(run.folder, "--records", other)
    first = capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module, "evaluate_cross_corpus", None)
        evaluate(run.folder, "--records", other)
    assert capsys.readouterr().out == first
    evaluate(run.folder, "--records", other, "--again")
    assert run.cross_corpus(other).scores()["test_reads"] == 2
    assert run.scores()["test_reads"] == 0


def test_stored_scores_of_other_records_or_another_map_are_not_passed_off(run, other, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate_module, "evaluate_cross_corpus", lambda *arguments: asked.append(arguments[1:]))
    monkeypatch.setattr(evaluate_module, "report", lambda *arguments: "")
    place = run.cross_corpus(other)
    place.folder.mkdir(parents=True)
    place.write_scores({"marks": [], "records": str(other), "label_map": ""})
    namesake = tmp_path / other.name
    evaluate(run.folder, "--records", other)
    evaluate(run.folder, "--records", other, "--label-map", "tess-ravdess")
    evaluate(run.folder, "--records", namesake)
    assert asked == [(other, "tess-ravdess"), (namesake, "")]


def test_several_records_make_a_matrix_of_own_and_other_corpora(run, other, make_other, tmp_path, capsys):
    own, crema = Path(run.config().records), make_other("crema-d", ["ANG", "SAD", "FEA"])
    flags = ("--records", own, other, crema, "--output", tmp_path / "m")
    evaluate(run.folder, *flags)
    shown = capsys.readouterr().out
    cells = json.loads((tmp_path / "m" / "matrix.json").read_text())["text"]
    assert cells[own.name]["is_own"]
    assert cells[own.name]["score"] == run.scores()["test"]["unweighted_average_recall"]
    assert (cells["mine"]["num_utterances"], cells["mine"]["label_map"]) == (6, "")
    assert "name a map between them" in cells["crema-d"]["reason"]
    assert "text on crema-d: no score, the labels of" in shown
    evaluate(run.folder, *flags, "--label-map", "crema-d=crema-d-ravdess")
    shown = capsys.readouterr().out
    cells = json.loads((tmp_path / "m" / "matrix.json").read_text())["text"]
    assert (cells["crema-d"]["label_map"], cells["crema-d"]["num_utterances"]) == ("crema-d-ravdess", 9)
    assert "text on crema-d: 9 utterances, labels by crema-d-ravdess, chance" in shown
    assert run.scores()["test_reads"] == 1
    assert (tmp_path / "m" / "matrix.csv").read_text().count("\n") == 4
    assert (tmp_path / "m" / "matrix.png").stat().st_size > 10_000


def test_a_run_is_not_scored_on_records_that_it_was_trained_on(run, three_speaker_records):
    with pytest.raises(InputError, match=r"has speaker \d\d in its (train|validation) split, whom these records hold"):
        evaluate(run.folder, "--records", three_speaker_records)
    assert not run.cross_corpus(three_speaker_records).folder.exists()


def test_a_label_map_leads_to_the_labels_of_the_run_and_drops_are_counted(run, make_other, monkeypatch):
    dropping = LABEL_MAPS["crema-d-ravdess"]
    dropping = dataclasses.replace(dropping, targets={**dropping.targets, "SAD": None})
    monkeypatch.setitem(LABEL_MAPS, "without-sad", dropping)
    records = make_other("crema", ["ANG", "SAD", "FEA"])
    with pytest.raises(
        InputError, match=r"name a map between them \(--label-map crema-d-ravdess\|spellings-ravdess\|without-sad\)"
    ):
        evaluate(run.folder, "--records", records)
    with pytest.raises(InputError, match=r"labels of .*crema are ANG, .*; tess-ravdess does not know ANG, SAD, FEA\)"):
        evaluate(run.folder, "--records", records, "--label-map", "tess-ravdess")
    with pytest.raises(InputError, match=r"those of the run neutral, calm.*; ravdess-seven leads to angry, disgust"):
        evaluate(run.folder, "--records", records, "--label-map", "ravdess-seven")
    evaluate(run.folder, "--records", records, "--label-map", "without-sad")
    scores, predictions = run.cross_corpus(records).scores(), run.cross_corpus(records).predictions()
    assert (scores["label_map"], scores["dropped"]) == ("without-sad", {"SAD": 3})
    assert sorted(predictions["label"]) == ["angry"] * 3 + ["fearful"] * 3
    assert {name.split("-")[1] for name in predictions["utterance_id"]} == {"ANG", "FEA"}


def test_labels_that_a_run_shares_are_scored_by_name_and_others_left_out_and_told(run, make_other, capsys):
    records = make_other("more", ["bored", "surprised", *RAVDESS[:-1]])
    evaluate(run.folder, "--records", records)
    scores, predictions = run.cross_corpus(records).scores(), run.cross_corpus(records).predictions()
    assert scores["dropped"] == {"bored": 3}
    assert "left out, for the run does not know their labels: 3 bored" in capsys.readouterr().out
    assert list(predictions["label"]) == [name.split("-")[1] for name in predictions["utterance_id"]]
    assert set(predictions["label"]) == set(RAVDESS)
    few = make_other("few", ["sad", "calm"])
    with pytest.raises(InputError, match=r"--label-map tess-ravdess changes nothing, the labels of .*few lead"):
        evaluate(run.folder, "--records", few, "--label-map", "tess-ravdess")
    evaluate(run.folder, "--records", few)
    assert run.cross_corpus(few).scores()["dropped"] == {}
    assert sorted(run.cross_corpus(few).predictions()["label"]) == ["calm"] * 3 + ["sad"] * 3


def test_records_without_words_score_no_run_that_reads_nothing_else(run, other, tmp_path):
    mute = tmp_path / "mute"
    shutil.copytree(other, mute)
    values = json.loads((mute / "metadata.json").read_text())
    write_json(mute / "metadata.json", values | {"num_without_words": values["num_utterances"]})
    with pytest.raises(InputError, match=r"mute hold no words, and .* reads nothing else: prepare them with some"):
        evaluate(run.folder, "--records", mute)


def test_several_emotions_are_left_out_where_a_run_knows_one():
    index = pd.DataFrame({"labels": [(0,), (0, 1), (0, 2), (2,), (1, 3)]})
    labels, numbers = ["anger", "annoyance", "joy", "calm"], [0, 0, 1, None]
    assert evaluate_module._dropped(index, labels, numbers, False) == {"two or more emotions": 1}
    assert evaluate_module._dropped(index, labels, numbers, True) == {}
    assert evaluate_module._dropped(index, labels, [None, 0, 1, 1], True) == {"anger": 1}


def test_records_of_another_front_end_are_refused(run, make_other):
    records = make_other("narrow", ["calm"], RAVDESS, mel_bins=32)
    with pytest.raises(InputError, match=r"were made with another front end than .* knows: prepare them with it"):
        evaluate(run.folder, "--records", records)


def test_scores_of_a_file_never_replace_those_of_a_run(run, tmp_path):
    scores = run.scores()
    with pytest.raises(InputError, match="holds a run, whose scores are its own: give --output another folder"):
        main(["--predictions", str(run.predictions_path), "--output", str(run.folder)])
    assert run.scores() == scores
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is a file: give --output a folder"):
        main(["--predictions", str(run.predictions_path), "--output", str(tmp_path / "file")])


def test_speakers_of_other_records_are_known_by_their_own_other_clips(enrolled_run, other, tmp_path):
    run = Run(tmp_path / "enrolled")
    shutil.copytree(enrolled_run.folder, run.folder)
    evaluate(run.folder, "--records", other)
    assert run.cross_corpus(other).scores()["marks"] == ["synthetic", "enrolled speaker"]
    enrolled = run.cross_corpus(other).predictions().filter(like="probability_")
    # Without other clips of a speaker the statistics of training would stand in.
    values = dataclasses.asdict(run.normalisation())
    write_json(run.normalisation_path, values | {"mode": "training"})
    evaluate(run.folder, "--records", other, "--again")
    assert (run.cross_corpus(other).predictions().filter(like="probability_") - enrolled).abs().max(axis=None) > 1e-3


def test_scores_with_context_say_so_and_records_without_it_are_refused(context_run, dialogues, prepared, tmp_path):
    run = Run(tmp_path / "context")
    shutil.copytree(context_run.folder, run.folder)
    evaluate(run.folder)
    assert "context 2" in run.scores()["marks"]
    plain = prepared("dialogues", dataclasses.replace(dialogues, name="others"))
    with pytest.raises(InputError, match=r"were made with another number of lines of context \(prepare --context\)"):
        evaluate(run.folder, "--records", plain)
