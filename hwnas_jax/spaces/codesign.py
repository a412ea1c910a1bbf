"""Any search space together with the accelerator that its networks run on.

The network's decisions come first and the decisions of the hardware follow. The supernet and the
networks only see the first part, so the hardware is decided by its cost alone.

Legend: `N` architectures, `D` decisions, `K` options of the widest decision, `P` parts of a
mixture.

References: Choi et al., "DANCE: Differentiable Accelerator/Network Co-Exploration", 2021.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Le
from flax import nnx

from hwnas_jax.errors import UserError, choose, shown
from hwnas_jax.relax.base import Gates
from hwnas_jax.spaces.base import SPACES, Decision, Forms, Operation, Place, Space
from hwnas_jax.spaces.build import from_spec
from hwnas_jax.spaces.core.hardware import DATAFLOWS, TEMPLATES, Design, area_mm2

_HARDWARE = re.compile(
    r"(?:(?P<template>[a-z-]+-like),?)?(?:(?P<rows>\d+)x(?P<columns>\d+),?)?"
    r"(?:(?P<buffer_kib>\d+)KiB,?)?(?P<dataflow>[a-z]+)?"
)
_SIZE = re.compile("[1-9][0-9]{0,9}")
_LARGEST = 1_000_000
_MOST_DESIGNS = 65_536
_DECISIONS = {
    "template": "template", "rows": "array_rows", "columns": "array_columns",
    "buffer_kib": "buffer_kib", "dataflow": "dataflow",
}  # fmt: skip


class _NetworkPart(nnx.Module):
    """The supernet of the network; it is given the gates of all decisions."""

    def __init__(self, inner: nnx.Module, decisions: int, options: int):
        self.inner, self.decisions, self.options = inner, decisions, options

    def __call__(self, images: jax.Array, gates: Gates) -> jax.Array:
        index = None if gates.index is None else gates.index[: self.decisions]
        weight = gates.weight[: self.decisions, : self.options]
        return self.inner(images, Gates(weight, index))  # type: ignore[operator]


@SPACES.add
class Codesign(Space):
    """A network space and the decisions of an accelerator."""

    name = "codesign"
    summary = "a network space with its accelerator; network, network_args, rows, columns, ..."
    constrained = True

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_outputs: int,
        network: str = "nasbench201",
        network_args: str = "",
        rows: str = "8,16,32,64",
        columns: str = "8,16,32,64",
        buffer_kib: str = "32,64,128,256",
        dataflow: str = "ws,os,rs",
        template: str = "",
        clock_mhz: Annotated[float, Gt(0), Le(100_000)] | None = None,
        area_limit_mm2: Annotated[float, Gt(0), Le(1_000_000)] | None = None,
    ):
        """Sets the options of the hardware; lists are separated by commas.

        Args:
          input_shape: of one example, channels last.
          num_outputs: outputs of the network.
          network: name of the network's space.
          network_args: the options of the network's space, "channels=8,cells=1".
          rows: numbers of rows of the array of multipliers.
          columns: numbers of columns of the array.
          buffer_kib: sizes of the memory that all multipliers share.
          dataflow: some of `hardware.DATAFLOWS`.
          template: some of `hardware.TEMPLATES`. If sizes or the dataflow are then given as the
            empty text, they are the template's.
          clock_mhz: of all accelerators; None takes the template's, or 700.
          area_limit_mm2: a larger accelerator is not a member of the space.

        Raises:
          UserError: for a list that is empty or has an unknown option, an array or buffer of size
            zero, a limit that no accelerator meets, or options that the network's space refuses.
        """
        given = {
            "template": template, "rows": rows, "columns": columns,
            "buffer_kib": buffer_kib, "dataflow": dataflow,
        }  # fmt: skip
        self.args = {
            "network": network, "network_args": network_args, **given, "clock_mhz": clock_mhz,
            "area_limit_mm2": area_limit_mm2,
        }  # fmt: skip
        # Files may describe such a space, and a file may not start code.
        self.network_space = from_spec(
            {
                "name": network, "args": _arguments(network_args),
                "input_shape": list(input_shape), "num_outputs": num_outputs,
            }
        )  # fmt: skip
        self.input_shape, self.num_outputs = (
            self.network_space.input_shape, self.network_space.num_outputs,
        )  # fmt: skip
        self.mixes_canonical = self.network_space.mixes_canonical
        self._parts = {key: _options(key, value) for key, value in given.items() if value}
        if not template:
            for key in ("rows", "columns", "buffer_kib", "dataflow"):
                if key not in self._parts:
                    raise UserError(
                        f"space.args.{key} is empty: without a template it needs an option"
                    )
        if ("rows" in self._parts) != ("columns" in self._parts):
            raise UserError("space.args.rows and columns are given together, or neither")
        self._check_count()
        self.decisions = (
            *self.network_space.decisions,
            *(Decision(_DECISIONS[key], options) for key, options in self._parts.items()),
        )
        self._designs = self._list_designs()
        self._fits = self._within(area_limit_mm2)

    @property
    def num_network_decisions(self) -> int:
        """The number of decisions of the network; they come first."""
        return self.network_space.num_decisions

    @property
    def size(self) -> int:
        allowed = self._hardware_mask()
        return self.network_space.size * int((self._fits & allowed).sum())

    def restricted(self, off: Mapping[str, Sequence[str]]) -> Self:
        space = super().restricted(off)
        names = {decision.name for decision in self.network_space.decisions}
        own = {name: options for name, options in space.off.items() if name in names}
        space.network_space = self.network_space.restricted(own) if own else self.network_space
        if not (space._fits & space._hardware_mask()).any():
            raise UserError(
                f"space.off leaves no accelerator of at most {self.args['area_limit_mm2']} mm2"
            )
        return space

    def design(self, architecture: np.ndarray) -> Design:
        """Returns the accelerator of an architecture (`int32[D]`)."""
        return self._designs[tuple(self.check(architecture)[self.num_network_decisions :].tolist())]

    @property
    def designs(self) -> tuple[Design, ...]:
        """All accelerators, also those beyond the limit; the last decision runs fastest."""
        return tuple(self._designs.values())

    @functools.cached_property
    def design_shape(self) -> tuple[int, ...]:
        """The number of options of each decision of the hardware, in the order of `designs`."""
        return tuple(len(options) for options in self._parts.values())

    def design_numbers(self, architectures: np.ndarray) -> np.ndarray:
        """Returns the place of each architecture's accelerator in `designs`, `int[N]`."""
        columns = np.asarray(architectures)[:, self.num_network_decisions :].T
        return np.ravel_multi_index(tuple(columns), self.design_shape)

    def feasible(self, architectures: np.ndarray) -> np.ndarray:
        """Returns whether the network is a member and the accelerator small enough, `bool[N]`."""
        network = np.asarray(architectures)[:, : self.num_network_decisions]
        fits = self._fits.reshape(-1)[self.design_numbers(architectures)]
        return self.network_space.feasible(network) & fits

    def canonical(self, architectures: np.ndarray) -> np.ndarray:
        count = self.num_network_decisions
        form = self.network_space.canonical(architectures[:, :count])
        return np.concatenate([form, architectures[:, count:]], axis=1).astype(np.int32)

    def canonical_mixture(self, weight: jax.Array) -> tuple[Forms, ...]:
        inner = self.network_space
        count, options = inner.num_decisions, inner.num_options
        wider = ((0, 0), (0, 0), (0, self.num_options - options))
        network = [
            Forms(decisions, coefficient, jnp.pad(rows, wider))
            for decisions, coefficient, rows in inner.canonical_mixture(weight[:count, :options])
        ]
        hardware = np.arange(count, self.num_decisions)
        return *network, Forms(hardware, jnp.ones(1, weight.dtype), weight[hardware][None])

    def active(self, weight: jax.Array) -> jax.Array:
        inner = self.network_space
        found = inner.active(weight[: inner.num_decisions, : inner.num_options])
        return jnp.concatenate([found, jnp.ones(self.num_decisions - inner.num_decisions)])

    def supernet(
        self, rngs: nnx.Rngs, *, axis_name: str | None = None, rematerialise: bool = False
    ) -> nnx.Module:
        inner = self.network_space
        supernet = inner.supernet(rngs, axis_name=axis_name, rematerialise=rematerialise)
        return _NetworkPart(supernet, inner.num_decisions, inner.num_options)

    def network(
        self, architecture: np.ndarray, rngs: nnx.Rngs, *, axis_name: str | None = None
    ) -> nnx.Module:
        own = self.check(architecture)[: self.num_network_decisions]
        return self.network_space.network(own, rngs, axis_name=axis_name)

    def inherit(self, network: nnx.Module, architecture: np.ndarray, supernet: nnx.Module) -> None:
        own = self.check(architecture)[: self.num_network_decisions]
        self.network_space.inherit(network, own, supernet.inner)  # type: ignore[attr-defined]

    def operations(self) -> tuple[dict[str, Operation], tuple[Place, ...]]:
        return self.network_space.operations()

    def to_string(self, architecture: np.ndarray) -> str:
        """Returns `<network> @ 16x16,64KiB,ws`, with the template's name first if there is one."""
        architecture = self.check(architecture)
        count = self.num_network_decisions
        chosen = dict(
            zip(self._parts, list(self.to_names(architecture).values())[count:], strict=True)
        )
        words = [chosen[key] for key in ("template",) if key in chosen]
        if "rows" in chosen:
            words.append(f"{chosen['rows']}x{chosen['columns']}")
        if "buffer_kib" in chosen:
            words.append(f"{chosen['buffer_kib']}KiB")
        words += [chosen[key] for key in ("dataflow",) if key in chosen]
        return f"{self.network_space.to_string(architecture[:count])} @ {','.join(words)}"

    def from_string(self, text: str) -> np.ndarray:
        network, sign, hardware = text.rpartition("@")
        found = _HARDWARE.fullmatch(hardware.strip().rstrip(","))
        chosen = {} if found is None else {k: v for k, v in found.groupdict().items() if v}
        if not sign or set(chosen) != set(self._parts):
            form = ",".join(
                {"template": "tpu-like", "rows": "16x16", "buffer_kib": "64KiB", "dataflow": "ws"}[
                    key
                ]
                for key in self._parts
                if key != "columns"
            )
            raise UserError(f"{shown(text)} is no {self.name}; the form is <network> @ {form}")
        names = self.network_space.to_names(self.network_space.from_string(network.strip()))
        return self.from_names({**names, **{_DECISIONS[key]: chosen[key] for key in self._parts}})

    def _check_count(self) -> None:
        """Raises UserError when the lists together name too many accelerators to list them all."""
        count = math.prod(len(options) for options in self._parts.values())
        if count > _MOST_DESIGNS:
            each = ", ".join(f"{len(options)} {key}" for key, options in self._parts.items())
            raise UserError(
                f"space.args: {each} make {count} accelerators; at most {_MOST_DESIGNS} are "
                f"allowed, so name fewer options"
            )

    def _hardware_mask(self) -> np.ndarray:
        """Returns which designs have no option that is off, `bool` with an axis per decision."""
        rows = self.mask[self.num_network_decisions :]
        own = [row[:width] for row, width in zip(rows, self.design_shape, strict=True)]
        return functools.reduce(np.logical_and.outer, own)

    def _list_designs(self) -> dict[tuple[int, ...], Design]:
        """Returns the accelerators by their options' numbers."""
        clock, designs = self.args["clock_mhz"], {}
        for numbers in itertools.product(*(range(width) for width in self.design_shape)):
            chosen = {
                key: options[number]
                for (key, options), number in zip(self._parts.items(), numbers, strict=True)
            }
            template = chosen.pop("template", None)
            values: dict[str, Any] = {
                key: value if key == "dataflow" else int(value) for key, value in chosen.items()
            }
            if clock is not None:
                values["clock_mhz"] = float(clock)
            base = None if template is None else TEMPLATES[template]
            designs[numbers] = (
                Design(**values) if base is None else dataclasses.replace(base, **values)
            )
        return designs

    def _within(self, limit_mm2: float | None) -> np.ndarray:
        """Returns which accelerators are small enough, `bool` with an axis per decision."""
        areas = np.array([area_mm2(design) for design in self._designs.values()])
        if limit_mm2 is not None and not areas.min() <= limit_mm2:
            smallest = list(self._designs.values())[int(np.argmin(areas))]
            raise UserError(
                f"space.args.area_limit_mm2 = {limit_mm2:g} is below every accelerator: the "
                f"smallest, {smallest.label}, takes {areas.min():.4g} mm2"
            )
        fits = np.ones(len(areas), bool) if limit_mm2 is None else areas <= limit_mm2
        return fits.reshape(self.design_shape)


def _options(key: str, text: str) -> tuple[str, ...]:
    """Returns the options of a list; UserError names an unknown one."""
    words = tuple(word.strip() for word in str(text).split(","))
    known = {"template": tuple(TEMPLATES), "dataflow": DATAFLOWS}
    for word in words:
        if key in known:
            choose(word, known[key], f"{key} in space.args.{key}")
        elif not _SIZE.fullmatch(word) or int(word) > _LARGEST:
            raise UserError(
                f"space.args.{key} must list whole numbers from 1 to {_LARGEST}, as in '8,16'; "
                f"got {shown(word)}"
            )
    if len(set(words)) < len(words):
        raise UserError(f"space.args.{key} = {shown(text)} names an option twice")
    return words


def _arguments(text: str) -> dict[str, Any]:
    """Returns `{"channels": 8}` of `channels=8`."""
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, sign, value = (word.strip() for word in part.partition("="))
        if not sign or not value:
            raise UserError(
                f"space.args.network_args must be as 'channels=8,cells=1', got {shown(text)}"
            )
        found[key] = _value(value)
    return found


def _value(text: str) -> int | float | bool | str:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
