"""From the stored cells of a comparison to what it found.

Legend: `S` seeds, `E` evaluations, `Q` places of a grid.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hwnas_jax.report.compared import (
    CaseResult,
    Compared,
    Curve,
    Figures,
    Front,
    MethodResult,
    Oracle,
)
from hwnas_jax.report.pareto_front import Reference, hypervolume, on_front
from hwnas_jax.report.series import evenly_spread
from hwnas_jax.runs.compare.cases import Case
from hwnas_jax.runs.compare.cell import Cell, over_limit
from hwnas_jax.runs.compare.plan import Plan
from hwnas_jax.runs.compare.statistics import (
    attained,
    first_reaching,
    holm,
    hypervolumes,
    interval,
    signed_rank,
)

_PLACES = 100
"""Places of a curve over seconds, and of a front."""
_MOST_QUERIES = 1000
"""Places of a curve over queries; with more queries not each has one."""


class Grown(NamedTuple):
    """A figure of a method in a case as its searches go on.

    Attributes:
      at: `float[Q]`, numbers of full trainings.
      values: `float64[S, Q]`.
    """

    at: np.ndarray
    values: np.ndarray


class Found(NamedTuple):
    """One method in a case before it is compared with the others."""

    selected: Grown
    over_limit: float
    confidence: float | None
    measured: float | None
    area: Grown | None
    seconds: Curve | None
    front: Front | None


def compared(plan: Plan, cells: Mapping[tuple[str, str], Cell]) -> Compared:
    """Returns what a comparison found.

    Args:
      plan: of the comparison.
      cells: by the labels of method and case.
    """
    settings, table = plan.settings, plan.table
    measure = table.measure.name.replace("_", " ")
    by = table.select(settings.split, settings.epochs)
    return Compared(
        table=table.source,
        known=len(plan.networks.reported),
        space=table.space.name,
        selected_by=_in_words(by, measure),
        reported=_in_words(table.report, measure),
        on_test=settings.split == "test",
        is_share=table.measure.percent,
        metric=settings.metric,
        costs=settings.costs,
        seeds=settings.seeds,
        queries=plan.queries,
        measurements=settings.measurements,
        confidence=None if settings.measurements is None else settings.confidence,
        baseline=plan.baseline,
        cases=tuple(
            _case(plan, case, {method: cells[method, case.label] for method in plan.methods})
            for case in plan.cases
        ),
    )


def _in_words(metric: str, measure: str) -> str:
    """Returns a column's name in words.

    >>> _in_words("validation_accuracy_12", "accuracy")
    'validation accuracy after 12 epochs'
    """
    split, _, epochs = metric.replace("_", " ").partition(f" {measure}")
    return f"{split} {measure}" + (f" after{epochs} epochs" if epochs else "")


def _case(plan: Plan, case: Case, cells: Mapping[str, Cell]) -> CaseResult:
    networks, allowed = plan.networks, case.allowed
    rows = np.flatnonzero(allowed)
    best = int(rows[np.argmax(networks.reported[rows])])
    oracle = Oracle(
        plan.table.space.to_string(networks.architectures[best]),
        float(networks.reported[best]),
        None if case.device is None else float(case.cost[best]),
    )
    exact, reference, whole = None, None, 1.0
    if case.is_front:
        costs, values = case.cost[rows], networks.reported[rows]
        reference = Reference(float(costs.max()), float(values.min()))
        ahead = np.flatnonzero(on_front(costs, values))
        ahead = ahead[np.argsort(costs[ahead], kind="stable")]
        exact = Front(costs[ahead].tolist(), values[ahead].tolist())
        whole = hypervolume(costs[ahead], values[ahead], reference) or 1.0
    found = {method: _found(plan, case, cell, reference, whole) for method, cell in cells.items()}
    selected = _figures(plan.baseline, {name: one.selected for name, one in found.items()})
    areas = _figures(
        plan.baseline, {name: one.area for name, one in found.items() if one.area is not None}
    )
    return CaseResult(
        label=case.label,
        device=case.device,
        limit=case.limit,
        allowed=len(rows),
        oracle=oracle,
        methods=tuple(
            MethodResult(
                method=name,
                selected=selected[name],
                regret=oracle.value - selected[name].mean,
                over_limit=one.over_limit,
                confidence=one.confidence,
                measured=one.measured,
                hypervolume=areas.get(name),
                seconds=one.seconds,
                front=one.front,
            )
            for name, one in found.items()
        ),
        reference=None if reference is None else (reference.cost, reference.value),
        front=exact,
    )


def _found(plan: Plan, case: Case, cell: Cell, reference: Reference | None, whole: float) -> Found:
    at = 1 + evenly_spread(plan.queries, _MOST_QUERIES)
    last, selected = cell.last(at), cell.selected(at)
    reported = cell.reported.astype(np.float64)
    values = np.take_along_axis(reported, selected, axis=1)
    area = front = None
    if reference is not None:
        # A network of which only a shorter training is known is not on anyone's front yet.
        trained = np.where(cell.fidelity == 0, reported, np.nan)
        costs = cell.cost.astype(np.float64)
        shares = [
            hypervolumes(cost, value, reference, counts + 1) / whole
            for cost, value, counts in zip(costs, trained, last, strict=True)
        ]
        area = Grown(at, np.array(shares))
        front = _mean_front(costs, trained, last[:, -1], reference.cost)
    confidence = measured = None
    if plan.settings.measurements is not None:
        ends = np.arange(len(last)), last[:, -1]
        confidence, measured = float(cell.chance[ends].mean()), float(cell.measured[ends].mean())
    return Found(
        Grown(at, values),
        float(over_limit(cell, case, selected[:, -1]).mean()),
        confidence,
        measured,
        area,
        _over_seconds(cell, last[:, -1]),
        front,
    )


def _figures(baseline: str, grown: Mapping[str, Grown]) -> dict[str, Figures]:
    """Returns a figure of all methods of a case, each beside random search."""
    if not grown:
        return {}
    base = grown[baseline].values[:, -1]
    others = {name: one for name, one in grown.items() if name != baseline}
    differences = {name: one.values[:, -1] - base for name, one in others.items()}
    p_values = holm({name: signed_rank(own) for name, own in differences.items()})
    figures = {}
    for name, one in grown.items():
        last, mean = one.values[:, -1], one.values.mean(axis=0)
        curve = _curve(one.at, one.values)
        figure = Figures(
            values=last.tolist(),
            mean=float(mean[-1]),
            std=float(last.std(ddof=1)),
            low=curve.low[-1],
            high=curve.high[-1],
            curve=curve,
        )
        if name != baseline:
            low, high = interval(differences[name])
            place = first_reaching(mean, float(base.mean()))
            figure = dataclasses.replace(
                figure,
                difference=float(differences[name].mean()),
                difference_low=float(low),
                difference_high=float(high),
                p_value=p_values[name],
                queries_to_baseline=None if place is None else int(one.at[place]),
            )
        figures[name] = figure
    return figures


def _curve(at: np.ndarray, values: np.ndarray) -> Curve:
    low, high = interval(values)
    return Curve(at.tolist(), values.mean(axis=0).tolist(), low.tolist(), high.tolist())


def _over_seconds(cell: Cell, last: np.ndarray) -> Curve | None:
    """Returns what is selected over the seconds of training that were spent."""
    if not cell.seconds.size:
        return None
    # What the table lacks took no time.
    spent = np.cumsum(np.nan_to_num(cell.seconds.astype(np.float64)), axis=1)
    first, end = spent[:, 0].max(), spent[np.arange(len(spent)), last].min()
    at = np.linspace(first, max(first, end), _PLACES)
    counts = np.stack([np.searchsorted(row, at + 1e-9, "right") - 1 for row in spent])
    chosen = np.take_along_axis(cell.best, counts, axis=1)
    return _curve(at, np.take_along_axis(cell.reported.astype(np.float64), chosen, axis=1))


def _mean_front(costs: np.ndarray, values: np.ndarray, last: np.ndarray, most: float) -> Front:
    """Returns the mean over seeds of the best value for each cost, from where all have one."""
    rows = list(zip(costs, values, last + 1, strict=True))
    grid = np.linspace(np.nanmin(costs), most, _PLACES)
    found = np.mean([attained(cost[:n], value[:n], grid) for cost, value, n in rows], axis=0)
    known = ~np.isnan(found)
    return Front(grid[known].tolist(), found[known].tolist())
