"""Whether the gradient of a cost model is the gradient of the true expected cost.

On a complete table the expected cost of relaxed gates, every decision drawn independently, and its
gradient are computed exactly, by enumeration.

Legend: `D` decisions, `K` options of the widest decision, `n` random logits.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.base import CostModel, predict_architectures
from hwnas_jax.cost.models.multilinear import expectation_float64, tabulate
from hwnas_jax.spaces.base import Choices

TEMPERATURES = (5.0, 2.0, 1.0, 0.5, 0.1)
# How many neighbours in predicted cost exchange their errors.
_ALIKE = 50


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How a model agrees with enumeration at one temperature, for each of the random logits.

    Attributes:
      temperature: of the softmax that turned the logits into gates.
      by_logits: `float64[n]`, cosine between the two gradients with respect to the logits.
      by_gates: `float64[n]`, cosine between those with respect to the gates, within the simplex.
      gap: `float64[n]`, the distance from the prediction at the gates to the mean of the model's
        own predictions of architectures, as a share of that mean.
      error: `float64[n]`, the distance from the prediction to the true mean, as a share of it.
      ceiling: `float64[n]`, what a perfect model would score on a table with this much noise. It is
        the cosine by logits between the model's own predictions and the same predictions with the
        errors shuffled among architectures of similar cost.
    """

    temperature: float
    by_logits: np.ndarray
    by_gates: np.ndarray
    gap: np.ndarray
    error: np.ndarray
    ceiling: np.ndarray


def complete_table(space: Choices, architectures: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the table `float64[K, ..., K]` of a value for every architecture.

    Args:
      space: one for which `is_enumerable` holds.
      architectures: `int32[N, D]`, each architecture of the space once.
      values: `float64[N]`.

    Raises:
      ValueError: when an architecture is missing.
    """
    table = np.full((space.num_options,) * space.num_decisions, np.nan)
    table[tuple(np.asarray(architectures).T)] = values
    if np.isnan(table[tuple(space.enumerate().T)]).any():
        raise ValueError(f"the table lacks architectures of {space.name}")
    return np.nan_to_num(table, nan=0.0)


def measure_fidelity(
    model: CostModel,
    space: Choices,
    table: np.ndarray,
    metric: str,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    draws: int = 100,
    seed: int = 0,
) -> list[Fidelity]:
    """Compares a model with the exact expectation of a table.

    Args:
      model: the cost model.
      space: one for which `is_enumerable` holds.
      table: `float64[K, ..., K]`, as `complete_table` returns it.
      metric: which cost the table holds.
      temperatures: of the softmax.
      draws: `n`, how many standard normal logits.
      seed: of the logits and the shuffle.
    """
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((draws, space.num_decisions, space.num_options))
    own = tabulate(
        space,
        lambda rows: predict_architectures(model, rows, space.num_options)[metric],
    )
    shuffled = tabulate(space, lambda rows: shuffled_errors(own, table, rows, rng))
    compare = functools.partial(_compare, model, space, metric, (table, own, shuffled), logits)
    return [compare(temperature) for temperature in temperatures]


def shuffled_errors(
    own: np.ndarray, table: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Returns each prediction with the relative error of another that costs about as much.

    Only similar costs exchange errors, because relative errors are huge where costs are near zero.

    Args:
      own: `float64[K, ..., K]`, the predictions.
      table: `float64[K, ..., K]`, the true costs.
      rows: `int32[N, D]`, all architectures.
      rng: draws the exchange.

    Returns:
      `float64[N]`.
    """
    place = tuple(rows.T)
    errors = table[place] / own[place]
    ranked = np.argsort(own[place])
    moved = np.empty_like(errors)
    for alike in np.array_split(ranked, -(-len(ranked) // _ALIKE)):
        moved[alike] = errors[rng.permutation(alike)]
    return own[place] * moved


def _compare(model, space, metric, tables, logits, temperature):
    table, own, shuffled = tables
    weights = _softmax(logits / temperature, space.mask)
    predicted, gradients = _predict(model, jnp.asarray(weights, jnp.float32), metric)
    columns: list[tuple[float, ...]] = []
    for weight, value, gradient in zip(weights, predicted, gradients, strict=True):
        true, exact = expectation_float64(table, weight)
        mean, smooth = expectation_float64(own, weight)
        _, noisy = expectation_float64(shuffled, weight)
        by_logits = [_logit_gradient(g, weight) for g in (gradient, exact, smooth, noisy)]
        columns.append(
            (
                cosine(by_logits[0], by_logits[1]),
                cosine(_tangent(gradient, space.mask), _tangent(exact, space.mask)),
                abs(value - mean) / abs(mean),
                abs(value - true) / abs(true),
                cosine(by_logits[2], by_logits[3]),
            )
        )
    return Fidelity(temperature, *map(np.array, zip(*columns, strict=True)))


@functools.partial(jax.jit, static_argnames=["metric"])
def _predict_jit(model, weights, *, metric):
    def one(weight):
        return jax.value_and_grad(lambda w: model.predict(w)[metric])(weight)

    return jax.lax.map(one, weights, batch_size=32)


def _predict(model, weights, metric):
    values, gradients = _predict_jit(model, weights, metric=metric)
    return np.asarray(values, float), np.asarray(gradients, float)


def _softmax(logits, mask):
    shifted = np.where(mask, logits - logits.max(axis=-1, keepdims=True), -np.inf)
    weights = np.exp(shifted)
    return weights / weights.sum(axis=-1, keepdims=True)


def _logit_gradient(gradient, weight):
    """Returns the gradient by the logits, up to the temperature, given that by the gates."""
    return weight * (gradient - (weight * gradient).sum(axis=-1, keepdims=True))


def _tangent(gradient, mask):
    mean = np.where(mask, gradient, 0).sum(axis=-1, keepdims=True) / mask.sum(axis=-1)[:, None]
    return np.where(mask, gradient - mean, 0)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    """Returns the cosine of the angle between two arrays; one where both are zero."""
    size = np.linalg.norm(left) * np.linalg.norm(right)
    if size == 0:
        return float(not left.any() and not right.any())
    return float((left * right).sum() / size)
