"""Tests of benchmarks/tables.py, rows.py and result_files.py: pages hold what results/*.json holds."""

import json
import subprocess

import pytest

from benchmarks import result_files, rows, tables

NAMES = sorted(path.stem for path in result_files.FOLDER.glob("*.json"))


@pytest.mark.parametrize("path", tables.pages(), ids=lambda path: str(path.relative_to(tables.ROOT)))
def test_pages_hold_the_numbers_of_the_results(path):
    assert path.read_text(encoding="utf-8") == tables.pages()[path], "run python -m benchmarks.tables"


def test_every_result_is_on_the_page():
    assert sorted({name for section in tables.SECTIONS.values() for name in section.results}) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_result_names_its_commit_and_what_measured_it(name):
    result = result_files.read_result(name)
    sections = [section for section in tables.SECTIONS.values() if name in section.results]
    assert all(result.get("commands") or section.commands for section in sections)
    assert all(commit.rstrip("+").isalnum() for commit in rows.commits(result))
    assert result["commit"]


def test_markers_are_filled_and_filled_anew():
    text = "before\n\n<!-- table video_pooling -->\n<!-- end of table -->\n\nbehind\n"
    filled = tables.filled_in(text)
    assert "| `mean` | 0.727 |" in filled
    assert filled.startswith("before\n\n<!--")
    assert filled.endswith("-->\n\nbehind\n")
    assert tables.filled_in(filled.replace("0.727", "0.999")) == filled


def test_an_unknown_marker_is_an_error():
    with pytest.raises(KeyError, match="no_such"):
        tables.filled_in("<!-- table no_such -->\n<!-- end of table -->\n")


def test_a_table_has_a_column_for_each_key_of_any_row():
    drawn = rows.markdown([{"a": "1"}, {"b": "2", "a": "3"}])
    assert drawn == "| a | b |\n| --- | --- |\n| 1 |  |\n| 3 | 2 |"


def test_long_commands_are_broken_before_flags_and_mean_the_same():
    command = "python -m x --first " + "a" * 60 + " --second " + "b" * 60 + " --third"
    lines = rows.broken(command)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert lines[1].startswith("    --second")
    assert "".join(line.removesuffix("\\").lstrip() for line in lines) == command
    assert rows.broken("make fit") == ["make fit"]


def test_long_lists_of_values_are_broken_too():
    lines = rows.broken("python -m x --runs " + " ".join(["saved_models/run"] * 20))
    assert max(len(line) for line in lines) < 2 * rows.WIDTH
    assert len(lines) > 3


def test_rows_of_other_commits_say_so():
    result = {"commit": "aaa", "rows": [{"uar": 0.5}, {"uar": 0.25, "commit": "bbb"}]}
    assert [row["measured at"] for row in rows.kept(result)] == ["`aaa`", "`bbb`"]
    assert rows.kept({"commit": "aaa", "rows": [{"uar": 0.5}]}) == [{"UAR": "0.500"}]


def test_commits_are_found_at_any_depth():
    assert rows.commits({"commit": "a", "b": [{"commit": "c"}, 1], "d": {"e": {"commit": "f"}}}) == {"a", "c", "f"}


def test_a_written_result_carries_the_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "FOLDER", tmp_path)
    monkeypatch.setattr(result_files, "commit", lambda: "abc1234")
    assert result_files.read_result("speed") == {}
    result_files.write_result("speed", {"clips": 3, "commit": "older"})
    assert json.loads((tmp_path / "speed.json").read_text()) == {"clips": 3, "commit": "abc1234"}
    assert result_files.read_result("speed")["clips"] == 3


def test_the_commit_says_where_files_differ_from_it(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "results").mkdir()
    (tmp_path / "file").write_text("1")
    git("init", "--quiet")
    git("add", "file")
    git("commit", "--quiet", "--message", "One")
    monkeypatch.setattr(result_files, "FOLDER", tmp_path / "results")
    clean = result_files.commit()
    (tmp_path / "file").write_text("2")
    assert clean.isalnum()
    assert result_files.commit() == clean + "+"
