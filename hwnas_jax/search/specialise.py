"""The best network of a trained supernet for each of many budgets.

Legend: `N` networks, `D` decisions, `K` options of the widest decision, `F` features.

The supernet judges a sample of networks, spread over what networks cost. A predictor learns the
metric from them, and evolution looks for the networks of each budget that it predicts to be best.
The supernet judges those, too, and the predictor learns from them before the next round. The
network of a budget is the one that the supernet finds best of all that it has judged. A dearer
budget therefore never gets a worse network by that judgement.

References: Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient
Deployment", ICLR 2020 (accuracy predictor and evolution); Real et al., "Regularized Evolution for
Image Classifier Architecture Search", AAAI 2019.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from hwnas_jax.budgets.base import Budget
from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.models.base import CostModel, std_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.files.typed import check_value
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.registry import Part
from hwnas_jax.search.affordable import check_affordable, nearest, spread
from hwnas_jax.search.candidates import bounded_costs, keeping
from hwnas_jax.search.evaluators.told import make_ahead
from hwnas_jax.search.judgements import Judgements
from hwnas_jax.search.outlook import outlook_of
from hwnas_jax.search.predictors import PREDICTORS, Predictor
from hwnas_jax.search.strategies.base import Told
from hwnas_jax.search.strategies.evolution import RegularisedEvolution
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.mixture import effective

_PARENTS = 4
"""One member of so many is drawn, and the fittest of them becomes a parent."""

Judge = Callable[[np.ndarray], np.ndarray]
"""`int32[n, D] -> float32[n]`, the task's primary metric by the supernet."""


@dataclasses.dataclass(frozen=True)
class Specialising:
    """How networks of a trained supernet are looked for, for many budgets at once."""

    samples: Annotated[int, Ge(8), Le(4096)] = 256
    """networks that the supernet judges first, for a predictor to learn from"""
    batches: Annotated[int, Ge(1), Le(4096)] = 16
    """batches that it judges each by, of the search's batch size"""
    predictor: str = "gaussian"
    """what predicts the metric of the others; `hwnas list` names the predictors"""
    rounds: Annotated[int, Ge(1), Le(64)] = 2
    """how many times networks are evolved by the predictor and then judged"""
    finalists: Annotated[int, Ge(1), Le(64)] = 4
    """networks of every budget that are judged in a round"""
    population: Annotated[int, Ge(2), Le(4096)] = 64
    """networks that evolve, for each budget"""
    generations: Annotated[int, Ge(1), Le(10_000)] = 60
    """times that half of the population is replaced"""

    def check(self, name: str) -> None:
        """Raises UserError for an option out of range; `name` is that of all of them."""
        try:
            check_value(Specialising, dataclasses.asdict(self), name)
        except UserError as error:
            raise UserError(f"{name}.{error}") from error


class Specialised(NamedTuple):
    """The network of one budget.

    Attributes:
      target: the budget.
      architecture: `int32[D]`, in canonical form.
      cost: what it is predicted to cost, in the unit of the budget.
      cost_std: the standard deviation of that; None where the cost model does not know it.
      metric: the task's primary metric as it is predicted from all that was judged, which evens
        out the chance in a single judgement; None where no supernet was asked.
      metric_std: the standard deviation of that, likewise.
      judged: the metric by the supernet, likewise.
    """

    target: Target
    architecture: np.ndarray
    cost: float
    cost_std: float | None = None
    metric: float | None = None
    metric_std: float | None = None
    judged: float | None = None


def specialise(
    space: Space,
    model: CostModel,
    targets: Sequence[Target],
    budget: Budget,
    judge: Judge,
    known: Judgements,
    *,
    higher_is_better: bool,
    ways: Specialising,
    seed: int,
    keep: Callable[[Judgements], None] = lambda judgements: None,
    progress: Progress = quiet,
) -> list[Specialised]:
    """Returns the best network found for each budget.

    Args:
      space: the search space.
      model: predicts the costs.
      targets: the budgets, of one metric.
      budget: says what it means to keep them.
      judge: asks the supernet.
      known: what it has said before; nothing of it is asked again.
      higher_is_better: whether more of the metric is better.
      ways: how the networks are looked for.
      seed: of the sample and of the evolution.
      keep: is given all judgements whenever there are more.
      progress: reports what is done.

    Raises:
      UserError: for an unknown predictor, for a budget that no network meets, with the least that
        any takes, and where the supernet says nothing of a budget's networks but what is no number.
    """
    predictor = PREDICTORS.make(Part(ways.predictor))
    sign = 1.0 if higher_is_better else -1.0
    pool = spread(space, model, targets[0], seed=seed)
    check_affordable(space, model, pool, targets)

    def judged(networks: np.ndarray, known: Judgements) -> Judgements:
        lacking = known.lacking(networks)
        if len(lacking):
            metric = np.asarray(judge(lacking))
            fine = np.isfinite(metric)
            known = known.with_more(lacking[fine], metric[fine])
            keep(known)
        return known

    costs = bounded_costs(space, model, targets[0], pool)[1][targets[0].metric]
    sample = pool[nearest(costs, ways.samples)]
    ends = np.stack([pool[_fitting(space, model, t, budget, pool)[0]] for t in targets])
    known = judged(np.concatenate([sample, ends]), known)
    for target in targets:
        if not len(_fitting(space, model, target, budget, known.networks)):
            raise UserError(
                f"what the supernet says of networks within {target.value:.4g} "
                f"{unit(target.metric)} is no number: its training has diverged"
            )
    capacity = _padded(len(known.metric) + ways.rounds * ways.finalists * len(targets))
    learner = _Learner(space, predictor, sign, capacity)
    evolve = _evolution(space, model, predictor, budget, targets[0], ways)
    for number in range(ways.rounds):
        fitted, found = learner.fit(known), []
        for done, target in enumerate(targets, 1):
            first = _fittest(space, model, target, budget, known, sign, ways.population)
            key = jax.random.fold_in(jax.random.key(seed), number * len(targets) + done)
            asked = np.asarray(evolve(fitted, target.value, first, key)).reshape(-1, len(first.T))
            networks = np.unique(space.canonical(asked[space.feasible(asked)]), axis=0)
            kept = networks[_fitting(space, model, target, budget, networks)]
            lacking = known.lacking(kept)
            best = np.argsort(-learner.ask(fitted, lacking)[0], kind="stable")
            found.append(lacking[best[: ways.finalists]])
            progress(done, len(targets), f"evolved, round {number + 1} of {ways.rounds}")
        known = judged(np.concatenate(found), known)
    fitted = learner.fit(known)
    return [_best(space, model, target, budget, known, learner, fitted) for target in targets]


class _Learner:
    """A predictor with the features of a space; scores are higher where networks are better."""

    def __init__(self, space: Space, predictor: Predictor, sign: float, capacity: int):
        self.sign, self._capacity = sign, capacity
        features = features_of(space)

        def fit(networks, scores, known):
            return predictor.fit(jax.random.key(0), features(networks), scores, known)

        self._fit = jax.jit(fit)
        self._ask = jax.jit(lambda fitted, some: predictor.predict(fitted, features(some)))

    def fit(self, known: Judgements) -> Any:
        """Returns what the predictor learned from all that was judged."""
        count = len(known.metric)
        more = (0, self._capacity - count)
        return self._fit(
            np.pad(known.networks, (more, (0, 0))), np.pad(self.sign * known.metric, more),
            np.arange(self._capacity) < count,
        )  # fmt: skip

    def ask(self, fitted: Any, networks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of scores, two `float32[n]`."""
        count = len(networks)
        rows = np.pad(networks, ((0, _padded(count) - count), (0, 0)))
        mean, std = self._ask(fitted, rows)
        return np.asarray(mean)[:count], np.asarray(std)[:count]


def features_of(space: Space) -> Callable[[jax.Array], jax.Array]:
    """Returns `int32[n, D] -> float32[n, F]`: options one-hot, but for those without effect."""

    def features(architectures):
        rows = jax.nn.one_hot(architectures, space.num_options, dtype=jnp.float32)
        rows = jax.vmap(lambda row: effective(space, row))(rows)
        return rows.reshape(len(rows), -1)

    return features


def _evolution(
    space: Space, model: CostModel, predictor: Predictor, budget: Budget, like: Target,
    ways: Specialising,
) -> Callable[..., jax.Array]:  # fmt: skip
    """Returns `(fitted, budget, int32[n, D], key) -> int32[G, c, D]`, compiled once.

    The given networks are the first population. What is returned are the `c` children of each of
    the `G` generations.
    """
    each = max(1, ways.population // 2)
    strategy = RegularisedEvolution(
        population=ways.population, sample=max(2, ways.population // _PARENTS), each=each, tries=4
    )
    features = features_of(space)

    def evolve(fitted, value, first, key):
        ahead = make_ahead(space, outlook_of(model, like._replace(value=value), budget,
                                             space.num_options))  # fmt: skip

        def told(asked):
            outlook = ahead(asked)
            score, _ = predictor.predict(fitted, features(asked))
            return Told(score, outlook.excess, outlook.cost)

        def given(state, some):
            return strategy.tell(state, some, told(some)), None

        def generation(state, key):
            asked = strategy.ask(state, key, ahead)
            return strategy.tell(state, asked, told(asked)), asked

        whole = first[: len(first) // each * each].reshape(-1, each, first.shape[1])
        state, _ = jax.lax.scan(given, strategy.init(key, jnp.asarray(space.mask)), whole)
        return jax.lax.scan(generation, state, jax.random.split(key, ways.generations))[1]

    return jax.jit(evolve)


def _fitting(
    space: Space, model: CostModel, target: Target, budget: Budget, networks: np.ndarray
) -> np.ndarray:
    """Returns the rows of the networks that keep a budget, the dearest first."""
    if not len(networks):
        return np.zeros(0, int)
    _, bounds = bounded_costs(space, model, target, networks)
    rows = np.flatnonzero(keeping(budget, bounds, target.limits))
    return rows[np.argsort(-bounds[target.metric][rows], kind="stable")]


def _fittest(
    space: Space, model: CostModel, target: Target, budget: Budget, known: Judgements,
    sign: float, count: int,
) -> np.ndarray:  # fmt: skip
    """Returns the judged networks to begin with, `int32[count, D]`, the best of them last.

    Those within the budget are the best; then come those that exceed it least.
    """
    _, bounds = bounded_costs(space, model, target, known.networks)
    excess = budget.distance(bounds, target.limits)
    order = np.lexsort((-sign * known.metric, excess))
    return known.networks[np.resize(order, count)[::-1]]


def _best(
    space: Space, model: CostModel, target: Target, budget: Budget, known: Judgements,
    learner: _Learner, fitted: Any,
) -> Specialised:  # fmt: skip
    networks = known.networks
    predicted, _ = bounded_costs(space, model, target, networks)
    mean, std = learner.ask(fitted, networks)
    rows = _fitting(space, model, target, budget, networks)
    score = learner.sign * known.metric
    row = max(rows, key=lambda row: (score[row], mean[row]))
    return Specialised(
        target, networks[row], float(predicted[row]),
        deviation_of(space, model, target.metric, networks[row]),
        float(learner.sign * mean[row]), float(std[row]), float(known.metric[row]),
    )  # fmt: skip


def deviation_of(
    space: Space, model: CostModel, metric: str, architecture: np.ndarray
) -> float | None:
    """Returns the standard deviation of a predicted cost; None where the model knows none.

    Args:
      space: the search space.
      model: predicts the costs.
      metric: which of its metrics.
      architecture: `int32[D]`, in canonical form.
    """
    if not model.knows_uncertainty:
        return None
    return float(std_architectures(model, architecture[None], space.num_options)[metric][0])


def _padded(count: int) -> int:
    """Returns the next power of two, so that few sizes are compiled."""
    return 1 << max(0, count - 1).bit_length()
