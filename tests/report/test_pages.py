"""What every page is: whole, well-formed, alone; and its figures as JSON."""

import json
import re
import sys
from xml.etree import ElementTree

import matplotlib
import pytest

from hwnas_jax import report
from tests.report import run_folders
from tests.report.run_folders import read

FIGURES = {
    "search": {"cell", "progress", "probabilities", "cost-fit", "tradeoff", "retraining"},
    "sweep": {"front", "searches", "cost-fit"},
    "strategy": {"cell", "supernet", "strategy", "cost-fit", "tradeoff", "retraining"},
}
TABLES = {"search": 7, "sweep": 8, "strategy": 7}

kinds = pytest.mark.parametrize("kind", FIGURES)


@kinds
def test_a_page_is_whole_and_loads_nothing(drawn, kind):
    page = (drawn[kind] / "report.html").read_text()
    assert set(re.findall(r'<figure id="([^"]+)">\n<svg', page)) == FIGURES[kind]
    assert len(page) < 1_500_000
    assert "missing" not in page.partition("</style>")[2]
    assert "<script" not in page and "<link" not in page and "@import" not in page
    addresses = re.findall(r'(?<!xmlns=")(?<!xmlns:xlink=")https?://[^\s"<]+', page)
    assert addresses == []
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


@kinds
def test_a_page_is_well_formed_and_its_tables_are_rectangular(drawn, kind):
    page = (drawn[kind] / "report.html").read_text()
    body = page[page.index("<body>") : page.index("</html>")]
    tree = ElementTree.fromstring(body.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    tables = list(tree.iter("table"))
    assert len(tables) == TABLES[kind]
    for table in tables:
        assert len({len(row) for row in table.iter("tr")}) == 1


@kinds
def test_the_json_equals_what_the_run_wrote(drawn, kind):
    written = read(drawn[kind], "report.json")
    for key in ("targets", "networks", "cost_fit", "stages", "versions"):
        assert written[key] == read(drawn[kind], f"{key}.json")
    lines = (drawn[kind] / "metrics.jsonl").read_text().splitlines()
    logged = sorted(map(json.dumps, (row for rows in written["log"].values() for row in rows)))
    assert logged == sorted(json.dumps(json.loads(line)) for line in lines)
    assert written["config"] == read(drawn[kind], "config.json")["config"]


def test_drawing_leaves_matplotlib_as_it_was(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    before = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
    report.write_report(run_folders.write_sweep(tmp_path / "sweep"))
    assert {key: matplotlib.rcParams[key] for key in before} == before
    assert "matplotlib.pyplot" not in sys.modules
