"""What a predictor of accuracy is.

A `Predictor` learns from a few architectures that were evaluated and says of others how good they
will be, and how sure it is. It is pure and of fixed shape, so that a search that fits it anew in
every round is one program.

Legend: `N` architectures to learn from, `n` asked about, `F` features.
"""

import abc
import dataclasses
from typing import Any, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Registry


@dataclasses.dataclass(frozen=True)
class Predictor(abc.ABC):
    """A way to learn scores from features. The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @abc.abstractmethod
    def fit(self, key: jax.Array, features: jax.Array, targets: jax.Array, known: jax.Array) -> Any:
        """Returns what was learned, any pytree of arrays of fixed shape.

        Args:
          key: random key.
          features: `float32[N, F]`.
          targets: `float32[N]`, higher is better.
          known: `bool[N]`, which rows there are; the others may hold anything.
        """

    @abc.abstractmethod
    def predict(self, fitted: Any, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and standard deviation of the targets of new rows, two `float32[n]`.

        Args:
          fitted: what `fit` returned.
          features: `float32[n, F]`.
        """


PREDICTORS: Registry[Predictor] = Registry("predictor", Predictor, "hwnas_jax.predictors")  # type: ignore[type-abstract]


class Scale(NamedTuple):
    """Where targets lie: `float32[]` each."""

    centre: jax.Array
    width: jax.Array

    def back(self, mean: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and standard deviation of targets whose standardised ones have these."""
        return self.centre + self.width * mean, self.width * jnp.sqrt(variance)


def standardised(targets: jax.Array, known: jax.Array) -> tuple[jax.Array, Scale]:
    """Returns targets (`float32[N]`) of mean zero and deviation one, and their former scale.

    Rows that are not known become zero. Equal targets all become zero, and their width is one.

    Args:
      targets: `float32[N]`.
      known: `bool[N]`.
    """
    chex.assert_equal_shape([targets, known])
    count = jnp.maximum(known.sum(), 1)
    clean = jnp.where(known, targets, 0.0)
    centre = clean.sum() / count
    moved = jnp.where(known, clean - centre, 0.0)
    width = jnp.sqrt((moved**2).sum() / count)
    width = jnp.where(width > 1e-6 * jnp.abs(centre), width, 1.0)
    return moved / width, Scale(centre, width)


def check_predictor(predictor: Predictor) -> None:
    """Checks the shapes of what a predictor returns, without running it.

    Raises:
      UserError: names the function, what it returned and what the contract asks for.
    """
    where = f"predictor {predictor.name}"

    def every(key, features, targets, known, asked):
        return predictor.predict(predictor.fit(key, features, targets, known), asked)

    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = [((9, 4), jnp.float32), ((9,), jnp.float32), ((9,), bool), ((5, 4), jnp.float32)]
    try:
        found = jax.eval_shape(every, key, *(jax.ShapeDtypeStruct(*shape) for shape in shapes))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails: {reason}") from error
    seen = [(getattr(leaf, "shape", None), str(getattr(leaf, "dtype", "?"))) for leaf in found]
    if seen != [((5,), "float32")] * 2:
        raise UserError(f"{where}: predict must return two float32[n], got {found}")
