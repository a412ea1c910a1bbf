"""What a run of few-shot learning found: `few_shot.json` of its folder, and its statistics.

Legend: `E` episodes.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Interval

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.typed import Amount, NotNegative, Probability, Whole, read_typed
from hwnas_jax.report.difference import Difference, over_seeds

FILE = "few_shot.json"
_FORMAT = "hwnas_jax.few_shot"

PAIRS = (("adapted", "mixed"), ("anew", "fixed"), ("anew", "random"), ("fixed", "random"))
"""Whose difference over the episodes is told."""


@dataclasses.dataclass(frozen=True)
class Classes:
    """The names of the classes of each part."""

    train: list[str]
    validation: list[str]
    test: list[str]


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over the episodes, and half of its 95 % interval by Student's t."""

    value: float
    half_width: NotNegative | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> "Mean":
        """Returns the mean of `float[E]`."""
        found: Difference = over_seeds(values.tolist())
        return cls(found.value, found.half_width)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What the adapted networks cost.

    Attributes:
      limit: the budget, in the unit of the metric.
      percentile: that the budget was given as.
      mean: predicted cost.
      most: the highest predicted cost.
      over: how many cost more than the limit.
      unrepaired: share of the episodes whose strongest options met the budget by themselves.
    """

    limit: Amount
    percentile: Annotated[float, Interval(ge=0, le=100)]
    mean: float
    most: float
    over: Whole
    unrepaired: Probability


@dataclasses.dataclass(frozen=True)
class Group:
    """What the episodes gave without a budget, or under one.

    Attributes:
      metrics: by the name of a network, as in `hwnas_jax.search.meta.judging.Judged`.
      differences: paired over the episodes, by `one - other`.
      costs: None without a budget.
    """

    metrics: dict[str, Mean]
    differences: dict[str, Mean]
    costs: Costs | None = None

    @classmethod
    def of(cls, metrics: Mapping[str, np.ndarray], costs: Costs | None = None) -> "Group":
        """Returns the statistics of the metrics of each episode, `float[E]` by name."""
        values = {name: np.asarray(one, np.float64) for name, one in metrics.items()}
        return cls(
            {name: Mean.of(one) for name, one in values.items()},
            {f"{one} - {other}": Mean.of(values[one] - values[other]) for one, other in PAIRS},
            costs,
        )


@dataclasses.dataclass(frozen=True)
class FewShotFile:
    """`few_shot.json`: the classes, and once the start is judged what the episodes gave.

    Attributes:
      classes: of each part.
      metric: the primary metric of the task.
      unit: of it, as `hwnas_jax.tasks.base.Task.unit`.
      higher_is_better: whether more of it is better.
      chance: its value without looking at the inputs.
      cost_metric: the metric that budgets are in.
      episodes: how many there were; zero before the start is judged.
      judged_on: the part that they were drawn from.
      groups: without a budget, then under each.
    """

    classes: Classes
    metric: str
    unit: str
    higher_is_better: bool
    chance: float
    cost_metric: str
    episodes: Annotated[int, Ge(0)] = 0
    judged_on: str = "test"
    groups: list[Group] = dataclasses.field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Writes the file into a run folder."""
        head = {"format": _FORMAT, "version": 1}
        write_json(folder / FILE, {**head, **dataclasses.asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> "FewShotFile":
        """Reads what `save` wrote; UserError when it is absent or damaged."""
        path = folder / FILE
        found = read_typed(path, cls, "few-shot file", file_format=_FORMAT)
        networks = {name for pair in PAIRS for name in pair}
        for place, group in enumerate(found.groups):
            lacking = sorted(networks - group.metrics.keys())
            lacking += [f"{one} - {other}" for one, other in PAIRS
                        if f"{one} - {other}" not in group.differences]  # fmt: skip
            if lacking:
                raise UserError(f"{path}: groups[{place}] lacks {', '.join(lacking)}")
        return found


def is_few_shot(folder: Path) -> bool:
    """Returns whether a run folder is one of few-shot learning."""
    return (folder / FILE).is_file()
