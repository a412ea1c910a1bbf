"""The page of one search: its sentences, its table, and what becomes of an unfinished run."""

import json
import math
import re

import pytest

from hwnas_jax import report
from hwnas_jax.cli import main
from hwnas_jax.config import Config, SpaceConfig, override, save_config
from hwnas_jax.errors import UserError
from hwnas_jax.report.numbers import NOTHING
from hwnas_jax.report.read import read_run
from hwnas_jax.report.summary import verdict
from tests.report.run_folders import (
    decided,
    network,
    read,
    search_rows,
    targets,
    write,
    write_lines,
)

SECTIONS = {"cell", "progress", "probabilities", "cost-fit", "tradeoff", "retraining"}

pytestmark = pytest.mark.usefixtures("undrawn")


def page_of(folder):
    return report.write_report(folder).read_text().replace("\u00a0", " ")


def figures(page):
    return set(re.findall(r'<figure id="([^"]+)">\n<svg', page))


def test_the_verdict_of_a_met_budget(run):
    assert verdict(read_run(run)) == (
        "Target 1.300 ms, predicted 1.280 ± 0.030 ms, measured 1.290 ± 0.010 ms, "
        "test accuracy 98.9 %. The budget was met: 0.8 % of it is left. "
        "No difference seen (± 0.9 points) between the search and the best control (random): "
        "98.9 % against 98.1 % at 1.250 ms. Trainings: search 2, random 2, no search 1, "
        "most MACs 1."
    )


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (1.43, "The budget was missed by 10.0 %."),
        (1.3002, "missed by less than 0.1 %, which is within the spread of the measurement."),
        (1.305, "missed by 0.4 %, which is within the spread of the measurement."),
        (None, "not measured yet"),
    ],
)
def test_the_verdict_tells_a_miss(run, measured, said):
    write(run, "networks.json", {"networks": [network("search-1", measured, 0.98)]})
    assert said in verdict(read_run(run))


def test_the_table_has_a_column_for_the_chosen_network_of_each_origin(run):
    rows = report.summary_rows(run)
    assert rows[0] == ("network", "search-1", "random-1", "no_search-1", "most_macs-1")
    assert rows[-2:] == [
        ("trainings", "2", "2", "1", "1"),
        ("search gains (points)", NOTHING, "+0.8 ± 0.9", "+1.3 ± 0.8", "+2.8 ± 1.4"),
    ]
    assert {name: found for name, found, *_ in rows[1:-2]} == {
        "target (ms)": "1.300", "predicted (ms)": "1.280 ± 0.030",
        "measured (ms)": "1.290 ± 0.010", "vs target": "-0.8 %", "validation accuracy": "98.0 %",
        "test accuracy": "98.9 %", "params": "12,345", "MACs": "1.23 M",
    }  # fmt: skip
    (run / "networks.json").unlink()
    assert report.summary_rows(run) == []


def test_the_command_prints_the_table(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["report", str(run)]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:14])) <= 100 and "…" not in shown
    assert re.search(r"network\W+search-1\W+random-1\W+no_search-1\W+most_macs-1", shown)
    assert re.search(r"test accuracy\W+98\.9 %\W+98\.1 %\W+97\.6 %\W+96\.1 %", shown)
    assert "No difference seen (± 0.9 points) between" in shown
    assert str(run / "report.html") in shown.replace("\n", "")


def test_where_the_search_ended_is_told(run):
    networks = read(run, "networks.json")
    said = (
        "This search decided: its most probable network has a probability of 0.840 and is "
        "predicted to cost 0.98 of the target; all networks at 97 to 100 % of it have 0.910 "
        "together, the derived one 0.840."
    )
    assert page_of(run).count(said) == 1
    for change in ({"probability": 0.49}, {"within_budget": 0.001}):
        write(run, "networks.json", {**networks, "decided": [decided(**change)]})
        # In the section of the search, and in the verdict on top.
        assert page_of(run).count("This search did not decide: its most probable network") == 2
    write(run, "networks.json", {**networks, "decided": [decided(least_used=0.0)]})
    assert "all networks at or below it have 0.910 together" in page_of(run)
    write(run, "networks.json", {**networks, "decided": [{"search": "search"}]})
    with pytest.raises(UserError, match=r"decided\[0\] has no 'network'"):
        report.write_report(run)


def test_what_was_confirmed_is_told(run):
    assert (
        "before the training: 1 of 2 from the search, 2 of 2 random ones, 1 of 1 without search, "
        "0 of 1 of most MACs."
    ) in page_of(run)


def test_the_methods_are_told_with_what_they_do(run):
    page = page_of(run)
    for row in (
        r"strategy.*gradient.*weights and architecture together",
        r"relaxation.*sampled_path.*only the drawn option runs",
        r"estimator.*backprop.*back-propagation",
        r"budget.*upper_bound.*only what a drawn network costs above",
        r"derivation.*halving.*short trainings of the most promising",
        r"cost model.*gaussian.*Gaussian process",
    ):
        assert re.search(f'<tr><th scope="row">{row}', page)
    assert '<th scope="row">evaluator' not in page


def test_a_confidence_and_what_was_measured_during_the_search_are_told(run):
    rows = [{"step": step, "measured": ms, "predicted": 0.9 * ms, "std": 0.1}
            for step, ms in ((400, 1.25), (400, 1.4), (600, 1.3))]  # fmt: skip
    payload = {"format": "hwnas_jax.measurements_during_search", "version": 1, "networks": rows}
    write(run, "measurements_during_search.json", payload)
    write(run, "targets.json", targets(1.3, confidence=0.9, limits={"params": 50000.0}))
    networks = read(run, "networks.json")
    for entry in networks["networks"]:
        entry["predicted_bound"] = 1.2984
    write(run, "networks.json", networks)
    page = page_of(run)
    assert "predicted 1.280 ± 0.030 ms (at most 1.298 ms with 90 % confidence)" in page
    assert "The budget is kept with 90 % confidence" in page
    assert "Further limits: params at most 50,000." in page
    assert "3 networks near the budget were measured during the search, in 2 rounds" in page
    assert "with a mean error of 10.0 %" in page
    assert read(run, "report.json")["measurements_during_search"] == {"networks": rows}
    write(run, "measurements_during_search.json", {**payload, "networks": [{"step": 1}]})
    with pytest.raises(UserError, match=r"networks\[0\] has no 'measured'"):
        report.write_report(run)


@pytest.mark.parametrize(
    ("source", "metric", "word"),
    [
        ("compiler estimate", "latency_ms", "estimated"),
        ("simulated", "energy_mj", "simulated"),
        ("measured", "macs", "counted"),
    ],
)
def test_only_what_a_device_ran_is_called_measured(run, source, metric, word):
    write(run, "measurements.json", {**read(run, "measurements.json"), "source": source})
    write(run, "targets.json", {**targets(1.3), "metric": metric})
    page = page_of(run)
    unit = {"latency_ms": "ms", "energy_mj": "mj", "macs": "macs"}[metric]
    assert f"{word} 1.290 ± 0.010 {unit}" in verdict(read_run(run))
    assert f">{word} ({unit})<" in page
    assert "Measurements are given at the pace" not in page


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("config.json", ()),
        ("versions.json", ()),
        ("space.json", ("probabilities",)),
        ("searches.json", ()),
        ("measurements.json", ()),
        ("cost_fit.json", ("cost-fit",)),
        ("targets.json", ()),
        ("architecture.json", ("cell",)),
        ("networks.json", ("tradeoff",)),
        ("stages.json", ()),
        ("metrics.jsonl", ("progress", "probabilities", "retraining")),
    ],
)
def test_a_missing_file_costs_only_its_figures(run, file, lost):
    (run / file).unlink()
    page = page_of(run)
    assert figures(page) == SECTIONS - set(lost)
    if lost:
        assert f"yet: the run has no {'' if file.endswith('.json') else 'search lines in '}" in page
        assert file in page


def test_a_run_that_only_began_has_a_page(tmp_path):
    save_config(Config(name="begun"), tmp_path / "config.json")
    page = page_of(tmp_path)
    assert "This run is not finished" in page and figures(page) == set()


def test_networks_that_are_not_measured_yet_are_shown(run):
    entry = network("search-1", None, None)
    blank = {key: entry[key] for key in entry if key in ("origin", "search", "label", "seed",
             "training_seed", "architecture", "string")}  # fmt: skip
    write(run, "networks.json", {"networks": [blank]})
    page = page_of(run)
    assert "not measured yet, not tested yet" in page and "tradeoff" not in figures(page)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "<dog>"], "classes cat, &lt;dog&gt;"),
        (["0", "1"], None),
        ([f"c{n}" for n in range(13)], None),
    ],
)
def test_the_head_names_data_and_classes(run, names, said):
    config = override(Config(), data__path="my/pictures", data__name="image_folder")
    save_config(config, run / "config.json")
    task = {**read(run, "targets.json")["task"], "outputs": names}
    write(run, "targets.json", targets(1.3, task=task))
    page = page_of(run)
    assert "data pictures (image_folder)" in page
    assert ("classes " in page) == (said is not None)
    assert said is None or said in page


def test_text_is_escaped(run):
    bad = "<img src=x onerror=alert(1)>&\"'$a_b$"
    save_config(Config(space=SpaceConfig(args={bad: bad})), run / "config.json")
    entry = {**network("search-1", 1.2, 0.9), "string": bad}
    write(run, "networks.json", {"networks": [entry]})
    write(run, "versions.json", {"device": {"kind": bad}})
    write(run, "architecture.json", {"architecture": {bad: bad}, "string": bad})
    page = page_of(run)
    assert "<img" not in page and page.count("&lt;img src=x onerror=alert(1)&gt;&amp;") >= 4


def test_numbers_json_cannot_say_become_null(run):
    first, *others = search_rows()
    write_lines(run, [{**first, "weight_loss": math.nan}, *others])
    report.write_report(run)
    text = (run / "report.json").read_text()
    assert "NaN" not in text and json.loads(text)["log"]["search"][0]["weight_loss"] is None


def test_probabilities_of_another_space_are_refused(run):
    write(run, "space.json", {"decisions": [{"name": "1<-0", "options": ["none"]}]})
    with pytest.raises(UserError, match=r"metrics\.jsonl does not fit the run's space\.json"):
        report.write_report(run)
