"""Tests of emotion_tf.report: page and document say what scores.json says, of whatever is left of a run."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import docx
import lxml.html
import numpy as np
import pandas as pd
import pytest
import soundfile

from emotion_tf.crossval import Crossval, Fit
from emotion_tf.evaluation import metrics
from emotion_tf.evaluation.comparison import compare, pair_up, read_entries
from emotion_tf.evaluation.counts import UAR
from emotion_tf.report import main
from emotion_tf.reporting import pictures
from emotion_tf.reporting.about import ANCHORS
from emotion_tf.reporting.clips import read_stored
from emotion_tf.reporting.subjects import read_subjects
from emotion_tf.runs.folder import Run
from pipelines.command import InputError, run_command
from pipelines.records import read_metadata

NUMBER = re.compile(r"(?<![\d.])[-+]?\d\.\d{3}(?!\d)")


def report(*folders, output, flags=()):
    main([*map(str, folders), "--output", str(output), *flags])
    return lxml.html.fromstring((output / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folders(audio_run, early_run):
    return [run.folder for run in (audio_run, early_run)]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def page(folders, output):
    """The page of two runs whose test splits were not read."""
    return report(*folders, output=output)


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves pictures empty, for tests of what a report says: to draw them takes nearly all of its time."""
    png = pictures.spectrogram(np.zeros((1, 1)))
    monkeypatch.setattr(pictures, "svg", lambda figure, number: "<svg></svg>")
    monkeypatch.setattr(pictures, "png", lambda figure: png)


@pytest.fixture(scope="module")
def document(page, output):
    return docx.Document(str(output / "report.docx"))


def leaves(values):
    """Yields every number in what a JSON file holds."""
    if isinstance(values, dict | list | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from leaves(value)
    elif isinstance(values, float):
        yield values


def numbers_of(folders, split="validation"):
    """Writes every number that scores.json, history.csv and a comparison hold with three decimals."""
    found = list(leaves([json.loads((folder / "scores.json").read_text()) for folder in folders]))
    for folder in folders:
        if (folder / "history.csv").exists():
            found += pd.read_csv(folder / "history.csv").to_numpy().ravel().tolist()
    if len(folders) > 1:
        entries = read_entries(folders)
        found += leaves(compare(entries, pair_up(entries, split), split))
    return {form.format(number) for number in found for form in ("{:.3f}", "{:+.3f}")}


def text_of(tree):
    return " ".join(tree.text_content().split())


def copy_of(run, folder):
    shutil.copytree(run.folder, folder)
    return Run(folder)


def test_every_number_of_the_page_stands_in_a_file_of_the_run_or_comes_of_the_comparison(page, folders):
    """Of cells, sentences, captions, alternative texts and legends; ticks of axes have fewer digits."""
    outside = page.xpath("//main//text()[not(ancestor::svg) and not(ancestor::script)]")
    within = [text for text in page.xpath("//svg//text()") if "(" in text]  # Of legends.
    shown = [*outside, *within, *page.xpath("//svg/@aria-label"), *page.xpath("//img/@alt")]
    found = {number for text in shown for number in NUMBER.findall(text)}
    confidences = pd.concat([Run(folder).predictions().filter(like="probability_") for folder in folders]).to_numpy()
    assert len(found) > 30
    assert found <= numbers_of(folders) | {f"{number:.3f}" for number in confidences.ravel()}


def rows_of(page, caption, place=0):
    """Reads the cells of the table of that caption, and of that place among those."""
    name = page.xpath(f"//p[@class='caption' and starts-with(., '{caption}')]/@id")[place]
    rows = page.xpath(f"//table[@aria-labelledby='{name}']/tbody/tr")
    return [[cell.text_content() for cell in row] for row in rows]


def ranged(scores, name=UAR):
    """Writes a score and its interval, in the test's own words."""
    ends = scores[f"{name}_interval"]
    return [f"{scores[name]:.3f}", f"[{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "[too few speakers]"]


@pytest.fixture(scope="module")
def stored_scores(folders):
    return {folder.name: json.loads((folder / "scores.json").read_text())["validation"] for folder in folders}


def test_headlines_are_those_of_scores_json_beside_chance_and_majority(page, stored_scores):
    found = rows_of(page, "Scores of the validation split")
    for (name, _, *cells), (run, scores) in zip(found, stored_scores.items(), strict=True):
        sizes = [str(scores["num_utterances"]), str(len(scores["speakers"]))]
        proportions = [f"{scores[what][UAR]:.3f}" for what in ("chance", "majority")]
        assert (name, cells) == (run, [*ranged(scores), *proportions, *ranged(scores, "accuracy"), *sizes])


def test_tables_of_emotions_and_groups_are_those_of_scores_json(page, stored_scores):
    for place, scores in enumerate(stored_scores.values()):
        of_emotions = rows_of(page, "Scores of each emotion", place)
        names = ("precision", "recall", "f1", "area_under_curve")
        assert of_emotions == [
            [emotion, *("-" if of[name] is None else f"{of[name]:.3f}" for name in names), str(of["count"])]
            for emotion, of in scores["per_emotion"].items()
        ]
        assert rows_of(page, "UAR by group", place) == [
            [f"{group} {member}", *ranged(of), str(of["num_utterances"]), str(of["num_units"])]
            for group in ("sex", "intensity", "statement")
            for member, of in scores["by"][group].items()
        ]


def test_scores_without_a_modality_are_those_of_scores_json(page, stored_scores, early_run):
    scores = stored_scores[early_run.folder.name]
    assert rows_of(page, "Scores without a modality") == [
        [early_run.folder.name, modality, *ranged(found), f"{scores[UAR]:.3f}"]
        for modality, found in scores["without"].items()
    ]


def test_differences_are_those_of_the_comparison(page, folders):
    entries = read_entries(folders)
    [pair] = compare(entries, pair_up(entries, "validation"), "validation")["pairs"]
    [[name, difference, interval, *_]] = rows_of(page, "Differences over")
    assert (name, difference) == (f"{pair['first']} - {pair['second']}", f"{pair[UAR]:+.3f}")
    assert interval == ranged(pair)[1]


def test_page_and_document_say_the_same(page, document):
    in_document = {cell.text for table in document.tables for row in table.rows for cell in row.cells}
    in_page = [cell.text_content() for cell in page.xpath("//td[@data-head]")]
    assert set(in_page) <= in_document
    headings = [paragraph.text for paragraph in document.paragraphs if paragraph.style.name.startswith("Heading")]
    assert headings == [title.text_content() for title in page.xpath("//h2|//h3")]


def test_marks_stand_before_the_first_score(page):
    text = text_of(page.body)
    first_score = NUMBER.search(text).start()
    for mark in ("synthetic", "few speakers", "validation only"):
        assert 0 <= text.index(mark) < first_score


def test_nothing_is_loaded_from_elsewhere(page, output):
    sources = [value for _, name, value, _ in page.iterlinks() if name != "href" or not value.startswith("#")]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"@import|url\(\s*['\"]?http|<link", (output / "report.html").read_text(encoding="utf-8"))


def test_pictures_have_alternative_text(page, document):
    pictures = page.xpath("//svg|//img")
    assert all(len(one.get("aria-label") or one.get("alt") or "") > 20 for one in pictures)
    shapes = document.element.xpath("//wp:inline/wp:docPr")
    assert len(shapes) >= len(pictures)
    assert all(len(shape.get("descr", "")) > 20 for shape in shapes)


def test_a_page_of_the_document_may_end_behind_each_row_of_pictures_and_each_matrix(document):
    keeps = "boolean(.//w:keepNext)"
    assert not any(row.xpath(keeps) for row in document.element.xpath("//w:tbl//w:tr[.//w:drawing]"))
    assert not any(row.xpath(keeps) for row in document.element.xpath("//w:tbl/w:tr[last()]"))


def test_no_line_of_a_command_ends_within_a_flag(page):
    words = page.xpath("//pre/code/span")
    assert " ".join(word.text_content() for word in words).split() == page.xpath("//pre")[0].text_content().split()
    assert "--branch" in {word.text_content() for word in words}


def test_text_of_pictures_is_text(page):
    words = [text.text_content().strip() for text in page.xpath("//svg//text")]
    assert {"epoch", "chance", "log_mel [num_frames, 64]"} <= set(words)


def test_names_within_pictures_are_used_once(page):
    names = page.xpath("//@id")
    assert len(names) == len(set(names))


def test_confusion_matrices_of_all_epochs_are_behind_the_slider(page, audio_run):
    [found, *_] = [json.loads(script.text_content()) for script in page.xpath("//script[@type='application/json']")]
    assert len(found["titles"]) == 2
    counts = audio_run.scores()["validation"]["counts"]
    assert [[sum(row) for row in matrix] for matrix in found["counts"]] == [list(counts.values())] * 2


def test_sound_is_in_the_page_as_it_was_stored(page, audio_run):
    sounds = page.xpath("//ol[@class='clips']/li[audio]")
    name = sounds[-1].xpath("ul/li[1]")[0].text_content()
    data = sounds[-1].find("audio").get("src").partition("base64,")[2]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="int16")
    stored = read_stored(Path(audio_run.config().records), [name])[name]
    assert rate == 16000
    np.testing.assert_array_equal(samples, stored.waveform)
    assert sounds[-1].find("p").text_content() == stored.transcript


@pytest.mark.usefixtures("undrawn")
def test_without_audio_no_sound_is_in_the_page(text_run, tmp_path):
    page = report(text_run.folder, output=tmp_path, flags=["--no-audio"])
    assert not page.xpath("//audio")
    assert page.xpath("//ol[@class='clips']/li")


def test_the_commands_make_the_runs_again(page, audio_run, early_run):
    commands = page.xpath("//pre")[0].text_content().splitlines()
    assert any(line.startswith("python -m emotion_tf.fit --branch audio ") for line in commands)
    assert f"--init-audio {audio_run.folder}" in next(line for line in commands if line.endswith(str(early_run.folder)))


@pytest.mark.usefixtures("undrawn")
def test_by_default_the_report_goes_into_the_first_run(text_run, tmp_path, capsys):
    run = copy_of(text_run, tmp_path / "mine")
    main([str(run.folder)])
    assert capsys.readouterr().out.split() == [str(run.folder / f"report.{kind}") for kind in ("html", "docx")]
    assert (run.folder / "report.docx").exists()


@pytest.mark.usefixtures("undrawn")
def test_late_fusion_says_what_it_joined_and_trained_nothing(late_run, text_run, tmp_path):
    text = text_of(report(late_run.folder, output=tmp_path).body)
    assert "late fusion of audio and text" in text
    assert str(text_run.folder) in text
    assert "Training of" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_which_only_scores_are_left_is_reported_without_holes(early_run, tmp_path):
    run = copy_of(early_run, tmp_path / "old")
    for path in (run.history_path, run.training_path, run.graph_path, run.calibration_path):
        path.unlink()
    shutil.rmtree(run.plots)
    config = json.loads(run.config_path.read_text())
    run.config_path.write_text(json.dumps(config | {"records": str(tmp_path / "gone")}))
    page = report(run.folder, output=tmp_path / "out")
    text = text_of(page.body)
    assert "Clips cannot be shown:" in text
    assert "Training of" not in text
    assert not re.search(r"\bnan\b|None\b(?! of these runs)|no words", text)


@pytest.mark.parametrize("name", ["scores.json", "config.json", "metadata.json", "predictions.csv"])
def test_half_a_run_gets_a_sentence(text_run, tmp_path, capsys, name):
    run = copy_of(text_run, tmp_path / "half")
    (run.folder / name).unlink()
    assert run_command(main, [str(run.folder), "--output", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_predictions_of_another_run_are_refused(text_run, tmp_path):
    run = copy_of(text_run, tmp_path / "mixed")
    run.write_predictions(run.predictions().iloc[1:])
    with pytest.raises(InputError, match="does not hold the validation utterances"):
        main([str(run.folder)])


@pytest.fixture
def crossval(text_run, tmp_path):
    """A cross-validation of one fold and two seeds, which are the same run."""
    found = Crossval(tmp_path / "cv")
    fits = [Fit(0, seed, text_run.config(), copy_of(text_run, found.run(0, seed).folder)) for seed in (0, 1)]
    found.config_path.write_text(json.dumps({"seeds": 2, "config": json.loads(text_run.config().to_json())}))
    found.pool(fits)
    return found


@pytest.mark.usefixtures("undrawn")
def test_a_cross_validation_is_reported_as_one(crossval, tmp_path):
    page = report(crossval.folder, output=tmp_path / "out")
    text = text_of(page.body)
    assert "2 fits of 2 seeds a fold, pooled" in text
    of_fits = crossval.scores()["fold_by_seed"]["validation"]
    assert rows_of(page, "UAR of each fit") == [["fold 0", *(f"{score:.3f}" for score in of_fits.values())]]
    assert "emotion_tf.crossval --branch text" in text
    found = {number for cell in page.xpath("//td[@data-head]") for number in NUMBER.findall(cell.text_content())}
    assert found <= numbers_of([crossval.folder])


@pytest.mark.usefixtures("undrawn")
def test_a_cross_validation_with_a_fit_gone_is_reported_by_its_scores(crossval, tmp_path):
    assert read_subjects([crossval.folder])[0].temperatures is not None
    shutil.rmtree(crossval.run(0, 1).folder)
    page = report(crossval.folder, output=tmp_path / "out")
    text = text_of(page.body)
    assert "2 fits of 2 seeds a fold, pooled" in text
    assert "The folder of fold-0-seed-1 cannot be read any more" in text
    assert read_subjects([crossval.folder])[0].temperatures is None
    crossval.scores_path.unlink()
    with pytest.raises(InputError, match="is not finished: run the same"):
        main([str(crossval.folder)])


@pytest.mark.usefixtures("undrawn")
def test_several_emotions_an_utterance_are_reported_by_macro_f1(goemotions_run, tmp_path):
    page = report(goemotions_run.folder, output=tmp_path)
    heads = [cell.text_content() for cell in page.xpath("//thead//th")]
    assert "macro-F1" in heads
    assert "UAR" not in heads
    assert not page.xpath("//table[@class='confusion']")
    assert not page.xpath("//img")  # Of sentences there is no spectrogram.


@pytest.mark.usefixtures("undrawn")
def test_two_speakers_have_scores_and_no_interval(text_run, tmp_path):
    run = copy_of(text_run, tmp_path / "two")
    rows = run.predictions()
    rows["speaker"] = np.where(np.arange(len(rows)) % 2, "<b>one</b>", "other")
    run.write_predictions(rows)
    scores = metrics.scores(rows, run.metadata().emotions, run.temperature())
    run.write_scores(run.scores() | {"validation": scores})
    page = report(run.folder, output=tmp_path / "out")
    text = text_of(page.body)
    assert "[too few speakers]" in text
    assert "speaker <b>one</b>" in text
    assert not page.xpath("//b")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_video_runs_show_frames(video_run, tmp_path):
    page = report(video_run.folder, output=tmp_path)
    assert page.xpath("//svg[starts-with(@aria-label, 'Frames of one video of each emotion')]")


@pytest.mark.usefixtures("undrawn")
def test_controls_say_what_they_rule_out(text_run, tmp_path):
    control = copy_of(text_run, tmp_path / "text-shuffled")
    config = json.loads(control.config_path.read_text())
    control.config_path.write_text(json.dumps(config | {"control": "shuffled-transcripts"}))
    page = report(text_run.folder, control.folder, output=tmp_path / "out")
    [row] = [row for row in page.iter("tr") if row[0].text_content() == control.folder.name and len(row) == 7]
    assert row[1].text_content() == "shuffled-transcripts"
    uar = text_run.scores()["validation"]["unweighted_average_recall"]
    assert row[5].text_content() == f"{uar:.3f} ({text_run.folder.name})"
    assert "owes nothing to the words" in row[6].text_content()
    assert "its errors are not shown" in text_of(page.body)


@pytest.mark.usefixtures("undrawn")
def test_anchors_stand_beside_ravdess_alone(page, text_run, noise_records, tmp_path):
    assert ANCHORS[0].source not in text_of(page.body)
    run = copy_of(text_run, tmp_path / "ravdess")
    named = {"corpus": read_metadata(noise_records).corpus}
    run.metadata_path.write_text(json.dumps(json.loads(run.metadata_path.read_text()) | named))
    text = text_of(report(run.folder, output=tmp_path / "out").body)
    assert all(anchor.source in text and anchor.protocol in text for anchor in ANCHORS)


def test_a_report_that_fails_leaves_no_folder(text_run, tmp_path):
    run = copy_of(text_run, tmp_path / "run")
    run.calibration_path.write_text("{")
    with pytest.raises(InputError, match=r"calibration\.json is missing or corrupt"):
        main([str(run.folder), "--output", str(tmp_path / "new")])
    assert not (tmp_path / "new").exists()


def test_what_is_no_run_and_what_is_named_twice_get_sentences(text_run, tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        main([str(tmp_path / "none")])
    with pytest.raises(InputError, match="holds no run"):
        main([str(tmp_path)])
    with pytest.raises(InputError, match="is named twice"):
        main([str(text_run.folder), str(text_run.folder)])
    with pytest.raises(InputError, match="is a file: give --output a folder"):
        main([str(text_run.folder), "--output", str(text_run.scores_path)])
