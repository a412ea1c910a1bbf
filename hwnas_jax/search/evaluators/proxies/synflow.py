"""How much flows through an untrained network, whatever the data."""

from typing import Any

import jax
import jax.numpy as jnp

from hwnas_jax.nn.normalisation import normalises
from hwnas_jax.search.evaluators.base import Bench
from hwnas_jax.search.evaluators.proxies.base import Proxy, Trial

_INPUT = 1e-30
"""Value of every input."""

_GAIN = 6**-0.5
"""Factor on the weights: the supernet draws them from `sqrt(6 / fan-in)`, the networks for which
figures are published from `sqrt(1 / fan-in)`."""


class Synflow(Proxy):
    """The logarithm of `sum(w * dR/dw)` of a network with weights `w = |weights|`.

    `R` is the sum of the outputs for an input of ones, and no layer normalises. What the paper sums
    is of the order of 1e40 for a deep network. This takes the logarithm, which changes no rank, as
    `log R + log(sum(w * d(log R)/dw))`, with inputs so small that nothing overflows. A network of
    ReLUs passes on the factor between its inputs and ones. Other activations act by their slope at
    zero. An architecture through which nothing flows gets the score of the smallest number there
    is.

    References: Tanaka et al., "Pruning neural networks without any data by iteratively conserving
    synaptic flow", NeurIPS 2020; as a score: Abdelfattah et al., "Zero-Cost Proxies for Lightweight
    NAS", ICLR 2021. Spearman's correlation with CIFAR-10 accuracy on 1,000 cells of NAS-Bench-201
    is .73 according to Krishnakumar et al., "NAS-Bench-Suite-Zero", NeurIPS 2022.
    """

    name = "synflow"
    needs = ("supernet",)

    def score(self, bench: Bench, arrays: Any, trial: Trial) -> jax.Array:
        """Returns the logarithm of the synaptic flow, `float32[]`."""
        del arrays
        assert bench.supernet is not None
        apply, shape = bench.supernet.apply, bench.space.input_shape  # type: ignore[attr-defined]
        inputs = jnp.full((1, *shape), _INPUT)
        weights = _GAIN * jnp.abs(trial.weights)
        least = jnp.finfo(jnp.float32).tiny

        def log_flow(weights):
            return jnp.log(jnp.maximum(apply(weights, inputs, trial.gates).sum(), least))

        with normalises(False):
            value, gradient = jax.value_and_grad(log_flow)(weights)
        through = jnp.maximum((gradient * weights).sum(), least)
        return value - jnp.log(_INPUT) + jnp.log(through)
