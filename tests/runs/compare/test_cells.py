"""What a cell stores, and what is made of it, against plain loops over the files."""

import itertools

import numpy as np
import pytest
import scipy.stats

import hwnas_jax as hw
from hwnas_jax.report.compare_page import render
from hwnas_jax.report.compare_plots import plot_seconds
from hwnas_jax.runs.compare.cell import Cell, make_program, run_cell
from hwnas_jax.runs.compare.plan import make_plan
from hwnas_jax.runs.compare.results import compared
from hwnas_jax.search.strategies import STRATEGIES, no_budget
from tests.runs.compare.studies import (
    CASES,
    DEVICES,
    QUERIES,
    SEEDS,
    TwoLevels,
    costs,
    settings,
)
from tests.tabular.tables import small_table


@pytest.fixture(scope="module")
def plan(tables):
    return make_plan(settings(tables))


@pytest.fixture(scope="module")
def cells(folder, plan):
    return {
        (method, case.label): Cell.load(folder / "cells" / f"{name}.npz")
        for name, (method, case) in plan.cells.items()
    }


@pytest.fixture(scope="module")
def found(plan, cells):
    return compared(plan, cells)


@pytest.fixture(scope="module")
def truth(tables):
    """What the files say of a cell, by its options: selected by, reported, cost of each device."""
    with np.load(tables / "accuracy.npz") as file:
        ops = 4 - file["ops"].astype(int)
        columns = [file[name] / np.float32(100) for name in
                   ("cifar10valid_valid_200", "cifar10_test_200")]  # fmt: skip
    accuracy = {tuple(row): values for row, *values in zip(ops.tolist(), *columns, strict=True)}
    networks, latency_ms = costs()
    return {
        row: (*accuracy[row], *latency_ms[:, number])
        for number, row in enumerate(map(tuple, networks.tolist()))
    }


def test_a_cell_is_what_the_files_say(cells, truth):
    for (method, label), cell in cells.items():
        assert cell.architectures.shape[:2] == cell.score.shape == (SEEDS, QUERIES), method
        device, limited, limit = label.partition("<=")
        for seed, number in itertools.product(range(SEEDS), range(QUERIES)):
            selected_by, reported, *latencies = truth[tuple(cell.architectures[seed, number])]
            cost = 0.0 if label == "unlimited" else latencies[DEVICES.index(device)]
            excess = max(cost / float(limit) - 1, 0) if limited else 0.0
            kept = [cell.score[seed, number], cell.reported[seed, number], cell.cost[seed, number]]
            np.testing.assert_allclose(kept, [selected_by, reported, cost], rtol=1e-6)
            np.testing.assert_allclose(cell.excess[seed, number], excess, atol=1e-6)
        assert (cell.share == 1).all() and (cell.fidelity == 0).all() and not cell.seconds.size


def test_the_best_is_the_highest_score_within_the_limit(cells):
    for cell in cells.values():
        for seed, number in itertools.product(range(SEEDS), range(QUERIES)):
            before = range(number + 1)
            allowed = [n for n in before if cell.excess[seed, n] <= 0]
            best = max(allowed or before, key=lambda n: (
                cell.score[seed, n] if allowed else -cell.excess[seed, n], -n))  # fmt: skip
            assert cell.best[seed, number] == best


def test_methods_search_each_case_with_the_same_seeds_and_differ(cells):
    for label in CASES:
        names = ("random", "evolution population=5", "evolution each=3")
        random, small, several = (cells[name, label].architectures for name in names)
        assert len({row.tobytes() for row in random}) == SEEDS
        assert not np.array_equal(random, small) and not np.array_equal(small, several)


def test_figures_are_those_of_the_stored_cells(found, cells):
    for case in found.cases:
        last = {
            one.method: np.array([
                cells[one.method, case.label].reported[seed, best[-1]]
                for seed, best in enumerate(cells[one.method, case.label].best)
            ], np.float64)
            for one in case.methods
        }  # fmt: skip
        raw = {}
        for one in case.methods:
            np.testing.assert_array_equal(one.selected.values, last[one.method])
            assert one.selected.mean == pytest.approx(last[one.method].mean())
            assert one.selected.std == pytest.approx(np.std(last[one.method], ddof=1))
            assert one.regret == pytest.approx(case.oracle.value - one.selected.mean)
            if one.method != "random":
                pairs = last[one.method] - last["random"]
                assert one.selected.difference == pytest.approx(pairs.mean())
                assert one.selected.difference_low <= pairs.mean() <= one.selected.difference_high
                raw[one.method] = scipy.stats.wilcoxon(pairs).pvalue if pairs.any() else 1.0
        small, large = sorted(raw.values())
        wanted = {small: min(1, 2 * small), large: max(min(1, 2 * small), large)}
        assert case.methods[0].method == "random" and case.methods[0].selected.p_value is None
        for one in case.methods[1:]:
            assert one.selected.p_value == pytest.approx(wanted[raw[one.method]])


def test_curves_and_the_queries_that_reach_random_search(found, cells):
    for case in found.cases:
        base = case.methods[0].selected.mean
        for one in case.methods:
            cell = cells[one.method, case.label]
            curve = [
                np.mean([cell.reported[s, cell.best[s, number]] for s in range(SEEDS)])
                for number in range(QUERIES)
            ]
            np.testing.assert_allclose(one.selected.curve.mean, curve, rtol=1e-6)
            assert one.selected.curve.at == list(range(1, QUERIES + 1))
            reached = [n + 1 for n, mean in enumerate(one.selected.curve.mean) if mean >= base]
            if one.method != "random":
                assert one.selected.queries_to_baseline == (reached[0] if reached else None)


def test_the_oracle_is_the_best_network_within_the_limit(found, truth):
    for case in found.cases:
        place = None if case.device is None else 2 + DEVICES.index(case.device)
        allowed = {
            row: values for row, values in truth.items()
            if case.limit is None or values[place] <= case.limit
        }  # fmt: skip
        best = max(allowed, key=lambda row: allowed[row][1])
        assert case.allowed == len(allowed)
        assert case.oracle.value == pytest.approx(allowed[best][1])
        assert case.oracle.cost == (None if place is None else pytest.approx(allowed[best][place]))


def area(points, cost, value):
    """Returns the area that points dominate, as the sum over slices between their costs."""
    edges = sorted({*(c for c, _ in points if c < cost), cost})
    heights = [max([v - value for c, v in points if c <= left] + [0.0]) for left in edges[:-1]]
    return sum(h * (b - a) for h, a, b in zip(heights, edges, edges[1:], strict=False))


def test_the_area_of_a_front_is_that_of_everything_evaluated(found, cells, truth):
    case = next(case for case in found.cases if case.label == "fast")
    place = 2 + DEVICES.index("fast")
    networks = [(values[place], values[1]) for values in truth.values()]
    corner = max(c for c, _ in networks), min(v for _, v in networks)
    assert case.reference == pytest.approx(corner)
    exact = front(networks)
    assert case.front.costs == pytest.approx([cost for cost, _ in exact])
    assert case.front.values == pytest.approx([value for _, value in exact])
    whole = area(exact, *corner)
    for one in case.methods:
        cell = cells[one.method, "fast"]
        for count in (1, 7, QUERIES):
            areas = [
                area(
                    list(zip(cell.cost[s, :count], cell.reported[s, :count], strict=True)), *corner
                )
                for s in range(SEEDS)
            ]
            assert one.hypervolume.curve.mean[count - 1] == pytest.approx(np.mean(areas) / whole)
        np.testing.assert_allclose(one.hypervolume.values, np.array(areas) / whole, rtol=1e-5)
        assert one.primary is one.hypervolume
    assert all(one.hypervolume is None for one in found.cases[0].methods)


def front(points):
    """Returns the points that nothing cheaper or as cheap is as good as, cheapest first."""
    kept = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or value > kept[-1][1]:
            kept.append((cost, value))
    return kept


def test_what_breaks_the_limit_is_counted_and_is_not_the_best(plan, cells):
    """Searches that are told nothing of the limit select networks over it."""

    def blind(space, known):
        del space, known
        return no_budget

    case = plan.cases[0]
    cell = run_cell(plan, make_program(plan, plan.methods["random"], blind), case)
    most = 2.5 * (1 + 1e-6)
    over = [cell.cost[seed, cell.best[seed, -1]] > most for seed in range(SEEDS)]
    assert any(over)
    result = compared(
        plan, {**cells, ("random", case.label): cell, ("evolution each=3", case.label): cell}
    ).cases[0]
    assert result.methods[0].over_limit == pytest.approx(np.mean(over))
    assert result.best == "evolution population=5"


def test_a_short_training_counts_as_its_share(tables, monkeypatch):
    monkeypatch.setitem(STRATEGIES._own, "two_levels", TwoLevels)
    own = settings(tables, methods=("two_levels",), seeds=2, queries=3, cases=("slow<=2.5", "fast"))
    plan = make_plan(own)
    assert plan.shares == (1.0, 0.06)
    cell = run_cell(plan, make_program(plan, TwoLevels()), plan.cases[0])
    # A third full training would be one more than the three queries.
    assert cell.fidelity.tolist() == [[1, 1, 1, 0] * 2 + [1, 1, 1]] * 2
    np.testing.assert_allclose(cell.spent()[:, -1], 2 + 9 * 0.06)
    assert cell.last(np.array([1, 2, 3])).tolist() == [[2, 6, 10]] * 2
    assert (cell.best[:, :3] <= 2).all() and (cell.best[:, 3] == 3).all()  # the full one is better
    # On a front are only those of the longest training: none before the fourth.
    every = {("two_levels", case.label): cell for case in plan.cases}
    every |= {("random", case.label): cell for case in plan.cases}
    area = compared(plan, every).cases[1].methods[1].hypervolume.curve
    assert area.at == [1, 2, 3] and area.mean[0] == 0 < area.mean[1] <= area.mean[2]


def test_networks_that_the_table_lacks_are_out_of_reach(tables, tmp_path):
    path = small_table(tmp_path / "few.npz", count=4000)
    own = settings(tables, table=str(path), methods=("random",), cases=("slow<=2.5",))
    plan = make_plan(own)
    assert len(plan.networks.reported) == 4000
    cell = run_cell(plan, make_program(plan, plan.methods["random"]), plan.cases[0])
    known = {tuple(row) for row in plan.networks.architectures.tolist()}
    inside = np.array(
        [[tuple(row) in known for row in rows] for rows in cell.architectures.tolist()]
    )
    assert inside.mean() > 0.9  # of sixteen draws hardly ever none is known
    np.testing.assert_array_equal(np.isinf(cell.excess), ~inside)
    np.testing.assert_array_equal(np.isnan(cell.cost), ~inside)
    result = compared(plan, {("random", "slow<=2.5"): cell}).cases[0]
    assert result.best == "random" and np.isfinite(result.methods[0].selected.mean)


def test_what_is_selected_over_the_seconds_of_training(plan, cells, found):
    rng = np.random.default_rng(0)
    timed = {
        key: cell._replace(seconds=rng.uniform(1, 3, cell.score.shape).astype(np.float32))
        for key, cell in cells.items()
    }
    with_seconds = compared(plan, timed)
    assert all(one.seconds is None for one in found.cases[0].methods)
    for one in with_seconds.cases[0].methods:
        cell = timed[one.method, found.cases[0].label]
        spent = cell.seconds.astype(float).cumsum(axis=1)
        assert one.seconds.at[0] == pytest.approx(spent[:, 0].max())
        assert one.seconds.at[-1] == pytest.approx(spent[:, -1].min())
        for place in (0, 50, 99):
            now = [max(n for n in range(QUERIES) if spent[seed, n] <= one.seconds.at[place] + 1e-9)
                   for seed in range(SEEDS)]  # fmt: skip
            values = [cell.reported[seed, cell.best[seed, n]] for seed, n in enumerate(now)]
            assert one.seconds.mean[place] == pytest.approx(np.mean(values))
    assert (
        plot_seconds(with_seconds, with_seconds.cases[0]).axes[0].get_xlabel()
        == "training time (s)"
    )
    assert render(with_seconds).count("<svg") == 2 * len(CASES) + 1


def test_a_damaged_cell_is_named(folder, tmp_path):
    whole = next((folder / "cells").iterdir()).read_bytes()
    path = tmp_path / "cell.npz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(hw.UserError, match=r"cell.npz cannot be used.*made again"):
        Cell.load(path)
    cell = Cell.load(next((folder / "cells").iterdir()))
    cell._replace(score=cell.score[:, 1:]).save(path)
    with pytest.raises(hw.UserError, match=r"score must be .* E = 20, and is float32\[6, 19\]"):
        Cell.load(path)
