"""The convolutions and matrix products of a program, whatever code wrote them.

They are read from the program's jaxpr. It is traced in the plain forms of `lax`, not in the forms
that are fast on this machine, so the layers are the same everywhere.
"""

import collections
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from hwnas_jax.cost.simulate.shape_programs import Program, operation_program
from hwnas_jax.nn.platform import platform
from hwnas_jax.spaces.base import Space


@dataclasses.dataclass(frozen=True, order=True)
class Layer:
    """The shape of one convolution. A matrix product is a convolution with 1x1 kernels.

    Attributes:
      batch: images.
      groups: into which the channels are split.
      inputs: input channels of a group.
      outputs: output channels of a group.
      height: of the output.
      width: of the output.
      kernel: `(rows, columns)`.
      stride: `(rows, columns)`.
      dilation: of the kernel, `(rows, columns)`.
      padding: `((top, bottom), (left, right))`, as far as it is read.
    """

    batch: int
    groups: int
    inputs: int
    outputs: int
    height: int = 1
    width: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    @property
    def macs(self) -> int:
        """Multiply-accumulates, including those with padding."""
        outputs = self.batch * self.groups * self.outputs * self.height * self.width
        return outputs * self.inputs * math.prod(self.kernel)


def trace(program: Program) -> Any:
    """Returns the closed jaxpr of a program in plain `lax` forms, weights before images."""
    with platform("tpu"):  # whose forms are the plain ones
        return jax.make_jaxpr(program.call)(program.weights, program.images)


def layers_of(program: Program) -> Counter[Layer]:
    """Returns how often each distinct layer runs in one call of `program`.

    Raises:
      ValueError: for a convolution over more than two dimensions, or one with a dilated input.
    """
    found: Counter[Layer] = collections.Counter()
    for equation, times in _equations(trace(program).jaxpr, 1):
        match equation.primitive.name:
            case "conv_general_dilated":
                found[_convolution(equation)] += times
            case "dot_general":
                found[_product(equation)] += times
    return found


def space_layers(space: Space, batch_size: int = 1) -> Callable[[np.ndarray], Counter[Layer]]:
    """Returns a function from an architecture (`int32[D]`) to the layers of its network.

    Every operation of the space is traced once. Operations that do not reach the output are left
    out.
    """
    operations, places = space.operations()
    traced = {
        name: layers_of(operation_program(operation, batch_size))
        for name, operation in operations.items()
    }

    def of(architecture: np.ndarray) -> Counter[Layer]:
        (form,) = space.canonical(space.check(architecture)[None])
        found: Counter[Layer] = collections.Counter()
        for place in places:
            if all(form[decision] == option for decision, option in place.when):
                for layer, times in traced[place.operation].items():
                    found[layer] += place.count * times
        return found

    return of


def inner_jaxprs(equation: Any) -> list[Any]:
    """Returns the jaxprs that an equation runs, such as those of a `scan` or a custom gradient."""
    # Of a function with a custom gradient, only the function itself runs.
    return [
        getattr(value, "jaxpr", value)
        for name, parameter in equation.params.items()
        for value in (parameter if isinstance(parameter, tuple | list) else (parameter,))
        if name != "jvp_jaxpr_fun" and hasattr(getattr(value, "jaxpr", value), "eqns")
    ]


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    """Yields every equation without equations inside, and how often it runs."""
    for equation in jaxpr.eqns:
        inner = inner_jaxprs(equation)
        if not inner:
            yield equation, times
        if equation.primitive.name == "while":
            raise ValueError("the layers of a loop of unknown length cannot be counted")
        turns = times * equation.params.get("length", 1)
        if equation.primitive.name == "cond":
            raise ValueError("a network whose branches depend on its input has no fixed layers")
        for each in inner:
            yield from _equations(each, turns)


def _convolution(equation: Any) -> Layer:
    image, kernel = (variable.aval.shape for variable in equation.invars)
    (result,) = (variable.aval.shape for variable in equation.outvars)
    shapes = (image, kernel, result)
    parameters, numbers = equation.params, equation.params["dimension_numbers"]
    spatial = len(numbers.lhs_spec) - 2
    if not 1 <= spatial <= 2:
        raise ValueError(f"layers are over one or two dimensions of an image, got {spatial}")
    if any(size != 1 for size in parameters["lhs_dilation"]):
        raise ValueError("transposed convolutions are not supported")
    groups = parameters["feature_group_count"]

    def pair(values: Any, filler: Any) -> tuple[Any, Any]:
        values = tuple(values)
        return values if len(values) == 2 else (filler, values[0])

    padding = []
    for (low, _), stride, dilation, *axes in zip(
        parameters["padding"], parameters["window_strides"], parameters["rhs_dilation"],
        numbers.lhs_spec[2:], numbers.rhs_spec[2:], numbers.out_spec[2:], strict=True,
    ):  # fmt: skip
        size, taps, results = (shape[axis] for shape, axis in zip(shapes, axes, strict=True))
        reach = stride * (results - 1) + dilation * (taps - 1) + 1
        padding.append((low, max(0, reach - low - size)))
    height, width = pair((result[axis] for axis in numbers.out_spec[2:]), 1)
    return Layer(
        batch=image[numbers.lhs_spec[0]],
        groups=groups,
        inputs=kernel[numbers.rhs_spec[1]],
        outputs=kernel[numbers.rhs_spec[0]] // groups,
        height=height,
        width=width,
        kernel=pair((kernel[axis] for axis in numbers.rhs_spec[2:]), 1),
        stride=pair(parameters["window_strides"], 1),
        dilation=pair(parameters["rhs_dilation"], 1),
        padding=pair(padding, (0, 0)),
    )


def _product(equation: Any) -> Layer:
    """Returns the layer of a matrix product.

    `[B, H, W, I] @ [I, O]` becomes a 1x1 convolution, and the rows of any other product become
    pixels.
    """
    left, right = (variable.aval.shape for variable in equation.invars)
    (contract, right_contract), (batched, right_batched) = equation.params["dimension_numbers"]
    rows = [size for axis, size in enumerate(left) if axis not in (*contract, *batched)]
    columns = [
        size for axis, size in enumerate(right) if axis not in (*right_contract, *right_batched)
    ]
    head, tail = rows[: max(len(rows) - 2, 1)], rows[max(len(rows) - 2, 1) :]
    height, width = ([1, 1, *tail])[-2:]
    return Layer(
        batch=math.prod(head),
        groups=math.prod(left[axis] for axis in batched),
        inputs=math.prod(left[axis] for axis in contract),
        outputs=math.prod(columns),
        height=height,
        width=width,
    )
