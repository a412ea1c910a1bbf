"""Run folders of each kind, and their pages, which are drawn once."""

import pytest

from hwnas_jax import report
from tests.report import run_folders

KINDS = {
    "search": run_folders.write_search,
    "sweep": run_folders.write_sweep,
    "strategy": run_folders.write_strategy,
}


@pytest.fixture
def run(tmp_path):
    """The folder of a finished gradient search."""
    return run_folders.write_search(tmp_path / "run")


@pytest.fixture
def sweep(tmp_path):
    """The folder of a finished sweep."""
    return run_folders.write_sweep(tmp_path / "sweep")


@pytest.fixture
def strategy(tmp_path):
    """The folder of a finished search by a strategy."""
    return run_folders.write_strategy(tmp_path / "strategy")


@pytest.fixture(scope="session")
def drawn(once):
    """By kind, the folder of a finished run with its page; not to be changed."""

    def make(kind):
        return lambda folder: report.write_report(KINDS[kind](folder))

    return {kind: once(f"report-{kind}", make(kind)) for kind in KINDS}


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves out the drawing of figures, nearly all of the time that a page takes."""
    monkeypatch.setattr("hwnas_jax.report.html.to_svg", lambda figure, name, words: "<svg></svg>")
