"""The metric of what the networks learn: how it is shown, compared and named.

A run says in `targets.json` which metric that is: accuracy, mean squared error, ...
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hwnas_jax.report.numbers import NOTHING, number, percent


@dataclasses.dataclass(frozen=True)
class TaskMetric:
    """The primary metric of a task.

    Attributes:
      name: in plain words ("mean average precision").
      higher_is_better: whether more of it is better.
      unit: "%" for a share in [0, 1], otherwise what stands behind the number, possibly nothing.
      chance: its value without looking at the inputs; None when unknown.
    """

    name: str = "accuracy"
    higher_is_better: bool = True
    unit: str = "%"
    chance: float | None = None

    @classmethod
    def of(cls, task: Mapping[str, Any] | None) -> "TaskMetric":
        """Returns the metric that `task` of `targets.json` describes; accuracy without one."""
        if not task:
            return cls()
        name = str(task["metric"]).replace("_", " ")
        return cls(name, bool(task["higher_is_better"]), task.get("unit") or "", task.get("chance"))

    @property
    def is_share(self) -> bool:
        """Whether values are shares, which are shown in percent."""
        return self.unit == "%"

    @property
    def best_possible(self) -> float | None:
        """The best value there can be; None where none is known."""
        if not self.higher_is_better:
            return 0.0
        return 1.0 if self.is_share else None

    def show(self, value: float | None) -> str:
        """Returns a value as text.

        >>> TaskMetric().show(0.9912), TaskMetric("mse", False, "").show(0.0312)
        ('99.1 %', '0.03120')
        """
        if value is None:
            return NOTHING
        return percent(value) if self.is_share else f"{number(value)} {self.unit}".rstrip()

    @property
    def sign(self) -> int:
        """What a value is multiplied by so that more of it is better."""
        return 1 if self.higher_is_better else -1

    def compare(self, value: float, other: float, name: str) -> str:
        """Returns in words how `value` compares with `other`, which `name` names.

        >>> TaskMetric().compare(0.981, 0.989, "the search")
        '0.8 points worse than the search'
        >>> TaskMetric("mse", False, "").compare(0.25, 0.5, "the search")
        '0.25 better than the search'
        """
        gap = self.sign * (value - other)
        size = f"{100 * abs(gap):.1f}" if self.is_share else f"{abs(gap):.3g}"
        if float(size) == 0:
            return f"as good as {name}"
        points = " points" if self.is_share else f" {self.unit}".rstrip()
        return f"{size}{points} {'better' if gap > 0 else 'worse'} than {name}"
