"""A block-wise search as an experiment: from a teacher to the best networks within the budget.

Legend: `M` searches, `N` networks, `D` decisions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.budgets import BUDGETS, Budget
from hwnas_jax.config import Config, override
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.data import Dataset
from hwnas_jax.data.batches import Batches
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.parallel.base import Experiment, Resident, steps_per_dispatch
from hwnas_jax.parallel.progress import Progress, StopRequest
from hwnas_jax.parallel.replicas import Members
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.gradient_search import halves_of
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.runs.network_stages import NetworkStages
from hwnas_jax.runs.population import Member
from hwnas_jax.runs.retrain import train
from hwnas_jax.search.blockwise import BLOCKWISE
from hwnas_jax.search.blockwise.block_costs import Best, Combinations, Group, group_blocks
from hwnas_jax.search.blockwise.imitation import LOSSES
from hwnas_jax.search.blockwise.options import Blockwise, make_blockwise
from hwnas_jax.search.blockwise.rating import candidates_of, make_rating, part_choices
from hwnas_jax.search.blockwise.teacher import Teacher, block_shapes, check_teacher, teacher_of
from hwnas_jax.search.blockwise.training import PART, BlocksState, make_training
from hwnas_jax.search.evaluators.judging import deal
from hwnas_jax.spaces import from_spec
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.supernet import make_supernet

_WIDTHS = ("channels", "width")
"""Options of spaces that say how wide their networks are."""


def check_blockwise(config: Config, space: Space) -> None:
    """Refuses a block-wise search that cannot run, before anything is compiled.

    Args:
      config: the experiment.
      space: what is searched.

    Raises:
      UserError: for options out of range, a space that cannot be cut, a teacher that is not there
        or has no trained network, and a budget that is met from both sides.
    """
    options = make_blockwise(config.search.strategy)
    block_shapes(space)
    for number in range(len(space.cut_blocks)):
        part_choices(space, number)
    if options.rounds > 1:
        widened(space, options.widen)
    budget: Budget = BUDGETS.make(config.budget)
    if budget.both_sides:
        able = [name for name in BUDGETS if not BUDGETS[name].both_sides]
        raise UserError(
            f"budget = {budget.name!r} is met from both sides, and search.strategy = {BLOCKWISE!r} "
            f"finds the best network below upper limits; allowed are {', '.join(able)}"
        )
    run = NetworkStages.open(Path(options.teacher))
    if run.space.input_shape != space.input_shape:
        raise UserError(
            f"the teacher {options.teacher} reads examples of shape {run.space.input_shape}, and "
            f"{space.name} of this run {space.input_shape}; both must be the same"
        )
    if not run.finished("retrain"):
        raise UserError(
            f"the teacher {options.teacher} has no trained network yet; continue it with: "
            f"hwnas search --resume {options.teacher}"
        )
    architecture = run.space.from_names(run.network()["architecture"])
    network = abstract(lambda rngs: run.space.network(architecture, rngs))
    check_teacher(space, teacher_of(network, space.input_shape, options.teacher))


def widened(space: Space, factor: float) -> Space:
    """Returns the same space with wider networks.

    Raises:
      UserError: for a space without an option of width.
    """
    name = next((name for name in _WIDTHS if name in space.args), None)
    if name is None:
        raise UserError(
            f"search.strategy.args: rounds of {space.name} cannot be: the space has none of the "
            f"options {', '.join(_WIDTHS)}, by which the next teacher would be widened"
        )
    value = space.args[name] * factor
    args = {**space.args, name: round(value) if isinstance(space.args[name], int) else value}
    return from_spec({**space.spec, "args": args})


def search_by_blocks(
    space: Space,
    dataset: Dataset,
    cost_model: CostModel,
    members: Sequence[Member],
    config: Config,
    *,
    folder: Path | None = None,
    from_step: int | None = None,
    teacher: Teacher | None = None,
    display: Silent | None = None,
    progress: Progress,
) -> Found:
    """Trains the blocks, rates their candidates, and finds the best networks of every budget.

    The blocks are trained once for each seed, or once for each search where there are several
    rounds, since the next teacher then depends on the budget.

    Args:
      space: the search space.
      dataset: the blocks learn from one half of its training examples, and are rated on the other.
      cost_model: predicts the metrics of the targets.
      members: the searches.
      config: the experiment; `search`, `data` and `parallel` are read, and `retrain` where there
        are rounds.
      folder: takes `checkpoints/` and `metrics.jsonl`; existing checkpoints are continued.
      from_step: the checkpoint of the first training to continue from; None takes the newest.
      teacher: in place of that of the config's run.
      display: says what was found, and whether it is proved to be the best.
      progress: reports steps done.

    Raises:
      UserError: for a teacher that does not fit, or a budget that no combination of blocks meets.
      Interrupted: when a stop was asked for; the state is on disk.
    """
    options = make_blockwise(config.search.strategy)
    if teacher is None:
        trained = NetworkStages.open(Path(options.teacher)).trained().network
        teacher = teacher_of(trained, space.input_shape, options.teacher)
    check_teacher(space, teacher)
    say = (display or Silent()).say
    known: dict[str, list[Group]] = {}
    found: list[Best] = []

    def groups_of(taught: Teacher, name: str, own: Config) -> list[Group]:
        if name not in known:
            known[name] = rate_blocks(
                space, dataset, taught, options, own, name=name, folder=folder,
                from_step=from_step, progress=progress,
            )  # fmt: skip
        return known[name]

    for member in members:
        own, taught, name = override(config, seed=member.seed), teacher, f"blocks-seed{member.seed}"
        for number in range(1, options.rounds + 1):
            groups = groups_of(taught, name, own)
            best = Combinations(space, cost_model, member.target, groups, member.seed).best(
                options.networks
            )
            if number < options.rounds:
                label = member.label if len(members) > 1 else f"seed{member.seed}"
                say(f"round {number}: {space.to_string(best.networks[0])} becomes the teacher")
                taught = _next_teacher(
                    space, dataset, best, options, own, f"teacher{number}-{label}", folder, progress
                )
                name = f"blocks-{label}-round{number + 1}"
        say(f"{space.to_string(best.networks[0])}, summed loss {best.loss[0]:.4g}; {best.proof}")
        found.append(best)
    return _as_found(found)


def _next_teacher(
    space: Space, dataset: Dataset, best: Best, options: Blockwise, config: Config, label: str,
    folder: Path | None, progress: Progress,
) -> Teacher:  # fmt: skip
    """Returns the best network, widened and trained."""
    wide = widened(space, options.widen)
    trained = train(
        lambda rngs: wide.network(best.networks[0], rngs), dataset, config,
        label=label, seed=config.seed, folder=folder, progress=progress,
    )  # fmt: skip
    taught = teacher_of(trained.network, space.input_shape, label)
    check_teacher(space, taught)
    return taught


def _as_found(found: list[Best]) -> Found:
    """Returns what all searches found; a search that found less repeats its last network.

    The repetitions lie infinitely far over the budget, so that nobody takes them.
    """
    count = max(len(best.networks) for best in found)
    rows = [np.minimum(np.arange(count), len(best.networks) - 1) for best in found]
    beyond = [np.arange(count) >= len(best.networks) for best in found]
    return Found(
        networks=np.stack([best.networks[own] for best, own in zip(found, rows, strict=True)]),
        scores=np.stack([-best.loss[own] for best, own in zip(found, rows, strict=True)]).astype(
            np.float32
        ),
        excess=np.where(beyond, np.inf, 0.0).astype(np.float32),
    )


def rate_blocks(
    space: Space, dataset: Dataset, teacher: Teacher, options: Blockwise, config: Config, *,
    name: str = "blocks", folder: Path | None = None, from_step: int | None = None,
    progress: Progress,
) -> list[Group]:  # fmt: skip
    """Trains the blocks of a supernet by a teacher, and rates all of their candidates.

    Args:
      space: the search space.
      dataset: the data.
      teacher: what is imitated.
      options: of the search.
      config: the experiment; `seed`, `search`, `data` and `parallel` are read.
      name: of the training, for its checkpoints.
      folder: takes `checkpoints/<name>/` and `metrics.jsonl`.
      from_step: the checkpoint to continue from; None takes the newest.
      progress: reports what is done.
    """
    state = train_blocks(
        space, dataset, teacher, options, config, name=name, folder=folder,
        from_step=from_step, progress=progress,
    )  # fmt: skip
    supernet, loss = make_supernet(space), LOSSES[options.loss]
    batches = rating_inputs(dataset, options, config)
    count, losses = len(space.cut_blocks), []
    for number in range(count):
        StopRequest.check("stopped while the candidates of blocks were rated")
        progress(number, count, f"rating the candidates of block {number + 1}")
        student = jax.tree.map(lambda leaf: leaf[number], state.student)  # noqa: B023
        rate = make_rating(space, supernet, teacher.features, loss, number)
        losses.append(np.asarray(rate(student, teacher.state, batches)))
    progress(count, count, "rated the candidates of all blocks")
    decisions = [block.decisions for block in space.cut_blocks]
    return group_blocks(decisions, [candidates_of(space, k) for k in range(count)], losses)


def rating_inputs(dataset: Dataset, options: Blockwise, config: Config) -> jax.Array:
    """Returns the batches that candidates are rated on, `float32[R, B, ...]`, normalised."""
    half = halves_of(dataset, config)["arch"]
    rows = deal(half, config.search.batch_size, config.seed, options.rating_batches)
    inputs = np.asarray(dataset.train_inputs)[rows.reshape(-1)]
    inputs = normalise(inputs, jnp.asarray(dataset.mean), jnp.asarray(dataset.std))
    return inputs.reshape(*rows.shape, *inputs.shape[1:])


def train_blocks(
    space: Space, dataset: Dataset, teacher: Teacher, options: Blockwise, config: Config, *,
    name: str = "blocks", folder: Path | None = None, from_step: int | None = None,
    progress: Progress,
) -> BlocksState:  # fmt: skip
    """Trains the blocks, each on a device of its own where there are so many.

    Arguments as of `rate_blocks`.
    """
    settings, count = config.search, len(space.cut_blocks)
    length = steps_per_dispatch(settings.steps, settings.steps_per_dispatch)
    halves = {PART: halves_of(dataset, config)["weight"]}
    batches = Batches(dataset, config.data, halves, settings.batch_size, length)
    training = make_training(
        space, make_supernet(space), teacher, LOSSES[options.loss], batches,
        learning_rate=options.learning_rate, steps=settings.steps,
    )  # fmt: skip

    def parts(tree: Any) -> dict[str, Any]:
        return {
            f"block{number + 1}": jax.tree.map(lambda leaf: leaf[number], tree)  # noqa: B023
            for number in range(count)
        }

    experiment = Experiment(
        name=name,
        describe=f"{count} blocks by {teacher.name}",
        init=lambda: training.init(jax.random.key(config.seed)),
        dispatch=training.dispatch,
        data=Resident({**batches.resident(), "teacher": teacher.state}),
        total=settings.steps,
        per_dispatch=length,
        checkpoint_every=settings.checkpoint_every,
        log={"stage": name},
        parts=parts,
    )
    place = Members.over(count, config.parallel.devices, config.parallel.backend)
    return run_experiment(experiment, place, folder=folder, from_step=from_step, progress=progress)
