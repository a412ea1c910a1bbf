"""Every kind of method: what it is called, where a config names it, and which ones there are.

`hwnas list` prints this table, and the page of a run says by it which methods were used.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import hwnas_jax.tabular  # noqa: F401  registers its evaluator
from hwnas_jax.budgets import BUDGETS
from hwnas_jax.cost import COST_MODELS
from hwnas_jax.data import SOURCES
from hwnas_jax.relax import RELAXATIONS
from hwnas_jax.search.blockwise.options import Blockwise
from hwnas_jax.search.derivation import DERIVATIONS
from hwnas_jax.search.estimators import ESTIMATORS
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.meta import META_LEARNERS
from hwnas_jax.search.predictors import PREDICTORS
from hwnas_jax.search.strategies import GRADIENT, STRATEGIES
from hwnas_jax.spaces import SPACES
from hwnas_jax.tasks import TASKS


class Kind(NamedTuple):
    """A kind of method.

    Attributes:
      one: what one is called.
      several: what several are called.
      keys: where a config names the one it uses; the command line's option as well.
      summaries: a line for each, by name.
    """

    one: str
    several: str
    keys: tuple[str, ...]
    summaries: Mapping[str, str]


def kinds() -> dict[str, Kind]:
    """Returns the kinds of methods by what one of them is called."""
    others = {
        GRADIENT: "weights and architecture together, by gradients",
        Blockwise.name: Blockwise.summary,
    }
    every = (
        Kind("search space", "search spaces", ("space", "name"), SPACES.summaries()),
        Kind("task", "tasks", ("task",), TASKS.summaries()),
        Kind("data source", "data sources", ("data", "name"), SOURCES.summaries()),
        Kind("strategy", "strategies", ("search", "strategy"), others | STRATEGIES.summaries()),
        Kind(
            "predictor", "predictors",
            ("search", "strategy", "args"), PREDICTORS.summaries(),
        ),
        Kind("relaxation", "relaxations", ("search", "relaxation"), RELAXATIONS.summaries()),
        Kind("estimator", "estimators", ("search", "estimator"), ESTIMATORS.summaries()),
        Kind("evaluator", "evaluators", ("search", "evaluator"), EVALUATORS.summaries()),
        Kind("budget", "budgets", ("budget",), BUDGETS.summaries()),
        Kind("derivation", "derivations", ("derive", "rule"), DERIVATIONS.summaries()),
        Kind(
            "meta-learner", "meta-learners", ("few_shot", "learner"), META_LEARNERS.summaries()
        ),
        Kind("cost model", "cost models", ("cost", "model"), COST_MODELS.summaries()),
    )  # fmt: skip
    return {kind.one: kind for kind in every}


class Used(NamedTuple):
    """A method that a run used: its kind, its name, its options as text, and what it does."""

    kind: str
    name: str
    options: str
    summary: str


def methods_used(config: Mapping[str, Any]) -> list[Used]:
    """Returns the methods that a run's search went by, as its config names them.

    Args:
      config: of `config.json`.
    """
    of_gradients = ("relaxation", "estimator", "budget", "derivation", "cost model")
    of_strategies = ("evaluator", "budget", "cost model")
    known = kinds()
    strategy = _used(known["strategy"], config)
    others = of_gradients if strategy is None or strategy.name == GRADIENT else of_strategies
    if strategy is not None and strategy.name == Blockwise.name:
        others = ("budget", "derivation", "cost model")
    every = [strategy, *(_used(known[one], config) for one in others)]
    return [used for used in every if used is not None]


def _used(kind: Kind, config: Mapping[str, Any]) -> Used | None:
    value: Any = config
    for key in kind.keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return None
    part = value if isinstance(value, Mapping) else {"name": value}
    name = str(part.get("name"))
    options = ", ".join(f"{key} {option}" for key, option in (part.get("args") or {}).items())
    return Used(kind.one, name, options, kind.summaries.get(name, ""))
