"""How differently an untrained network treats the examples of a batch."""

from typing import Any

import jax
import jax.numpy as jnp

from hwnas_jax.errors import UserError
from hwnas_jax.nn import tally
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators.base import Bench
from hwnas_jax.search.evaluators.proxies.base import Proxy, Trial


class Naswot(Proxy):
    """The log-determinant of `I + K`, where `K[i, j]` counts ReLUs that treat `i` and `j` alike.

    A ReLU is on or off for an example. Networks that tell many examples apart by this, before any
    training, learn better. The ReLUs of all layers count together, ReLU6 among them; other
    activations do not. Only those count on which the outputs depend.

    The paper leaves out the identity. With millions of ReLUs it changes nothing, but a network
    without any has the score zero and not minus infinity.

    References: Mellor et al., "Neural Architecture Search without Training", ICML 2021. Spearman's
    correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201 is .77 according to
    Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "naswot"

    def arrays(self, bench: Bench, batch_size: int) -> Any:
        """Returns nothing; raises UserError where no network of the space has a ReLU."""
        assert bench.supernet is not None
        supernet, space = bench.supernet, bench.space

        def run():
            weights = jnp.zeros(supernet.num_weights)
            inputs = jnp.zeros((batch_size, *space.input_shape))  # type: ignore[attr-defined]
            first = jnp.zeros(space.num_decisions, jnp.int32)
            gates = one_hot_gates(first, space.num_options, sampled=True)
            return supernet.apply(weights, inputs, gates)

        if not tally.adds(tally.agreement, (batch_size, batch_size), run):
            raise UserError(
                f"naswot looks at ReLUs, and the networks of {space.name} have none; a space of "
                "your own has to call hwnas_jax.nn.tally.relu. synflow, grad_norm and snip work "
                "with every activation"
            )
        return ()

    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns `log det(I + K)`, `float32[]`."""
        del arrays
        assert bench.supernet is not None
        apply, size = bench.supernet.apply, len(trial.inputs)
        kernel = tally.collected(
            tally.agreement, (size, size),
            lambda: apply(trial.weights, trial.inputs, trial.gates), trial.key,
        )  # fmt: skip
        return jnp.linalg.slogdet(kernel + jnp.eye(size))[1]
