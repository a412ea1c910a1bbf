"""How much an untrained network changes its answer when its input changes."""

from typing import Any

import jax
import jax.numpy as jnp

from hwnas_jax.errors import UserError
from hwnas_jax.nn import tally
from hwnas_jax.search.evaluators.base import Bench
from hwnas_jax.search.evaluators.proxies.base import Proxy, Trial

_STEP = 0.01
"""How far inputs are moved, in their standard deviations."""


class Zen(Proxy):
    """The logarithm of how far a network's last features move when its inputs move a little.

    Inputs are normally distributed, and moved by one hundredth of other such numbers. The absolute
    differences of the features are summed over an example and averaged over the examples. Every
    normalisation has divided them by its layer's standard deviation, so the logarithms of these
    deviations are added.

    References: Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition", ICCV
    2021. Spearman's correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201 is .35
    according to Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "zen"
    needs = ("supernet",)

    def arrays(self, bench: Bench, batch_size: int) -> Any:
        """Returns an array of the shape of a batch; raises UserError for a space without features.

        Raises:
          UserError: where the supernet does not hand out its features.
        """
        assert bench.supernet is not None
        if bench.supernet.features is None:
            raise UserError(
                f"zen compares features before the head, which {bench.space.name} does not hand "
                "out; naswot and synflow need the outputs alone"
            )
        shape = bench.space.input_shape  # type: ignore[attr-defined]
        return jnp.zeros((batch_size, *shape))

    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns the logarithm of the change plus those of the deviations, `float32[]`."""
        assert bench.supernet is not None and bench.supernet.features is not None
        features, (input_key, move_key, tally_key) = (
            bench.supernet.features,
            jax.random.split(trial.key, 3),
        )
        inputs = jax.random.normal(input_key, arrays.shape)
        moved = inputs + _STEP * jax.random.normal(move_key, arrays.shape)

        def last(inputs):
            return features(trial.weights, inputs, trial.gates)[-1]

        change = jnp.abs(last(moved) - last(inputs)).reshape(len(inputs), -1).sum(-1).mean()
        deviations = tally.collected(tally.log_deviation, (), lambda: last(inputs), tally_key)
        return jnp.log(jnp.maximum(change, 1e-30)) + deviations
