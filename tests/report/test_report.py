"""The report of a run folder: what the page and the JSON hold, and what is refused."""

import json
import math
import re
import sys
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hwnas_jax import report
from hwnas_jax.config import Config, save_config
from hwnas_jax.errors import UserError
from hwnas_jax.report.cell import _lanes
from hwnas_jax.report.read import read_run
from hwnas_jax.report.style import option_colours, text_on, to_svg
from hwnas_jax.report.summary import verdict

EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ARCHITECTURE = dict(zip(EDGES, (*OPTIONS, "nor_conv_3x3"), strict=True))
STRING = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|"
SECTIONS = ("cell", "progress", "probabilities", "cost-fit", "tradeoff", "retraining")


def _network(label, measured_ms, test_accuracy, selected=True):
    return {
        "origin": label.split("-")[0], "label": label, "string": STRING,
        "architecture": ARCHITECTURE, "probability": 1e-3, "predicted_ms": 1.28,
        "predicted_std_ms": 0.03, "measured_ms": measured_ms, "measured_iqr_ms": 0.02,
        "validation_accuracy": 0.98, "test_accuracy": test_accuracy, "params": 12345,
        "macs": 1234567, "selected": selected,
    }  # fmt: skip


def _history():
    return [
        {
            "stage": "search", "step": step, "weight_loss": 2.0 / step,
            "arch_loss": None if step < 100 else 2.5 / step, "expected_ms": 1.3 + 1 / step,
            "argmax_ms": 1.2, "target_ms": 1.3, "multiplier": step / 1000,
            "probabilities": [[0.2] * 5] * 6,
        }
        for step in (50, 100, 150)
    ] + [
        {"stage": "retrain", "network": name, "step": step, "loss": 1 / step}
        for name in ("search-0", "random-0")
        for step in (50, 100)
    ]  # fmt: skip


def _write(run, name, value):
    (run / name).write_text(json.dumps(value))


def _lines(run, rows, end="\n"):
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + end)


@pytest.fixture
def run(tmp_path):
    save_config(Config(name="small"), tmp_path / "config.json")
    points = [{"measured_ms": x, "predicted_ms": 1.02 * x, "std_ms": 0.1} for x in (1.0, 2.0)]
    files = {
        "versions": {"hwnas_jax": "0.1.0", "device": {"platform": "cpu", "kind": "a <cpu>"}},
        "space": {"decisions": [{"name": e, "options": OPTIONS} for e in EDGES]},
        "measurements": {
            "format": "hwnas_jax.measurements", "version": 2, "batch_size": 64,
            "operations": [{"name": "a", "metrics": {"latency_ms": {"median": 0.1}}}],
            "networks": [{"metrics": {"latency_ms": {"median": 1.0}}}],
        },
        "cost_fit": {
            "models": [{"name": "mlp", "label": "learned", "spearman": 0.98, "mape": 0.05,
                        "within_10": 0.9}],
            "held_out": points, "fitted": points,
        },
        "target": {"metric": "latency_ms", "target_ms": 1.3, "percentile": 50.0},
        "architecture": {
            "format": "hwnas_jax.architecture", "version": 1, "architecture": ARCHITECTURE,
            "string": STRING,
        },
        "networks": {
            "networks": [
                _network("search-0", 1.29, 0.989),
                _network("search-1", 1.305, 0.991, selected=False),
                _network("random-0", 1.25, 0.981),
                _network("random-1", 1.22, 0.999, selected=False),
            ],
            "drift": 1.01,
        },
        "stages": {"profile": {"seconds": 41.2}, "search": {"seconds": 154.3}},
    }  # fmt: skip
    for stem, value in files.items():
        _write(tmp_path, f"{stem}.json", value)
    _lines(tmp_path, _history())
    return tmp_path


def _figures(page):
    return set(re.findall(r'<figure id="([^"]+)">\n<svg', page))


def test_the_page_is_whole_and_loads_nothing(run):
    path = report.write_report(run)
    page = path.read_text()
    assert path == run / "report.html"
    assert _figures(page) == set(SECTIONS)
    assert len(page) < 1_500_000
    assert "<script" not in page and "<link" not in page and "@import" not in page
    addresses = re.findall(r'(?<!xmlns=")(?<!xmlns:xlink=")https?://[^\s"<]+', page)
    assert addresses == []
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_the_page_is_well_formed_and_its_tables_are_rectangular(run):
    page = report.write_report(run).read_text()
    body = page[page.index("<body>") : page.index("</html>")]
    tree = ElementTree.fromstring(body.replace('xmlns="http://www.w3.org/2000/svg"', ""))
    tables = list(tree.iter("table"))
    assert len(tables) == 5
    for table in tables:
        assert len({len(row) for row in table.iter("tr")}) == 1


def test_the_json_equals_what_the_run_wrote(run):
    report.write_report(run)
    written = json.loads((run / "report.json").read_text())
    for key, stem in (("target",) * 2, ("networks",) * 2, ("cell", "architecture"),
                      ("cost_fit",) * 2, ("stages",) * 2):  # fmt: skip
        assert written[key] == json.loads((run / f"{stem}.json").read_text())
    assert written["search"] + written["retrain"] == _history()
    assert written["config"]["name"] == "small"


def test_the_verdict_of_a_met_budget(run):
    assert verdict(read_run(run)) == (
        "Target 1.300 ms, predicted 1.280 ± 0.030 ms, measured 1.290 ± 0.010 ms, "
        "test accuracy 98.9 %. The budget was met: 0.8 % of it is left. "
        "Random search under the same target, with the same number of retrained networks (2), "
        "reached 98.1 % at 1.250 ms: 0.8 points less than the search."
    )


@pytest.mark.parametrize(
    ("measured_ms", "said"),
    [
        (1.43, "The budget was missed by 10.0 %."),
        (1.3002, "missed by less than 0.1 %, which is within the spread of the measurement."),
        (1.305, "missed by 0.4 %, which is within the spread of the measurement."),
        (None, "not measured yet"),
    ],
)
def test_the_verdict_tells_a_miss(run, measured_ms, said):
    _write(run, "networks.json", {"networks": [_network("search-0", measured_ms, 0.98)]})
    assert said in verdict(read_run(run))


def test_summary_rows_hold_the_chosen_networks(run):
    head, searched, random = report.summary_rows(run)
    assert dict(zip(head, searched, strict=True)) == {
        "network": "search-0", "target (ms)": "1.300", "predicted (ms)": "1.280 ± 0.030",
        "measured (ms)": "1.290 ± 0.010", "vs target": "-0.8 %", "validation accuracy": "98.0 %",
        "test accuracy": "98.9 %", "params": "12,345", "MACs": "1.23 M",
    }  # fmt: skip
    assert random[0] == "random-0"
    (run / "networks.json").unlink()
    assert report.summary_rows(run) == [head]


def test_a_confidence_and_what_was_measured_during_the_search_are_told(run):
    rows = [{"step": step, "measured_ms": ms, "predicted_ms": 0.9 * ms, "std_ms": 0.1}
            for step, ms in ((400, 1.25), (400, 1.4), (600, 1.3))]  # fmt: skip
    payload = {"format": "hwnas_jax.measurements_during_search", "version": 1, "networks": rows}
    _write(run, "measurements_during_search.json", payload)
    target = json.loads((run / "target.json").read_text())
    _write(run, "target.json", {**target, "confidence": 0.9})
    networks = json.loads((run / "networks.json").read_text())
    for network in networks["networks"]:
        network["predicted_bound_ms"] = 1.2984
    _write(run, "networks.json", networks)
    page = report.write_report(run).read_text().replace("\u00a0", " ")
    assert "predicted 1.280 ± 0.030 ms (at most 1.298 ms with 90 % confidence)" in page
    assert "The budget is kept with 90 % confidence" in page
    assert "3 networks near the budget were measured during the search, in 2 rounds" in page
    assert "with a mean error of 10.0 %" in page
    assert "90 % bound of latency (ms)" in page
    assert "during the search (3)" in page
    written = json.loads((run / "report.json").read_text())
    assert written["measurements_during_search"] == payload
    _write(run, "measurements_during_search.json", {**payload, "networks": [{"step": 1}]})
    with pytest.raises(UserError, match=r"networks\[0\] has no 'measured_ms'"):
        report.write_report(run)


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("config.json", ()),
        ("versions.json", ()),
        ("space.json", ("probabilities",)),
        ("measurements.json", ()),
        ("cost_fit.json", ("cost-fit",)),
        ("target.json", ()),
        ("architecture.json", ("cell",)),
        ("networks.json", ("tradeoff",)),
        ("stages.json", ()),
        ("metrics.jsonl", ("progress", "probabilities", "retraining")),
    ],
)
def test_a_missing_file_costs_only_its_figures(run, file, lost):
    (run / file).unlink()
    page = report.write_report(run).read_text()
    assert _figures(page) == set(SECTIONS) - set(lost)
    if lost:
        assert f"yet: the run has no {'' if file.endswith('.json') else 'search lines in '}" in page
        assert file in page


def test_a_run_that_only_began_has_a_page(tmp_path):
    save_config(Config(name="begun"), tmp_path / "config.json")
    page = report.write_report(tmp_path).read_text()
    assert "This run is not finished" in page and _figures(page) == set()


def test_networks_that_are_not_measured_yet_are_shown(run):
    blank = {key: None for key in _network("search-0", 1.0, 0.9)}
    _write(run, "networks.json", {"networks": [{**blank, "origin": "search", "label": "search-0"}]})
    page = report.write_report(run).read_text()
    assert "not measured yet, not tested yet" in page and "tradeoff" not in _figures(page)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("networks.json", '{"networks": [', "damaged"),
        ("networks.json", "[]", "the file must be an object"),
        ("networks.json", '{"networks": [{"origin": "search"}]}', "has no 'label'"),
        ("target.json", '{"metric": "latency_ms", "target_ms": "1"}', "target_ms must be a number"),
        ("space.json", '{"decisions": 3}', "decisions must be a list"),
        ("architecture.json", '{"architecture": {}}', "format None"),
        ("measurements.json", '{"format": "hwnas_jax.measurements", "version": 9}', "version 9"),
        ("cost_fit.json", "\udcff", "damaged"),
    ],
)
def test_a_damaged_file_is_named(run, file, text, said):
    (run / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as caught:
        report.write_report(run)
    assert str(run / file) in str(caught.value) and said in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_last_line_cut_in_half_is_ignored(run):
    for cut in ('{"stage": "sear', '{"stage": "é'):
        _lines(run, _history(), end="\n")
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(cut.encode()[:-1])
        assert read_run(run).search == _history()[:3]


@pytest.mark.parametrize(
    "line", ['{"stage": "sear', "[1]", '{"stage": "retrain", "step": 1}', '{"stage": "search"}']
)
def test_a_broken_line_elsewhere_is_named_by_its_number(run, line):
    first, *rest = [json.dumps(row) for row in _history()]
    (run / "metrics.jsonl").write_text("\n".join([first, line, *rest]) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2 is damaged"):
        report.write_report(run)


def test_probabilities_of_another_space_are_refused(run):
    _write(run, "space.json", {"decisions": [{"name": "1<-0", "options": OPTIONS}]})
    with pytest.raises(UserError, match=r"metrics\.jsonl does not fit the run's space\.json"):
        report.write_report(run)


def test_steps_repeated_after_a_resume_count_once(run):
    rows = [{"stage": "search", "step": s, "weight_loss": w}
            for s, w in ((50, 1.0), (100, 2.0), (150, 3.0), (100, 4.0))]  # fmt: skip
    _lines(run, rows)
    kept = read_run(run).search
    assert [(row["step"], row["weight_loss"]) for row in kept] == [(50, 1.0), (100, 4.0)]


def test_not_a_run_folder(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        report.write_report(tmp_path / "absent")
    with pytest.raises(UserError, match="is not a run folder"):
        report.write_report(tmp_path)


def test_text_is_escaped(run):
    bad = "<img src=x onerror=alert(1)>&\"'$a_b$"
    save_config(Config(name=bad), run / "config.json")
    network = {**_network("search-0", 1.2, 0.9), "label": bad}
    _write(run, "networks.json", {"networks": [network]})
    _write(run, "architecture.json", {
        "format": "hwnas_jax.architecture", "version": 1, "architecture": {bad: bad}, "string": bad,
    })  # fmt: skip
    page = report.write_report(run).read_text()
    assert "<img" not in page and page.count("&lt;img src=x onerror=alert(1)&gt;&amp;") >= 5


def test_numbers_json_cannot_say_become_null(run):
    _lines(run, [{**_history()[0], "weight_loss": math.nan}, *_history()[1:]])
    report.write_report(run)
    text = (run / "report.json").read_text()
    assert "NaN" not in text and json.loads(text)["search"][0]["weight_loss"] is None


def test_the_plots_leave_matplotlib_as_it_was(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    before = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
    report.write_report(run)
    assert {key: matplotlib.rcParams[key] for key in before} == before
    assert "matplotlib.pyplot" not in sys.modules


def test_probabilities_are_stacked_to_one():
    steps, decisions = [0, 10, 20], {"a": ("x", "y"), "b": ("x", "y", "z")}
    table = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 2))
    table[:, 0] = [[0.3, 0.7, 0.0]] * 3
    figure = report.plot_probabilities(steps, table.tolist(), decisions)
    for ax, width in zip(figure.axes, (2, 3), strict=True):
        assert len(ax.collections) == width
        top = ax.collections[-1].get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(1.0)
    assert figure.axes[0].get_title("right") == "y 70 %"
    for wrong in (table[:2], table[:, :1], table[:, :, :2]):
        with pytest.raises(ValueError, match="probabilities"):
            report.plot_probabilities(steps, wrong, decisions)


def test_points_stand_where_the_data_says():
    points = [{"measured_ms": 1.0, "predicted_ms": 1.1, "std_ms": 0.2},
              {"measured_ms": 3.0, "predicted_ms": 2.9, "std_ms": None}]  # fmt: skip
    ax = report.plot_cost_fit(points, points[:1]).axes[0]
    (bars,) = ax.containers
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[1.0, 1.1], [3.0, 2.9]])
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[0], [[1.0, 0.9], [1.0, 1.3]])
    ax = report.plot_cost_fit(points, [], [{"measured_ms": 2.0, "predicted_ms": 2.5}]).axes[0]
    np.testing.assert_allclose(ax.containers[1].lines[0].get_xydata(), [[2.0, 2.5]])
    networks = [_network("search-0", 1.29, 0.989), _network("random-0", None, 0.9)]
    ax = report.plot_tradeoff(networks, 1.3).axes[0]
    (shown,) = ax.containers
    np.testing.assert_allclose(shown.lines[0].get_xydata(), [[1.29, 0.989]])
    assert [list(line.get_xdata()) for line in ax.lines if line.get_label() == "target"] == [
        [1.3, 1.3]
    ]


@pytest.mark.parametrize("names", [ARCHITECTURE, {"kernel": "3x3", "depth": "2"}, {"1<-0": "x"}])
def test_a_cell_shows_every_choice(names):
    figure = report.plot_cell(names)
    assert isinstance(figure, Figure)
    shown = [text.get_text() for text in figure.axes[0].texts]
    for option in names.values():
        assert option in shown
    assert ("input" in shown) == all("<-" in name for name in names)
    assert to_svg(figure, "cell", "words").startswith('<svg role="img" aria-label="words"')


def test_cells_are_graphs_of_their_own_and_show_the_edges_that_nodes_read():
    names = {"a/2<-0": "pool", "a/2<-1": "conv", "a/3<-0": "conv", "a/3<-1": "skip",
             "a/3<-2": "wide", "a/3": "0+2", "b/2<-0": "conv", "b/2<-1": "pool"}  # fmt: skip
    shown = [text.get_text() for text in report.plot_cell(names).axes[0].texts]
    assert "skip" not in shown
    assert (shown.count("conv"), shown.count("pool"), shown.count("wide")) == (3, 2, 1)
    assert {"a", "b", "output:\n2 to 3", "output:\n2 to 2"} <= set(shown)
    more = report.plot_cell({**names, "array": "16x16"}).axes[0].texts
    assert next(text.get_text() for text in more) == "array 16x16"


@settings(max_examples=50, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 8), st.integers(1, 4)), min_size=1, max_size=20))
def test_edges_of_a_lane_never_overlap(spans):
    edges = [(start, start + length) for start, length in spans]
    nodes = sorted({node for edge in edges for node in edge})
    lanes = _lanes(edges)
    assert set(lanes) == set(edges)
    for edge, lane in lanes.items():
        between = nodes.index(edge[1]) - nodes.index(edge[0])
        assert lane != 0 or between == 1
        for other, other_lane in lanes.items():
            if edge != other and lane == other_lane:
                assert edge[1] <= other[0] or other[1] <= edge[0]


def test_colours_are_stable_and_legible():
    colours = option_colours(OPTIONS)
    assert len(set(colours.values())) == len(OPTIONS)
    assert option_colours(OPTIONS[1:])["nor_conv_3x3"] == colours["nor_conv_3x3"]
    assert text_on("#ffffff") == "#111111" and text_on("#000000") == "#ffffff"
