"""Tests of pipelines.parsers: sentences with bounds and defaults behind them, and words for None."""

import dataclasses

import pytest

from pipelines.parsers import add_flag, add_setting, command_parser, number_or, with_meanings
from pipelines.settings import SHARE, Bounds, at_least, setting, settings_of, up_to


@dataclasses.dataclass(frozen=True)
class Example:
    """One field of each kind."""

    count: int = setting(2, "Count N things.", at_least(1))
    share: float = setting(0.5, "Leave out this share, 95 % at most.", SHARE, unit="SHARE")
    level: float | None = setting(None, "Add noise at this level.", up_to(100), unit="DB", word="off")
    widths: tuple[int, ...] = setting((1, 2), "Stack N wide layers.", at_least(1), count=Bounds(1, 3))
    kind: str = setting("a", "Take this kind.", choices={"a": "the first", "b": "the second"})
    features: tuple[str, ...] = setting(("a",), "Read these.", choices=("a", "b"), unit="FEATURE")
    units: tuple[int, ...] = setting((), "Give each N units.", at_least(1), models={"gru": (3, 4), "crnn": (5,)})
    heads: int = setting(4, "Attend with N heads.", at_least(1), models=("gru", "crnn"))
    is_fixed: bool = setting(False, "Keep it fixed.", flag="fixed")


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    made = command_parser("emotion_tf.example", "Does things: well.\n\nMore of it.", "[FLAG ...]")
    for name, field in settings_of(Example).items():
        add_setting(made, name, field)
    return made


def test_the_help_has_a_usage_of_one_line_and_the_first_line_of_the_docstring(parser):
    assert parser.format_help().startswith("usage: python -m emotion_tf.example [FLAG ...]\n\nDoes things: well.\n")
    assert "More of it" not in parser.format_help()


@pytest.mark.parametrize(
    "line",
    [
        "--count N Count N things. (at least 1; default: 2)",
        "--share SHARE Leave out this share, 95 % at most. (from 0 to below 1; default: 0.5)",
        "--level DB|off Add noise at this level. (from 0 to 100; default: off)",
        "--widths N [N ...] Stack N wide layers. (from 1 to 3 numbers, each at least 1; default: 1 2)",
        "--kind {a,b} Take this kind. a: the first; b: the second. (default: a)",
        "--features FEATURE [FEATURE ...] Read these. (some of a, b; default: a)",
        "--units N [N ...] Give each N units. (each at least 1; default: 3 4 for gru, 5 for crnn)",
        "--heads N Attend with N heads. (gru, crnn only; at least 1; default: 4)",
        "--fixed Keep it fixed.",
    ],
)
def test_a_setting_says_what_it_does_whose_it_is_what_it_may_be_and_what_holds_without_it(parser, line):
    assert line in " ".join(parser.format_help().split())


def test_flags_that_are_not_given_are_none_and_others_are_of_the_type_of_their_field(parser):
    assert set(vars(parser.parse_args([])).values()) == {None}
    given = ["--count", "3", "--level", "0", "--widths", "4", "5", "--features", "b", "--units", "6", "--fixed"]
    found = vars(parser.parse_args(given))
    assert {name: value for name, value in found.items() if value is not None} == {
        "count": 3,
        "level": 0.0,
        "widths": [4, 5],
        "features": ["b"],
        "units": [6],
        "fixed": True,
    }
    assert isinstance(found["count"], int)
    assert isinstance(found["level"], float)


def test_a_word_stands_for_none_and_another_word_is_refused(parser, capsys):
    assert parser.parse_args(["--level", "off"]).level is None
    assert number_or("all", int)("8") == 8
    with pytest.raises(SystemExit):
        parser.parse_args(["--level", "loud"])
    assert "loud is neither a number nor off" in capsys.readouterr().err


def test_a_flag_without_bounds_or_default_is_its_sentence_alone(parser):
    add_flag(parser, "--plain", "Do it plainly.", action="store_true")
    add_flag(parser, "--must", "Do it.", "two or more", required=True, nargs="+")
    add_flag(parser, "--path", "Write here.", shown="the run's own folder")
    shown = " ".join(parser.format_help().split())
    assert "--plain Do it plainly. --must" in shown
    assert "Do it. (two or more; required)" in shown
    assert "Write here. (default: the run's own folder)" in shown


def test_names_with_hyphens_are_not_broken(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    made = command_parser("x", "X.", "")
    add_flag(made, "--flag", "Aaaaaaaaaaaa bbbbbbbbbbb --a-flag-of-many-parts ccccc goemotions-seven ddd.")
    words = made.format_help().split()
    assert {"--a-flag-of-many-parts", "goemotions-seven"} <= set(words)


def test_meanings_are_added_where_a_mapping_has_them():
    assert with_meanings("Choose.", {"a": "one", "b": "two"}) == "Choose. a: one; b: two."
    assert with_meanings("Choose.", ("a", "b")) == "Choose."
