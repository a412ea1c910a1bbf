"""The memory that a program must have at least, read from its trace before it is compiled.

Compilers fuse, order and recompute as they like, so what a program will need is known only once it
is compiled. One thing is certain: what a convolution or a matrix product returns stands in memory
as a whole. The largest of these results is a lower bound, often far below the truth.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend import core

from hwnas_jax.compile.ahead import free_bytes
from hwnas_jax.errors import UserError

_MIB = 2**20
_MARGIN = 4
"""How many times as large as the inputs, beside its channels, a result may be."""
_PRODUCTS = ("conv_general_dilated", "dot_general")


def least_bytes(traced: core.Jaxpr, live: Sequence[bool] | None = None) -> int:
    """Returns the bytes of the largest result of a convolution or matrix product that must run.

    Of branches the smallest counts. A loop whose length is not known counts nothing, and neither
    does what no output depends on. Inside `pmap` and `shard_map` the sizes are those of one device.

    Args:
      traced: the program, as `jax.make_jaxpr` returns it.
      live: which of its outputs are needed; all when left out.
    """
    outputs = traced.outvars
    wanted = [True] * len(outputs) if live is None else live
    needed = {var for var, is_live in zip(outputs, wanted, strict=True) if is_live and _is_var(var)}
    most = 0
    for equation in reversed(traced.eqns):
        used = [var in needed for var in equation.outvars]
        if not any(used) and not equation.effects:
            continue
        needed.update(var for var in equation.invars if _is_var(var))
        most = max(most, _of_equation(equation, used))
    return most


def _is_var(var: Any) -> bool:
    return not isinstance(var, core.Literal)


def _of_equation(equation: Any, used: list[bool]) -> int:
    name = equation.primitive.name
    if name in _PRODUCTS:
        return _result_bytes(equation) if _sums(equation) > 1 else 0
    if name == "while" or (name == "scan" and not equation.params["length"]):
        return 0
    inner = [
        least_bytes(one, used if name != "scan" and len(one.outvars) == len(used) else None)
        for one in _inner(equation.params)
    ]
    if not inner:
        return 0
    return min(inner) if name == "cond" else max(inner)


def _result_bytes(equation: Any) -> int:
    return sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in equation.outvars)


def _sums(equation: Any) -> int:
    """Returns how many products are added up in each number of a result.

    With only one, the operation is a multiplication, which may be fused with what reads it.
    """
    shape = equation.invars[0].aval.shape
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(shape[axis] for axis in contracted)
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"]
    outputs, *rest = numbers.rhs_spec
    del outputs
    return math.prod(kernel[axis] for axis in rest)


def _inner(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """Yields the programs that an operation such as a loop or a branch is made of."""
    for value in params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one


def check_least(
    traced: core.ClosedJaxpr, devices: Sequence[jax.Device], what: str, helps: str
) -> None:
    """Refuses a program of which a single result needs more memory than is free.

    Args:
      traced: the program.
      devices: that it will run on.
      what: what runs, for the message.
      helps: settings that make it smaller.

    Raises:
      UserError: says what is needed at least, what is free, and what helps.
    """
    needed, free = least_bytes(traced.jaxpr), free_bytes(devices)
    if free is not None and needed > free:
        raise UserError(
            f"{what} does not fit: the largest result of a single operation takes "
            f"{needed / _MIB:.0f} MiB per device, and {free / _MIB:.0f} MiB are free. What helps: "
            f"{helps}"
        )


def check_forward(
    run: Callable[..., Any],
    weights: Any,
    inputs: jax.ShapeDtypeStruct,
    *more: Any,
    devices: Sequence[jax.Device],
    what: str,
    helps: str,
) -> None:
    """Refuses a network whose forward pass cannot fit, as `check_least` does; compiles nothing.

    Tracing a large network takes seconds. It is traced only where its widest layer, at the size of
    the inputs, comes near the memory that is free.

    Args:
      run: `(weights, inputs, *more) -> outputs`.
      weights: a tree of arrays, or of their shapes and types.
      inputs: of one device, the batch first and the channels last.
      *more: as `run` takes them.
      devices: as `check_least` takes them, and so are the others.
      what: likewise.
      helps: likewise.

    Raises:
      UserError: as `check_least`.
    """
    free = free_bytes(devices)
    dimensions = [size for leaf in jax.tree.leaves(weights) for size in leaf.shape]
    widest = max([*dimensions, inputs.shape[-1]])
    at_most = _MARGIN * math.prod(inputs.shape[:-1]) * widest * inputs.dtype.itemsize
    if free is not None and at_most > free:
        check_least(jax.make_jaxpr(run)(weights, inputs, *more), devices, what, helps)
