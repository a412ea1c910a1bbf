"""A complete graph: every node may read every earlier one, each through its own operation.

Node zero is the stem's output and the last node feeds the head. The nodes are spread over stages of
falling resolution and growing width. An edge into a later stage pools and projects first. The
search decides together which edges stay and what operation they carry. An architecture is feasible
if a path leads from the input to the output.

References: Bi et al., "Revisiting Neural Architecture Search", 2020 (the idea of a complete graph;
the details here are our own).
"""

import functools
import re
from collections.abc import Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.heads import HeadsPlan
from hwnas_jax.nn.kernels.convolution import avg_pool_2x2
from hwnas_jax.nn.normalisation import Norm, network_norm, supernet_norm
from hwnas_jax.nn.outputs import Output
from hwnas_jax.nn.paths import on_open_path, open_paths
from hwnas_jax.nn.variables import copy_weights
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Operation, Place, Space
from hwnas_jax.spaces.core.arguments import Channels, extent, image
from hwnas_jax.spaces.core.heads import plan_heads, stand_heads
from hwnas_jax.spaces.core.tabulate import OperationTable, made_once

OPTIONS = ("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3")
_EDGE = re.compile(r"(\d+)<-(\d+):(\w+)")


class EdgeOperation(nnx.Module):
    """One operation between two nodes; between stages, pooling and a projection come first."""

    def __init__(
        self, option: str, inputs: int, outputs: int, halvings: int, norm: Norm, rngs: nnx.Rngs,
        *, kernel: ops.Window = 3,
    ):  # fmt: skip
        self.halvings, self.option = halvings, option
        crosses = halvings > 0 or inputs != outputs
        self.project = (
            ops.ReLUConvNorm(inputs, outputs, 1, norm, rngs)
            if crosses and option in ("skip_connect", "avg_pool_3x3")
            else None
        )
        size = {"conv_1x1": 1, "conv_3x3": kernel}.get(option)
        self.conv = None if size is None else ops.ReLUConvNorm(inputs, outputs, size, norm, rngs)
        self.pool = ops.AvgPool3x3() if option == "avg_pool_3x3" else None

    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.halvings):
            x = avg_pool_2x2(x)
        for part in (self.project, self.conv, self.pool):
            if part is not None:
                x = part(x)
        return x

    def macs(self, input_shape: tuple[int, ...]) -> int:
        """Returns multiply-accumulates for one image of `input_shape` `(H, W, C)`."""
        height, width, features = input_shape
        for _ in range(self.halvings):
            height, width = -(-height // 2), -(-width // 2)
        parts = [part for part in (self.project, self.conv) if part is not None]
        return sum(part.macs((height, width, features)) for part in parts)


class _Graph(nnx.Module):
    """Stem, edges, heads. A supernet has all options on every edge, a network the chosen one."""

    def __init__(self, space: "CompleteGraph", options, norm: Norm, rngs: nnx.Rngs):
        self.pairs, self.shapes = space.pairs, tuple(space.node_shapes())
        self.ends = space.ends
        self.stem = space.stem(norm, rngs)
        self.edges = nnx.List(
            nnx.List(space.edge(edge, option, norm, rngs) for option in chosen)
            for edge, chosen in enumerate(options)
        )
        self.head = space.heads().build(norm, rngs)

    def __call__(self, x: jax.Array, *gates: Gates) -> jax.Array:
        return self.head(self.features(x, *gates))

    def features(self, x: jax.Array, gates: Gates | None = None) -> tuple[jax.Array, ...]:
        """Returns the last value of each stage, `[B, H, W, C]` each."""
        nodes = [self.stem(x)]
        for node in range(1, len(self.shapes)):
            total = jnp.zeros((x.shape[0], *self.shapes[node]), nodes[0].dtype)
            for edge, (target, source) in enumerate(self.pairs):
                if target != node or not self.edges[edge]:
                    continue
                if gates is None:
                    total = total + self.edges[edge][0](nodes[source])
                else:
                    total = total + self._edge(edge, nodes[source], gates)
            nodes.append(total)
        return tuple(nodes[end] for end in self.ends)

    def _edge(self, edge, x, gates):
        weight, operations = gates.weight[edge].astype(x.dtype), self.edges[edge]
        if gates.index is None:
            return sum(weight[1 + i] * operation(x) for i, operation in enumerate(operations))
        shape = (x.shape[0], *self.shapes[self.pairs[edge][0]])
        graphs, states = zip(*(nnx.split(operation) for operation in operations), strict=True)

        def branch(graph, state):
            return jax.checkpoint(lambda x, states: nnx.merge(graph, states[state])(x))

        branches = [lambda x, states: jnp.zeros(shape, x.dtype)]
        branches += [branch(graph, number) for number, graph in enumerate(graphs)]
        index = gates.index[edge]
        return weight[index] * jax.lax.switch(index, branches, x, states)


@SPACES.add
class CompleteGraph(Space):
    """Every forward edge between the nodes is optional, and carries an operation if it stays."""

    name = "complete_graph"
    summary = (
        "every forward edge of n nodes optional, an operation on each; channels, nodes, stages"
    )
    constrained = True
    adds_options = True
    has_features = True
    takes_outputs = True
    takes_sequences = True

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_outputs: int,
        outputs: Sequence[Output] = (),
        channels: Channels = 16,
        nodes: Annotated[int, Ge(2), Le(64)] = 6,
        stages: Annotated[int, Ge(1), Le(8)] = 3,
    ):
        """Sets the size.

        Args:
          input_shape: `(H, W, C)` of one image.
          num_outputs: outputs of the network.
          outputs: what the network puts out; one vector if left out.
          channels: width of the first stage; each later stage has twice as many channels.
          nodes: number of nodes, the stem included; at least one for each stage.
          stages: number of resolutions.

        Raises:
          UserError: for fewer nodes than stages, or images too small to halve that often.
        """
        if nodes < stages:
            raise UserError(
                f"space.args.nodes = {nodes}: a graph of {stages} stages has at least as many nodes"
            )
        self.input_shape, self.num_outputs = image(input_shape), int(num_outputs)
        self.outputs = tuple(outputs)
        if extent(self.input_shape) < 2 ** (stages - 1):
            raise UserError(
                f"{stages} stages halve images {stages - 1} times: they must be at least "
                f"{2 ** (stages - 1)} pixels wide and high, got {tuple(input_shape)}"
            )
        self.channels, self.nodes, self.stages = channels, nodes, stages
        self.pairs = tuple(
            (target, source) for target in range(1, nodes) for source in range(target)
        )
        self.decisions = tuple(
            Decision(f"{target}<-{source}", OPTIONS) for target, source in self.pairs
        )
        self.args = {"channels": channels, "nodes": nodes, "stages": stages}

    def _stage(self, node: int) -> int:
        return node * self.stages // self.nodes

    def node_shapes(self) -> list[tuple[int, int, int]]:
        """Returns the shape `(H, W, C)` of each node's value."""
        shapes = []
        for node in range(self.nodes):
            height, width = self.input_shape[:2]
            for _ in range(self._stage(node)):
                height, width = -(-height // 2), -(-width // 2)
            shapes.append((height, width, self.channels * 2 ** self._stage(node)))
        return shapes

    def edge_sizes(self, edge: int) -> tuple[int, int, int]:
        """Returns input channels, output channels and halvings of an edge."""
        target, source = self.pairs[edge]
        shapes = self.node_shapes()
        return shapes[source][2], shapes[target][2], self._stage(target) - self._stage(source)

    @property
    def ends(self) -> tuple[int, ...]:
        """The last node of each stage, whose value the heads may read."""
        stages = [self._stage(node) for node in range(self.nodes)]
        return tuple(node for node in range(self.nodes) if stages[node] not in stages[node + 1 :])

    @property
    def _read(self) -> tuple[int, ...]:
        """The nodes that some head reads: a decoder reads the last of every stage."""
        return self.ends if any(output.dense for output in self.outputs) else self.ends[-1:]

    def heads(self) -> HeadsPlan:
        """Returns what the heads read and return."""
        shapes = self.node_shapes()
        return plan_heads(self, [shapes[end] for end in self.ends], self.channels, ops.Head)

    def stem(self, norm: Norm, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the part that makes the value of node zero."""
        kernel = ops.window(3, self.input_shape)
        return ops.Stem(self.input_shape[2], self.channels, norm, rngs, kernel)

    def edge(self, edge: int, option: str, norm: Norm, rngs: nnx.Rngs) -> EdgeOperation:
        """Builds an operation of an edge."""
        kernel = ops.window(3, self.input_shape)
        return EdgeOperation(option, *self.edge_sizes(edge), norm, rngs, kernel=kernel)

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        del rematerialise  # drawn operations always are, and mixed outputs are needed anyway
        return _Graph(self, [OPTIONS[1:]] * len(self.pairs), supernet_norm(axis_name), rngs)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        closed = self.canonical(self.check(architecture)[None])[0]
        options = [(OPTIONS[option],) if option else () for option in closed]
        return _Graph(self, options, network_norm(axis_name), rngs)

    def inherit(self, network, architecture: np.ndarray, supernet) -> None:
        closed = self.canonical(self.check(architecture)[None])[0]
        copy_weights(network, supernet, "stem", "head")
        for edge, option in enumerate(closed):
            if option:
                copy_weights(network.edges[edge][0], supernet.edges[edge][int(option) - 1])

    def feasible(self, architectures: np.ndarray) -> np.ndarray:
        """Returns whether a path leads from the input to the output, `bool[N]`."""
        return open_paths(self.pairs, self._kept(architectures))[0][-1] > 0

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        """Returns `architectures` (`int32[N, E]`) with `none` on every edge that is on no path.

        Paths lead to the last node, and with dense outputs to the last node of every stage.
        """
        runs = on_open_path(self.pairs, self._kept(architectures), self._read).T > 0
        return np.where(runs, architectures, 0).astype(np.int32)

    def _kept(self, architectures):
        return (np.asarray(architectures).T != 0) * 1.0

    def active(self, weight: jax.Array) -> jax.Array:
        """Returns how much of each edge's output reaches the network's outputs, `float32[E]`.

        Exact if every row is one-hot; otherwise computed as if paths were independent.
        """
        return on_open_path(self.pairs, 1.0 - weight[:, 0], self._read)

    @made_once
    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        table = OperationTable()
        norm, shapes = network_norm(), self.node_shapes()
        table.stands("stem", self.input_shape, functools.partial(self.stem, norm))
        for edge, (_, source) in enumerate(self.pairs):
            sizes = self.edge_sizes(edge)
            for column, option in enumerate(OPTIONS[1:], 1):
                table.stands(
                    f"{option} to {sizes[1]}, halved {sizes[2]}x", shapes[source],
                    functools.partial(self.edge, edge, option, norm),
                    ((edge, column),),
                )  # fmt: skip
        stand_heads(table, self.heads())
        return table.result()

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns the edges that stay, as in "1<-0:conv_3x3 3<-1:skip_connect"."""
        names = self.to_names(architecture)
        return " ".join(f"{edge}:{name}" for edge, name in names.items() if name != "none")

    def from_string(self, text: str) -> np.ndarray:
        names = {decision.name: "none" for decision in self.decisions}
        for word in text.split():
            found = _EDGE.fullmatch(word)
            if not found:
                raise UserError(
                    f"{shown(word)} is no edge of {self.name}; the form is 2<-0:conv_3x3"
                )
            edge = choose(f"{found[1]}<-{found[2]}", list(names), f"edge in {shown(text)}")
            if names[edge] != "none":
                raise UserError(f"{shown(text)} names the edge {edge} twice")
            names[edge] = choose(found[3], OPTIONS, f"operation in {shown(text)}")
        return self.from_names(names)
