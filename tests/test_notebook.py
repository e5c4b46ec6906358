"""A test of the notebook: it runs from top to bottom on the built-in corpus."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "ravdess.ipynb"


@pytest.fixture
def book():
    return pytest.importorskip("nbformat").read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(book):
    assert [cell for cell in book.cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(book, tmp_path, monkeypatch):
    client = pytest.importorskip("nbclient").NotebookClient
    for name, value in {"WORK": tmp_path, "EPOCHS": 1, "RAVDESS": tmp_path / "none", "PYTHONPATH": ROOT}.items():
        monkeypatch.setenv(name, str(value))
    # What other tests leave would keep pictures out of the outputs.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    client(book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    run = tmp_path / "saved_models" / "synthetic-notebook"
    assert (run / "export" / "1" / "saved_model.pb").exists()
    assert (tmp_path / "saved_models" / "synthetic-notebook-report" / "report.html").exists()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
