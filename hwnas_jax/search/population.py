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

from hwnas_jax.config import Config
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.runs.checkpoint import Checkpoints
from hwnas_jax.runs.loop import MetricsLog, run_steps, steps_per_dispatch
from hwnas_jax.search.bilevel import Search, SearchInfo, SearchState, make_search
from hwnas_jax.search.objective import Target
from hwnas_jax.search.refine import Refinement
from hwnas_jax.search.stage import device_data, log_values, make_dispatch, model_input
from hwnas_jax.spaces.base import Space


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
      search: the members' states.
      target: `float32[M]`, the budgets.
      seed: `int32[M]`, each member's place among the distinct seeds.
    """

    search: SearchState
    target: jax.Array
    seed: jax.Array


class Population(NamedTuple):
    """Many searches as functions.

    Attributes:
      init: `() -> SearchState` of every seed; its leaves have a leading axis of `S`.
      spread: `SearchState -> PopulationState`: every member starts as its seed stands.
      data: `() -> dict` of what stays on the devices: the arrays of `device_data`, the halves
        `int32[S, N / 2]` of every seed.
      dispatch: `(state, data) -> (state, SearchInfo)`, for any number of members; the leaves of
        the info are `float32[M, length]`.
    """

    init: Callable[[], SearchState]
    spread: Callable[[SearchState], PopulationState]
    data: Callable[[], dict[str, np.ndarray]]
    dispatch: Callable[[PopulationState, Any], tuple[PopulationState, SearchInfo]]


def make_members(targets: Sequence[Target], seeds: Sequence[int]) -> tuple[Member, ...]:
    """Returns a member for every target and seed, labelled by budget ("0.1234ms-seed1").

    Raises:
      UserError: when there is none, or two are the same to four digits.
    """
    if not targets or not seeds:
        raise UserError("a sweep needs at least one target and one seed")
    members = tuple(
        Member(target, seed, f"{target.value:.4g}{target.metric.rpartition('_')[2]}-seed{seed}")
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
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
    *,
    length: int,
    within: str,
) -> Population:
    """Builds the functions of a population; its targets and seeds are data, not code.

    Args:
      space: what is searched.
      dataset: its training images are halved by every seed.
      cost_model: predicts the metric of the targets.
      members: all with the same metric and confidence.
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

    def search_for(target: Any) -> Search:
        budget = members[0].target._replace(value=target)
        return make_search(space, cost_model, budget, config.search, config.target)

    def init() -> SearchState:
        search = search_for(members[0].target.value)
        # Mapped, never batched: the generator of the weights draws others under vmap.
        return jax.lax.map(search.init, jnp.stack([jax.random.key(seed) for seed in seeds]))

    def spread(states: SearchState) -> PopulationState:
        rows = np.array([seeds.index(member.seed) for member in members], np.int32)
        return PopulationState(
            search=jax.tree.map(lambda leaf: leaf[rows], states),
            target=jnp.asarray([member.target.value for member in members], jnp.float32),
            seed=jnp.asarray(rows),
        )

    def data() -> dict[str, np.ndarray]:
        every = [device_data(dataset, dataclasses.replace(config, seed=seed)) for seed in seeds]
        halves = {
            half: np.stack([arrays[half] for arrays in every])
            for half in ("weight_half", "arch_half")
        }
        return {**every[0], **halves}

    def advance(member: PopulationState, data: Any) -> tuple[PopulationState, SearchInfo]:
        halves = {half: data[half][member.seed] for half in ("weight_half", "arch_half")}
        run = make_dispatch(search_for(member.target), dataset, config, length, axis_name=None)
        state, info = run(member.search, {**data, **halves})
        return member._replace(search=state), info

    def dispatch(state: PopulationState, data: Any) -> tuple[PopulationState, SearchInfo]:
        chex.assert_equal_shape([state.target, state.seed, state.search.step])
        if within == "map":
            return jax.lax.map(lambda member: advance(member, data), state)
        # All are at the same step: as one number it keeps the choice between warm-up and
        # architecture step a choice, where a batch of them would run both.
        step = state.search.step[0]
        return jax.vmap(
            lambda member: advance(member._replace(search=member.search._replace(step=step)), data)
        )(state)

    return Population(init, spread, data, dispatch)


def search_population(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
    *,
    folder: Path | None = None,
    from_step: int | None = None,
    progress: Progress = quiet,
) -> list[SearchState]:
    """Runs every member to the end, each as `search_architecture` on one device would.

    Up to the first architecture step the target changes nothing, so the members of one seed share
    the warm-up and branch after it (`sweep.share_warmup`).

    Args:
      space: the search space.
      dataset: as in `search_architecture`.
      cost_model: predicts the metric of the targets.
      members: from `make_members`.
      config: the experiment; `search`, `target`, `data`, `parallel.backend` and `sweep` are read.
      folder: takes `checkpoints/warmup/`, `checkpoints/search/` and `metrics.jsonl`, where each
        line names its `member`; existing checkpoints are continued, on any number of devices.
        With `target.measurements`, as in `search_architecture`: one model serves all members.
      from_step: the checkpoint to continue from; None takes the newest.
      progress: reports steps done.

    Returns:
      The final state of each member.

    Raises:
      UserError: for too few devices, a damaged checkpoint, a loss not finite.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    settings = config.search
    kept = [] if folder is None else (folder / "checkpoints" / "search").glob("*")
    start = settings.warmup_steps if config.sweep.share_warmup else 0
    # What is left of a stopped warm-up is only of use before the search has a checkpoint.
    warming = bool(start) and not any(path.name.isdigit() for path in kept)
    length = steps_per_dispatch(settings.steps - start, settings.steps_per_dispatch)
    refinement = Refinement(
        space, cost_model, [member.target for member in members], config,
        range(start, settings.steps, length), folder=folder, progress=progress,
    )  # fmt: skip

    def run(
        members: Sequence[Member], stage: str, seeds: SearchState | None, start: int, end: int
    ) -> PopulationState:
        """Runs `members` from step `start`, where the seeds stand as given, to `end`."""
        length = steps_per_dispatch(end - start, settings.steps_per_dispatch)
        devices = Members.over(len(members), config.sweep.devices, config.parallel.backend)
        population = make_population(
            space, dataset, cost_model, members, config,
            length=length, within=resolve_within(config.sweep.within),
        )  # fmt: skip
        checkpoints = log = None
        if folder is not None:
            checkpoints = Checkpoints(folder / "checkpoints" / stage)
            log = MetricsLog(folder / "metrics.jsonl", stage=stage)

        def parts(tree: Any) -> dict[str, Any]:
            return {
                member.label: jax.tree.map(lambda leaf: leaf[number], tree)  # noqa: B023
                for number, member in enumerate(members)
            }

        def extra(part: PopulationState) -> dict[str, Any]:
            target = members[0].target._replace(value=float(part.target))
            return log_values(space, refinement.model, target, settings, part.search)

        try:
            return run_steps(
                devices.compile(population.dispatch),
                population.spread(population.init() if seeds is None else seeds),
                devices.share(population.data()),
                total=end, per_dispatch=length, replicas=devices,
                describe=f"{stage} of {len(members)} on {dataset.name}", checkpoints=checkpoints,
                checkpoint_every=settings.checkpoint_every,
                from_step=from_step if (stage == "warmup") == warming else None,
                log=log, extra=extra, parts=parts, start=start, progress=progress,
                prepare=model_input(refinement, devices, lambda state: state.search.logits),
            )  # fmt: skip
        finally:
            if checkpoints is not None:
                checkpoints.close()

    warm = None
    if warming:
        first = {member.seed: member for member in reversed(members)}
        leaders = [first[seed] for seed in sorted(first)]
        warm = run(leaders, "warmup", None, 0, start).search
    final = run(members, "search", warm, start, settings.steps).search
    return [jax.tree.map(lambda leaf: leaf[i], final) for i in range(len(members))]  # noqa: B023
