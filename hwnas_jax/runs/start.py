"""A finished run as the start of another that asks and tells.

The networks that the finished run finds best take the place of those that a strategy would draw at
random to begin with, and its supernet judges, so that none is trained again.

Legend: `M` searches, `n` networks, `D` decisions, `P` weights of the supernet.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hwnas_jax.config import Config, override
from hwnas_jax.cost.files.readers.table_checks import check_options
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.errors import UserError
from hwnas_jax.files.npz import Array, read_npz, write_npz
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found, check_weights
from hwnas_jax.runs.given import Architecture, as_architectures
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.runs.population import Member
from hwnas_jax.runs.proposals import Proposals
from hwnas_jax.search.blockwise import BLOCKWISE
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.strategies import GRADIENT, STRATEGIES, Strategy
from hwnas_jax.spaces.base import Space

FILE = "start.npz"

_ARRAYS = {
    "networks": Array("whole", ("M", "n", "D"), 0),
    "weights": Array("float", ("M", "P"), optional=True),
}


class Start(NamedTuple):
    """What searches begin with.

    Attributes:
      networks: `int32[M, n, D]`, of each search the best first.
      weights: `float32[M, P]`, of the supernet that judges; None where none does.
    """

    networks: np.ndarray
    weights: np.ndarray | None

    def save(self, folder: Path) -> None:
        """Writes the file into a run folder, so that the run no longer needs the other."""
        arrays = {name: value for name, value in self._asdict().items() if value is not None}
        write_npz(folder / FILE, arrays, compressed=False)

    @classmethod
    def load(cls, folder: Path, space: Space, searches: int) -> "Start | None":
        """Returns what `save` wrote; None where there is no such file.

        Args:
          folder: the run folder.
          space: what is searched.
          searches: how many searches there are.

        Raises:
          UserError: when the file is damaged, or of another space or number of searches.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            saved = read_npz(path, _ARRAYS, sizes={"M": searches, "D": space.num_decisions})
            check_options(space, saved["networks"].reshape(-1, space.num_decisions))
            if "weights" in saved:
                check_weights(space, saved["weights"])
        except UserError as error:
            raise UserError(f"{path} cannot be used: {error}") from error
        return cls(saved["networks"], saved.get("weights"))


def check_start(config: Config, space: Space) -> None:
    """Refuses a start that the searches of a config cannot use.

    Args:
      config: `search.start_from` names the run.
      space: what is searched.

    Raises:
      UserError: when the strategy takes no start, or the run is not finished, of another space, or
        of other data although its supernet is to judge.
    """
    if config.search.start_from is None:
        return
    _check_strategy(config, "the networks of another run (search.start_from)")
    run = RunParts.open(Path(config.search.start_from))
    given = run.for_search
    if given.space.spec != space.spec:
        raise UserError(
            f"search.start_from: {run.folder} searched {given.space.spec}, this run searches "
            f"{space.spec}"
        )
    found = Found.load(run.folder, space, len(run.members))
    judges = EVALUATORS.make(config.search.evaluator).needs_weights and found.weights is not None
    learned, own = given.config, config
    if judges and (learned.data, learned.task) != (own.data, own.task):
        raise UserError(
            f"search.start_from: the supernet of {run.folder} would judge, but it learned "
            f"{learned.task.name} from {learned.data.name}, and this run {own.task.name} from "
            f"{own.data.name}; task and all options of the data must be the same"
        )


def _check_strategy(config: Config, what: str) -> Strategy:
    """Returns the strategy of a config; UserError when it begins with nothing that is given."""
    part = config.search.strategy
    given = part.name in (GRADIENT, BLOCKWISE)
    strategy: Strategy | None = None if given else STRATEGIES.make(part)
    if strategy is None or not strategy.initial:
        able = [name for name in STRATEGIES if STRATEGIES.make(Part(name)).initial]
        raise UserError(
            f"search.strategy = {part.name!r} cannot begin with {what}; {', '.join(able)} can"
        )
    return strategy


def given_start(
    space: Space, architectures: Iterable[Architecture], config: Config, searches: int
) -> Start:
    """Returns the start of searches that begin with architectures given from Python.

    Args:
      space: what is searched.
      architectures: as `as_architectures` takes them, the best first. Every search begins with all
        of them; the strategy draws what it needs beyond them at random.
      config: `search` names the strategy.
      searches: how many searches there are.

    Raises:
      UserError: for what is no architecture of the space, one that is given twice, more than the
        strategy begins with, a strategy that takes no start, and where `search.start_from` names a
        start as well.
    """
    if config.search.start_from is not None:
        raise UserError(
            "give either start, the architectures to begin with, or search.start_from, the run "
            "whose networks to begin with"
        )
    strategy = _check_strategy(config, "given architectures (start)")
    networks = as_architectures(space, architectures)
    names = [space.to_string(row) for row in space.canonical(networks)]
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise UserError(f"start names the network {twice} twice")
    if len(networks) > strategy.initial:
        raise UserError(
            f"start has {len(networks)} architectures; search.strategy = {strategy.name!r} begins "
            f"with at most {strategy.initial}"
        )
    return Start(np.repeat(networks[None], searches, axis=0), None)


def start_of(
    space: Space,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
) -> Start:
    """Returns what the searches of a config begin with.

    Each begins with what a search of the same seed found, that with the nearest target among them.

    Args:
      space: what is searched.
      cost_model: predicts which networks keep the budget.
      members: the searches.
      config: `search.start_from` names the finished run.

    Raises:
      UserError: when a seed is missing there.
    """
    assert config.search.start_from is not None
    run = RunParts.open(Path(config.search.start_from))
    strategy: Strategy = STRATEGIES.make(config.search.strategy)
    found = Found.load(run.folder, space, len(run.members))
    proposals = Proposals(
        space,
        run.for_search.dataset,
        cost_model,
        override(config, derive__rule=Part("most_probable")),
        found,
    )
    numbers = [nearest_search(run, member) for member in members]
    best = [
        [c.architecture for c in proposals.of(number, member.target, member.seed)]
        for number, member in zip(numbers, members, strict=True)
    ]
    count = min(strategy.initial, *(len(networks) for networks in best))
    judges = EVALUATORS.make(config.search.evaluator).needs_weights
    return Start(
        networks=np.array([networks[:count] for networks in best], np.int32),
        weights=found.weights[numbers] if judges and found.weights is not None else None,
    )


def nearest_search(run: RunParts, member: Member) -> int:
    """Returns the number of the search that a search begins with."""
    same = [number for number, other in enumerate(run.members) if other.seed == member.seed]
    if not same:
        seeds = sorted({other.seed for other in run.members})
        raise UserError(
            f"search.start_from: {run.folder} has no search with seed {member.seed}; its seeds are "
            f"{', '.join(map(str, seeds))}"
        )
    return min(same, key=lambda n: abs(run.members[n].target.value - member.target.value))
