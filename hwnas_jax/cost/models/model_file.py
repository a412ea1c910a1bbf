"""The file of a fitted cost model: one `.npz` of plain arrays with a JSON header.

The array `header` holds `{format, version, model, space, ...}` as text; nothing is pickled.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.measurements import Origin, check_spec
from hwnas_jax.cost.files.readers.table_checks import check_options
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_text import parse_json
from hwnas_jax.files.npz import Array, read_npz, text, write_npz
from hwnas_jax.files.typed import check_value, open_ended
from hwnas_jax.spaces.base import Choices

_FORMAT = "hwnas_jax.cost_model"
_VERSION = 1
_FITTED_TO = "fitted_to"
_ANY = {"header": Array("text", ()), _FITTED_TO: Array("whole", ("N", "D"), 0, optional=True)}
_ORIGIN = "origin"


def write_model(
    path: Path,
    model: str,
    space: Choices,
    extra: dict[str, Any],
    arrays: Mapping[str, Any],
    fitted_to: np.ndarray | None = None,
    origin: Origin | None = None,
) -> None:
    """Writes a model's arrays and header, whole or not at all.

    Args:
      path: the file.
      model: the model's own name.
      space: the space that it was fitted to.
      extra: further plain JSON values of the header.
      arrays: by name.
      fitted_to: `int32[N, D]`, the networks that the model was fitted to; None leaves them out.
      origin: which device the costs are of; None leaves it out.
    """
    header = {"format": _FORMAT, "version": _VERSION, "model": model, "space": space.spec, **extra}
    if origin is not None:
        header[_ORIGIN] = dataclasses.asdict(origin)
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    if fitted_to is not None:
        plain[_FITTED_TO] = np.asarray(fitted_to, np.int32)
    write_npz(Path(path), {"header": np.array(json.dumps(header)), **plain}, compressed=False)


@open_ended
@dataclasses.dataclass(frozen=True)
class _Header:
    """What every model says of itself; the rest is the model's own."""

    format: str
    version: int
    model: str
    space: dict[str, Any]
    origin: Origin | None = None


def read_model(path: Path, space: Choices | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads what `write_model` wrote.

    Args:
      path: the file.
      space: the space that the model must be of; None takes a model of any space.

    Returns:
      The header and the model's arrays by name.

    Raises:
      UserError: names the file when it is missing, damaged, foreign, or of another space.
    """
    path = Path(path)
    arrays = _read(path)
    try:
        header = parse_json(text(arrays, "header"))
        said = check_value(_Header, header, "header")
    except UserError as error:
        raise UserError(f"cost model {path} is damaged: {error}") from error
    if (said.format, said.version) != (_FORMAT, _VERSION):
        raise UserError(
            f"cost model {path} has format {said.format!r:.60} and version {said.version}; known "
            f"are {_FORMAT!r} and {_VERSION}"
        )
    if space is not None:
        check_spec(said.space, space, f"cost model {path}: its contents")
    left = {name: array for name, array in arrays.items() if name not in ("header", _FITTED_TO)}
    return header, left


def read_origin(path: Path) -> Origin | None:
    """Returns which device the costs of a model are of; None if its file does not say.

    Raises:
      UserError: as `read_model`, and when what it says is damaged.
    """
    given = read_model(path, None)[0].get(_ORIGIN)
    return None if given is None else Origin(**given)


def read_fitted_to(path: Path, space: Choices) -> np.ndarray | None:
    """Returns the networks that a model was fitted to, `int32[N, D]`; None if it does not say.

    Raises:
      UserError: when the file is damaged, or they are no networks of the space.
    """
    found = _read(Path(path), {"D": space.num_decisions}).get(_FITTED_TO)
    if found is not None:
        try:
            check_options(space, found)
        except UserError as error:
            raise UserError(f"cost model {path} is damaged: {_FITTED_TO}: {error}") from error
    return found


def _read(path: Path, sizes: Mapping[str, int] | None = None) -> dict[str, np.ndarray]:
    if not path.exists():
        raise UserError(f"there is no cost model {path}")
    try:
        return read_npz(path, _ANY, closed=False, sizes=sizes)
    except UserError as error:
        raise UserError(f"cost model {path} is damaged: {error}") from error


def check_array(
    arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], least: float = -math.inf
) -> np.ndarray:
    """Returns an array of a model file as float32.

    Args:
      arrays: of the file, by name.
      name: which array.
      shape: that it must have.
      least: the smallest value.

    Raises:
      UserError: when it is missing, has another shape or type, or a value is not finite or too
        small.
    """
    if name not in arrays:
        raise UserError(f"{name} is missing, float{list(shape)}")
    wanted, array = Array("float", shape, least), arrays[name]
    wanted.check_declared(name, array.dtype, array.shape, {})
    wanted.check_values(name, array)
    return array.astype(np.float32)
