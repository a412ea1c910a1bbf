"""Many searches in one compiled program: a member for every target and seed.

Legend: `M` members, `S` seeds, `D` decisions, `K` options of the widest decision.

Members are spread over the devices, each whole on one (`Members` of `hwnas_jax.parallel`). Those
that share a device run one after another ("map") or batched ("batch"). Batching turns
convolutions into grouped ones and runs every branch of a switch, which costs a CPU far more than
it saves.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.files.typed import safe_name
from hwnas_jax.parallel.base import Experiment, Resident, steps_per_dispatch
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.runs.gradient_search import (
    batches_of,
    halves_of,
    log_values,
    make_dispatch,
    search_functions,
)
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.search.gradient import Methods, SearchInfo, SearchState
from hwnas_jax.search.methods import make_methods
from hwnas_jax.search.refine import Refinement
from hwnas_jax.spaces.base import Space
from hwnas_jax.tasks import make_task


@dataclasses.dataclass(frozen=True)
class Member:
    """One search of a population.

    Attributes:
      target: the budget.
      seed: as `Config.seed` of a search on its own.
      label: unique, names it in files and messages.
    """

    target: Target
    seed: int
    label: str


class PopulationState(NamedTuple):
    """What is carried and checkpointed; every leaf has a leading axis of `M`.

    Attributes:
      search: the members' states, their limits among them.
      seed: `int32[M]`, each member's place among the distinct seeds.
    """

    search: SearchState
    seed: jax.Array

    @property
    def key(self) -> jax.Array:
        """The members' keys."""
        return self.search.key


class Population(NamedTuple):
    """Many searches as functions.

    Attributes:
      init: `() -> SearchState` of every seed; its leaves have a leading axis of `S`.
      spread: `SearchState -> PopulationState`: every member starts as its seed stands, under its
        own limits.
      resident: `() -> dict` of what stays on the devices, the halves of every seed among it.
      dispatch: `(state, data) -> (state, SearchInfo)`, for any number of members; the leaves of
        the info are `float32[M, length]`.
    """

    init: Callable[[], SearchState]
    spread: Callable[[SearchState], PopulationState]
    resident: Callable[[], dict[str, Any]]
    dispatch: Callable[[PopulationState, Any], tuple[PopulationState, SearchInfo]]


def make_members(targets: Sequence[Target], seeds: Sequence[int]) -> tuple[Member, ...]:
    """Returns a member for every target and seed, labelled by budget ("0.1234ms-seed1").

    Raises:
      UserError: when there is none, or two are the same to four digits.
    """
    if not targets or not seeds:
        raise UserError("a sweep needs at least one target and one seed")
    members = tuple(
        Member(target, seed, safe_name(f"{target.value:.4g}{unit(target.metric)}-seed{seed}"))
        for target in targets
        for seed in seeds
    )
    labels = [member.label for member in members]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(f"a sweep needs distinct searches; given more than once: {twice}")
    return members


def resolve_within(within: str) -> str:
    """Returns "map" or "batch"; "auto" is what is faster on the default backend."""
    if within != "auto":
        return within
    return "map" if jax.default_backend() == "cpu" else "batch"


def make_population(
    methods: Methods,
    dataset: Dataset,
    members: Sequence[Member],
    config: Config,
    *,
    length: int,
    within: str,
) -> Population:
    """Builds the functions of a population; its targets and seeds are data, not code.

    Args:
      methods: of every search.
      dataset: its training examples are halved by every seed.
      members: all with the same metrics and confidence.
      config: `search`, `target` and `data` are read.
      length: steps per dispatch.
      within: "map" or "batch".

    Raises:
      ValueError: when the metrics or confidences differ.
    """
    kinds = {member.target._replace(value=0.0) for member in members}
    if len(kinds) != 1:
        raise ValueError(f"members must have one metric and confidence, got {sorted(kinds)}")
    seeds = sorted({member.seed for member in members})
    search = search_functions(methods, members[0].target, config)
    batches = batches_of(dataset, dataclasses.replace(config, seed=seeds[0]), length)
    run = make_dispatch(search, batches, axis_name=None)

    def init() -> SearchState:
        limits = members[0].target.limits
        # Mapped, never batched: the generator of the weights draws others under vmap.
        return jax.lax.map(
            lambda key: search.init(key, limits),
            jnp.stack([jax.random.key(seed) for seed in seeds]),
        )

    def spread(states: SearchState) -> PopulationState:
        rows = np.array([seeds.index(member.seed) for member in members], np.int32)
        own = jax.tree.map(lambda leaf: leaf[rows], states)
        limits = {
            metric: jnp.asarray([m.target.limits[metric] for m in members], jnp.float32)
            for metric in members[0].target.limits
        }
        return PopulationState(
            own._replace(budget=own.budget._replace(limits=limits)), jnp.asarray(rows)
        )

    def resident() -> dict[str, Any]:
        halves = [halves_of(dataset, dataclasses.replace(config, seed=seed)) for seed in seeds]
        rows = {half: np.stack([own[half] for own in halves]) for half in halves[0]}
        return {**batches.resident(), "rows": rows}

    def advance(member: PopulationState, data: Any) -> tuple[PopulationState, SearchInfo]:
        rows = {half: every[member.seed] for half, every in data["rows"].items()}
        state, info = run(member.search, {**data, "rows": rows})
        return member._replace(search=state), info

    def dispatch(state: PopulationState, data: Any) -> tuple[PopulationState, SearchInfo]:
        chex.assert_equal_shape([state.seed, state.search.step])
        if within == "map":
            return jax.lax.map(lambda member: advance(member, data), state)
        # All are at the same step: as one number it keeps the choice between warm-up and
        # architecture step a choice, where a batch of steps would run both.
        step = state.search.step[0]
        return jax.vmap(
            lambda member: advance(member._replace(search=member.search._replace(step=step)), data)
        )(state)

    return Population(init, spread, resident, dispatch)


def search_population(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
    *,
    folder: Path | None = None,
    from_step: int | None = None,
    begin: Callable[[SearchState, Sequence[int]], SearchState] | None = None,
    progress: Progress = quiet,
) -> list[SearchState]:
    """Runs every member to the end, each as `search_architecture` on one device would.

    Up to the first architecture step the target changes nothing, so the members of one seed share
    the warm-up and branch after it (`sweep.share_warmup`).

    Args:
      space: the search space.
      dataset: as in `search_architecture`.
      cost_model: predicts the metrics of the targets.
      members: from `make_members`.
      config: the experiment; `parallel.backend` and `sweep` are read beside what
        `search_architecture` reads.
      folder: takes `checkpoints/warmup/`, `checkpoints/search/` and `metrics.jsonl`, where each
        line names its `member`; existing checkpoints are continued, on any number of devices.
        With `target.measurements`, as in `search_architecture`: one model serves all members.
      from_step: the checkpoint to continue from; None takes the newest.
      begin: changes the states that searches begin with, one for each of the seeds it is given,
        such as `WarmStart.into`.
      progress: reports steps done.

    Returns:
      The final state of each member.

    Raises:
      UserError: for too few devices, a damaged checkpoint, a loss that is not finite.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    settings = config.search
    kept = [] if folder is None else (folder / "checkpoints" / "search").glob("*")
    start = settings.warmup_steps if config.sweep.share_warmup else 0
    # What is left of a stopped warm-up is only of use before the search has a checkpoint.
    warming = bool(start) and not any(path.name.isdigit() for path in kept)
    length = steps_per_dispatch(settings.steps - start, settings.steps_per_dispatch)
    methods = make_methods(space, make_task(config.task, dataset), config)
    prior = methods.prior()
    refinement = Refinement(
        space, cost_model, [member.target for member in members], config,
        range(start, settings.steps, length), folder=folder, progress=progress,
    )  # fmt: skip

    def inputs(step, read_state):
        def probabilities():
            params = read_state().search.params
            every = [jax.tree.map(lambda leaf: leaf[i], params) for i in range(len(members))]  # noqa: B023
            return np.stack([methods.probabilities(own) for own in every])

        return {"cost_model": refinement.at(step, probabilities, prior)}

    def run(
        members: Sequence[Member], stage: str, seeds: SearchState | None, start: int, end: int
    ) -> PopulationState:
        """Runs `members` from step `start`, where the seeds stand as given, to `end`."""
        length = steps_per_dispatch(end - start, settings.steps_per_dispatch)
        place = Members.over(len(members), config.sweep.devices, config.parallel.backend)
        population = make_population(
            methods, dataset, members, config,
            length=length, within=resolve_within(config.sweep.within),
        )  # fmt: skip

        def first_states() -> SearchState:
            states = population.init()
            own = sorted({member.seed for member in members})
            return states if begin is None else begin(states, own)

        def parts(tree: Any) -> dict[str, Any]:
            return {
                member.label: jax.tree.map(lambda leaf: leaf[number], tree)  # noqa: B023
                for number, member in enumerate(members)
            }

        def extra(part: PopulationState) -> dict[str, Any]:
            limit = float(part.search.budget.limits[members[0].target.metric])
            target = members[0].target._replace(value=limit)
            return log_values(space, refinement.model, target, methods, config, part.search, length)

        experiment = Experiment(
            name=stage,
            describe=f"{stage} of {len(members)} on {dataset.name}",
            init=lambda: population.spread(first_states() if seeds is None else seeds),
            dispatch=population.dispatch,
            data=Resident(population.resident()),
            total=end,
            per_dispatch=length,
            start=start,
            checkpoint_every=settings.checkpoint_every,
            log={"stage": stage},
            parts=parts,
            extra=extra,
            inputs=inputs,
        )
        return run_experiment(
            experiment, place, folder=folder,
            from_step=from_step if (stage == "warmup") == warming else None, progress=progress,
        )  # fmt: skip

    warm = None
    if warming:
        first = {member.seed: member for member in reversed(members)}
        leaders = [first[seed] for seed in sorted(first)]
        warm = run(leaders, "warmup", None, 0, start).search
    final = run(members, "search", warm, start, settings.steps).search
    return [jax.tree.map(lambda leaf: leaf[i], final) for i in range(len(members))]  # noqa: B023
