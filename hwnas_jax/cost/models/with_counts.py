"""A cost model with the counts beside it, so that a budget may limit both at once.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import CostModel, Costs, ExactModel
from hwnas_jax.spaces.base import Forms, Space


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["model", "counts"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class WithCounts(ExactModel):
    """The metrics of a model, and what can be counted of a network beside them.

    Where the model predicts a metric that is counted too, the model's prediction stands. The
    expectation at probabilities is exact where that of the model is.

    Attributes:
      model: any cost model.
      counts: of the same space.
    """

    model: CostModel
    counts: AnalyticModel

    @classmethod
    def of(cls, model: CostModel, space: Space) -> "WithCounts":
        """Counts the operations of `space`, the space of `model`."""
        return cls(model, AnalyticModel.count(space))

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the model."""
        return self.model.name

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """The model's metrics, then those that are only counted."""
        own = self.model.metrics
        return (*own, *(metric for metric in self.counts.metrics if metric not in own))

    @property
    def exact_expectation(self) -> bool:  # type: ignore[override]
        """Whether the model's own expectation is exact; counts always are."""
        return self.model.exact_expectation

    @property
    def knows_uncertainty(self) -> bool:  # type: ignore[override]
        """Whether the model knows its uncertainty; counts are certain."""
        return self.model.knows_uncertainty

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        assert isinstance(self.model, ExactModel)
        return self._joined(self.counts.expected(weight, forms), self.model.expected(weight, forms))

    def predict(self, weight: jax.Array) -> Costs:
        return self._joined(self.counts.predict(weight), self.model.predict(weight))

    def std(self, weight: jax.Array) -> Costs:
        return self._joined(self.counts.std(weight), self.model.std(weight))

    def _joined(self, counted: dict, predicted: dict) -> dict:
        both = {**counted, **predicted}
        return {metric: both[metric] for metric in self.metrics}

    def encode(self, architectures: np.ndarray) -> Any:
        return architectures, self.model.encode(architectures)

    def predict_encoded(self, rows: Any, num_options: int) -> dict[str, jax.Array]:
        counted = self.counts.predict_encoded(rows[0], num_options)
        return self._joined(counted, self.model.predict_encoded(rows[1], num_options))

    def std_encoded(self, rows: Any, num_options: int) -> dict[str, jax.Array]:
        counted = self.counts.std_encoded(rows[0], num_options)
        return self._joined(counted, self.model.std_encoded(rows[1], num_options))
