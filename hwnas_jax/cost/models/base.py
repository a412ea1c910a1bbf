"""What a cost model is, and how one is asked about many architectures at once.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision.
"""

import functools
from pathlib import Path
from typing import Protocol, runtime_checkable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.spaces.base import Choices

_CHUNK = 4096


@runtime_checkable
class CostModel(Protocol):
    """What an architecture costs on a device; a frozen dataclass registered as a pytree.

    A model that has a quicker way for architectures than for gates offers `encode(int32[N, D])`,
    on the host, and `predict_encoded` and `std_encoded` of what that returns.

    Attributes:
      name: as in `hwnas_jax.cost.COST_MODELS`.
      metrics: what `predict` returns, units in the names ("latency_ms").
      exact_expectation: whether `predict` of probabilities is the expected cost of an
        architecture whose decisions are drawn from them independently; False where left out.
    """

    name: str
    metrics: tuple[str, ...]

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{metric: float32[]}` for one gate weight `float32[D, K]`.

        Pure and differentiable, batched by `jax.vmap`; on one-hot rows it is the cost of that
        architecture, in between a smooth continuation.
        """

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns the standard deviation of each metric, `{metric: float32[]}`.

        Zero where the model has no notion of its own uncertainty.
        """

    def save(self, path: Path, space: Choices) -> None:
        """Writes the model to a file that `hwnas_jax.cost.load_cost_model` reads."""


def is_exact(model: CostModel) -> bool:
    """Returns whether `predict` at soft gates is the expectation over independent draws."""
    return bool(getattr(model, "exact_expectation", False))


def predict_architectures(
    model: CostModel, architectures: np.ndarray, num_options: int
) -> dict[str, np.ndarray]:
    """Predicts many architectures at once, jitted and in chunks.

    Args:
      model: a cost model.
      architectures: `int32[N, D]`.
      num_options: `K`.

    Returns:
      `{metric: float32[N]}`.
    """
    return _in_chunks(model, architectures, num_options, method="predict")


def std_architectures(
    model: CostModel, architectures: np.ndarray, num_options: int
) -> dict[str, np.ndarray]:
    """Returns the standard deviations `{metric: float32[N]}`; otherwise `predict_architectures`."""
    return _in_chunks(model, architectures, num_options, method="std")


def _in_chunks(model, architectures, num_options, *, method):
    architectures = np.asarray(architectures, np.int32)
    chex.assert_rank(architectures, 2)
    count = len(architectures)
    if not count:
        return {metric: np.zeros(0, np.float32) for metric in model.metrics}
    # Padding to a power of two bounds how many batch sizes are ever compiled.
    chunk = min(_CHUNK, 1 << (count - 1).bit_length())
    # A model may have a quicker way for architectures than gates that happen to be one-hot.
    encode = getattr(model, "encode", None)
    parts = []
    for start in range(0, count, chunk):
        rows = architectures[start : start + chunk]
        rows = np.pad(rows, ((0, chunk - len(rows)), (0, 0)))
        if encode is None:
            parts.append(_batch(model, rows, num_options, method))
        else:
            parts.append(_encoded_batch(model, encode(rows), method))
    return {
        metric: np.concatenate([np.asarray(part[metric]) for part in parts])[:count]
        for metric in model.metrics
    }


@functools.partial(jax.jit, static_argnums=(2, 3))
def _batch(model, architectures, num_options, method):
    weights = jax.nn.one_hot(architectures, num_options, dtype=jnp.float32)
    return jax.vmap(getattr(model, method))(weights)


@functools.partial(jax.jit, static_argnums=2)
def _encoded_batch(model, rows, method):
    return getattr(model, f"{method}_encoded")(rows)
