"""The posterior of a transfer on a space that is too large to tabulate.

Legend: `D` decisions, `K` options of the widest decision, `P = D K`, `V` source devices, `W`
views, `R` pairs of options, `G = W (P + V)` features of a network, `M` metrics.
"""

import dataclasses
import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.models.base import as_drawn
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import probabilities
from hwnas_jax.cost.models.posterior import Posterior
from hwnas_jax.cost.models.prior import TransferPrior
from hwnas_jax.cost.models.sources import pairs_of
from hwnas_jax.cost.models.views import rules_of
from hwnas_jax.spaces.base import Choices, Forms
from hwnas_jax.spaces.core.mixture import marginals

_ARRAYS = ("constant", "table", "pair", "centre", "coefficients", "spread", "noise")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=[*_ARRAYS, "pairs"], meta_fields=["space"]
)
@dataclasses.dataclass(frozen=True)
class LinearForm:
    """Coefficients of features that are linear in every row of a gate weight.

    Attributes:
      constant: `float32[M, V]`, of the relative cost on each source device.
      table: `float32[M, V, P]`.
      pair: `float32[M, V, R]`.
      centre: `float32[W, P]`, subtracted from the gate weights of a view.
      coefficients: `float32[M, G + 1]`, their means; the first is the constant.
      spread: `float32[M, G + 1, G + 1]`, the factor of their covariance.
      noise: `float32[M]`, standard deviation of a measurement.
      pairs: `int32[R, 2]`, entries of a gate weight.
      space: the search space, whose canonical forms may be a view.
    """

    constant: jax.Array
    table: jax.Array
    pair: jax.Array
    centre: jax.Array
    coefficients: jax.Array
    spread: jax.Array
    noise: jax.Array
    pairs: jax.Array
    space: Choices

    def features(self, weight: jax.Array, forms: Sequence[Forms]) -> jax.Array:
        """Returns the expected features of a random architecture, `float32[M, G + 1]`.

        Args:
          weight: `float32[D, K]`.
          forms: how the architecture is distributed.
        """
        chex.assert_rank(weight, 2)
        chex.assert_equal(weight.size, self.centre.shape[1])
        metrics = len(self.constant)
        columns = [jnp.ones((metrics, 1))]
        views = [forms, self.space.canonical_mixture(weight)][: len(self.centre)]
        for mixtures, centre in zip(views, self.centre, strict=True):
            entries = marginals(mixtures, weight.shape).reshape(-1)
            together = probabilities(self.pairs, tuple(mixtures), weight.shape)
            relative = self.constant - 1 + self.table @ entries + self.pair @ together
            own = entries - centre
            columns += [jnp.broadcast_to(own, (metrics, len(own))), relative]
        return jnp.concatenate(columns, axis=1)

    def mean(self, weight: jax.Array, forms: Sequence[Forms]) -> jax.Array:
        """Returns the expected posterior mean, `float32[M]`, as `ExactModel.expected` asks."""
        return (self.features(weight, forms) * self.coefficients).sum(axis=1)

    def variance(self, weight: jax.Array) -> jax.Array:
        """Returns the variance of one measurement of the mean over draws, `float32[M]`."""
        along = jnp.einsum("mf,mfg->mg", self.features(weight, as_drawn(weight)), self.spread)
        return (along**2).sum(axis=1) + self.noise**2

    @classmethod
    def of(cls, priors: Sequence[TransferPrior], posteriors: Sequence[Posterior]) -> "LinearForm":
        """Returns the form of the posteriors, one for each metric and its prior."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS if name != "centre"}
        for prior, posterior in zip(priors, posteriors, strict=True):
            values, vectors = np.linalg.eigh(posterior.covariance)
            for name, array in (
                ("constant", prior.sources.constant),
                ("table", prior.sources.table),
                ("pair", prior.sources.pair),
                ("coefficients", posterior.mean),
                ("spread", vectors * np.sqrt(np.maximum(values, 0.0))),
                ("noise", np.sqrt(posterior.noise)),
            ):
                parts[name].append(np.asarray(array))
        arrays = {name: jnp.asarray(np.stack(rows), jnp.float32) for name, rows in parts.items()}
        first = priors[0]
        centre = np.stack([view.centre for view in first.views])
        return cls(
            **arrays, centre=jnp.asarray(centre, jnp.float32),
            pairs=jnp.asarray(first.sources.pairs, jnp.int32), space=first.space,
        )  # fmt: skip

    def arrays(self) -> dict[str, jax.Array]:
        """Returns the arrays by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def load(
        cls, arrays: dict[str, np.ndarray], space: Choices, metrics: int, devices: int
    ) -> "LinearForm":
        """Builds the form from what `arrays` returned."""
        entries, pairs = space.num_decisions * space.num_options, pairs_of(space)
        views = len(rules_of(space))
        wide = views * (entries + devices) + 1
        shapes = {
            "constant": (metrics, devices),
            "table": (metrics, devices, entries),
            "pair": (metrics, devices, len(pairs)),
            "centre": (views, entries),
            "coefficients": (metrics, wide),
            "spread": (metrics, wide, wide),
            "noise": (metrics,),
        }
        found = {
            name: jnp.asarray(check_array(arrays, name, shape)) for name, shape in shapes.items()
        }
        return cls(**found, pairs=jnp.asarray(pairs, jnp.int32), space=space)
