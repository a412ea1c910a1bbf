"""The notebooks run from top to bottom and show what they speak of."""

import io
import math
import os
import re
import tokenize
from pathlib import Path

import nbformat
import pytest

import hwnas_jax
from hwnas_jax.spaces import make_space
from tests.spaces import contract
from tests.spaces.passes import check_space

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NUMBER = r"([-+.\w]+)"


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def _text(cell) -> str:
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


@pytest.mark.parametrize("name", ["quickstart", "own_space", "cost_models", "own_data", "own_task"])
def test_stored_without_outputs(name):
    stored = read(name)
    nbformat.validate(stored)
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    for cell in stored.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function from a notebook's name to its executed code cells by id.

    Numbers of its config may be made smaller, by their names in it.
    """
    pytest.importorskip("ipykernel", reason="the notebook needs a kernel: install ipykernel")
    from nbclient import NotebookClient

    # A reader has one CPU device; only this session's own process is to see eight.
    flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in f]
    monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    package = str(Path(hwnas_jax.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]))

    def execute(name, **smaller):
        stored = read(name)
        for key, value in smaller.items():
            sources = [re.subn(rf"\b{key}=\d+", f"{key}={value}", c.source) for c in stored.cells]
            assert sum(count for _, count in sources) == 1, key
            for cell, (source, _) in zip(stored.cells, sources, strict=True):
                cell.source = source
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(stored, timeout=600, kernel_name="python3", resources=resources).execute()
        cells = {cell.id: cell for cell in stored.cells if cell.cell_type == "code"}
        outputs = [output for cell in cells.values() for output in cell.outputs]
        assert not [output for output in outputs if output.output_type == "error"]
        noise = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
        assert not noise, noise
        return cells

    return execute


def drawn_in(cells):
    return {
        name
        for name, cell in cells.items()
        if any("image/png" in output.get("data", {}) for output in cell.outputs)
    }


SMALLER = {
    "profile__networks": 12, "profile__rounds": 2, "profile__measure_rounds": 2,
    "search__steps": 60, "search__warmup_steps": 20, "derive__confirm": 1, "retrain__epochs": 2,
}  # fmt: skip


@pytest.mark.slow
def test_quickstart_runs(run, tmp_path):
    cells = run("quickstart", **SMALLER)
    assert drawn_in(cells) == {"fit", "search", "probabilities", "derive", "retrain"}

    last = _text(list(cells.values())[-1])
    accuracy = float(re.search(f"test accuracy: {NUMBER}", last)[1])
    latency_ms = float(re.search(f"measured latency: {NUMBER} ms", last)[1])
    assert 0.0 < accuracy <= 1.0
    assert math.isfinite(latency_ms) and latency_ms > 0.0
    assert (tmp_path / Path(re.search(r"report: (.+)", last)[1])).is_file()


def own_space():
    """Returns the file that `own_space.ipynb` writes."""
    (cell,) = (cell for cell in read("own_space").cells if cell.id == "space")
    first, _, source = cell.source.partition("\n")
    assert first == "%%writefile {folder}/mixer.py"
    return source + "\n"


def test_a_space_of_ones_own_is_short_and_keeps_the_contract(tmp_path):
    source = own_space()
    idle = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENDMARKER,
    }  # fmt: skip
    tokens = tokenize.generate_tokens(io.StringIO(source.partition("\n")[2]).readline)
    lines = {n for t in tokens if t.type not in idle for n in range(t.start[0], t.end[0] + 1)}
    assert len(lines) < 60
    (tmp_path / "mixer.py").write_text(source)
    space = make_space(
        f"{tmp_path / 'mixer.py'}:Mixer", {"layers": 3, "channels": 2},
        input_shape=(4, 6, 1), num_outputs=3,
    )  # fmt: skip
    check_space(space)
    contract.check_codecs(space, count=20)
    contract.check_counts(space, extra=3)
    contract.check_tables_agree(space)


@pytest.mark.slow
def test_own_space_runs(run):
    cells = run("own_space", **SMALLER)
    assert drawn_in(cells) == {"search", "found"}
    apart = re.findall(f"largest difference {NUMBER}", _text(cells["check"]))
    assert len(apart) == 2 and all(float(value) < 1e-4 for value in apart)
    found = _text(cells["found"])
    target_ms = float(re.search(f"target {NUMBER} ms", found)[1])
    rows = re.findall(f"predicted {NUMBER} ms, measured {NUMBER} ms, test accuracy {NUMBER}", found)
    assert len(rows) == 2
    for predicted, measured, accuracy in rows:
        assert float(predicted) <= target_ms + 5e-4
        assert float(measured) > 0
        # Which networks are found depends on what was measured, and they learn for two epochs.
        assert 0 < float(accuracy) <= 1
    assert Path(re.search(r"report: (.+)", found)[1]).is_file()


@pytest.mark.slow
def test_cost_models_runs(run, tmp_path):
    cells = run("cost_models")
    assert drawn_in(cells) == {"fit", "study"}
    row = f"rank correlation {NUMBER} +mean error +{NUMBER}%"
    fitted = re.findall(f"Gaussian process +{row}", _text(cells["fit"]))
    assert len(fitted) == 1 and float(fitted[0][0]) > 0.95 and float(fitted[0][1]) < 8
    gradient = _text(cells["gradient"])
    assert float(re.search(f"cosine of the gradients {NUMBER}", gradient)[1]) > 0.95
    cosines = re.findall(f"{row} +gradient cosine {NUMBER}", _text(cells["study"]))
    gaussian, counting = ([float(value) for value in found] for found in cosines)
    assert gaussian[0] > counting[0] and gaussian[1] < counting[1] and gaussian[2] > counting[2]
    assert len(list(tmp_path.rglob("counting.npz"))) == 1


@pytest.mark.slow
def test_own_data_runs(run):
    cells = run("own_data")
    assert drawn_in(cells) == {"look"}
    assert "(192, 10, 14, 1) to train on, (48, 10, 14, 1) to test on" in _text(cells["arrays"])
    assert "48 examples of 240 are held out" in _text(cells["arrays"])
    found = _text(cells["run"])
    assert 0.5 < float(re.search(f"test accuracy {NUMBER}", found)[1]) <= 1
    assert "kept in the run: True" in found
    folder = _text(cells["folder"])
    assert "(200, 10, 14, 1) uint8 to train on, (40, 10, 14, 1) to test on" in folder
    assert "read as image_folder" in folder
    assert _text(cells["options"]) == "(12, 12, 1)\n"
    sizes, layout, empty, damaged = _text(cells["mistakes"]).strip().split("\n\n")
    assert "search.batch_size = 128 is more than the 100" in sizes
    assert "retrain.batch_size = 512 is more than the 180" in sizes
    assert "say layout NHW" in layout
    assert "class folder FOLDER/pictures/test/crossed has no pictures" in empty
    assert "cannot read the picture FOLDER/pictures/test/level/200.png" in damaged


FEW_CELLS = {"count": 120, "retrain__epochs": 8, "profile__networks": 8, "profile__held_out": 3}


@pytest.mark.slow
def test_own_task_runs(run):
    cells = run("own_task", **{**SMALLER, **FEW_CELLS})
    assert drawn_in(cells) == {"look", "predictions"}
    assert "task: segmentation; (96, 20, 20, 1) to train on, (24, 20, 20, 1)" in _text(
        cells["data"]
    )
    found = _text(cells["run"])
    rows = re.findall(
        f"target {NUMBER} ms, predicted {NUMBER} ms, measured {NUMBER} ms, mean IoU {NUMBER}", found
    )
    assert len(rows) == 2
    chance = float(re.search(f"looks at no image: mean IoU {NUMBER}", found)[1])
    for target_ms, predicted, measured, mean_iou in rows:
        assert float(predicted) <= float(target_ms) + 5e-4
        assert float(measured) > 0
        assert chance < float(mean_iou) <= 1
    assert Path(re.search(r"report: (.+)", found)[1]).is_file()
    new = float(re.search(f"new images: {NUMBER}", _text(cells["predictions"]))[1])
    assert chance < new <= 1
    own = re.search(f"chance {NUMBER}, the network above {NUMBER}", _text(cells["own"]))
    blind, dice = own.groups()
    assert 0 < float(blind) < float(dice) <= 1
    sizes, wrong = _text(cells["mistakes"]).strip().split("\n\n")
    assert "needs a target for each pixel of the 20x20 inputs" in sizes
    assert "is made for task.name = 'segmentation'" in wrong
