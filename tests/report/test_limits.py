"""What networks take of the further limits, in the tables of a search and of a sweep."""

import pytest

from hwnas_jax import report
from hwnas_jax.report.numbers import NOTHING
from hwnas_jax.report.read import read_run
from hwnas_jax.report.sweep_summary import rows
from tests.report.run_folders import read, targets, write

pytestmark = pytest.mark.usefixtures("undrawn")
HEADING = "energy, at most 0.4000 (mj)"


def with_energies(folder, energies):
    """Notes a limit on energy, and what was measured of the first networks."""
    known = read(folder, "targets.json")
    values = [target["value"] for target in known["targets"]]
    limits = {"energy_mj": 0.4, "params": 50000.0}
    write(folder, "targets.json", targets(*values, limits=limits, task=known["task"]))
    payload = read(folder, "networks.json")
    for entry, energy in zip(payload["networks"], energies, strict=False):
        entry["measured_limits"] = {"energy_mj": energy}
    write(folder, "networks.json", payload)
    return [entry["label"] for entry in payload["networks"]]


def test_every_network_of_a_search_has_its_measured_limits(run):
    assert not any("energy" in name for name, *_ in report.summary_rows(run))
    labels = with_energies(run, (0.25, 0.5))
    (row,) = [cells for name, *cells in report.summary_rows(run) if name == HEADING]
    names = report.summary_rows(run)[0][1:]
    assert row[names.index(labels[0])] == "0.2500"
    assert NOTHING in row  # of the others nothing was measured
    page = report.write_report(run).read_text()
    assert HEADING in page
    for cell in (">0.2500<", ">0.5000, over<"):
        assert page.count(cell) == 1
    assert "params, at most" not in page  # they have a column of their own


def test_every_search_of_a_sweep_has_its_measured_limits(sweep):
    assert HEADING not in rows(read_run(sweep))[0]
    with_energies(sweep, [0.1] * 100)
    head, *body = rows(read_run(sweep))
    assert all(row[head.index(HEADING)] == "0.1000" for row in body)
    assert len({len(row) for row in (head, *body)}) == 1
