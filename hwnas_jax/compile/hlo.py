"""Counts what one call of a compiled program does, by reading the program's text.

XLA's own cost analysis counts the body of a loop once. Here it counts as often as it runs. Of the
branches of a conditional the dearest counts, for each figure separately.
"""

import collections
import functools
import re
from typing import NamedTuple

import numpy as np

Tally = collections.Counter

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?)\s([a-z][a-z0-9\-]*)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


class _Instruction(NamedTuple):
    name: str
    shape: str
    opcode: str
    rest: str


def tally(text: str) -> Tally:
    """Counts what one call of a compiled program does, on one device.

    Args:
      text: `jax.stages.Compiled.as_text()`.

    Returns:
      A count by name; those that are zero are left out:
        `flops`: of convolutions and matrix products, two for each multiply-add, without padding.
        `cycles`: the sum of the TPU compiler's `estimated_cycles`, without communication.
        `all-reduce` and other collectives: how many there are.
        `all-reduce bytes` and so on: the bytes of their results on a device.
        `unknown loops`: loops whose number of turns the text does not say. They count once.
    """
    entry, computations = _parse(text)
    shapes = {i.name: i.shape for body in computations.values() for i in body}

    @functools.cache
    def whole(name: str) -> Tally:
        total: Tally = Tally()
        for instruction in computations[name]:
            total += one(instruction)
        return total

    def one(instruction: _Instruction) -> Tally:
        _, shape, opcode, rest = instruction
        if opcode == "while":
            trips = _trips(rest, computations)
            body = whole(_called(rest, "body")[0])
            turns = Tally({key: count * (trips or 1) for key, count in body.items()})
            return turns + Tally({"unknown loops": int(trips is None)})
        if opcode == "conditional":
            branches = _called(rest, "branch_computations") or [
                *_called(rest, "true_computation"), *_called(rest, "false_computation"),
            ]  # fmt: skip
            return functools.reduce(lambda a, b: a | b, map(whole, branches))
        found: Tally = Tally()
        if opcode == "fusion":
            found += whole(_called(rest, "calls")[0])
            found.pop("cycles", None)  # those inside mean nothing: the fusion has its own
        elif opcode in {"call", "async-start"}:
            for name in _called(rest, "to_apply") + _called(rest, "calls"):
                found += whole(name)
        elif opcode == "convolution":
            found["flops"] = _convolution_flops(shape, rest, shapes)
        elif opcode == "dot":
            found["flops"] = _dot_flops(shape, rest, shapes)
        kind = opcode.removesuffix("-start")
        if kind in _COLLECTIVES:
            found[kind] = 1
            found[f"{kind} bytes"] = _bytes(shape)
        cycles = _CYCLES.search(rest)
        if cycles:
            found["cycles"] += int(cycles[1])
        return found

    return whole(entry)


def _parse(text: str) -> tuple[str, dict[str, list[_Instruction]]]:
    entry, body = "", list[_Instruction]()
    computations: dict[str, list[_Instruction]] = {}
    for line in text.splitlines():
        instruction = _INSTRUCTION.match(line)
        if instruction:
            body.append(_Instruction(*instruction.groups()))
            continue
        header = _COMPUTATION.match(line)
        if header:
            body = computations[header[2]] = []
            entry = header[2] if header[1] else entry
    if not entry:
        raise ValueError(f"no program text with an entry: {text[:80]!r}")
    return entry, computations


def _called(rest: str, key: str) -> list[str]:
    found = re.search(rf"\b{key}=(?:\{{([^}}]*)\}}|(%?[\w.\-]+))", rest)
    if not found:
        return []
    return [name.strip().lstrip("%") for name in (found[1] or found[2]).split(",")]


def _operands(rest: str) -> list[str]:
    inside = re.sub(r"/\*.*?\*/", "", rest.partition(")")[0])
    return [word.split()[-1].lstrip("%") for word in inside.split(",") if word.strip()]


def _trips(rest: str, computations: dict[str, list[_Instruction]]) -> int | None:
    """Returns how often the body of a loop runs, or None where the text does not say.

    A loop that JAX makes of a `scan` counts up from zero while it is below a constant.
    """
    known = _TRIPS.search(rest)
    if known:
        return int(known[1])
    condition = {i.name: i for i in computations[_called(rest, "condition")[0]]}
    compares = [i for i in condition.values() if i.opcode == "compare"]
    if len(compares) != 1 or "direction=LT" not in compares[0].rest:
        return None
    limit = condition.get(_operands(compares[0].rest)[1])
    if limit is None or limit.opcode != "constant":
        return None
    return int(limit.rest.partition(")")[0])


def _dimensions(shape: str) -> list[int]:
    found = _SHAPE.search(shape)
    return [int(size) for size in found[3].split(",") if size] if found else []


def _bytes(shape: str) -> int:
    """Returns the bytes of a shape, or of all parts of a tuple."""
    total = 0
    for kind, bits, sizes in _SHAPE.findall(shape):
        width = 1 if kind == "pred" else int(bits or 0) / 8
        total += int(np.prod([int(size) for size in sizes.split(",") if size]) * width)
    return total


def _convolution_flops(shape: str, rest: str, shapes: dict[str, str]) -> int:
    left, right = (_dimensions(shapes[name]) for name in _operands(rest))
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", rest)
    assert labels, rest
    sides = zip(labels.groups(), (left, right, _dimensions(shape)), strict=True)
    lhs, rhs, out = (dict(zip(names, sizes, strict=True)) for names, sizes in sides)
    described = re.search(r"window=\{(.*?)\}", rest)
    window = dict(re.findall(r"(\w+)=([\dx_\-]+)", described[1] if described else ""))
    count = 2 * out["b"] * out["f"] * rhs["i"]
    for number in range(len(lhs) - 2):
        axis = str(number)

        def field(key: str, default: str, number: int = number) -> str:
            return window[key].split("x")[number] if key in window else default

        stride, inner, outer = (
            int(field(key, "1")) for key in ("stride", "lhs_dilate", "rhs_dilate")
        )
        low = int(field("pad", "0_0").split("_")[0])
        # The place in the dilated, padded input that each pair of an output and a tap reads.
        reads = stride * np.arange(out[axis])[:, None] - low + outer * np.arange(rhs[axis])
        inside = (reads >= 0) & (reads <= (lhs[axis] - 1) * inner) & (reads % inner == 0)
        count *= int(inside.sum())
    return count


def _dot_flops(shape: str, rest: str, shapes: dict[str, str]) -> int:
    left = _dimensions(shapes[_operands(rest)[0]])
    axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)
    contracted = [left[int(axis)] for axis in axes[1].split(",") if axis] if axes else []
    return 2 * int(np.prod(_dimensions(shape)) * np.prod(contracted))
