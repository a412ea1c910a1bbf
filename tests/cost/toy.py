"""A tiny space of dense blocks, and measurements of it that follow a known law."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.cost.files.measurements import Measurements, Sample
from hwnas_jax.spaces.base import Decision, Forms, Operation, Place, Space

FEATURES = 4
WIDTHS = {"skip": 0, "narrow": 8, "wide": 32}


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.up = nnx.Linear(FEATURES, width, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.down = nnx.Linear(width, FEATURES, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return x + self.down(jax.nn.relu(self.norm(self.up(x))))


class Network(nnx.Module):
    def __init__(self, widths, classes, rngs):
        self.blocks = nnx.List(Block(width, rngs) for width in widths if width)
        self.head = nnx.Linear(FEATURES, classes, use_bias=False, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class ToySpace(Space):
    """Four blocks of three widths each, and a fifth that is narrow or wide: 162 networks."""

    name = "toy"
    summary = "dense blocks"
    decisions = (
        *(Decision(f"block{i}", tuple(WIDTHS)) for i in range(4)),
        Decision("last", ("narrow", "wide")),
    )

    def __init__(self):
        self.input_shape, self.num_outputs, self.args = (2, 2, 1), 3, {}

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        raise NotImplementedError

    def inherit(self, network, architecture, supernet):
        raise NotImplementedError

    def network(self, architecture, rngs, *, axis_name=None):
        names = self.to_names(architecture).values()
        return Network([WIDTHS[name] for name in names], self.num_outputs, rngs)

    def operations(self):
        table = {
            name: Operation(
                name, lambda r, w=width: Block(w, r), (FEATURES,),
                2 * FEATURES * width, 2 * FEATURES * width + 2 * width,
            )
            for name, width in WIDTHS.items() if width
        }  # fmt: skip
        classes = self.num_outputs
        table["head"] = Operation(
            "head", lambda r: nnx.Linear(FEATURES, classes, use_bias=False, rngs=r),
            (FEATURES,), FEATURES * classes, FEATURES * classes,
        )  # fmt: skip
        places = [
            Place(option, 1, ((d, k),))
            for d, decision in enumerate(self.decisions)
            for k, option in enumerate(decision.options)
            if option != "skip"
        ]
        return table, (*places, Place("head", 1))

    def to_string(self, architecture):
        return "-".join(self.to_names(architecture).values())

    def from_string(self, text):
        names = text.split("-")
        return self.from_names(dict(zip([d.name for d in self.decisions], names, strict=True)))


class CuttableSpace(ToySpace):
    """The same, but a skipped first block cuts the input off: nothing is left to run."""

    name = "cuttable"
    mixes_canonical = True

    def canonical(self, architectures):
        return np.where(architectures[:, :1] == 0, 0, architectures).astype(np.int32)

    def canonical_mixture(self, weight):
        cut = jnp.zeros_like(weight).at[:, 0].set(1.0)
        whole = weight.at[0, 0].set(0.0)
        mass = weight[0, 0] * weight[1:].sum(axis=1).prod()
        decisions = np.arange(len(weight))
        return (Forms(decisions, jnp.stack([mass, 1.0]), jnp.stack([cut, whole])),)


OPERATIONS_MS = {"narrow": 0.5, "wide": 1.5, "head": 0.4}


def law_ms(space, architecture):
    """Latency of a network: a table, cheaper where two neighbours are wide; tiny when cut."""
    names = [space.decisions[d].options[k] for d, k in enumerate(architecture)]
    if isinstance(space, CuttableSpace) and names[0] == "skip":
        return 0.05
    total = 0.4 + 0.8 * sum(OPERATIONS_MS.get(name, 0.0) for name in names)
    wide_pairs = sum(a == b == "wide" for a, b in itertools.pairwise(names))
    return total * 0.95**wide_pairs


def synthetic(space, architectures, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    factors = np.exp(noise * rng.standard_normal(len(architectures)))
    return Measurements(
        device={"platform": "cpu", "kind": "cpu", "count": 1, "host_cpu": "x", "cpu_count": 2},
        software={"jax": "0"},
        batch_size=16,
        space=space.spec,
        operations={
            name: {"latency_ms": Sample(ms, 0.01, 5)} for name, ms in OPERATIONS_MS.items()
        },
        architectures=tuple(space.to_names(row) for row in architectures),
        networks=tuple(
            {"latency_ms": Sample(float(law_ms(space, row) * factor), 0.02, 5)}
            for row, factor in zip(architectures, factors, strict=True)
        ),
    )
