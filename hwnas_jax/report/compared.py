"""What a comparison of search methods found: what its page, tables and terminal show.

Legend: `S` seeds, `Q` places of a curve.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Curve:
    """A mean over seeds as a search goes on.

    Attributes:
      at: `[Q]`, how many trainings were looked up, or seconds of training.
      mean: `[Q]`.
      low: `[Q]`, the lower end of its 95 % interval.
      high: `[Q]`, the upper end.
    """

    at: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclasses.dataclass(frozen=True)
class Figures:
    """One figure of a method in a case, over its seeds; more of it is better.

    Attributes:
      values: `[S]`, at the end of each search.
      mean: of them.
      std: their standard deviation.
      low: the lower end of the mean's 95 % interval.
      high: the upper end.
      curve: over the queries.
      difference: to random search, the mean over pairs of the same seed; None of random search.
      difference_low: the lower end of its 95 % interval.
      difference_high: the upper end.
      p_value: of Wilcoxon's signed-rank test of the pairs, by Holm over the methods of the case.
      queries_to_baseline: after how many queries the mean reaches what random search has at the
        end; None where it never does.
    """

    values: list[float]
    mean: float
    std: float
    low: float
    high: float
    curve: Curve
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    queries_to_baseline: int | None = None


@dataclasses.dataclass(frozen=True)
class Front:
    """The best value that can be had for a cost.

    Attributes:
      costs: rising.
      values: of each, the best that costs no more.
    """

    costs: list[float]
    values: list[float]


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """A method in a case.

    Attributes:
      method: its label.
      selected: what the table reports of the network that each search selected.
      regret: by how much the mean of that is below the best network there is.
      over_limit: the share of the searches whose selected network truly exceeds the limit.
      confidence: with what probability the searches believed that it keeps the limit, the mean over
        seeds; None where they know the costs.
      measured: how many networks each measured, likewise.
      hypervolume: where a front is searched for, the area that everything evaluated at the highest
        fidelity dominates, as a share of that of the exact front; None elsewhere.
      seconds: the mean of `selected` over the seconds of training that were spent, up to those of
        the shortest search; None where the table does not know them.
      front: where a front is searched for, the mean over seeds of the best value for each cost.
    """

    method: str
    selected: Figures
    regret: float
    over_limit: float
    confidence: float | None = None
    measured: float | None = None
    hypervolume: Figures | None = None
    seconds: Curve | None = None
    front: Front | None = None

    @property
    def primary(self) -> Figures:
        """What the case is about: the area of the front, or what was selected."""
        return self.selected if self.hypervolume is None else self.hypervolume


@dataclasses.dataclass(frozen=True)
class Oracle:
    """The best network that a case allows.

    Attributes:
      network: in the space's notation.
      value: what the table reports of it.
      cost: what it costs; None where networks cost nothing.
    """

    network: str
    value: float
    cost: float | None


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """All methods in one case, random search first.

    Attributes:
      label: what was searched for.
      device: what the costs are of; None where networks cost nothing.
      limit: the most that a network may cost; None for no limit.
      allowed: how many networks of the table keep it.
      oracle: the best of them.
      methods: what each method found.
      reference: where a front is searched for, the worst corner of its area: cost and value.
      front: where a front is searched for, the exact one.
    """

    label: str
    device: str | None
    limit: float | None
    allowed: int
    oracle: Oracle
    methods: tuple[MethodResult, ...]
    reference: tuple[float, float] | None = None
    front: Front | None = None

    @property
    def best(self) -> str | None:
        """The method with the highest mean, of those whose every search keeps the limit."""
        able = [found for found in self.methods if not found.over_limit]
        return max(able, key=lambda found: found.primary.mean).method if able else None


@dataclasses.dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes:
      table: the table of accuracies and its data set.
      known: how many networks it has.
      space: what they are of.
      selected_by: what was selected by, in words ("validation accuracy after 200 epochs").
      reported: what is reported, in words.
      on_test: whether what was selected by is what is reported of: the figures are optimistic.
      is_share: whether values are shares, to be shown in percent.
      metric: the cost.
      costs: the cost table; None where no case has costs.
      seeds: how many searches of each method in each case.
      queries: how many trainings each could look up.
      measurements: how many networks each could measure; None where costs are known.
      confidence: with what probability a selected network was to keep the limit, likewise.
      baseline: the label of random search.
      cases: what was searched for.
    """

    table: str
    known: int
    space: str
    selected_by: str
    reported: str
    on_test: bool
    is_share: bool
    metric: str
    costs: str | None
    seeds: int
    queries: int
    measurements: int | None
    confidence: float | None
    baseline: str
    cases: tuple[CaseResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return {"format": "hwnas_jax.compared", "version": 1, **dataclasses.asdict(self)}
