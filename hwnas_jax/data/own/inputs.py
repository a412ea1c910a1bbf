"""Raw arrays of inputs as images or sequences of one type.

Legend: `N` examples, `H, W` image height and width, `L` length of a sequence, `C` channels.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from hwnas_jax.errors import UserError

Layout = Literal["NHW", "NHWC", "NCHW", "NLC", "NCL", "NL"]
"""What the axes of inputs mean."""

_FEW = 4
"""Most channels that the pixels of a picture have."""

_EXACT = 256
"""Integers below this are kept as `uint8`."""

_CHUNK = 4096

_ORDERS: dict[str, tuple[int | None, ...]] = {
    "NHW": (0, 1, 2, None), "NHWC": (0, 1, 2, 3), "NCHW": (0, 2, 3, 1),
    "NLC": (0, 1, 2), "NCL": (0, 2, 1), "NL": (0, 1, None),
}  # fmt: skip
"""For every layout the axes in the order of a data set; None stands for a new axis of size one."""


def make_inputs(
    parts: Mapping[str, np.ndarray], layout: Layout | None, where: str
) -> dict[str, np.ndarray]:
    """Returns inputs as a data set holds them: `uint8` or `float32`, channels last.

    Whole numbers of any type stay `uint8` where all of them lie in 0..255, and become `float32`
    otherwise, as all other numbers do. Their scale does not matter, since inputs are normalised.

    Args:
      parts: raw inputs by part ("train", ...).
      layout: what their axes mean; None lets type and sizes tell.
      where: begins messages.

    Raises:
      UserError: when they are no numbers, differ in kind between the parts, or their axes are in
        doubt.
    """
    for part, array in parts.items():
        if array.dtype.kind not in "biuf":
            raise UserError(
                f"{where}: {part} inputs must be numbers or truth values, got {_shown(array)}"
            )
    kinds = {part: "floats" if a.dtype.kind == "f" else "integers" for part, a in parts.items()}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{part} inputs are {kind}" for part, kind in kinds.items())
        raise UserError(f"{where}: {found}; all must be of one kind, on one scale")
    turned = {
        part: _turned(array, layout or _told(array, f"{where}: {part} inputs"), where, part)
        for part, array in parts.items()
    }
    images = all(array.ndim == 4 for array in turned.values())
    kind = np.uint8 if images and all(map(_are_bytes, turned.values())) else np.float32
    with np.errstate(over="ignore"):  # what is too large is refused as not finite
        return {p: np.ascontiguousarray(array, dtype=kind) for p, array in turned.items()}


def check_varied(inputs: np.ndarray, where: str) -> None:
    """Raises UserError when all of several inputs `[N, ...]` are the same."""
    if len(inputs) > 1 and not (inputs[1:] != inputs[0]).any():
        raise UserError(
            f"{where}: all {len(inputs)} train inputs are the same; there is nothing to learn from "
            "them"
        )


def constant_inputs(inputs: np.ndarray) -> np.ndarray:
    """Returns the numbers of those inputs `[N, ...]` that hold one value only, `int[n]`."""
    axes = tuple(range(1, inputs.ndim))
    chunks = [inputs[start : start + _CHUNK] for start in range(0, len(inputs), _CHUNK)]
    return np.flatnonzero(np.concatenate([c.min(axes) == c.max(axes) for c in chunks]))


def _turned(array: np.ndarray, layout: str, where: str, part: str) -> np.ndarray:
    if array.ndim != len(layout):
        raise UserError(
            f"{where}: layout {layout} has {len(layout)} axes, {part} inputs are {_shown(array)}"
        )
    order = _ORDERS[layout]
    turned = array.transpose([axis for axis in order if axis is not None])
    return turned[..., None] if None in order else turned


def _told(array: np.ndarray, what: str) -> str:
    """Returns the layout that type and sizes tell; UserError where they leave a doubt."""
    shown, shape = _shown(array), array.shape
    if array.ndim == 4:
        if shape[1] <= _FEW < shape[3]:
            raise UserError(
                f"{what} are {shown}, as if channels came first: say layout NCHW (channels, "
                f"height, width), or NHWC if they are {shape[1]} pixels high with {shape[3]} "
                "channels"
            )
        return "NHWC"
    if array.ndim == 3 and array.dtype.kind != "f":
        return "NHW"
    if array.ndim == 3:
        raise UserError(
            f"{what} are {shown}: say layout NHW if they are grey images, NLC or NCL if they are "
            "sequences (length and channels)"
        )
    if array.ndim == 2:
        raise UserError(
            f"{what} are {shown}: say layout NL if they are sequences of one channel; images need "
            "height and width as axes of their own"
        )
    raise UserError(
        f"{what} must be images [N, H, W] or [N, H, W, C], or sequences [N, L, C], got {shown}"
    )


def _are_bytes(array: np.ndarray) -> bool:
    if array.dtype.kind in "b" or array.dtype == np.uint8:
        return True
    if array.dtype.kind == "f":
        return False
    return array.size == 0 or (array.min() >= 0 and array.max() < _EXACT)


def _shown(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
