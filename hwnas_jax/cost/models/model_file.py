"""The file of a fitted cost model: one `.npz` of plain arrays with a JSON header.

The array `header` holds `{format, version, model, space, ...}` as text; nothing is pickled.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.measurements import check_spec
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Choices

_FORMAT = "hwnas_jax.cost_model"
_VERSION = 1
_FITTED_TO = "fitted_to"


def write_model(
    path: Path,
    model: str,
    space: Choices,
    extra: dict[str, Any],
    arrays: Mapping[str, Any],
    fitted_to: np.ndarray | None = None,
) -> None:
    """Writes a model's arrays and header, whole or not at all.

    Args:
      path: the file.
      model: the model's own name.
      space: the space that it was fitted to.
      extra: further plain JSON values of the header.
      arrays: by name.
      fitted_to: `int32[N, D]`, the networks that the model was fitted to; None leaves them out.
    """
    header = {"format": _FORMAT, "version": _VERSION, "model": model, "space": space.spec, **extra}
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            plain = {name: np.asarray(array) for name, array in arrays.items()}
            if fitted_to is not None:
                plain[_FITTED_TO] = np.asarray(fitted_to, np.int32)
            np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **plain)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
    except FileNotFoundError as error:
        raise UserError(f"there is no cost model {path}") from error
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"cost model {path} is damaged: {error}") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise UserError(f"{path} is not a {_FORMAT} file")
    if header.get("version") != _VERSION:
        raise UserError(f"{path} has version {header.get('version')!r}; known is {_VERSION}")
    if space is not None:
        check_spec(header.get("space"), space, f"cost model {path}: its contents")
    arrays.pop(_FITTED_TO, None)
    return header, arrays


def read_fitted_to(path: Path) -> np.ndarray | None:
    """Returns the networks that a model was fitted to, `int32[N, D]`; None if it does not say."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = file[_FITTED_TO] if _FITTED_TO in file.files else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cost model {path} is damaged: {error}") from error
    if rows is not None and (rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer)):
        raise UserError(f"cost model {path}: {_FITTED_TO} must be int32[N, D], got {rows.dtype}")
    return rows


def check_array(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns an array of a model file as float32.

    Args:
      arrays: of the file, by name.
      name: which array.
      shape: that it must have.

    Raises:
      UserError: when it is missing, has another shape or type, or is not finite.
    """
    array = arrays.get(name)
    if array is None or array.shape != shape or not np.issubdtype(array.dtype, np.floating):
        found = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
        raise UserError(f"{name} must be float32{list(shape)}, found {found}")
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds values that are not finite")
    return array.astype(np.float32)
