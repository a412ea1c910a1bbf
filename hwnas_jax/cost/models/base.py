"""What a cost model is, and how one is asked about many architectures at once.

A `CostModel` answers two questions about gates: what they cost, and how sure the answer is. A
`FittedModel` is one that comes from observations and can be kept in a file; `COST_MODELS` in
`registry.py` holds these. An `ExactModel` knows the expected cost of architectures that are drawn
at random, so that a search needs no draws. Two models are made of others: `canonical.py` predicts
the cost of the networks that a derivation builds, and `with_counts.py` adds what can be counted.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision.
"""

import abc
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.measurements import Origin
from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.models.model_file import write_model
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices, Forms

_CHUNK = 4096

Costs = dict[str, jax.Array]
"""`{metric: float32[]}`, with the units in the metrics' names."""


class CostModel(abc.ABC):
    """Predicts what an architecture costs on a device.

    A model is a frozen dataclass that is registered as a pytree, so that it can be an argument of
    a compiled function.

    Attributes:
      name: of the kind of model.
      metrics: what `predict` returns, with units in the names ("latency_ms").
      exact_expectation: whether `predict` of probabilities is the expected cost of an architecture
        whose decisions are drawn from them independently. Only an `ExactModel` may say so.
      knows_uncertainty: whether `std` says anything; it is zero otherwise.
    """

    name: ClassVar[str]
    metrics: tuple[str, ...]
    exact_expectation: bool = False
    knows_uncertainty: bool = False

    @abc.abstractmethod
    def predict(self, weight: jax.Array) -> Costs:
        """Returns the costs at one gate weight `float32[D, K]`.

        Pure and differentiable, and batched by `jax.vmap`. At one-hot rows it is the cost of that
        architecture; in between it is a smooth continuation.
        """

    def std(self, weight: jax.Array) -> Costs:
        """Returns the standard deviation of one measurement of each metric.

        Zero where the model does not know its own uncertainty.
        """
        del weight
        return {metric: jnp.zeros((), jnp.float32) for metric in self.metrics}

    def encode(self, architectures: np.ndarray) -> Any:
        """Returns what `predict_encoded` takes for architectures `int32[N, D]`, on the host.

        An array with a leading axis `N`, or a pytree of such arrays. A model that can predict
        architectures faster than gates overrides this, `predict_encoded` and `std_encoded`.
        """
        return architectures

    def predict_encoded(self, rows: Any, num_options: int) -> dict[str, jax.Array]:
        """Returns `{metric: float32[N]}` of what `encode` returned.

        Args:
          rows: from `encode`.
          num_options: `K`.
        """
        return jax.vmap(self.predict)(jax.nn.one_hot(rows, num_options, dtype=jnp.float32))

    def std_encoded(self, rows: Any, num_options: int) -> dict[str, jax.Array]:
        """Returns the standard deviations, as `predict_encoded` does the predictions."""
        return jax.vmap(self.std)(jax.nn.one_hot(rows, num_options, dtype=jnp.float32))


class ExactModel(CostModel):
    """A cost model whose prediction at probabilities is the mean over independent draws.

    Such a model is a polynomial of the gates without powers of a row, so it can say what a whole
    distribution of architectures costs.
    """

    exact_expectation: bool = True

    @abc.abstractmethod
    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        """Returns the expected costs of a random architecture.

        Args:
          weight: `float32[D, K]`, the probability of each option.
          forms: how the architecture is distributed when its decisions are drawn from `weight`:
            `as_drawn(weight)` for the architecture as it is written, or the space's
            `canonical_mixture(weight)` for its canonical form.
        """

    def predict(self, weight: jax.Array) -> Costs:
        """Returns the expected costs of an architecture drawn from `weight` (`float32[D, K]`)."""
        chex.assert_rank(weight, 2)
        weight = jnp.asarray(weight)
        return self.expected(weight, as_drawn(weight))


def as_drawn(weight: jax.Array) -> tuple[Forms, ...]:
    """Returns the distribution of an architecture whose decisions are independent.

    Args:
      weight: `float32[D, K]`, the probability of each option.
    """
    return (Forms(np.arange(len(weight)), jnp.ones(1, weight.dtype), weight[None]),)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a model that has none."""


class FittedModel(CostModel):
    """A cost model that is fitted to observations and kept in a file.

    This is the class that a user's own cost model derives from.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      label: what reports call the model; the name where it is left out.
      Options: a frozen dataclass with the model's own options, their ranges in the annotations.
      needs_space: whether the model builds or counts a network's operations. A space that is known
        only by its decisions then does not do.
      most_networks: how many networks it can be fitted to; None for any number.
      knows_costs: whether it predicts costs; otherwise its predictions only rank.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    label: ClassVar[str] = ""
    Options: ClassVar[type] = NoOptions
    needs_space: ClassVar[bool] = False
    most_networks: ClassVar[int | None] = None
    knows_costs: bool = True

    @classmethod
    def check_count(cls, count: int) -> None:
        """Raises UserError when the model cannot be fitted to so many networks."""
        if cls.most_networks is not None and count > cls.most_networks:
            raise UserError(
                f"the {cls.label or cls.name} takes at most {cls.most_networks} networks, there "
                f"are {count}: fit it to a sample of them (hwnas cost fit --sample 900), or take "
                "another cost model"
            )

    @classmethod
    @abc.abstractmethod
    def fit(cls, space: Any, observations: Observations, options: Any, *, seed: int = 0) -> Self:
        """Fits the model.

        Args:
          space: the space of the observed architectures.
          observations: what the networks cost.
          options: an instance of `Options`.
          seed: of all random choices.

        Raises:
          UserError: for observations that it cannot be fitted to.
        """

    @abc.abstractmethod
    def contents(self) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Returns what `load` needs: plain JSON values, and arrays by name."""

    @classmethod
    @abc.abstractmethod
    def load(cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Any) -> Self:
        """Builds the model from what `contents` returned.

        Args:
          values: plain JSON values.
          arrays: by name. `check_array` of `model_file` checks one.
          space: the space of the model.

        Raises:
          UserError: names the value or array that is missing or damaged.
        """

    @classmethod
    def reads_operations(cls, space: Choices) -> bool:
        """Returns whether timings of single operations would make the model better.

        A profile times the operations only then.
        """
        del space
        return False

    def save(
        self,
        path: Path,
        space: Choices,
        fitted_to: np.ndarray | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Writes the model to a file that `hwnas_jax.cost.load_cost_model` reads.

        Args:
          path: the file.
          space: the space of the model.
          fitted_to: `int32[N, D]`, the networks that it was fitted to, so that a comparison with
            measurements can leave them out.
          origin: which device its costs are of, so that a search knows whether that is here.
        """
        values, arrays = self.contents()
        write_model(path, self.name, space, values, arrays, fitted_to, origin)


def predict_architectures(
    model: CostModel, architectures: np.ndarray, num_options: int
) -> dict[str, np.ndarray]:
    """Predicts many architectures at once, compiled and in chunks.

    Args:
      model: a cost model.
      architectures: `int32[N, D]`.
      num_options: `K`.

    Returns:
      `{metric: float32[N]}`.
    """
    return _in_chunks(model, architectures, num_options, "predict_encoded")


def std_architectures(
    model: CostModel, architectures: np.ndarray, num_options: int
) -> dict[str, np.ndarray]:
    """Returns the standard deviations `{metric: float32[N]}`, as `predict_architectures`."""
    return _in_chunks(model, architectures, num_options, "std_encoded")


def _in_chunks(
    model: CostModel, architectures: np.ndarray, num_options: int, method: str
) -> dict[str, np.ndarray]:
    architectures = np.asarray(architectures, np.int32)
    chex.assert_rank(architectures, 2)
    count = len(architectures)
    if not count:
        return {metric: np.zeros(0, np.float32) for metric in model.metrics}
    # Padding to a power of two bounds how many batch sizes are ever compiled.
    chunk = min(_CHUNK, 1 << (count - 1).bit_length())
    parts = []
    for start in range(0, count, chunk):
        rows = architectures[start : start + chunk]
        rows = np.pad(rows, ((0, chunk - len(rows)), (0, 0)))
        parts.append(_ask(model, model.encode(rows), num_options, method))
    return {
        metric: np.concatenate([np.asarray(part[metric]) for part in parts])[:count]
        for metric in model.metrics
    }


@functools.partial(jax.jit, static_argnums=(2, 3))
def _ask(model: Any, rows: Any, num_options: int, method: str) -> dict[str, jax.Array]:
    return getattr(model, method)(rows, num_options)
