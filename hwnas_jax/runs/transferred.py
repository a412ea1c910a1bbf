"""A finished search carried over to another device: what its new run keeps and what may change.

The new run keeps the supernet's weights, the data, the space and the methods of the finished one.
Its cost model is another, and so are perhaps its budget and how networks are retrained. A gradient
search moves its architecture parameters for a few steps; a strategy begins with the best networks
of the finished run and asks for a few rounds.
"""

import dataclasses
from typing import Any

from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError, listed
from hwnas_jax.files.typed import flat
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.parts import RunParts
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.strategies import GRADIENT

SHARE = 10
"""A transfer takes one step for so many of the first search, unless a number is given."""

FREE = (
    "name", "profile", "cost", "target", "budget", "derive", "retrain", "parallel", "sweep",
    "search.temperature", "search.entropy", "search.steps_per_dispatch", "search.checkpoint_every",
    "search.weights.learning_rate", "search.weights.learning_rate_end",
)  # fmt: skip
"""Settings that a transfer may change; a name stands for all that begin with it."""

_WEIGHTS_BELONG_TO = {
    "space": "the weights belong to one space; with other arguments, such as other channels, it is "
    "another space",
    "data": "the weights were learned from these data",
    "task": "the weights were learned for this task",
    "search.data": "the weights were learned from these data",
    "search.batch_size": "the weights were learned with the statistics of batches of this size",
    "search.steps": "give the number of steps as --steps",
    "search.rounds": "give the number of rounds as --steps",
    "search.weights.frozen": "give --train-weights to train them",
}


def kept_config(run: RunParts) -> Config:
    """Returns the settings that a transfer of a finished run begins with.

    Nothing is measured during the search, which is short.

    Args:
      run: the finished run.

    Raises:
      UserError: when its search is not finished, or left no weights of a supernet.
    """
    found = Found.load(run.folder, run.for_search.space, len(run.members))
    search = run.config.search
    judged = search.strategy.name == GRADIENT or EVALUATORS.make(search.evaluator).needs_weights
    if found.weights is None or not judged:
        raise UserError(
            f"{run.folder} has no weights to transfer: its strategy {search.strategy.name!r} was "
            f"told by the evaluator {search.evaluator.name!r}. Allowed are runs of the strategy "
            f"{GRADIENT!r} or of the evaluator 'supernet'; others need a new search on the new "
            "device, which can take --search.start-from"
        )
    return override(run.config, target__measurements=0)


def transfer_config(
    run: RunParts, given: Config, *, steps: int | None = None, train_weights: bool = False
) -> Config:
    """Returns the experiment of a transfer.

    Args:
      run: the finished run.
      given: what `kept_config` returned, with the user's changes.
      steps: of a gradient search, or rounds of a strategy; None takes a tenth of those that the
        finished run took after its warm-up, or of all where it trained the weights alone.
      train_weights: whether each step of a gradient search trains the weights too, at a tenth of
        the learning rate that the finished run began with.

    Raises:
      UserError: names what a transfer keeps and was changed, and what may change.
    """
    kept = kept_config(run)
    changed = _changes(kept, given)
    _check_changes(run, kept, changed)
    if "target.percentile" in changed and "target.value" not in changed:
        given = override(given, target__value=None)
    search = kept.search
    begun: dict[str, Any] = {"search__start_from": str(run.folder.resolve())}
    if search.strategy.name != GRADIENT:
        if train_weights:
            raise UserError(
                f"--train-weights goes with search.strategy = {GRADIENT!r} alone, not with "
                f"{search.strategy.name!r}, which judges by the weights as they are"
            )
        return override(given, **begun, search__rounds=steps or _part(search.rounds))
    begun |= {
        "search__start_with": "both",
        "search__warmup_steps": 0,
        "search__steps": steps or _part(search.steps - search.warmup_steps or search.steps),
        "search__weights__frozen": not train_weights,
        "search__fair": False,
        "search__elastic__networks": None,
    }
    if train_weights and not any(key.startswith("search.weights.learning_rate") for key in changed):
        begun["search__weights__learning_rate"] = search.weights.learning_rate / SHARE
    return override(given, **begun)


def _part(steps: int) -> int:
    return max(1, -(-steps // SHARE))


def _changes(kept: Config, given: Config) -> tuple[str, ...]:
    before, after = (flat(dataclasses.asdict(config)) for config in (kept, given))
    every = dict.fromkeys([*before, *after])
    return tuple(key for key in every if before.get(key) != after.get(key))


def _under(key: str, name: str) -> bool:
    return f"{key}.".startswith(f"{name}.")


def _check_changes(run: RunParts, kept: Config, changed: tuple[str, ...]) -> None:
    fixed = [key for key in changed if not any(_under(key, name) for name in FREE)]
    if not fixed:
        return
    reasons = dict.fromkeys(
        reason for key in fixed for name, reason in _WEIGHTS_BELONG_TO.items() if _under(key, name)
    )
    why = f" ({'; '.join(reasons)})" if reasons else ""
    before = flat(dataclasses.asdict(kept))
    own = ", ".join(f"{key} = {before[key]!r}" if key in before else key for key in fixed)
    raise UserError(
        f"a transfer keeps what {run.folder} was searched with: {own}{why}. What may change "
        f"begins with {listed(list(FREE))}"
    )
