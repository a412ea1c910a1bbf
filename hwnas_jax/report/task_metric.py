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

    def gap(
        self, value: float | None, half_width: float | None = None, *, unit: bool = True
    ) -> str:
        """Returns the size of a difference between two values, with half of its interval.

        >>> TaskMetric().gap(-0.0084, 0.0107), TaskMetric().gap(None, 0.0107)
        ('0.8 ± 1.1 points', '± 1.1 points')
        >>> TaskMetric("mse", False, "").gap(0.25)
        '0.2500'

        Args:
          value: the difference, whose sign is left out; None leaves it out.
          half_width: half of its interval; None leaves it out.
          unit: whether the unit stands behind it.
        """
        sizes = [abs(size) for size in (value, half_width) if size is not None]
        if self.is_share:
            digits = 1 if max(sizes) >= 0.001 else 2
            shown = [f"{100 * size:.{digits}f}" for size in sizes]
        else:
            shown = [number(size, scale=max(sizes)) for size in sizes]
        said = " ± ".join(shown) if value is not None else f"± {shown[0]}"
        return f"{said} {self.gap_unit}".rstrip() if unit else said

    @property
    def gap_unit(self) -> str:
        """The unit of a difference; "" where there is none."""
        return "points" if self.is_share else self.unit
