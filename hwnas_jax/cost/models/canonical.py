"""The cost of the network that an architecture builds, whatever is written beside it.

In some spaces different architectures build the same network: they differ where nothing reaches the
output, or in a layer that another decision leaves out. A derivation trains the canonical form, in
which all of them agree. A cost model may predict something else for the other forms, because a
runtime that executes operation by operation really takes longer for them. A search must be told the
cost of what will be derived, so it asks the model about canonical forms only.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.base import CostModel, Costs, ExactModel
from hwnas_jax.spaces.base import Choices
from hwnas_jax.spaces.core.mixture import marginals


def on_canonical_forms(model: CostModel, space: Choices) -> CostModel:
    """Returns a model of the cost of canonical forms, for a search and its derivation.

    Args:
      model: predicts the cost of architectures as they are written.
      space: the space of the model. Where it has no canonical forms, `model` itself is returned.
    """
    return CanonicalCosts(model, space) if space.mixes_canonical else model


@functools.partial(jax.tree_util.register_dataclass, data_fields=["model"], meta_fields=["space"])
@dataclasses.dataclass(frozen=True)
class CanonicalCosts(CostModel):
    """What a model predicts for the canonical form of an architecture.

    At probabilities an exact model gives the expected cost of the canonical form of an
    architecture that is drawn from them. Other models, and all standard deviations, mean something
    at one-hot rows only; a search asks them about drawn architectures.

    Attributes:
      model: predicts the cost of architectures as they are written.
      space: the space of the model.
    """

    model: CostModel
    space: Choices

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the model."""
        return self.model.name

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """The metrics of the model."""
        return self.model.metrics

    @property
    def exact_expectation(self) -> bool:  # type: ignore[override]
        """Whether the model can give the expected cost of a distribution of architectures."""
        return self.model.exact_expectation

    @property
    def knows_uncertainty(self) -> bool:  # type: ignore[override]
        """Whether the model knows its uncertainty."""
        return self.model.knows_uncertainty

    def predict(self, weight: jax.Array) -> Costs:
        weight = jnp.asarray(weight)
        if self.exact_expectation:
            assert isinstance(self.model, ExactModel)
            return self.model.expected(weight, self.space.canonical_mixture(weight))
        return self.model.predict(self._canonical(weight))

    def std(self, weight: jax.Array) -> Costs:
        return self.model.std(self._canonical(jnp.asarray(weight)))

    def _canonical(self, weight: jax.Array) -> jax.Array:
        """Returns the canonical form of one-hot rows `float32[D, K]`, as one-hot rows."""
        return marginals(self.space.canonical_mixture(weight), weight.shape)

    def encode(self, architectures: np.ndarray) -> Any:
        return self.model.encode(self.space.canonical(architectures))

    def predict_encoded(self, rows: Any, num_options: int) -> dict[str, jax.Array]:
        return self.model.predict_encoded(rows, num_options)

    def std_encoded(self, rows: Any, num_options: int) -> dict[str, jax.Array]:
        return self.model.std_encoded(rows, num_options)
