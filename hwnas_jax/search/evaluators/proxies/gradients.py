"""How steep the loss of an untrained network is."""

from typing import Any

import jax
import jax.numpy as jnp

from hwnas_jax.search.evaluators.base import Bench
from hwnas_jax.search.evaluators.proxies.base import Proxy, Trial


def loss_gradient(bench: Bench, trial: Trial) -> jax.Array:
    """Returns the gradient of the loss of a batch, `float32[P]`; zero off the path."""
    assert bench.supernet is not None
    apply, task = bench.supernet.apply, bench.task

    def loss(weights):
        return task.loss(apply(weights, trial.inputs, trial.gates), trial.targets)

    return jax.grad(loss)(trial.weights)


class GradNorm(Proxy):
    """The sum of the norms of the loss's gradient, one norm for each array of weights.

    References: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. Spearman's
    correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201 is .58 according to
    Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "grad_norm"

    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns the sum of the norms, `float32[]`."""
        del arrays
        assert bench.supernet is not None
        return bench.supernet.norms(loss_gradient(bench, trial)).sum()


class Snip(Proxy):
    """The sum of `|w * dL/dw|` over the weights: what the loss would change without each.

    References: Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity",
    ICLR 2019; as a score: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.
    Spearman's correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201 is .58 according
    to Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "snip"

    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns the sum over the weights, `float32[]`."""
        del arrays
        return jnp.abs(trial.weights * loss_gradient(bench, trial)).sum()
