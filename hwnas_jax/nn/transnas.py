"""What TransNAS-Bench-101's networks share, and the cells of its cell level.

References: Duan et al., "TransNAS-Bench-101: Improving Transferability and Generalizability of
Cross-Task Neural Architecture Search", CVPR 2021.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.graph import MixedEdge, MixedGraph, Nothing, graph_edges
from hwnas_jax.nn.normalisation import Norm
from hwnas_jax.nn.separable import FactorisedReduction
from hwnas_jax.relax.base import Gates

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
_INNER = 3


class Stem(nnx.Module):
    """Two 3x3 convolutions, the first to half the channels."""

    def __init__(
        self, features_in: int, features_out: int, halvings: int, norm: Norm, rngs: nnx.Rngs
    ):
        strides = [2 if n >= 2 - halvings else 1 for n in range(2)]
        half = features_out // 2
        self.conv = ops.Conv(features_in, half, 3, rngs, strides[0])
        self.norm = norm(half, rngs)
        self.second = ops.ReLUConvNorm(half, features_out, 3, norm, rngs, stride=strides[1])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(self.norm(self.conv(x)))

    def macs(self, input_shape: tuple[int, int, int]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width = (-(-size // self.conv.stride) for size in input_shape[:2])
        half = self.conv.kernel.shape[-1]
        return self.conv.macs(input_shape) + self.second.macs((height, width, half))


def edge_operation(
    name: str, features_in: int, features: int, stride: int, norm: Norm, rngs: nnx.Rngs
) -> nnx.Module:
    """Builds one of `OPERATIONS`; a skip that changes the shape is a product."""
    match name:
        case "none":
            return Nothing(features, stride)
        case "skip_connect" if stride == 2:
            return FactorisedReduction(features_in, features, norm, rngs)
        case "skip_connect" if features_in == features:
            return ops.Identity()
        case "skip_connect" | "nor_conv_1x1":
            return ops.ReLUConvNorm(features_in, features, 1, norm, rngs, stride)
        case "nor_conv_3x3":
            return ops.ReLUConvNorm(features_in, features, 3, norm, rngs, stride)
    raise ValueError(f"operation must be one of {OPERATIONS}, got {name!r}")


class EnteringCell(nnx.Module):
    """A supernet's cell that changes the shape: `([B, H, W, C], Gates) -> [B, H', W', C']`."""

    def __init__(
        self,
        features_in: int,
        features: int,
        stride: int,
        norm: Norm,
        rngs: nnx.Rngs,
        *,
        rematerialise: bool = False,
    ):
        self.rematerialise = rematerialise

        def edge(given, stride):
            def build(rngs):
                return MixedEdge(
                    [edge_operation(n, given, features, stride, norm, rngs) for n in OPERATIONS],
                    stride=stride,
                )

            return build

        self.graph = MixedGraph(1, _INNER, edge(features_in, stride), edge(features, 1), rngs)

    def __call__(self, x: jax.Array, gates: Gates) -> jax.Array:
        gates = jax.tree.map(jnp.asarray, gates)
        run = self._mixed if gates.index is None else self._drawn
        return (jax.checkpoint(run) if self.rematerialise else run)(x, gates)

    def _mixed(self, x, gates):
        return self.graph.mixed([x], gates.weight, _ones(gates))[-1]

    def _drawn(self, x, gates):
        edges, index = np.array(self.graph.edges), gates.index
        weight = gates.weight[np.arange(len(edges)), index]
        sources = jnp.array(edges[:, 1])
        targets = edges[:, 0].tolist()
        return self.graph.drawn([x], targets, sources, index, weight, _ones(gates))[-1]


def _ones(gates):
    return jnp.ones(len(gates.weight), gates.weight.dtype)


class FixedCell(nnx.Module):
    """A cell of chosen operations; edges that lead nowhere are built, but do not run."""

    def __init__(
        self,
        features_in: int,
        features: int,
        stride: int,
        architecture: np.ndarray,
        runs: np.ndarray,
        norm: Norm,
        rngs: nnx.Rngs,
    ):
        """Builds the cell.

        Args:
          features_in: `C`.
          features: `C'`.
          stride: of the edges that leave the input.
          architecture: `int32[6]`, the operation of each edge.
          runs: `bool[6]`, which edges run.
          norm: factory of normalisations.
          rngs: for the initial weights.
        """
        self.pairs = graph_edges(1, _INNER)
        self.runs = tuple(bool(value) for value in runs)
        self.nothing = Nothing(features, stride)
        self.edges = nnx.List(
            edge_operation(OPERATIONS[option], *((features_in, features, stride) if source == 0
                           else (features, features, 1)), norm, rngs)
            for (_, source), option in zip(self.pairs, architecture, strict=True)
        )  # fmt: skip

    def __call__(self, x: jax.Array) -> jax.Array:
        nodes = [x]
        for node in range(1, _INNER + 1):
            arriving = [
                self.edges[edge](nodes[source])
                for edge, (target, source) in enumerate(self.pairs)
                if target == node and self.runs[edge]
            ]
            nodes.append(functools.reduce(jnp.add, arriving or [self.nothing(x)]))
        return nodes[-1]
