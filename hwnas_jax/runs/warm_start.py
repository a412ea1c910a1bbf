"""A gradient search that begins with the architecture and the weights of another, or a network.

A trained network gives its weights to the path that it is in the supernet, after it has grown to
the supernet's channels and cells. All other weights, and the architecture, begin as ever.

The other may have learned another task. Its supernet then has another head; all arrays of weights
that both supernets have are taken, and the others begin as they would without it.

Legend: `M` seeds, `P` weights of the supernet, `Q` numbers of a relaxation's parameters.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import Config
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.network_stages import NetworkStages
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.population import Member
from hwnas_jax.runs.recycling import known_network, opened
from hwnas_jax.runs.start import FILE, nearest_search
from hwnas_jax.search.gradient import Methods, SearchState
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.disinherit import disinherit
from hwnas_jax.spaces.core.supernet import Supernet, make_supernet
from hwnas_jax.tasks import Task
from hwnas_jax.train.net2net.grow import check_family, grow

_ARRAYS = {
    "seeds": Array("whole", ("M",), 0),
    "weights": Array("float", ("M", "P"), optional=True),
    "copied": Array("bool", ("P",), optional=True),
    "params": Array("float", ("M", "Q"), optional=True),
}


class WarmStart(NamedTuple):
    """What gradient searches begin with, in place of what they would draw.

    Attributes:
      seeds: `int32[M]`, of the searches, in rising order.
      weights: `float32[M, P]`; None leaves them as they are drawn.
      copied: `bool[P]`, which of them are taken.
      params: `float32[M, Q]`, the relaxation's parameters; None leaves all options even.
    """

    seeds: np.ndarray
    weights: np.ndarray | None
    copied: np.ndarray | None
    params: np.ndarray | None

    def save(self, folder: Path) -> None:
        """Writes the file into a run folder, so that the run no longer needs the other."""
        arrays = {name: value for name, value in self._asdict().items() if value is not None}
        write_npz(folder / FILE, arrays, compressed=False)

    @classmethod
    def load(cls, folder: Path, methods: Methods, seeds: Sequence[int]) -> "WarmStart | None":
        """Returns what `save` wrote; None where there is no such file.

        Args:
          folder: the run folder.
          methods: of the searches.
          seeds: of the searches, in rising order.

        Raises:
          UserError: when the file is damaged, or of another space, relaxation or other seeds.
        """
        path = folder / FILE
        if not path.exists():
            return None
        sizes = {
            "M": len(seeds),
            "P": methods.supernet.num_weights,
            "Q": num_params(methods.relaxation, methods.mask),
        }
        try:
            saved = read_npz(path, _ARRAYS, sizes=sizes)
            if saved["seeds"].tolist() != list(seeds):
                raise UserError(f"its seeds are {saved['seeds'].tolist()}, not {list(seeds)}")
            if ("weights" in saved) != ("copied" in saved):
                raise UserError("it must hold both weights and copied, or neither")
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        rest = (saved.get(name) for name in ("weights", "copied", "params"))
        return cls(saved["seeds"], *rest)

    def into(self, state: SearchState) -> SearchState:
        """Returns the first state of a single search with what it begins with."""
        begun = self._placed(
            state._replace(
                weights=state.weights[None], params=jax.tree.map(lambda p: p[None], state.params)
            ),
            [0],
        )
        return state._replace(
            weights=begun.weights[0], params=jax.tree.map(lambda p: p[0], begun.params)
        )

    def into_seeds(self, states: SearchState, seeds: Sequence[int]) -> SearchState:
        """Returns the first states of searches of some seeds, each with what it begins with.

        Args:
          states: with an axis for the seeds in front.
          seeds: in rising order.
        """
        return self._placed(states, [self.seeds.tolist().index(seed) for seed in seeds])

    def _placed(self, states: SearchState, rows: list[int]) -> SearchState:
        if self.weights is not None:
            own = jnp.asarray(self.weights[rows])
            weights = jnp.where(jnp.asarray(self.copied), own, states.weights)
            states = states._replace(weights=weights)
        if self.params is not None:
            back = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], states.params))[1]
            states = states._replace(params=jax.vmap(back)(jnp.asarray(self.params[rows])))
        return states


def num_params(relaxation: Any, mask: np.ndarray) -> int:
    """Returns `Q`."""
    shapes = jax.eval_shape(relaxation.init, jax.random.key(0), jnp.asarray(mask))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def check_warm_start(config: Config, space: Space) -> None:
    """Refuses a start that the gradient searches of a config cannot use.

    Args:
      config: `search.start_from` names the run.
      space: what is searched.

    Raises:
      UserError: when the run is not finished, is of another space, or has no weights or
        architecture parameters that fit.
    """
    wanted = config.search.start_with
    if wanted == "network":
        _check_network(config, space)
        return
    run = _opened(config)
    found = _found(run)
    theirs, ours = (
        {k: v for k, v in s.spec.items() if k not in _HEADS} for s in (run.for_search.space, space)
    )
    if theirs != ours:
        raise UserError(
            f"search.start_from: {run.folder} searched {theirs}, this run searches {ours}; only "
            "what networks put out may differ"
        )
    if wanted != "architecture" and found.weights is None:
        raise UserError(
            f"search.start_from: the search of {run.folder} left no weights; set "
            "search.start_with = architecture"
        )
    if wanted != "weights":
        if found.params is None:
            raise UserError(
                f"search.start_from: {run.folder} was searched by "
                f"{run.config.search.strategy.name!r}, which leaves no architecture parameters; "
                "set search.start_with = weights"
            )
        if run.config.search.relaxation != config.search.relaxation:
            raise UserError(
                f"search.start_from: {run.folder} has the architecture parameters of "
                f"{run.config.search.relaxation.label}, this run those of "
                f"{config.search.relaxation.label}; take the same search.relaxation, or set "
                "search.start_with = weights"
            )
    if wanted != "both" and make_supernet(space).scored:
        raise UserError(
            f"search.start_with = {wanted}: in {space.name} the weights score the options, so a "
            "search begins with both or with neither"
        )


def _check_network(config: Config, space: Space) -> None:
    """Refuses a run whose network cannot be a path of the supernet."""
    option = f"search.start_from = {config.search.start_from}"
    other = _finished(config)
    check_family(other.space, space, option)
    if make_supernet(space).scored:
        raise UserError(
            f"search.start_with = network: in {space.name} the weights score the options, so a "
            "network would decide the search; take search.start_with = both"
        )
    _path_of(other.space, other.space.from_names(other.network()["architecture"]), space, option)


def _path_of(known: Space, architecture: np.ndarray, space: Space, option: str) -> np.ndarray:
    """Returns the options of a network in another space of its family, `int32[D]`."""
    try:
        return space.from_names(known.to_names(architecture))
    except UserError as error:
        raise UserError(
            f"{option}: {known.to_string(architecture)} is no network of the space that is "
            f"searched: {error}"
        ) from error


def _of_network(config: Config, space: Space, methods: Methods) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of the path that a trained network is, `float32[P]`, and which they are.

    Raises:
      UserError: when the network cannot grow to the size of the supernet's networks.
    """
    known = known_network(_finished(config))
    option = f"search.start_from = {config.search.start_from}"
    path = _path_of(known.space, known.architecture, space, option)
    grown = grow(known.network, known.space, known.architecture, space, path)
    none = np.zeros(methods.supernet.num_weights, np.float32)
    return disinherit(space, path, grown, none)


def _finished(config: Config) -> NetworkStages:
    assert config.search.start_from is not None
    return opened(NetworkStages, config.search.start_from, "search.start_from")


_HEADS = ("num_outputs", "outputs")


def warm_start(
    space: Space, task: Task, members: Sequence[Member], config: Config, folder: Path
) -> WarmStart | None:
    """Returns what the gradient searches of a run begin with, and keeps it in the run's folder.

    Those of one seed begin alike: with what a search of that seed found, that with the nearest
    target to the first of them.

    Args:
      space: what is searched.
      task: what is learned.
      members: the searches.
      config: `search.start_from` names the finished run, `search.start_with` what is taken.
      folder: the run folder.

    Returns:
      None where the searches begin with nothing.

    Raises:
      UserError: when a seed is missing there, or the file of the run is damaged.
    """
    if config.search.start_from is None:
        return None
    first = {member.seed: member for member in reversed(members)}
    seeds = sorted(first)
    methods = make_methods(space, task, config)
    kept = WarmStart.load(folder, methods, seeds)
    if kept is not None:
        return kept
    wanted = config.search.start_with
    if wanted == "network":
        path, there = _of_network(config, space, methods)
        rows = np.repeat(path[None], len(seeds), axis=0)
        start = WarmStart(np.array(seeds, np.int32), rows, there, None)
        start.save(folder)
        return start
    run = _opened(config)
    found = _found(run)
    numbers = [nearest_search(run, first[seed]) for seed in seeds]
    weights = copied = params = None
    if wanted != "architecture" and found.weights is not None:
        weights, copied = _shared(
            make_supernet(run.for_search.space), methods.supernet, found.weights[numbers]
        )
    if wanted != "weights" and found.params is not None:
        params = found.params[numbers]
        wanted_size = num_params(methods.relaxation, methods.mask)
        if params.shape[1] != wanted_size:
            raise UserError(
                f"search.start_from: the search of {run.folder} left {params.shape[1]} "
                f"architecture parameters, and {wanted_size} are needed"
            )
    start = WarmStart(np.array(seeds, np.int32), weights, copied, params)
    start.save(folder)
    return start


def _shared(source: Supernet, own: Supernet, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights `float32[M, P]` of one supernet in the places of another, and which they are.

    Two arrays are the same where their names and their shapes are.
    """
    theirs = jax.eval_shape(
        source.unravel, jax.ShapeDtypeStruct((source.num_weights,), jnp.float32)
    )
    names = {path: leaf.shape for path, leaf in jax.tree.leaves_with_path(theirs)}

    def fits(path, leaf) -> bool:
        return names.get(path) == leaf.shape

    ours = own.unravel(jnp.zeros(own.num_weights))
    copied = jax.tree.map_with_path(lambda p, leaf: jnp.full(leaf.shape, fits(p, leaf)), ours)

    def placed(row: jax.Array) -> jax.Array:
        given = dict(jax.tree.leaves_with_path(source.unravel(row)))
        moved = jax.tree.map_with_path(lambda p, leaf: given[p] if fits(p, leaf) else leaf, ours)
        return ravel_pytree(moved)[0]

    rows = jnp.stack([placed(jnp.asarray(row)) for row in weights])
    return np.asarray(rows), np.asarray(ravel_pytree(copied)[0]).astype(bool)


def _opened(config: Config) -> RunParts:
    assert config.search.start_from is not None
    return RunParts.open(Path(config.search.start_from))


def _found(run: RunParts) -> Found:
    return Found.load(run.folder, run.for_search.space, len(run.members))
