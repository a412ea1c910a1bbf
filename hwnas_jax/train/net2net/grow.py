"""From a trained network to a larger one of the same family.

Legend: `D` decisions.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract, weight_rngs
from hwnas_jax.spaces.base import Space
from hwnas_jax.train.net2net.blocks import pairs_of, stages_of
from hwnas_jax.train.net2net.identity import pass_on
from hwnas_jax.train.net2net.widen import check_parts, roles_of, widened

_EXAMPLES = 2
_TOLERANCE = 1e-4
"""Largest difference of outputs, as a share of the largest output, that is taken for rounding."""


@dataclasses.dataclass(frozen=True)
class Grown:
    """A network that took the weights of another.

    Attributes:
      network: in evaluation mode.
      taken: share of the other network's weights that it took, in [0, 1].
      differs: what keeps it from computing the same; None where it computes what the other did.
    """

    network: nnx.Module
    taken: float
    differs: str | None


def grow(
    network: nnx.Module,
    space: Space,
    architecture: np.ndarray,
    larger: Space,
    larger_architecture: np.ndarray,
    *,
    seed: int = 0,
) -> nnx.Module:
    """Returns a larger network that computes what a trained one computes, in evaluation mode.

    It may have more channels, wider blocks, larger kernels, and more layers or cells. What it
    computes is compared with the other on random inputs.

    Args:
      network: the trained network.
      space: what it was built in.
      architecture: its options, `int32[D]`.
      larger: a space of the same family, with the same inputs and outputs.
      larger_architecture: `int32[D]` of that space.
      seed: of the shares of copies, and of the weights of new blocks.

    Raises:
      UserError: for another family or other shapes, a network that is smaller somewhere, and where
        the outputs cannot stay what they are; says why.
    """
    found = recycle(network, space, architecture, larger, larger_architecture, seed=seed)
    if found.differs is not None:
        raise UserError(
            f"{larger.to_string(larger_architecture)} cannot compute what "
            f"{space.to_string(architecture)} computes: {found.differs}"
        )
    return found.network


def check_family(space: Space, other: Space, where: str) -> None:
    """Refuses a network of another family or shape.

    Args:
      space: of the trained network.
      other: of the network that is to take its weights.
      where: what was given, for the message.

    Raises:
      UserError: names both, and what may differ.
    """
    shapes = [(each.input_shape, each.output_shape) for each in (space, other)]
    if space.name != other.name or shapes[0] != shapes[1]:
        said = [
            f"{each.name} with inputs {each.input_shape} and outputs {each.output_shape}"
            for each in (space, other)
        ]
        raise UserError(
            f"{where}: a network of {said[0]} cannot become one of {said[1]}; the search space "
            "must have the same name, inputs and outputs, and only its options may differ"
        )


def recycle(
    network: nnx.Module,
    space: Space,
    architecture: np.ndarray,
    other: Space,
    other_architecture: np.ndarray,
    *,
    seed: int = 0,
) -> Grown:
    """Returns a network that took from a trained one whatever has a place in it.

    The arguments are those of `grow`. Blocks that chose another operation keep the weights that
    they were drawn with.

    Raises:
      UserError: for another family or other shapes.
    """
    check_family(space, other, "a trained network")
    graph, shapes = abstract(lambda rngs: nnx.split(other.network(other_architecture, rngs)))
    target: Any = nnx.merge(graph, shapes)
    pairs, reasons = _pairs(space, architecture, other, other_architecture)
    given, own, roles = _arrays(network), _arrays(target), roles_of(network)
    random = np.random.default_rng(seed)
    new: dict[tuple, jax.Array] = {}
    used: set[tuple] = set()
    added = [place for place, origin in pairs.items() if origin is None]
    for place, paths in _by_place(own, pairs).items():
        origin = pairs.get(place, place)
        if origin is None:
            continue
        if not any(path[: len(origin)] == origin for path in given):
            added.append(place)  # it stands where there was a block without weights
            continue
        try:
            check_parts(_at(network, origin), _at(target, place))
            moved, taken = _moved(place, origin, paths, given, own, roles, random)
        except UserError as error:
            reasons.append(f"{_shown(place)}: {error}")
            continue
        new |= moved
        used |= taken
    target = _filled(other, other_architecture, graph, shapes, new, seed)
    for place in added:
        try:
            pass_on(_at(target, place))
        except UserError as error:
            reasons.append(f"{_shown(place)}: {error}")
    left = given.keys() - used
    if left and not reasons:
        reasons.append(f"{_shown(min(left, key=str))} of the trained network has no place")
    share = sum(given[path].size for path in used) / max(1, sum(v.size for v in given.values()))
    differs = reasons[0] if reasons else _difference(network, target, space.input_shape)
    return Grown(target, share, differs)


def _filled(
    space: Space, architecture: np.ndarray, graph: Any, shapes: Any, arrays: dict, seed: int
) -> Any:
    """Returns a network with given arrays and random ones beside them, in evaluation mode."""

    def draw(key):
        return nnx.split(space.network(architecture, weight_rngs(key)))[1]

    whole = all(path in arrays for path, _ in nnx.to_flat_state(shapes))
    state = shapes if whole else jax.jit(draw)(jax.random.key(seed))
    flat = [
        (path, value.replace(arrays[path]) if path in arrays else value)
        for path, value in nnx.to_flat_state(state)
    ]
    network = nnx.merge(graph, nnx.from_flat_state(flat))
    network.eval()
    return network


def _pairs(
    space: Space, architecture: np.ndarray, other: Space, other_architecture: np.ndarray
) -> tuple[dict[tuple, tuple | None], list[str]]:
    """Returns for each block of the other network which one it stands for, and what has no place.

    A new block stands for none.
    """
    reasons: list[str] = []
    found: dict[tuple, tuple | None] = {}
    theirs, ours = stages_of(space, architecture), stages_of(other, other_architecture)
    if len(theirs) != len(ours):
        reasons.append(f"one has {len(theirs)} stages of blocks and the other {len(ours)}")
    for number, (old, new) in enumerate(zip(theirs, ours, strict=False), 1):
        paired, left = pairs_of(old, new)
        if left:
            reasons.append(f"{left} of the {len(old)} blocks of stage {number} have no place")
        found |= {block.path: None if one is None else one.path for one, block in paired}
    return found, reasons


def _by_place(arrays: dict[tuple, Any], pairs: dict[tuple, Any]) -> dict[tuple, list[tuple]]:
    """Returns the paths of a network's arrays, those of a block together, by the block's path."""
    lengths = sorted({len(path) for path in pairs}, reverse=True)
    found: dict[tuple, list[tuple]] = {}
    for path in arrays:
        places = (path[:length] for length in lengths if path[:length] in pairs)
        found.setdefault(next(places, path[:1]), []).append(path)
    return found


def _moved(
    place: tuple, origin: tuple, paths: list[tuple], given: dict, own: dict, roles: dict,
    random: np.random.Generator,
) -> tuple[dict[tuple, jax.Array], set[tuple]]:  # fmt: skip
    """Returns the arrays of one part of a network, grown from those of the part it stands for.

    Raises:
      UserError: when one of them does not fit; then none is taken.
    """
    moved, taken = {}, set()
    for path in paths:
        source = (*origin, *path[len(place) :])
        if source not in given:
            raise UserError(f"{_shown(path)} has no counterpart in the trained network")
        try:
            grown = widened(np.asarray(given[source]), own[path].shape, roles[source], random)
        except UserError as error:
            raise UserError(f"{_shown(path)}: {error}") from error
        moved[path] = jnp.asarray(grown, own[path].dtype)
        taken.add(source)
    return moved, taken


def _arrays(network: nnx.Module) -> dict[tuple, jax.Array]:
    state = nnx.state(network, nnx.Any(nnx.Param, nnx.BatchStat))
    return {path: value.get_value() for path, value in nnx.to_flat_state(state)}


def _at(module: Any, path: tuple) -> Any:
    return functools.reduce(_inner, path, module)


def _inner(module: Any, key: str | int) -> Any:
    return module[key] if isinstance(key, int) else getattr(module, key)


def _shown(path: tuple) -> str:
    return ".".join(map(str, path))


def _difference(network: Any, other: Any, input_shape: tuple[int, ...]) -> str | None:
    """Returns how far outputs differ on random inputs; None where by rounding alone."""
    inputs = np.random.default_rng(0).normal(size=(_EXAMPLES, *input_shape)).astype(np.float32)
    outputs = []
    for each in (network, other):
        graph, state = nnx.split(each)
        run = jax.jit(lambda state, graph=graph: nnx.merge(graph, state)(inputs))
        outputs.append(np.asarray(run(state)))
    largest = max(float(np.abs(outputs[0]).max()), 1e-6)
    differs = float(np.abs(outputs[0] - outputs[1]).max()) / largest
    if differs <= _TOLERANCE:
        return None
    return f"its outputs differ by {differs:.1e} of the largest"
