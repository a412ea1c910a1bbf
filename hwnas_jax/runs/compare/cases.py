"""What is searched for: the best network, the best within a limit, or a front of accuracy and cost.

Legend: `N` networks of the table, `D` decisions.
"""

import math
from typing import NamedTuple

import numpy as np

from hwnas_jax.cost.files.observations import CostTable, unit
from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.errors import UserError, choose
from hwnas_jax.runs.compare.outlook import Costs
from hwnas_jax.runs.compare.settings import UNLIMITED, Comparison
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular import Benchmark, check_decisions, look_up
from hwnas_jax.tabular.base import Column, make_column


class Networks(NamedTuple):
    """The networks of a table, those that searches can find.

    Attributes:
      architectures: `int32[N, D]`.
      reported: `float64[N]`, what the table reports of them.
    """

    architectures: np.ndarray
    reported: np.ndarray


class Case(NamedTuple):
    """One thing to search for.

    Attributes:
      label: as the user wrote it, in one form: "gold_6226<=11", "gold_6226" or "unlimited".
      device: what the costs are of; None where networks cost nothing.
      limit: the most that a network may cost; None for no limit.
      costs: the same for the compiled program.
      cost: `float64[N]`, of the table's networks; NaN where none is published.
    """

    label: str
    device: str | None
    limit: float | None
    costs: Costs
    cost: np.ndarray

    @property
    def is_front(self) -> bool:
        """Whether a front is searched for."""
        return self.device is not None and self.limit is None

    @property
    def allowed(self) -> np.ndarray:
        """`bool[N]`, which networks have a known cost and keep the limit."""
        most = math.inf if self.limit is None else self.limit
        return ~np.isnan(self.cost) & (self.cost <= most)


def networks_of(table: Benchmark, select: str) -> Networks:
    """Returns the networks of which a table has both what is selected by and what is reported.

    Args:
      table: the benchmark.
      select: the metric to select by.
    """
    space = table.space
    every, _ = table.listed(select)
    every = every[space.feasible(every)]
    reported = _looked_up(space, table.metrics[table.report], every)
    known = ~np.isnan(reported)
    return Networks(every[known], reported[known])


def _looked_up(space: Choices, column: Column, architectures: np.ndarray) -> np.ndarray:
    return np.asarray(look_up(space, {"value": column}, architectures)["value"], np.float64)


def costs_of(settings: Comparison, table: Benchmark) -> CostTable | None:
    """Returns the cost table of a comparison; None where no case has costs.

    Args:
      settings: of the comparison.
      table: the benchmark.

    Raises:
      UserError: for a cost table of other networks, without the metric, or that no case uses.
    """
    if settings.costs is None:
        if settings.task is not None:
            raise UserError(
                f"task = {settings.task!r} names a task of the cost table: give costs too"
            )
        return None
    costs = load_table(settings.costs, task=settings.task)
    check_decisions(table.space, costs.space, costs.source)
    choose(settings.metric, costs.values, f"metric of {costs.source}")
    if set(settings.cases or (UNLIMITED,)) == {UNLIMITED}:
        raise UserError(
            f"costs = {settings.costs} is given, but no case uses it: name one such as "
            f"'{costs.devices[0]}' or '{costs.devices[0]}<=LIMIT'"
        )
    return costs


def cases_of(
    settings: Comparison, costs: CostTable | None, table: Benchmark, networks: Networks
) -> tuple[Case, ...]:
    """Returns the cases of a comparison, in their order.

    Args:
      settings: of the comparison.
      costs: what `costs_of` returned.
      table: the benchmark.
      networks: of it.

    Raises:
      UserError: for a device that the cost table lacks, and for a limit that no network keeps or
        that all of them keep; says which limits there can be. Also for measurements in a case
        without a limit.
    """
    texts = settings.cases or (UNLIMITED,)
    cases = [_case(text, settings.metric, costs, table, networks) for text in texts]
    for number, case in enumerate(cases):
        if any(case.label == other.label for other in cases[:number]):
            raise UserError(f"the case {case.label!r} is named twice")
        if settings.measurements is not None and case.limit is None:
            raise UserError(
                f"measurements = {settings.measurements} tell whether a limit is kept, and the "
                f"case {case.label!r} has none: name cases such as 'DEVICE<=LIMIT'"
            )
    return tuple(cases)


def _case(
    text: str, metric: str, costs: CostTable | None, table: Benchmark, networks: Networks
) -> Case:
    space, architectures = table.space, networks.architectures
    if text == UNLIMITED:
        return _made(UNLIMITED, None, None, space, architectures, np.zeros(len(architectures)))
    device, is_limited, value = (part.strip() for part in text.partition("<="))
    if costs is None:
        raise UserError(f"the case {text!r} needs costs, a published cost table with {device!r}")
    row = costs.devices.index(choose(device, costs.devices, f"device of {costs.source}"))
    published = make_column(space, costs.architectures, costs.values[metric][row])
    cost = _looked_up(space, published, architectures)
    if np.isnan(cost).all():
        raise UserError(
            f"{costs.source} has no {metric} on {device} of the networks of {table.source}"
        )
    limit = _number(text, value) if is_limited else None
    label = device if limit is None else f"{device}<={limit:.10g}"
    case = _made(label, device, limit, space, architectures, cost)
    if limit is not None:
        _check_limit(case, limit, metric)
    return case


def _made(label, device, limit, space, architectures, cost) -> Case:
    most = np.float32(np.inf if limit is None else limit)
    return Case(label, device, limit, Costs(make_column(space, architectures, cost), most), cost)


def _number(text: str, value: str) -> float:
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not (math.isfinite(limit) and limit > 0):
        raise UserError(f"the case {text!r}: a limit is a number above zero, got {value!r}")
    return limit


def _check_limit(case: Case, limit: float, metric: str) -> None:
    known, device = case.cost[~np.isnan(case.cost)], case.device
    least, most, shown = known.min(), known.max(), unit(metric)
    if limit < least:
        raise UserError(
            f"the case {case.label!r}: no network costs at most {limit:g} {shown} on {device}; the "
            f"nearest limit that one keeps is {_up(least):g}, and limits reach up to {most:.4g}"
        )
    if limit >= most:
        raise UserError(
            f"the case {case.label!r}: every network costs at most {limit:g} {shown} on {device}; "
            f"limits are from {_up(least):g} to below {most:.4g}. For no limit name the device "
            f"alone: {device}"
        )


def _up(value: float) -> float:
    """Returns a value of four digits that is not below the given one."""
    step = 10.0 ** (math.floor(math.log10(value)) - 3)
    return math.ceil(value / step) * step
