"""Tests of README.md and docs/: one page that names what there is, and links that lead somewhere."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FOLDERS = ("", "data", "docs", "docs/api", "saved_models")
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]


def name_of(path):
    return str(path.relative_to(ROOT))


def listed(nav):
    """Yields the pages of a navigation."""
    for entry in nav:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else listed(value)


def test_readme_is_one_page():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert 120 <= len(lines) <= 150
    assert max(map(len, lines)) < 120


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_lines_are_short_outside_of_tables(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) >= 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_a_page_names_exist(path):
    named = re.findall(r"`((?:pipelines|emotion_tf|tests|benchmarks|docs)/[\w/.]*)`", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_to_files(path):
    links = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", path.read_text(encoding="utf-8"))
    here = [link for link in links if not link.startswith("http")]
    assert [link for link in here if not (path.parent / link).exists()] == []


def test_every_page_is_in_the_navigation_once():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = list(listed(config["nav"]))
    assert sorted(pages) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_the_site_loads_no_fonts_from_elsewhere():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
    assert "extra_javascript" not in config
    assert "repo_url" not in config  # The theme would ask the host about it.


@pytest.mark.parametrize("path", sorted((DOCS / "api").glob("*.md")), ids=name_of)
def test_modules_of_the_reference_exist(path):
    for module in re.findall(r"^::: (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        file = ROOT.joinpath(*module.split("."))
        assert file.with_suffix(".py").exists() or (file / "__init__.py").exists(), module


@pytest.mark.parametrize("path", sorted((ROOT / "emotion_tf").glob("*.py")), ids=name_of)
def test_readme_names_every_command(path):
    if "run_command(main)" in path.read_text(encoding="utf-8"):
        assert f"`python -m emotion_tf.{path.stem}`" in (ROOT / "README.md").read_text(encoding="utf-8")
