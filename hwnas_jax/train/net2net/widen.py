"""The arrays of a wider module, such that it computes what the narrow one computes.

Channel `i` of `N` stands for channel `floor(i n / N)` of the `n` that there were. Whatever reads
several copies of one channel reads each with a share of its weight, and the shares of one channel
add up to one. Shares are drawn and differ, since copies with equal shares would have equal
gradients and stay copies for ever. A larger kernel has the smaller one in its middle and zeros
around it.

Every axis of an array has a role:

  - "same": it keeps its size;
  - "space": height or width of a kernel;
  - "out": channels that are written, or scaled one by one;
  - "in": channels that are read and added up;
  - "heads", "from heads": channels of whole attention heads, written or read;
  - "shuffled", "from shuffled": channels behind a channel shuffle, scaled or read.

References: Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer",
ICLR 2016.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.mbconv import MBConv
from hwnas_jax.nn.quantise import FULL
from hwnas_jax.nn.quantised import FewBits
from hwnas_jax.nn.transformer import Attention, LayerNorm, Patches

_LEAST_SHARE, _MOST_SHARE = 0.5, 1.5
"""Limits of what shares are drawn from before they are divided by their sum."""


class Roles(NamedTuple):
    """What the axes of an array mean.

    Attributes:
      axes: the role of each axis.
      size: channels of a head, or the groups of a shuffle; one elsewhere.
    """

    axes: tuple[str, ...]
    size: int = 1


def spread(old: int, new: int) -> np.ndarray:
    """Returns the old channel that each new one stands for, `int[new]`.

    >>> spread(2, 5).tolist()
    [0, 0, 0, 1, 1]
    """
    return np.arange(new) * old // new


def _by_block(old: int, new: int, size: int) -> np.ndarray:
    """Returns the same as `spread` where blocks of `size` channels are repeated as a whole."""
    numbers = np.arange(new)
    return spread(old // size, new // size)[numbers // size] * size + numbers % size


def _shuffled(old: int, new: int, groups: int) -> np.ndarray:
    """Returns the same as `spread` behind a shuffle: neighbours come from different groups."""
    numbers = np.arange(new)
    return (numbers // groups * old // new) * groups + numbers % groups


def shares(copies: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns a share for each new channel, `float64[N]`; those of one old channel add up to one.

    Args:
      copies: the old channel of each new one, `int[N]`.
      random: draws them; a channel without a copy has the share one.
    """
    drawn = random.uniform(_LEAST_SHARE, _MOST_SHARE, len(copies))
    return drawn / np.bincount(copies, drawn)[copies]


def widened(
    array: np.ndarray, shape: Sequence[int], roles: Roles, random: np.random.Generator
) -> np.ndarray:
    """Returns an array of a narrow module in the shape that it has in the wide one.

    Args:
      array: of the narrow module.
      shape: of the same array in the wide module.
      roles: of the axes.
      random: draws the shares of copies.

    Raises:
      UserError: when an axis shrinks, or its role does not let it grow in this way.
    """
    if array.ndim != len(shape):
        raise UserError(f"an array has {array.ndim} axes in one and {len(shape)} in the other")
    for axis, (role, new) in enumerate(zip(roles.axes, shape, strict=True)):
        old = array.shape[axis]
        if old == new:
            continue
        if new < old:
            raise UserError(f"{_CALLED[role]} would shrink from {old} to {new}")
        if role == "same":
            raise UserError(f"{_CALLED[role]} has {old} entries in one and {new} in the other")
        if role == "space":
            array = _padded(array, axis, new)
            continue
        copies = _copies(role, old, new, roles.size)
        array = np.take(array, copies, axis)
        if role in ("in", "from heads", "from shuffled"):
            along = [1] * array.ndim
            along[axis] = new
            array = array * shares(copies, random).reshape(along)
    return array


_CALLED = {
    "same": "an axis that is no channel", "space": "a kernel", "out": "the channels",
    "in": "the channels", "heads": "the channels of the heads",
    "from heads": "the channels of the heads", "shuffled": "the shuffled channels",
    "from shuffled": "the shuffled channels",
}  # fmt: skip


def _copies(role: str, old: int, new: int, size: int) -> np.ndarray:
    if role in ("out", "in"):
        return spread(old, new)
    if old % size or new % size:
        raise UserError(f"{_CALLED[role]}, {old} and {new}, must be multiples of {size}")
    return (_by_block if "heads" in role else _shuffled)(old, new, size)


def _padded(array: np.ndarray, axis: int, new: int) -> np.ndarray:
    margin = new - array.shape[axis]
    if margin % 2:
        raise UserError(f"a kernel of {array.shape[axis]} has no place in the middle of {new}")
    widths = [(0, 0)] * array.ndim
    widths[axis] = (margin // 2, margin // 2)
    return np.pad(array, widths)


def roles_of(module: Any) -> dict[tuple, Roles]:
    """Returns the roles of all arrays of a narrow module, by their paths."""
    found: dict[tuple, Roles] = {}
    for path, part in _parts(module):
        for name, value in vars(part).items():
            if isinstance(value, nnx.Variable) and hasattr(value[...], "shape"):
                found.setdefault((*path, name), _plain(part, name, value[...].ndim))
        if isinstance(part, Attention):
            size = part.head_size
            found[(*path, "kernel")] = Roles(("in", "same", "heads"), size)
            found[(*path, "bias")] = Roles(("same", "heads"), size)
            found[(*path, "out", "kernel")] = Roles(("from heads", "out"), size)
        if isinstance(part, MBConv) and part.groups > 1:
            found.update(_behind_shuffle(path, part))
    return found


def _plain(part: Any, name: str, rank: int) -> Roles:
    if isinstance(part, Patches) and name == "positions":
        return Roles(("same", "out"))
    return Roles(
        {
            0: (),
            1: ("out",),
            2: ("in", "out"),
            3: ("space", "space", "out"),
            4: ("space", "space", "in", "out"),
        }[rank]
    )


def _behind_shuffle(path: tuple, block: MBConv) -> Iterator[tuple[tuple, Roles]]:
    """Yields the roles that differ in a block whose channels are shuffled after its first product.

    The shuffle leaves neighbours that come from different groups, and the last product reads the
    shuffled channels group by group.
    """
    groups = block.groups
    one = Roles(("shuffled",), groups)
    for name in ("scale", "bias", "mean", "var"):
        yield (*path, "depthwise", "norm", name), one
    yield (*path, "depthwise", "kernel"), Roles(("space", "space", "shuffled"), groups)
    last = Roles(("space", "space", "from shuffled", "out"), groups)
    yield (*path, "project", "kernel"), last
    if block.excite is not None:
        yield (*path, "excite", "reduce", "kernel"), Roles(("from shuffled", "out"), groups)
        yield (*path, "excite", "expand", "kernel"), Roles(("in", "shuffled"), groups)
        yield (*path, "excite", "expand", "bias"), one


_SETTINGS = ("residual", "stride", "groups", "activation", "dilation", "skip", "head_size", "token")
"""What two parts must have in common beside their arrays, by the names of their attributes."""


def check_parts(module: Any, wider: Any) -> None:
    """Refuses a wider module that computes something else, whatever its arrays are.

    A normalisation over the channels of a token sees the same mean and variance only where all
    channels are repeated equally often.

    Args:
      module: a part of the narrow network.
      wider: the same part of the wide one.

    Raises:
      UserError: when a part is of another kind, or a setting such as the stride differs.
    """
    others = dict(_parts(wider))
    for path, part in _parts(module):
        other = others.get(path)
        where = ".".join(map(str, path)) or "it"
        if type(part) is not type(other):
            there = "nothing" if other is None else type(other).__name__
            raise UserError(f"{where} is {type(part).__name__} in one and {there} in the other")
        for name in _SETTINGS:
            one, two = getattr(part, name, None), getattr(other, name, None)
            if isinstance(one, bool | int | str | None) and one != two:
                raise UserError(f"{where} has {name} = {one} in one and {two} in the other")
        if isinstance(part, FewBits) and 1 < getattr(part, "weight_bits", FULL) < FULL:
            raise UserError(
                "weights of few bits are rounded to steps, and the shares of a weight to others"
            )
        if isinstance(part, LayerNorm) and isinstance(other, LayerNorm):
            old, new = part.scale.shape[0], other.scale.shape[0]
            if new % old:
                raise UserError(
                    f"a transformer of {old} channels can grow to a multiple of them, not to "
                    f"{new}: each token is normalised over its channels, which must all be "
                    "repeated equally often"
                )


def _parts(module: Any) -> Iterator[tuple[tuple, Any]]:
    """Yields every module inside a module with its path, itself included."""
    return ((path, part) for path, part in nnx.iter_graph(module) if isinstance(part, nnx.Module))
