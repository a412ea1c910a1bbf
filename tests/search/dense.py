"""A toy space whose supernet compiles in a moment, its cost model and its images."""

import jax
import jax.numpy as jnp
from flax import nnx

from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.nn.tally import relu
from hwnas_jax.spaces import Decision
from tests.cost.toy import FEATURES, ToySpace
from tests.helpers import stripes


class Mixed(nnx.Module):
    """A dense layer whose width, of those a decision offers, the gates choose."""

    def __init__(self, widths, rngs):
        self.blocks = nnx.List(Block(width, rngs) for width in widths)

    def __call__(self, x, weight, index):
        options = [lambda x, w=weight[0]: x * w]
        options += [
            lambda x, b=b, w=w: b(x) * w for b, w in zip(self.blocks, weight[1:], strict=True)
        ]
        if index is None:
            return sum(option(x) for option in options)
        return jax.lax.switch(index, options, x)


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.up = nnx.Linear(FEATURES, width, rngs=rngs)
        self.down = nnx.Linear(width, FEATURES, rngs=rngs)

    def __call__(self, x):
        return jnp.tanh(x + self.down(relu(self.up(x))))


class DenseSupernet(nnx.Module):
    def __init__(self, classes, rngs):
        self.mixed = nnx.List(Mixed([8, 32], rngs) for _ in range(3))
        self.head = nnx.Linear(FEATURES, classes, rngs=rngs)

    def __call__(self, x, gates):
        x = x.reshape(len(x), -1)
        for d, mixed in enumerate(self.mixed):
            x = mixed(x, gates.weight[d], None if gates.index is None else gates.index[d])
        return self.head(x)


class DenseSpace(ToySpace):
    """Three decisions, a supernet that compiles in a moment."""

    name = "dense"
    decisions = tuple(Decision(f"block{i}", ("skip", "narrow", "wide")) for i in range(3))

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        return DenseSupernet(self.num_outputs, rngs)


@jax.tree_util.register_static
class DenseModel(CostModel):
    """Costs of `DenseSpace`: 1 to 7 ms."""

    name, metrics = "dense", ("latency_ms",)

    def predict(self, weight):
        return {"latency_ms": 1.0 + (weight * jnp.array([0.0, 0.5, 2.0])).sum()}


SPACE = DenseSpace()


def images():
    return stripes(2)
