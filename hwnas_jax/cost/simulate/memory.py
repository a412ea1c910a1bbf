"""Peak memory of activations: the largest sum of arrays that are alive at once.

The arrays are those of a network at inference in float32, in the order in which its program
computes them. An array lives from the equation that computes it to the last one that reads it.
While an equation runs, its operands and its results are alive together. An element-wise equation
computes in the place of an operand of its size that nothing reads later. Images count. Weights and
constants do not, nor does anything that is computed from those alone.

No fusion or reordering by a compiler is assumed. The result is therefore an upper bound for a
runtime that executes one operation after the other.

Legend: `D` decisions, `K` options of the widest decision.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hwnas_jax.cost.simulate.layers import inner_jaxprs, trace
from hwnas_jax.cost.simulate.shape_programs import operation_program
from hwnas_jax.spaces.base import Operation, Space, Step

_ITEM_BYTES = 4
_LARGEST_SPACE = 100_000
_CALLS = {
    "pjit",
    "jit",
    "custom_jvp_call",
    "custom_vjp_call",
    "closed_call",
    "remat2",
    "checkpoint",
}
_ELEMENT_WISE = {
    "abs", "add", "add_any", "ceil", "clamp", "convert_element_type", "copy", "div", "erf", "exp",
    "exp2", "expand_dims", "expm1", "floor", "integer_pow", "log", "log1p", "logistic", "max",
    "min", "mul", "neg", "optimization_barrier", "pow", "reshape", "round", "rsqrt", "select_n",
    "sign", "sqrt", "square", "squeeze", "sub", "tanh",
}  # fmt: skip


class Workspace(NamedTuple):
    """Bytes of an operation for one image.

    Attributes:
      consuming: the peak within it, including its input, when nothing else reads the input.
      keeping: the peak within it when the input is kept.
      output: bytes of its result.
    """

    consuming: int
    keeping: int
    output: int


@dataclasses.dataclass(frozen=True)
class _Equation:
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    element_wise: bool


def operation_workspace(operation: Operation) -> Workspace:
    """Returns what an operation needs, traced by itself."""
    program = operation_program(operation)
    closed = trace(program)
    count = len(program.weights)
    output = sum(_bytes(variable.aval) for variable in closed.jaxpr.outvars)
    return Workspace(peak_bytes(closed, count), peak_bytes(closed, count, keep_input=True), output)


def peak_bytes(closed: Any, weights: int, *, keep_input: bool = False) -> int:
    """Returns the peak of a traced program.

    Args:
      closed: its closed jaxpr.
      weights: how many of its first arguments are weights.
      keep_input: whether something reads its other arguments after it.

    Raises:
      ValueError: for loops and branches, whose order of equations is not fixed.
    """
    jaxpr = closed.jaxpr
    sizes: list[int] = []

    def new(variable: Any, counts: bool) -> int:
        sizes.append(_bytes(variable.aval) if counts else 0)
        return len(sizes) - 1

    known = {variable: new(variable, False) for variable in jaxpr.constvars}
    known |= {v: new(v, number >= weights) for number, v in enumerate(jaxpr.invars)}
    inputs = list(range(len(jaxpr.constvars) + weights, len(sizes)))
    fixed = set(range(len(jaxpr.constvars) + weights))
    equations: list[_Equation] = []
    outputs = _flatten(jaxpr, known, new, fixed, equations)
    last = {value: number for number, each in enumerate(equations) for value in each.reads}
    for value in [*outputs, *(inputs if keep_input else [])]:
        last[value] = len(equations)
    alive = {value for value in inputs if value in last}
    held = sum(sizes[value] for value in alive)
    peak = held
    for number, each in enumerate(equations):
        ending = {value for value in each.reads if last[value] == number and value in alive}
        added = sum(sizes[value] for value in each.writes)
        replaced = [v for v in ending if sizes[v] == added] if each.element_wise else []
        peak = max(peak, held + (0 if replaced else added))
        alive -= ending
        alive |= {value for value in each.writes if value in last}
        held = sum(sizes[value] for value in alive)
    return peak


def _flatten(jaxpr, known, new, fixed, equations):
    """Appends the equations of a jaxpr and of its calls; returns the numbers of its outputs."""

    def number(atom):
        return known[atom] if not hasattr(atom, "val") else None

    for equation in jaxpr.eqns:
        inner = inner_jaxprs(equation)
        reads = [number(atom) for atom in equation.invars]
        if inner:
            if equation.primitive.name not in _CALLS or len(inner) != 1:
                raise ValueError(
                    f"the order of {equation.primitive.name} is not fixed, so its peak is unknown"
                )
            (body,) = inner
            scope = {variable: new(variable, False) for variable in body.constvars}
            fixed.update(scope.values())
            for variable, read in zip(body.invars, reads, strict=True):
                if read is None:
                    scope[variable] = new(variable, False)
                    fixed.add(scope[variable])
                else:
                    scope[variable] = read
            results = _flatten(body, scope, new, fixed, equations)
            known |= dict(zip(equation.outvars, results, strict=True))
            continue
        values = tuple(dict.fromkeys(read for read in reads if read is not None))
        counts = not values or any(value not in fixed for value in values)
        writes = []
        for variable in equation.outvars:
            known[variable] = new(variable, counts)
            writes.append(known[variable])
        if not counts:
            fixed.update(writes)
        name = equation.primitive.name
        equations.append(_Equation(values, tuple(writes), name in _ELEMENT_WISE))
    return [value for atom in jaxpr.outvars if (value := number(atom)) is not None]


def _bytes(aval: Any) -> int:
    return _ITEM_BYTES * math.prod(aval.shape)


def graph_peak_bytes(
    steps: Sequence[Step], workspaces: Mapping[str, Workspace], image_bytes: int
) -> int:
    """Returns the peak of a network's graph, from what its operations need.

    A sum of one term is that term. A sum of several is computed in the place of its first or second
    term, if nothing reads that later, and else in an array of its own. So is what is joined.

    Args:
      steps: `Space.graph(architecture)`.
      workspaces: by operation name.
      image_bytes: of one image.
    """
    # Which array holds each value.
    arrays, reads = [0], []
    for number, step in enumerate(steps):
        read = tuple(arrays[value] for value in step.inputs)
        reads.append(() if step.kind == "zeros" else read)
        alone = step.kind == "sum" and len(read) == 1
        arrays.append(read[0] if alone else number + 1)
    last = {array: number for number, read in enumerate(reads) for array in read}
    last[arrays[-1]] = len(steps)
    sizes, alive, peak = {0: image_bytes}, {0}, image_bytes
    for number, step in enumerate(steps):
        own = arrays[number + 1]
        if own != number + 1:
            continue
        held = sum(sizes[array] for array in alive)
        first = arrays[step.inputs[0]]
        if step.kind == "operation":
            needs = workspaces[step.operation]
            within = needs.consuming if last[first] == number else needs.keeping
            peak, sizes[own] = max(peak, held - sizes[first] + within), needs.output
        elif step.kind == "join":
            sizes[own] = sum(sizes[array] for array in reads[number])
            peak = max(peak, held + sizes[own])
        else:
            sizes[own] = sizes[first]
            terms = reads[number]
            in_place = any(last[term] == number and term not in terms[2:] for term in terms[:2])
            peak = max(peak, held + (0 if in_place else sizes[own]))
        alive.add(own)
        alive = {array for array in alive if last.get(array, -1) > number}
    return peak


def peak_table(space: Space) -> np.ndarray | None:
    """Returns the peak of every architecture for one image, `float64[K, ..., K]`, in bytes.

    The table has an axis for each decision, and zeros where an option does not exist. It is None
    for a space without `graph` or with too many architectures to list.
    """
    if type(space).graph is Space.graph:
        return None
    if space.num_options**space.num_decisions > _LARGEST_SPACE:
        return None
    operations, places = space.operations()
    workspaces = {name: operation_workspace(each) for name, each in operations.items()}
    image_bytes = _ITEM_BYTES * math.prod(space.input_shape)
    everything = space.enumerate()
    alike = _alike(space, places, workspaces)
    forms = np.take_along_axis(alike.T, space.canonical(everything), axis=0)
    distinct, which = np.unique(forms, axis=0, return_inverse=True)
    graphs = [space.graph(row) or () for row in distinct]
    peaks = np.array([graph_peak_bytes(graph, workspaces, image_bytes) for graph in graphs])
    table = np.zeros((space.num_options,) * space.num_decisions)
    table[tuple(everything.T)] = peaks[which.reshape(-1)]
    return table


def _alike(space, places, workspaces):
    """Returns for each option the first option of its decision with equal needs, `int[D, K]`."""
    needs: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for place in places:
        for choice in place.when:
            others = tuple(other for other in place.when if other != choice)
            needs.setdefault(choice, []).append((workspaces[place.operation], others))
    table = np.zeros((space.num_decisions, space.num_options), np.int32)
    for decision, named in enumerate(space.decisions):
        seen: dict[tuple[Any, ...], int] = {}
        for option in range(len(named.options)):
            own = tuple(needs.get((decision, option), ()))
            table[decision, option] = seen.setdefault(own, option)
    return table
