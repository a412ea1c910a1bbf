"""A search space of 27 dense networks for images of any size; all of it compiles in a moment."""

import jax
from flax import nnx

from hwnas_jax.spaces import Decision, Operation, Place, Space
from tests.cost.toy import FEATURES, WIDTHS, Block, Network
from tests.search.dense import DenseSupernet


class First(nnx.Module):
    """Brings images to the features that the blocks take, then runs them."""

    def __init__(self, inputs, rest, rngs):
        self.first, self.rest = nnx.Linear(inputs, FEATURES, rngs=rngs), rest

    def __call__(self, x, *gates):
        return self.rest(jax.nn.relu(self.first(x.reshape(len(x), -1))), *gates)


class SmallSpace(Space):
    """Three blocks of three widths each."""

    name, summary = "small", "three dense blocks"
    decisions = tuple(Decision(f"block{i}", ("skip", "narrow", "wide")) for i in range(3))

    def __init__(self, *, input_shape: tuple[int, int, int], num_outputs: int):
        self.input_shape, self.num_outputs, self.args = tuple(input_shape), num_outputs, {}

    @property
    def _inputs(self):
        height, width, channels = self.input_shape
        return height * width * channels

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        return First(self._inputs, DenseSupernet(self.num_outputs, rngs), rngs)

    def network(self, architecture, rngs, *, axis_name=None):
        widths = [WIDTHS[name] for name in self.to_names(architecture).values()]
        return First(self._inputs, Network(widths, self.num_outputs, rngs), rngs)

    def inherit(self, network, architecture, supernet):
        raise NotImplementedError("networks of a table are trained from scratch")

    def operations(self):
        table = {
            name: Operation(
                name, lambda r, w=width: Block(w, r), (FEATURES,),
                2 * FEATURES * width, 2 * FEATURES * width + 2 * width,
            )
            for name, width in WIDTHS.items() if width
        }  # fmt: skip
        ends = {"first": (self._inputs, FEATURES), "head": (FEATURES, self.num_outputs)}
        for name, (inputs, outputs) in ends.items():
            table[name] = Operation(
                name, lambda r, i=inputs, o=outputs: nnx.Linear(i, o, rngs=r), (inputs,),
                inputs * outputs, inputs * outputs,
            )  # fmt: skip
        places = [
            Place(option, 1, ((d, k),))
            for d, decision in enumerate(self.decisions)
            for k, option in enumerate(decision.options)
            if option != "skip"
        ]
        return table, (*places, Place("first", 1), Place("head", 1))
