"""Judging a start on episodes of classes that it has not seen, as an experiment of the loop.

Legend: `L` budgets, none counted as one, `E` episodes, `T` of a step, `F` figures of an episode.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.data.episodes import draw_episode
from hwnas_jax.parallel.base import Experiment, Resident
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.parallel.replicas import AXIS, own_slice
from hwnas_jax.report.few_shot_files import Costs, Group
from hwnas_jax.runs.few_shot.parts import FewShotParts
from hwnas_jax.runs.loop import run_experiment
from hwnas_jax.search.meta.base import Learned
from hwnas_jax.search.meta.choice import Field, field_of
from hwnas_jax.search.meta.judging import METRICS, Judge, Judged
from hwnas_jax.search.meta.objectives import Price
from hwnas_jax.search.meta.training import over_tasks

NAME = "judge"
_SALT = 0x5EED


class JudgeState(NamedTuple):
    """What is carried from step to step, and checkpointed.

    Attributes:
      step: `int32[]`, steps taken.
      key: every step folds its number in.
      figures: `float32[L, E, F]`, those of `Judged`; zero where nothing is judged yet.
    """

    step: jax.Array
    key: jax.Array
    figures: jax.Array


class JudgeInfo(NamedTuple):
    """Means over the episodes of a step, without a budget, `float32[]` each."""

    adapted: jax.Array
    fixed: jax.Array
    random: jax.Array


def judge_start(
    parts: FewShotParts,
    start: Learned,
    *,
    folder: Path | None = None,
    progress: Progress = quiet,
) -> list[Judged]:
    """Adapts a learned start to episodes, without a budget and under each of the run's.

    The episodes are the same for all budgets.

    Args:
      parts: what the run is made of.
      start: the learned one.
      folder: takes `checkpoints/judge/`; an existing checkpoint is continued.
      progress: reports steps done.

    Returns:
      What the episodes gave, without a budget and then under each, `float32[E]` each.

    Raises:
      UserError: when no architecture meets a budget, or a checkpoint is damaged.
      Interrupted: when a stop was asked for; what is done is on disk.
    """
    settings, replicas = parts.config.few_shot, parts.replicas
    each, count = settings.tasks, settings.episodes
    steps, groups = math.ceil(count / each), 1 + len(parts.targets)
    experiment = Experiment(
        name=NAME,
        describe=f"episodes of {each}",
        init=lambda: JudgeState(
            jnp.zeros((), jnp.int32),
            jax.random.fold_in(jax.random.key(parts.config.seed), _SALT),
            jnp.zeros((groups, steps * each, len(Judged._fields))),
        ),
        dispatch=_make_dispatch(parts),
        data=Resident(_data(parts, start)),
        total=steps,
        per_dispatch=1,
        checkpoint_every=max(1, steps // 10),
        log={"stage": NAME},
        helps="fewer tasks (few_shot.tasks)",
    )
    state = run_experiment(experiment, replicas, folder=folder, progress=progress)
    figures = np.asarray(state.figures)[:, :count]
    return [Judged(*np.moveaxis(group, -1, 0)) for group in figures]


def groups_of(parts: FewShotParts, judged: list[Judged]) -> list[Group]:
    """Returns the statistics of what `judge_start` returned."""
    found = []
    for number, one in enumerate(judged):
        costs = None
        if number:
            limit = parts.targets[number - 1].value
            values = np.asarray(one.cost, np.float64)
            costs = Costs(
                limit=limit,
                percentile=parts.config.few_shot.percentiles[number - 1],
                mean=float(values.mean()),
                most=float(values.max()),
                over=int((values > limit * (1 + 1e-6)).sum()),
                unrepaired=float(np.mean(one.unrepaired)),
            )
        found.append(Group.of({name: getattr(one, name) for name in METRICS}, costs))
    return found


def _data(parts: FewShotParts, start: Learned) -> dict[str, Any]:
    """Returns what every step reads: examples, the start, what may be kept, limits."""
    objectives, targets, model = parts.objectives, parts.targets, parts.priced_by()
    mask = jnp.asarray(objectives.mask)
    share = np.asarray(objectives.relaxation.probabilities(start.params, mask))

    def field(target) -> Field:
        return field_of(
            parts.space, share, parts.budget,
            cost_model=model, target=target, seed=parts.config.seed,
        )  # fmt: skip

    free = field(None)
    data: dict[str, Any] = {"pool": parts.judged_pool, "start": start, "field": free}
    if targets:
        # Without a budget the first limits stand in the program and do not count.
        held = (targets[0], *targets)
        limits = {
            metric: np.array([target.limits[metric] for target in held], np.float32)
            for metric in targets[0].limits
        }
        data["limits"] = limits, np.arange(len(held)) > 0
        data["fits"] = np.stack([free.fits, *(field(target).fits for target in targets)])
        data["cost_model"] = model
    return data


def _make_dispatch(parts: FewShotParts, axis_name: str | None = AXIS) -> Any:
    settings, shape, within = parts.config.few_shot, parts.shape, parts.within
    judge = Judge(parts.objectives, parts.learner, parts.space, settings.temperature_end)
    count = settings.tasks

    def of_episode(key, data):
        episode_key, judge_key = jax.random.split(key)
        episode = draw_episode(episode_key, data["pool"], shape)
        if "limits" not in data:
            return jnp.stack(judge(judge_key, data["start"], episode, data["field"]))[None]

        def under(given):
            (limits, counts), fits = given
            field = data["field"]._replace(fits=fits)
            price = Price(data["cost_model"], limits, counts)
            return jnp.stack(judge(judge_key, data["start"], episode, field, price))

        return jax.lax.map(under, (data["limits"], data["fits"]))

    def dispatch(state: JudgeState, data: Any) -> tuple[JudgeState, JudgeInfo]:
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), count)
        own = own_slice(keys, axis_name)
        figures = over_tasks(lambda key: of_episode(key, data), own, within)
        if axis_name is not None:
            figures = jax.lax.all_gather(figures, axis_name, tiled=True)
        whole = jax.lax.dynamic_update_slice_in_dim(
            state.figures, jnp.swapaxes(figures, 0, 1), state.step * count, axis=1
        )
        means = Judged(*figures[:, 0].mean(0))
        info = JudgeInfo(means.adapted[None], means.fixed[None], means.random[None])
        return JudgeState(state.step + 1, state.key, whole), info

    return dispatch
