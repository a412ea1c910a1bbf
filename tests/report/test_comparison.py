"""The search beside its controls: what is said of each kind of outcome, on page and in JSON."""

import json

import numpy as np
import pytest
import scipy

from hwnas_jax import report
from hwnas_jax.errors import UserError
from hwnas_jax.report.comparison import best_control, comparisons
from hwnas_jax.report.read import read_run
from hwnas_jax.report.summary import conclusion
from tests.report.run_folders import (
    ERROR,
    decided,
    network,
    read,
    targets,
    write,
    write_seeds,
    write_tested,
)

pytestmark = pytest.mark.usefixtures("undrawn")


def page_of(folder):
    return report.write_report(folder).read_text().replace("\u00a0", " ")


def beside(run, wrong, *, string="other"):
    """Leaves a network of the search with 11 of 1,000 examples wrong and one by chance."""
    mine, others = set(range(11)), set(wrong)
    entries = [
        network("search-1", 1.29, 1 - len(mine) / 1000),
        network("random-1", 1.25, 1 - len(others) / 1000, string=string),
    ]
    write(run, "networks.json", {"networks": entries, "decided": [decided()]})
    (run / "tested.npz").unlink()
    write_tested(run, {"search-1": list(mine), "random-1": list(others)})


@pytest.mark.parametrize(
    ("wrong", "said", "cell"),
    [
        (range(6, 25), "No difference seen (± 0.9 points) between the search and the best control "
         "(random): 98.9 % against 98.1 % at 1.250 ms.", "no difference seen (± 0.9 points)"),
        (range(6, 60), "The search is better by 4.3 ± 1.5 points than the best control (random): "
         "98.9 % against 94.6 % at 1.250 ms.", "better by 4.3 ± 1.5 points"),
        ((), "The search is worse by 1.1 ± 0.7 points than the best control (random): "
         "98.9 % against 100.0 % at 1.250 ms.", "worse by 1.1 ± 0.7 points"),
    ],
    ids=["not-seen", "better", "worse"],
)  # fmt: skip
def test_the_verdict_knows_its_own_error(run, wrong, said, cell):
    beside(run, wrong)
    page = page_of(run)
    assert f"{said} The search and each control had 1 training." in page
    row = f"<td>1</td><td>{100 - len(wrong) / 10:.1f} %</td>"
    assert f'<tr><th scope="row">random</th>{row}<td>{cell}</td></tr>' in page
    assert "It covers the choice of the test examples" in page
    (found,) = read(run, "report.json")["comparisons"]
    assert found["basis"] == "examples" and (found["seeds"], found["trainings"]) == (1, 1)
    assert f"{100 * found['difference']['half_width']:.1f} points" in said
    assert f"random {100 * found['value']:.1f} %</em>" in page  # on the tile


def test_the_same_network_is_no_comparison(run):
    string = network("search-1", 1, 1)["string"]
    beside(run, range(5, 15), string=string)
    assert "The best control (random) chose the same network as the search" in page_of(run)


def test_without_single_examples_the_shares_tell(run):
    """As of networks that were trained before the file was kept: wider, and said so."""
    paired = comparisons(read_run(run))[0].difference
    (run / "tested.npz").unlink()
    (found, *_) = comparisons(read_run(run))
    variance = sum(p * (1 - p) for p in (990 / 1002, 982 / 1002)) / 1002
    assert found.basis == "shares"
    assert found.difference.half_width == pytest.approx(1.96 * variance**0.5, rel=1e-4)
    assert found.difference.half_width > paired.half_width
    assert "of two shares of 1000 test examples" in page_of(run)
    write(run, "targets.json", targets(1.3, task={**read_task(run), "test_examples": None}))
    assert comparisons(read_run(run))[0].difference.half_width is None


def read_task(run):
    return read(run, "targets.json")["task"]


def test_the_best_control_is_that_of_the_test_data(run):
    best = best_control(read_run(run))
    assert best is not None and best.control == "random"
    write(run, "targets.json", targets(1.3, task=ERROR))
    best = best_control(read_run(run))
    assert best is not None and best.control == "most_macs"  # of errors the least


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.01, 0.013, 0.016), "Over 3 seeds the search is better by 1.3 ± 0.7 points than"),
        ((-0.01, -0.013, -0.016), "Over 3 seeds the search is worse by 1.3 ± 0.7 points than"),
        ((0.01, -0.02, 0.016), "Over 3 seeds no difference seen (± 4.8 points) between"),
    ],
)
def test_several_seeds_are_paired(tmp_path, gains, said):
    folder = write_seeds(tmp_path / "seeds", {"random": gains, "most_macs": (0.1, 0.11, 0.12)})
    low, high = scipy.stats.ttest_1samp(gains, 0.0).confidence_interval(0.95)
    page = page_of(folder)
    random, _ = read(folder, "report.json")["comparisons"]
    assert random["difference"]["value"] == pytest.approx(np.mean(gains))
    assert random["difference"]["half_width"] == pytest.approx((high - low) / 2)
    assert (random["basis"], random["seeds"], random["pairs"]) == ("seeds", 3, 3)
    assert said in page
    assert "paired by seed, over 3 seeds" in page
    first = f"<td>90.0 %</td><td>{100 * (0.9 - gains[0]):.1f} %</td><td>80.0 %</td>"
    assert f'<th scope="row">1.3ms-seed0</th>{first}' in page
    assert "The controls reach: random" in page


def test_seeds_of_several_targets_count_once(tmp_path):
    """The mean over the targets of a seed is one number: targets of one seed are no new seeds."""
    folder = write_seeds(tmp_path / "seeds", {"random": (0.01, 0.02)})
    payload = read(folder, "networks.json")
    for entry in list(payload["networks"]):
        gap = {"search": 0.0, "random": 0.04}[entry["origin"]]
        payload["networks"].append(
            {**entry, "label": f"more-{entry['label']}", "search": f"more-{entry['search']}",
             "test_metric": 0.9 - gap}
        )  # fmt: skip
    write(folder, "networks.json", payload)
    (found,) = comparisons(read_run(folder))
    assert (found.seeds, found.pairs) == (2, 4)
    assert found.difference.value == pytest.approx(np.mean([0.025, 0.03]))
    half = scipy.stats.t.ppf(0.975, 1) * np.std([0.025, 0.03], ddof=1) / np.sqrt(2)
    assert found.difference.half_width == pytest.approx(half)


def test_several_targets_of_one_seed_have_no_more_than_their_examples(tmp_path):
    folder = write_seeds(tmp_path / "seeds", {"random": (0.01, 0.02)})
    payload = read(folder, "networks.json")
    for entry in payload["networks"]:
        entry["seed"] = 0
    write(folder, "networks.json", payload)
    (found,) = comparisons(read_run(folder))
    halves = []
    for share in (0.89, 0.88):
        shares = [(1000 * p + 1) / 1002 for p in (0.9, share)]
        halves.append(1.959964 * np.sqrt(sum(p * (1 - p) for p in shares) / 1002))
    assert found.difference.half_width == pytest.approx(np.mean(halves), rel=1e-5)
    assert "Over 2 targets and one seed no difference" in conclusion(read_run(folder))[0]


def test_a_regression_claims_no_interval_from_one_seed(strategy):
    (said,) = conclusion(read_run(strategy))
    assert "better by 0.2500 than the best control" in said and "±" not in said
    assert "takes several seeds to tell" in page_of(strategy)
    assert ("search gains", "–", "+0.2500") in report.summary_rows(strategy)  # noqa: RUF001


def test_an_untested_control_is_left_out(run):
    payload = read(run, "networks.json")
    for entry in payload["networks"]:
        entry["test_metric"] = None
    write(run, "networks.json", payload)
    assert comparisons(read_run(run)) == [] and conclusion(read_run(run)) == []
    assert "Beside the controls" not in page_of(run)


def test_a_damaged_file_of_tested_examples_is_named(run):
    (run / "tested.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"tested\.npz"):
        report.write_report(run)
    np.savez(run / "tested.npz", **{"search-1": np.ones(3)})
    with pytest.raises(UserError, match=r"tested\.npz: search-1 must be bool\[N\]"):
        report.write_report(run)


def test_the_json_is_plain(run):
    page_of(run)
    text = (run / "report.json").read_text()
    assert [one["control"] for one in json.loads(text)["comparisons"]] == [
        "random", "no_search", "most_macs",
    ]  # fmt: skip
