"""Tests of docs/make_flags.py: the page of all flags is what the parsers say, in Markdown that shows them."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def make_flags():
    spec = importlib.util.spec_from_file_location("make_flags", ROOT / "docs" / "make_flags.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parser_of(name):
    return importlib.import_module(name).make_parser()


def test_the_page_is_what_the_parsers_say(make_flags):
    stored = make_flags.PAGE.read_text(encoding="utf-8")
    assert stored == make_flags.page(), "parsers changed: run python docs/make_flags.py"


def test_the_page_is_the_same_whatever_the_width_of_the_terminal(make_flags, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    assert make_flags.page() == make_flags.PAGE.read_text(encoding="utf-8")


def test_every_command_is_on_the_page(make_flags):
    paths = [path for package in ("pipelines", "emotion_tf") for path in (ROOT / package).rglob("*.py")]
    starts = [path for path in paths if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in starts}
    assert names - {"emotion_tf.serving.demo_page"} == set(make_flags.COMMANDS)  # Streamlit runs that one.


def test_every_flag_stands_in_the_section_of_its_command_or_of_the_one_that_it_names(make_flags):
    sections = dict(re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", make_flags.page(), re.MULTILINE | re.DOTALL))
    for name in make_flags.COMMANDS:
        text = sections[name.partition(".")[2]]
        homes = re.findall(r"\[(\w+)\]\(#\w+\)", text)
        for action in parser_of(name)._actions:
            typed = action.option_strings[-1] if action.option_strings else action.metavar
            assert typed == "--help" or any(
                f"- `{typed}" in found for found in [text, *(sections[home] for home in homes)]
            )


@pytest.mark.parametrize(
    "name", ["pipelines.prepare", "emotion_tf.fit", "emotion_tf.crossval", "emotion_tf.predict", "emotion_tf.evaluate"]
)
def test_every_flag_has_a_whole_sentence(name):
    for action in parser_of(name)._actions:
        assert action.dest == "help" or re.match(r"[A-Z].*\.($| \(.*\)$)", action.help), action.help


def test_lines_are_short_and_none_begins_with_a_mark_that_is_not_meant(make_flags):
    lines = make_flags.page().splitlines()
    assert max(map(len, lines)) < 120
    with pytest.raises(ValueError, match="would read a mark in"):
        make_flags._filled("word " * 23 + "DB + 20 decibels")


def test_marks_of_markdown_and_html_stand_in_code_only(make_flags):
    prose = re.sub(r"```.*?```|`[^`]*`", "", make_flags.page(), flags=re.DOTALL)
    assert not re.search(r"[<>*|]", prose)


def test_each_command_explains_itself_in_lines_that_fit_a_narrow_terminal(make_flags, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name in make_flags.COMMANDS:
        wide = [line for line in parser_of(name).format_help().splitlines() if len(line) > 80]
        assert all(line.lstrip().startswith("--") for line in wide), wide
