"""Tests of emotion_tf.serving.annotations: files that other programs read back, and references."""

import csv
import itertools
import json
import re

import numpy as np
import pytest
import webvtt
from praatio import textgrid
from pympi import Eaf

from emotion_tf.serving.annotations import Labelled, read_reference, write_annotations
from emotion_tf.serving.timeline import Segment, Timeline
from pipelines.audio.voice import Turn
from pipelines.command import InputError

EMOTIONS = ("neutral", "angry")
SECONDS = 3725.1234375
SEGMENTS = (
    Segment(0.924, 2.4040000000000004, "neutral", (0.7, 0.3)),
    Segment(2.4040000000000004, 3.0, "angry", (0.25, 0.75)),
    Segment(3720.5, SECONDS, "angry", (0.1, 0.9)),
)
TIMES = [(0.924, 2.404), (2.404, 3.0), (3720.5, 3725.123)]


@pytest.fixture
def timeline(tmp_path):
    hops = np.full((3726, 2), np.nan)
    hops[:3], hops[3720:] = (0.6, 0.4), (0.1, 0.9)
    turns = (Turn(0.924, 3.0), Turn(3720.5, SECONDS))
    envelope = np.tile([[-0.5, 0.5]], (round(SECONDS * 20), 1))
    return Timeline(tmp_path / "my $talk 1.wav", EMOTIONS, SECONDS, SEGMENTS, turns, 1.0, hops, envelope)


@pytest.fixture
def written(timeline, tmp_path):
    def write(name):
        write_annotations(timeline, [tmp_path / "out" / name])
        return tmp_path / "out" / name

    return write


def test_praat_reads_the_textgrid(written):
    grid = textgrid.openTextgrid(str(written("talk.TextGrid")), includeEmptyIntervals=True)
    assert grid.maxTimestamp == pytest.approx(SECONDS)
    assert grid.tierNames == ("emotion", "speech")
    entries = grid.getTier("emotion").entries
    assert [entry.label for entry in entries] == ["", "neutral", "angry", "", "angry"]
    assert [(entry.start, entry.end) for entry in entries if entry.label] == [
        pytest.approx(times, abs=1e-3) for times in TIMES
    ]
    # Praat wants tiers without a hole.
    assert entries[0].start == 0
    assert all(one.end == other.start for one, other in itertools.pairwise(entries))
    assert entries[-1].end == pytest.approx(SECONDS)


def test_elan_reads_the_eaf(written, timeline):
    document = Eaf(str(written("talk.eaf")))
    assert sorted(document.get_annotation_data_for_tier("emotion")) == [
        (924, 2404, "neutral"),
        (2404, 3000, "angry"),
        (3720500, 3725123, "angry"),
    ]
    [media] = document.get_linked_files()
    assert media["MEDIA_URL"] == timeline.file.as_uri()


def test_players_read_the_captions(written):
    captions = webvtt.read(str(written("talk.vtt")))
    assert [(one.start, one.end, one.text) for one in captions] == [
        ("00:00:00.924", "00:00:02.404", "neutral 0.70"),
        ("00:00:02.404", "00:00:03.000", "angry 0.75"),
        ("01:02:00.500", "01:02:05.123", "angry 0.90"),
    ]


def test_rttm_has_ten_fields_a_line(written):
    lines = [line.split(" ") for line in written("talk.rttm").read_text().splitlines()]
    assert {len(line) for line in lines} == {10}
    assert [(line[0], line[1], float(line[3]), float(line[4]), line[7]) for line in lines] == [
        ("SPEAKER", "my_$talk_1", 0.924, 1.48, "neutral"),
        ("SPEAKER", "my_$talk_1", 2.404, 0.596, "angry"),
        ("SPEAKER", "my_$talk_1", 3720.5, 4.623, "angry"),
    ]


def test_csv_and_json_lines_hold_the_same_rows(written):
    with written("talk.csv").open() as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in written("talk.jsonl").read_text().splitlines()]
    assert [{name: str(value) for name, value in line.items()} for line in lines] == table
    assert [(line["start"], line["end"]) for line in lines] == TIMES
    assert [line["probability_angry"] for line in lines] == [0.3, 0.75, 0.9]


def test_the_picture_is_one_and_marks_whole_minutes(written, monkeypatch):
    from matplotlib.figure import Figure

    marks, save = [], Figure.savefig

    def keep(figure, *arguments, **options):
        save(figure, *arguments, **options)
        marks.extend(label.get_text() for label in figure.axes[-1].get_xticklabels())

    monkeypatch.setattr(Figure, "savefig", keep)
    assert written("talk.png").read_bytes().startswith(b"\x89PNG")
    assert marks == ["0", "10", "20", "30", "40", "50", "60"]


@pytest.mark.parametrize("name", ["talk.TextGrid", "talk.rttm"])
def test_what_is_written_is_read_as_a_reference(written, name):
    found = read_reference(written(name), EMOTIONS)
    assert [one.emotion for one in found] == ["neutral", "angry", "angry"]
    assert [(one.start, one.end) for one in found] == [pytest.approx(times, abs=2e-3) for times in TIMES]


def test_labels_are_known_whatever_their_case(tmp_path):
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 1.0 2.0 <NA> <NA> Angry <NA> <NA>\n\n;; a comment\n")
    assert read_reference(tmp_path / "a.rttm", EMOTIONS) == [Labelled(1.0, 3.0, "angry")]


def test_of_an_rttm_of_several_recordings_one_is_read(tmp_path):
    lines = [f"SPEAKER {name} 1 {start} 1 <NA> <NA> angry <NA> <NA>\n" for name, start in (("a", 0), ("b", 5))]
    (tmp_path / "all.rttm").write_text("".join(lines))
    assert read_reference(tmp_path / "all.rttm", EMOTIONS, "b") == [Labelled(5.0, 6.0, "angry")]
    with pytest.raises(InputError, match="no labelled stretch of c"):
        read_reference(tmp_path / "all.rttm", EMOTIONS, "c")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.rttm",
            "SPEAKER a 1 1.0 2.0 <NA> <NA> furious <NA> <NA>",
            "says 'furious', which is none of neutral, angry",
        ),
        ("a.rttm", "SPEAKER a 1 one 2.0 <NA> <NA> angry <NA> <NA>", "line 1 is no line of RTTM"),
        ("a.rttm", "SPEAKER a 1", "line 1 is no line of RTTM"),
        ("a.rttm", "SPEAKER a 1 3.0 -2.0 <NA> <NA> angry <NA> <NA>", "a stretch from 3 to 1 s"),
        ("a.rttm", "SPEAKER a 1 nan 1 <NA> <NA> angry <NA> <NA>", "a stretch from nan to nan s"),
        ("a.rttm", "nothing", "holds no labelled stretch"),
        ("a.TextGrid", "nothing", "cannot be read as a TextGrid"),
        ("a.srt", "1", "no reference that is read here"),
    ],
)
def test_references_that_are_none_are_refused(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_reference(tmp_path / name, EMOTIONS)


def test_a_textgrid_of_several_tiers_needs_one_of_emotions(tmp_path):
    grid = textgrid.Textgrid(0, 5)
    for name in ("words", "mood"):
        grid.addTier(textgrid.IntervalTier(name, [(1, 2, "angry")], 0, 5))
    grid.save(str(tmp_path / "a.TextGrid"), format="short_textgrid", includeBlankSpaces=True)
    with pytest.raises(InputError, match="interval tiers words, mood: name the one of emotions 'emotion'"):
        read_reference(tmp_path / "a.TextGrid", EMOTIONS)


@pytest.mark.parametrize("names", [["a.doc"], ["a"], ["a.csv", "a.csv"]])
def test_files_that_cannot_be_written_are_refused_before_any_is(timeline, tmp_path, names):
    with pytest.raises(InputError):
        write_annotations(timeline, [tmp_path / "a.vtt", *(tmp_path / name for name in names)])
    assert not list(tmp_path.glob("a.*"))
