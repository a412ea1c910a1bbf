"""A search space of two decisions whose steps compile in seconds, made of the real operations."""

import jax
import numpy as np
from flax import nnx

from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.normalisation import supernet_norm
from hwnas_jax.spaces.base import Decision, Space

OPTIONS = ("skip", "conv1x1", "conv3x3", "pool")


class Edge(nnx.Module):
    def __init__(self, features, norm, rngs):
        self.operations = nnx.List(
            [
                ops.Identity(),
                ops.ReLUConvNorm(features, features, 1, norm, rngs),
                ops.ReLUConvNorm(features, features, 3, norm, rngs),
                ops.AvgPool3x3(),
            ]
        )

    def __call__(self, x, weight, index):
        if index is None:
            return sum(weight[i] * operation(x) for i, operation in enumerate(self.operations))
        return weight[index] * jax.lax.switch(index, list(self.operations), x)


class Supernet(nnx.Module):
    def __init__(self, features, num_outputs, norm, rngs):
        self.stem = ops.Stem(1, features, norm, rngs)
        self.edges = nnx.List([Edge(features, norm, rngs) for _ in range(2)])
        self.head = ops.Head(features, num_outputs, norm, rngs)

    def __call__(self, x, gates):
        x = self.stem(x)
        for d, edge in enumerate(self.edges):
            index = None if gates.index is None else gates.index[d]
            x = x + edge(x, gates.weight[d], index)
        return self.head(x)


class TinySpace(Space):
    """Two residual edges of four operations; only what a search needs is there."""

    name, summary = "tiny", "two edges"
    decisions = (Decision("first", OPTIONS), Decision("second", OPTIONS))
    input_shape, num_outputs, args = (4, 4, 1), 3, {}
    adds_options = True

    def __init__(self, features=3):
        self.features = features

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        del rematerialise
        return Supernet(self.features, self.num_outputs, supernet_norm(axis_name), rngs)

    def _unused(self, *args, **kwargs):
        raise NotImplementedError("a search step needs the supernet alone")

    network = inherit = operations = to_string = from_string = _unused


TABLE = np.random.default_rng(0).uniform(0.1, 1.0, (2, 4)).astype(np.float32)


@jax.tree_util.register_static
class TinyCost(CostModel):
    name, metrics, exact_expectation = "table", ("latency_ms",), True

    def predict(self, weight):
        return {"latency_ms": (weight * TABLE).sum()}
