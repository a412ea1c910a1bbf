"""What several searches found: their front, in words and as a table."""

import dataclasses
from typing import Any

import numpy as np

from hwnas_jax.report.comparison import name_of
from hwnas_jax.report.limits import limit_cells, limit_headings
from hwnas_jax.report.numbers import number, percent, plural, with_deviation
from hwnas_jax.report.pareto_front import Reference, hypervolume, on_front
from hwnas_jax.report.read import RunFiles
from hwnas_jax.report.summary import conclusion, measured_cell, over_target
from hwnas_jax.report.task_metric import TaskMetric

_COSTS = ("measured", "predicted")
_VALUES = ("validation_metric", "supernet_metric")


@dataclasses.dataclass(frozen=True)
class Front:
    """The front of the networks of a run.

    Costs are those of the finished networks and values those of trained ones where every network
    has them; otherwise the prediction and the supernet stand in for them. The reference point, the
    most expensive network of the space at the value of guessing, depends on the space, the device
    and the data alone, so that sweeps can be compared.

    Attributes:
      cost: which entry of a network is its cost ("measured").
      value: which entry is its value ("validation_metric").
      on_front: of each network, whether it is on the front.
      reference: where the area ends.
      hypervolume: the area.
      share: of the area that no cost and the best possible value would have; None where there is
        no best possible value.
    """

    cost: str
    value: str
    on_front: list[bool]
    reference: Reference
    hypervolume: float
    share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the front as plain JSON values."""
        return {**dataclasses.asdict(self), "reference": self.reference._asdict()}


def front_of(run: RunFiles) -> Front | None:
    """Returns the front of the searches; None before all networks have a cost and a value."""
    cost, value = _known_to_all(run.searched, _COSTS), _known_to_all(run.searched, _VALUES)
    if cost is None or value is None or not run.targets:
        return None
    costs, values = (_column(run.searched, key) for key in (cost, value))
    task, better = run.task, run.task.higher_is_better
    chance = task.chance
    if chance is None:
        chance = float(values.min() if better else values.max())
    reference = Reference(float(run.targets["range"][-1]), float(chance))
    area = hypervolume(costs, values, reference, higher_is_better=better)
    best = on_front(costs, values, higher_is_better=better).tolist()
    return Front(cost, value, best, reference, area, _share(area, reference, task))


def control_areas(run: RunFiles, front: Front) -> dict[str, float]:
    """Returns the hypervolume of each control's networks, from the reference point of the searches.

    A control is left out while one of its networks has no cost or no value.
    """
    areas = {}
    for control in run.controls:
        networks = [network for network in run.found if network["origin"] == control]
        if _known_to_all(networks, (front.cost,)) and _known_to_all(networks, (front.value,)):
            areas[control] = hypervolume(
                _column(networks, front.cost), _column(networks, front.value), front.reference,
                higher_is_better=run.task.higher_is_better,
            )  # fmt: skip
    return areas


def _known_to_all(networks: list[dict[str, Any]], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if networks and all(network.get(key) is not None for network in networks):
            return key
    return None


def _column(networks: list[dict[str, Any]], key: str) -> np.ndarray:
    return np.array([network[key] for network in networks], float)


def _share(area: float, reference: Reference, task: TaskMetric) -> float | None:
    if task.best_possible is None:
        return None
    whole = reference.cost * abs(task.best_possible - reference.value)
    return area / whole if whole > 0 else None


def value_name(run: RunFiles, front: Front) -> str:
    """Returns which value of a network the front shows."""
    if front.value == "supernet_metric":
        return f"{run.task.name} with the supernet's weights"
    return f"validation {run.task.name}"


def rows(run: RunFiles) -> list[tuple[str, ...]]:
    """Returns the final table, headers first, with a row for every search."""
    front, task, unit = front_of(run), run.task, run.unit
    if not run.searched:
        return []
    table: list[tuple[str, ...]] = [
        (
            "search", f"target ({unit})", f"predicted ({unit})", f"{run.obtained_where} ({unit})",
            "vs target", *limit_headings(run), f"supernet {task.name}",
            f"validation {task.name}", f"test {task.name}", "front",
        )
    ]  # fmt: skip
    for i, network in enumerate(run.searched):
        table.append(
            (
                network["label"],
                number(network.get("target")),
                with_deviation(network.get("predicted"), network.get("predicted_std")),
                measured_cell(run, network),
                percent(over_target(run, network), sign=True),
                *limit_cells(run, network),
                task.show(network.get("supernet_metric")),
                task.show(network.get("validation_metric")),
                task.show(network.get("test_metric")),
                "yes" if front and front.on_front[i] else "no",
            )
        )
    return table


def area_in_words(run: RunFiles, front: Front) -> str:
    """Returns the hypervolume, and what it is measured from."""
    unit, task = run.unit, run.task
    share = (
        ""
        if front.share is None
        else f", {percent(front.share)} of what no cost and a perfect {task.name} would have"
    )
    areas = [f"{name_of(name)} {area:.4g}" for name, area in control_areas(run, front).items()]
    beside = f" The controls reach: {', '.join(areas)}." if areas else ""
    start = "guessing" if task.chance is not None else "the worst network here"
    return (
        f"Hypervolume {front.hypervolume:.4g} {unit} times {task.name}{share}. It is measured from "
        f"the reference point {number(front.reference.cost)} {unit} (the most expensive network of "
        f"the space, as predicted) and {task.show(front.reference.value)} ({start}).{beside}"
    )


def verdict(run: RunFiles) -> str:
    """Returns the result of several searches in a few sentences."""
    front = front_of(run)
    if not run.searched:
        return "This sweep is not finished: no network was derived yet."
    searches = plural(len(run.searched), "search")
    if front is None:
        return f"{searches}. The networks have no {run.task.name} yet."
    kept = plural(sum(front.on_front), "network")
    said = f"{searches}, {kept} on the front. {area_in_words(run, front)}"
    return " ".join([said, *conclusion(run)])
