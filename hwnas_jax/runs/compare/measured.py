"""Searches that do not know what networks cost and may measure a few of them.

A transfer learns what networks cost from the other devices of the cost table and from what was
measured. The searches go by it. Between their queries, the networks on which the answer hangs are
measured, the transfer learns again, and the searches go on as if they had known that from the
start: everything they asked for is told them anew.

Legend: `N` networks of the table, `S` seeds, `E` evaluations, `R` rounds, `n` architectures a
round, `D` decisions, `F` features of a transfer.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.cost.models.prior import TransferPrior, choose_samples, learn_prior
from hwnas_jax.cost.models.transfer import source_devices
from hwnas_jax.runs.compare.cases import Case
from hwnas_jax.runs.compare.cell import Program, judge_of, keeps
from hwnas_jax.runs.compare.plan import Plan
from hwnas_jax.search.evaluators import make_ahead
from hwnas_jax.search.measuring import answer, worth_measuring
from hwnas_jax.search.strategies import Ahead, Outlook, Strategy, Told, no_budget, one_round
from hwnas_jax.spaces.base import Choices
from hwnas_jax.tabular import look_up
from hwnas_jax.tabular.base import Column, make_column

_FIRST_SHARE = 0.5
"""Share of the measurements that are taken before the search, where they tell most."""
_DOUBT = 1.0
"""Standard deviations by which a network may be predicted to exceed the limit and be asked for."""
_LAST = 3
"""Measurements that are kept for the answer at the end."""
_STOPS = 10
"""How often a search stops to measure."""
_PAST = "architectures", "score", "excess"
"""What a search is told anew."""
_CANDIDATES = 4000
"""Networks, drawn at random, among which the first measurements are chosen."""


@dataclasses.dataclass(frozen=True)
class Device:
    """A device of which networks can be measured.

    Attributes:
      prior: what other devices tell of it.
      features: `float64[N, F + 1]`, of all networks; the first is one.
      architectures: `int32[N, D]`.
      cost: `float64[N]`, what a measurement of each says; NaN of what cannot be measured.
    """

    prior: TransferPrior
    features: np.ndarray
    architectures: np.ndarray
    cost: np.ndarray

    @classmethod
    def of(
        cls, costs: CostTable, device: str, metric: str, architectures: np.ndarray, cost: np.ndarray
    ) -> "Device":
        """Learns from the other devices of a cost table.

        Args:
          costs: the table.
          device: its name; what the table has of it is not read.
          metric: which cost.
          architectures: `int32[N, D]`.
          cost: `float64[N]`.
        """
        prior = learn_prior(costs, source_devices(costs, device), metric=metric)
        features = np.c_[np.ones(len(architectures)), prior.features(architectures)]
        return cls(prior, features, architectures, cost)

    def first(self, count: int, seed: int) -> np.ndarray:
        """Returns which networks are measured before the search, `int[count]`."""
        known = np.flatnonzero(~np.isnan(self.cost))
        drawn = np.random.default_rng(seed).permutation(known)[:_CANDIDATES]
        return drawn[choose_samples(self.prior, self.architectures[drawn], count)]

    def belief(self, rows: np.ndarray) -> "Belief":
        """Returns what is known after the networks of some rows were measured, `int[m]`."""
        posterior = self.prior.condition(self.architectures[rows], self.cost[rows])
        mean = self.features @ posterior.mean
        variance = ((self.features @ posterior.covariance) * self.features).sum(axis=1)
        std = np.sqrt(np.maximum(variance, 0.0) + posterior.noise)
        mean[rows], std[rows] = self.cost[rows], 0.0
        unknown = np.isnan(self.cost)
        mean[unknown], std[unknown] = np.inf, 0.0
        return Belief(mean.astype(np.float32), std.astype(np.float32))


class Belief(NamedTuple):
    """What is known of the costs of all networks.

    Attributes:
      mean: `float32[N]`; infinity for what cannot be measured.
      std: `float32[N]`, zero of what was measured.
    """

    mean: Any
    std: Any

    def chance(self, rows: np.ndarray, limit: float) -> np.ndarray:
        """Returns the probability of networks to keep a limit, `float64[E]`.

        Args:
          rows: `int[E]`; a negative number stands for what is not in the table and keeps none.
          limit: the most that they may cost.
        """
        mean, std = (np.asarray(own, np.float64)[rows] for own in self)
        known = keeps(mean, limit).astype(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            believed = ndtr((limit - mean) / std)
        return np.where(rows < 0, 0.0, np.where(std > 0, believed, known))


def believed(space: Choices, places: Column, belief: Belief, limit: jax.Array) -> Ahead:
    """Returns the outlook of a search that goes by a belief; pure.

    A network is within the budget while it is predicted to cost no more than a standard deviation
    over the limit, so that the best of the doubtful ones are asked for, and then measured.

    Args:
      space: of the networks.
      places: of each architecture, the number of its row in the belief.
      belief: what is known of costs.
      limit: `float32[]`.
    """

    def ahead(architectures: jax.Array) -> Outlook:
        place = look_up(space, {"place": places}, architectures)["place"]
        rows = jnp.nan_to_num(place).astype(jnp.int32)
        mean = jnp.where(jnp.isnan(place), jnp.inf, belief.mean[rows])
        std = belief.std[rows]
        excess = jnp.maximum((mean - _DOUBT * std) / limit - 1, 0)
        chance = jax.scipy.stats.norm.cdf((limit - mean) / jnp.maximum(std, 1e-6 * limit))
        chance = jnp.where(std > 0, chance, (excess <= 0).astype(jnp.float32))
        cost = jnp.where(jnp.isinf(mean), 0.0, mean)
        return no_budget(architectures)._replace(cost=cost, excess=excess, chance=chance)

    return ahead


class Devices:
    """The devices of a comparison, each learned about when it is first needed."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.known: dict[str, Device] = {}

    def of(self, case: Case) -> Device:
        """Returns that of a case with a limit."""
        plan = self.plan
        assert plan.costs is not None and case.device is not None
        if case.device not in self.known:
            self.known[case.device] = Device.of(
                plan.costs, case.device, plan.settings.metric, plan.networks.architectures,
                case.cost,
            )  # fmt: skip
        return self.known[case.device]


def make_measured_program(plan: Plan, strategy: Strategy, devices: Devices) -> Program:
    """Returns a function that searches one case after another, measuring a few networks in each.

    Args:
      plan: of the comparison.
      strategy: the method; it evaluates at one fidelity.
      devices: of the cases.
    """
    rounds = math.ceil(plan.queries / strategy.each)
    length = math.ceil(rounds / _STOPS)
    play = _compiled(plan, strategy, rounds, length)
    arrays = jax.device_put(plan.arrays)
    space, networks = plan.table.space, plan.networks.architectures
    places = make_column(space, networks, np.arange(len(networks)))
    seeds = plan.settings.seeds
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))

    def program(case: Case) -> dict[str, Any]:
        device = devices.of(case)
        searches = [_Search(plan, device, case, seed) for seed in range(seeds)]
        shape = seeds, math.ceil(rounds / length) * length, strategy.each
        kept = {"architectures": np.zeros((*shape, space.num_decisions), np.int32)}
        for done in range(0, rounds, length):
            belief = Belief(*map(np.stack, zip(*(s.belief for s in searches), strict=True)))
            past = [kept.setdefault(name, np.zeros(shape, np.float32)) for name in _PAST]
            now = play(keys, arrays, places, case.costs.limit, belief, done, past)
            for name, values in now.items():
                own = kept.setdefault(name, np.zeros(shape, np.float32))
                own[:, done : done + length] = values
            count = min((done + length) * strategy.each, plan.queries)
            flat = {
                name: own.reshape(seeds, -1, *own.shape[3:])[:, :count]
                for name, own in kept.items()
            }
            asked = flat["architectures"].reshape(-1, space.num_decisions)
            found = np.asarray(look_up(space, {"place": places}, asked)["place"])
            found = found.reshape(seeds, count)
            unknown = np.isnan(found) | np.isinf(flat["excess"])
            rows = np.where(unknown, -1, np.nan_to_num(found)).astype(int)
            for search, own_rows, score in zip(searches, rows, flat["score"], strict=True):
                search.go_on(own_rows, score)
        return flat | {
            "architectures": flat["architectures"].astype(np.int16),
            "cost": np.where(rows < 0, np.nan, case.cost[rows]).astype(np.float32),
            "fidelity": np.zeros(rows.shape, np.int32),
            "best": np.stack([search.best for search in searches]),
            "chance": np.stack([search.sure for search in searches]),
            "measured": np.stack([search.measured for search in searches]),
        }

    return program


def _compiled(plan: Plan, strategy: Strategy, rounds: int, length: int):
    """Returns what plays `length` rounds of all seeds, after those that were played before."""
    space = plan.table.space
    mask = jnp.asarray(space.mask)

    def play(key, arrays, places, limit, belief, done, past):
        ahead = make_ahead(space, believed(space, places, belief, limit))

        def tell(state, row):
            number, architectures, score, before = row
            outlook = ahead(architectures)
            excess = jnp.where(jnp.isinf(before), before, outlook.excess)
            after = strategy.tell(state, architectures, Told(score, excess, outlook.cost))
            return jax.tree.map(functools.partial(jnp.where, number < done), after, state), None

        state = strategy.init(jax.random.fold_in(key, rounds), mask)
        state = jax.lax.scan(tell, state, (jnp.arange(len(past[0])), *past))[0]
        one = one_round(strategy, key, judge_of(plan, arrays, ahead), ahead)
        history = jax.lax.scan(one, state, done + jnp.arange(length))[1]
        return {
            "architectures": history.architectures,
            "score": history.told.score,
            "reported": history.metrics["test_accuracy"],
            "excess": history.told.excess,
            **({"seconds": history.metrics["seconds"]} if "seconds" in history.metrics else {}),
        }

    return jax.jit(jax.vmap(play, (0, None, None, None, 0, None, 0)))


class _Search:
    """What one search has measured and answers, as its queries go on.

    Attributes:
      belief: what is known of costs.
      best: after each query, the number of the one that it answers with.
      sure: with what probability that keeps the limit, by the belief of the time.
      measured: how many networks were measured by then.
    """

    def __init__(self, plan: Plan, device: Device, case: Case, seed: int):
        assert case.limit is not None and plan.settings.measurements is not None
        self.device, self.limit, self.queries = device, case.limit, plan.queries
        self.confidence, self.most = plan.settings.confidence, plan.settings.measurements
        self.at_first = math.ceil(_FIRST_SHARE * self.most)
        self.taken = device.first(self.at_first, seed)
        self.belief = device.belief(self.taken)
        self.best: list[int] = []
        self.sure: list[float] = []
        self.measured: list[int] = []

    def go_on(self, rows: np.ndarray, score: np.ndarray) -> None:
        """Measures what the answer hangs on, and notes the answer after each query.

        Args:
          rows: `int[E]`, of everything that was asked for so far; negative for what could not be
            judged or measured.
          score: `float[E]`.
        """
        chance = self.belief.chance(rows, self.limit)
        for count in range(len(self.best) + 1, len(rows)):
            self._note(score[:count], chance[:count])
        is_last = len(rows) == self.queries
        while len(self.taken) < self._allowed(len(rows)):
            worth = worth_measuring(score, chance, self.confidence)
            place = int(np.argmax(worth))
            if worth[place] <= 0:
                place = answer(score, chance, self.confidence)
                # An answer that was not measured is confirmed at the end.
                if not is_last or rows[place] < 0 or rows[place] in self.taken:
                    break
            self.taken = np.append(self.taken, rows[place])
            self.belief = self.device.belief(self.taken)
            chance = self.belief.chance(rows, self.limit)
        self._note(score, chance)

    def _allowed(self, asked: int) -> int:
        """Returns how many networks may have been measured after a number of queries."""
        if asked == self.queries:
            return self.most
        between = max(self.most - self.at_first - _LAST, 0)
        return self.at_first + between * asked // self.queries

    def _note(self, score: np.ndarray, chance: np.ndarray) -> None:
        place = answer(score, chance, self.confidence)
        self.best.append(place)
        self.sure.append(float(chance[place]))
        self.measured.append(len(self.taken))
