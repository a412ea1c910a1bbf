"""The registry of search spaces.

Spaces of other packages are found by their entry point in the group `hwnas_jax.spaces`; a space of
one's own by its Python path, `my_space.py:MySpace` or `my_package.my_module:MySpace`.
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.autoformer import AutoFormer
from hwnas_jax.spaces.base import Choices, Decision, Operation, Place, Space
from hwnas_jax.spaces.bnas import BNAS
from hwnas_jax.spaces.channels import Channels
from hwnas_jax.spaces.codesign import Codesign
from hwnas_jax.spaces.complete_graph import CompleteGraph
from hwnas_jax.spaces.core.terms import Terms, sum_places, sum_terms
from hwnas_jax.spaces.darts import Darts
from hwnas_jax.spaces.dash import Dash
from hwnas_jax.spaces.dna import DNA
from hwnas_jax.spaces.edmips import EdMIPS
from hwnas_jax.spaces.fbnet import FBNet
from hwnas_jax.spaces.mnasnet import MnasNet
from hwnas_jax.spaces.nasbench201 import NasBench201
from hwnas_jax.spaces.nasbench_macro import NasBenchMacro
from hwnas_jax.spaces.ofa import OFA
from hwnas_jax.spaces.proxylessnas import ProxylessNAS
from hwnas_jax.spaces.single_path import SinglePath
from hwnas_jax.spaces.transnas_cell import TransNASCell
from hwnas_jax.spaces.transnas_macro import TransNASMacro

__all__ = [
    "SPACES",
    "Choices",
    "Decision",
    "Operation",
    "Place",
    "Space",
    "Terms",
    "admit",
    "from_spec",
    "known_spaces",
    "make_space",
    "sum_places",
    "sum_terms",
]

SPACES: dict[str, type[Space]] = {
    space.name: space
    for space in (
        AutoFormer,
        Codesign,
        CompleteGraph,
        Channels,
        Darts,
        Dash,
        NasBench201,
        NasBenchMacro,
        FBNet,
        ProxylessNAS,
        SinglePath,
        DNA,
        MnasNet,
        OFA,
        TransNASCell,
        TransNASMacro,
        EdMIPS,
        BNAS,
    )
}

_admitted: dict[str, type[Space]] = {}


@functools.cache
def _entry_points() -> dict[str, Any]:
    return {point.name: point for point in importlib.metadata.entry_points(group=__name__)}


def known_spaces() -> dict[str, str]:
    """Returns the summary of every space that can be named, those of other packages included."""
    own = {name: space.summary for name, space in {**SPACES, **_admitted}.items()}
    return own | {name: f"from {point.value}" for name, point in _entry_points().items()}


def admit(name: str) -> type[Space]:
    """Returns the class of a space, importing it when `name` is a Python path.

    Only a name that the user gave may come here: importing runs code. Files are read by
    `from_spec`, which knows registered and admitted spaces alone.

    Raises:
      UserError: when there is no such space.
    """
    if name in SPACES:
        return SPACES[name]
    if name in _admitted:
        return _admitted[name]
    if name in _entry_points():
        kind = _entry_points()[name].load()
    elif ":" in name:
        kind = _import(name)
    else:
        choose(name, known_spaces(), "search space")
    if not (inspect.isclass(kind) and issubclass(kind, Space)) or inspect.isabstract(kind):
        raise UserError(f"{name} is no search space: it must be a subclass of hwnas_jax Space")
    _admitted[name] = kind
    return kind


def _import(name: str) -> Any:
    where, _, attribute = name.rpartition(":")
    try:
        if where.endswith(".py"):
            path = Path(where).resolve()
            if not path.is_file():
                raise UserError(f"space.name = {name}: there is no file {path}")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, module)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except (ImportError, SyntaxError) as error:
        raise UserError(f"space.name = {name} cannot be imported: {error}") from error
    if not hasattr(module, attribute):
        spaces = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, Space)]
        choose(attribute, spaces, f"search space in {where}")
    return getattr(module, attribute)


def make_space(
    name: str,
    args: Mapping[str, Any],
    *,
    input_shape: Sequence[int],
    num_outputs: int,
    off: Mapping[str, Sequence[str]] | None = None,
) -> Space:
    """Builds a search space by name.

    Args:
      name: a key of `SPACES`, an entry point, or a Python path.
      args: the space's own arguments.
      input_shape: of one example, channels last.
      num_outputs: number of classes.
      off: options switched off, as `Space.restricted` takes them.

    Raises:
      UserError: for an unknown space or argument, or a value the space refuses.
    """
    return _build(name, admit(name), args, input_shape, num_outputs, off)


def _build(name, kind, args, input_shape, num_outputs, off):
    own = [
        parameter
        for parameter in inspect.signature(kind).parameters
        if parameter not in ("input_shape", "num_outputs")
    ]
    for key in args:
        choose(key, own, f"argument of the space {name}")
    space = kind(input_shape=tuple(input_shape), num_outputs=num_outputs, **args)
    if name not in SPACES:
        space.registered_as = name
    return space.restricted(off) if off else space


def from_spec(spec: dict[str, Any]) -> Space:
    """Builds the space that `Space.spec` described; imports nothing.

    Raises:
      UserError: when the description is incomplete or names what is not there.
    """
    missing = [k for k in ("name", "args", "input_shape", "num_outputs") if k not in spec]
    if missing:
        raise UserError(f"the description of the space lacks {', '.join(missing)}")
    shape, off = spec["input_shape"], spec.get("off", {})
    fine = isinstance(shape, list) and len(shape) in (1, 2, 3)
    fine = fine and all(isinstance(n, int) and n > 0 for n in [*shape, spec["num_outputs"]])
    fine = fine and isinstance(off, dict) and all(isinstance(o, list) for o in off.values())
    if not (fine and isinstance(spec["name"], str) and isinstance(spec["args"], dict)):
        raise UserError(f"the description of the space is damaged: {spec}")
    name = spec["name"]
    if ":" in name and name not in _admitted:
        raise UserError(
            f"the search space is {name}, whose code a file may not start; name it yourself "
            f"with --space.name {name}"
        )
    kind = admit(name)
    return _build(name, kind, spec["args"], shape, spec["num_outputs"], off)
