"""The notebook runs from top to bottom and shows what it speaks of."""

import math
import os
import re
from pathlib import Path

import nbformat
import pytest

import hwnas_jax

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "quickstart.ipynb"
NUMBER = r"([-+.\w]+)"


@pytest.fixture
def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def _text(cell) -> str:
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


def test_stored_without_outputs(stored):
    nbformat.validate(stored)
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    for cell in stored.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
def test_runs(stored, tmp_path, monkeypatch):
    pytest.importorskip("ipykernel", reason="the notebook needs a kernel: install ipykernel")
    from nbclient import NotebookClient

    # A reader has one CPU device; only this session's own process is to see eight.
    flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in f]
    monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    package = str(Path(hwnas_jax.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]))

    NotebookClient(
        stored, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()

    cells = {cell.id: cell for cell in stored.cells if cell.cell_type == "code"}
    outputs = [output for cell in cells.values() for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    noise = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not noise, noise
    drawn = {
        name
        for name, cell in cells.items()
        if any("image/png" in output.get("data", {}) for output in cell.outputs)
    }
    assert drawn == {"fit", "search", "probabilities", "derive", "retrain"}

    last = _text(list(cells.values())[-1])
    accuracy = float(re.search(f"test accuracy: {NUMBER}", last)[1])
    latency_ms = float(re.search(f"measured latency: {NUMBER} ms", last)[1])
    assert 0.0 < accuracy <= 1.0
    assert math.isfinite(latency_ms) and latency_ms > 0.0
    assert (tmp_path / Path(re.search(r"report: (.+)", last)[1])).is_file()
