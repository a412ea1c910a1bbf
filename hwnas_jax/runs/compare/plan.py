"""A comparison whose parts are loaded and checked, before anything runs.

Legend: `N` networks of the table.
"""

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.compare.cases import Case, Networks, cases_of, costs_of, networks_of
from hwnas_jax.runs.compare.settings import Comparison
from hwnas_jax.search.evaluators import Bench, check_evaluator, check_fidelities
from hwnas_jax.search.strategies import STRATEGIES, Strategy, check_strategy
from hwnas_jax.tabular import Benchmark, Table, load_benchmark
from hwnas_jax.tasks import Classification

BASELINE = "random"
_LEAST_KNOWN = 0.1
_MOST_QUERIES = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a comparison needs.

    Attributes:
      settings: of the comparison.
      table: the benchmark.
      networks: of the table.
      evaluator: looks them up.
      bench: what it judges with.
      arrays: what `Evaluator.arrays` returned.
      shares: what a training of each fidelity takes, as a share of the longest, which comes first.
      queries: trainings that each search may look up.
      methods: the strategies by label.
      baseline: the label of random search, which every other method is compared with.
      costs: the cost table; None where no case has costs.
      cases: what is searched for.
    """

    settings: Comparison
    table: Benchmark
    networks: Networks
    evaluator: Table
    bench: Bench
    arrays: Any
    shares: tuple[float, ...]
    queries: int
    methods: Mapping[str, Strategy]
    baseline: str
    costs: CostTable | None
    cases: tuple[Case, ...]

    @property
    def cells(self) -> dict[str, tuple[str, Case]]:
        """The method and the case of every cell, by a name that can stand in a file's name."""
        return {
            _file_name(label, case.label): (label, case)
            for label in self.methods
            for case in self.cases
        }

    @property
    def fingerprint(self) -> str:
        """Of what the tables say of all networks: accuracies that are selected by, and costs."""
        digest = hashlib.sha256(np.ascontiguousarray(self.networks.architectures).tobytes())
        columns = jax.tree.leaves(self.arrays), [case.cost for case in self.cases]
        for values in (self.networks.reported, *itertools.chain(*columns)):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def rounds(self, strategy: Strategy) -> int:
        """Returns how many rounds use up the budget, if all were at the lowest fidelity."""
        least = min(self.shares[: strategy.fidelities])
        return math.ceil(self.queries / (strategy.each * least) - 1e-9)


def make_plan(settings: Comparison) -> Plan:
    """Loads and checks everything that a comparison needs.

    Raises:
      UserError: names what cannot be used, what is allowed, and the nearest value that would do.
    """
    settings.check()
    table = load_benchmark(settings.table, data_set=settings.data_set)
    evaluator = Table(settings.table, settings.data_set, settings.epochs, settings.split)
    bench = Bench(table.space, Classification())
    networks = networks_of(table, table.select(settings.split, settings.epochs))
    _check_known(table, networks)
    arrays = check_evaluator(evaluator, bench)
    shares = evaluator.fidelities(bench)
    costs = costs_of(settings, table)
    cases = cases_of(settings, costs, table, networks)
    different = np.unique(table.space.canonical(networks.architectures), axis=0)
    queries = settings.queries or min(_MOST_QUERIES, math.ceil(len(different) / 10))
    baseline, methods = _methods(settings, queries, evaluator, bench)
    plan = Plan(
        settings, table, networks, evaluator, bench, arrays, shares, queries, methods, baseline,
        costs, cases,
    )  # fmt: skip
    if len(plan.cells) < len(methods) * len(cases):
        raise UserError(
            "two methods or two cases have names that differ in signs alone, so that their files "
            f"would have one name: {', '.join(methods)}; {', '.join(case.label for case in cases)}"
        )
    return plan


def _check_known(table: Benchmark, networks: Networks) -> None:
    """Refuses a table in which a search would hardly find the networks that it asks for."""
    size, known = table.space.size, len(networks.reported)
    if known < _LEAST_KNOWN * size:
        raise UserError(
            f"{table.source} has {known:,} of {size:,} networks; a comparison "
            f"needs a table that has at least {_LEAST_KNOWN:.0%} of what its methods may ask for"
        )


def _methods(
    settings: Comparison, queries: int, evaluator: Table, bench: Bench
) -> tuple[str, dict[str, Strategy]]:
    """Returns the baseline's label and the checked strategies, the baseline first."""
    shares, mask = evaluator.fidelities(bench), bench.space.mask
    parts = [Part.parse(text) for text in settings.methods]
    baseline = next((part for part in parts if part.name == BASELINE), Part(BASELINE))
    others = [part for part in parts if part is not baseline]
    methods: dict[str, Strategy] = {}
    for part in (baseline, *others):
        if part.label in methods:
            raise UserError(f"the method {part.label!r} is named twice")
        strategy = STRATEGIES.make(part)
        if not strategy.reproducible:
            raise UserError(
                f"the method {part.label} shares what it is told with other processes, and here "
                "every seed has to search on its own: leave out its option storage"
            )
        check_strategy(strategy, mask)
        check_fidelities(strategy, evaluator, bench)
        _check_budget(part.label, strategy, queries, shares, mask)
        if settings.measurements is not None and strategy.fidelities > 1:
            raise UserError(
                f"the method {part.label} evaluates at several fidelities, which does not go with "
                "measurements"
            )
        methods[part.label] = strategy
    return baseline.label, methods


def _check_budget(
    label: str, strategy: Strategy, queries: int, shares: tuple[float, ...], mask: np.ndarray
) -> None:
    begin = "draws at random before it learns" if strategy.initial else "asks for in a round"
    trainings = max(strategy.initial, strategy.each)
    if len(phases := strategy.phases(mask)) > 1:
        begin, trainings = "takes to decide for one network", (phases[-1] + 1) * strategy.each
    least = math.ceil(trainings * min(shares[: strategy.fidelities]))
    if queries < least:
        raise UserError(
            f"queries = {queries} are fewer than the {least} that the method {label} "
            f"{begin}: queries must be at least {least}"
        )


def _file_name(method: str, case: str) -> str:
    parts = (method, case.replace("<=", "-at-most-"))
    return "--".join(re.sub(r"[^\w.=+-]+", "-", part) for part in parts)
