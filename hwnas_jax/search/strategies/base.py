"""How architectures are proposed: ask and tell.

Legend: `n` architectures a round, `D` decisions, `K` options of the widest decision, `S` seeds.

A `Strategy` never sees a network: it asks for architectures to be evaluated and is told what came
out. Before it asks it may look at what the cost model predicts. Its state has a fixed shape and its
functions are pure, so that a whole search is one `jax.lax.scan` and hundreds of seeds of it one
`jax.vmap`. What evaluates is an `Evaluator`.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.registry import Registry

GRADIENT = "gradient"
"""The strategy that asks for nothing: weights and architecture are optimised together."""


class Outlook(NamedTuple):
    """What is known of architectures before any of them is evaluated.

    Attributes:
      cost: `float32[n]`, what the cost model predicts of the metric that has the budget; zero where
        there is no cost model.
      excess: `float32[n]`, how far over the budget each lies, as a share of it; zero within the
        budget, infinity for what is no member of the space.
      chance: `float32[n]`, the probability that each keeps the budget, by the cost model's own
        uncertainty; one or zero where it does not know its uncertainty.
      features: `float32[n, F]`, numbers that a predictor of accuracy can learn from.
    """

    cost: jax.Array
    excess: jax.Array
    chance: jax.Array
    features: jax.Array


Ahead = Callable[[jax.Array], Outlook]
"""`int32[n, D] -> Outlook`; pure."""


@dataclasses.dataclass(frozen=True)
class SoftAhead:
    """An `Ahead` that also knows what architectures cost whose decisions are drawn at random.

    Attributes:
      look: what it says of architectures.
      expected: `(key, float32[D, K]) -> float32[]`, how far the expected cost lies over the budget,
        as a share of it, by the probabilities of the options; differentiable in them.
    """

    look: Ahead
    expected: Callable[[jax.Array, jax.Array], jax.Array]

    def __call__(self, architectures: jax.Array) -> Outlook:
        """Returns the outlook of `int32[n, D]`."""
        return self.look(architectures)


def no_budget(architectures: jax.Array) -> Outlook:
    """Returns the outlook where nothing is limited; the numbers of the options are the features."""
    zeros = jnp.zeros(len(architectures), jnp.float32)
    return Outlook(zeros, zeros, zeros + 1, architectures.astype(jnp.float32))


class Told(NamedTuple):
    """What a strategy is told of the architectures it asked for.

    Attributes:
      score: `float32[n]`, higher is better.
      excess: `float32[n]`, as in `Outlook`.
      cost: `float32[n]`, likewise; lower is better.
    """

    score: jax.Array
    excess: jax.Array
    cost: jax.Array


def fitness(told: Told) -> jax.Array:
    """Returns one number to rank by, `float32[n]`: any within the budget beats any outside it.

    Within the budget the score counts; outside, the nearer to it the better. What is not a number,
    because a table lacks it or a training diverged, ranks with what is no member of the space.

    >>> excess = jnp.array([0.0, 0.1, jnp.inf, 0.0])
    >>> told = Told(jnp.array([0.2, 0.9, 0.9, jnp.nan]), excess, jnp.zeros(4))
    >>> jnp.argsort(fitness(told)).tolist()
    [2, 3, 1, 0]
    """
    unknown = jnp.isnan(told.score) | jnp.isnan(told.excess)
    excess = jnp.where(unknown, jnp.inf, told.excess)
    outside = -1e6 * (1.0 + jnp.minimum(excess, 1e6))
    return jnp.where(excess > 0, outside, told.score)


@dataclasses.dataclass(frozen=True)
class Strategy(abc.ABC):
    """A way to propose architectures. The fields of a subclass are its options.

    Attributes:
      name: as in the registry.
      summary: one line for `hwnas list`.
      each: how many architectures a round asks for.
      fidelities: at how many fidelities it evaluates, the highest among them; one by default.
      initial: how many architectures it draws at random before it goes by what it was told, for
        which given ones may be told instead; zero where it has no use for them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @property
    @abc.abstractmethod
    def each(self) -> int:
        """`n`."""

    @property
    def fidelities(self) -> int:
        """One; a subclass that evaluates at several has a field or a property of this name."""
        return 1

    @property
    def initial(self) -> int:
        """Zero; a subclass that begins with random architectures says with how many."""
        return 0

    @property
    def reproducible(self) -> bool:
        """Whether the key decides what it asks for; false where other processes take part."""
        return True

    def named(self, search: str) -> Self:
        """Returns the strategy for the search of a name.

        Processes that take part in one search find each other by it; otherwise it changes nothing.

        Args:
          search: says what is searched; the same in all processes that were started alike.
        """
        del search
        return self

    def phases(self, mask: np.ndarray) -> tuple[int, ...]:
        """Returns the rounds before which shared weights are trained; the first is zero.

        By default that is once, before it asks for the first time. A strategy that goes on until
        something is decided has its last phase when it is, so that it needs more rounds than that.

        Args:
          mask: `bool[D, K]`.
        """
        del mask
        return (0,)

    def alive(self, state: Any) -> jax.Array | None:
        """Returns the options that shared weights are trained for in the next phase.

        Returns:
          `bool[D, K]`; None, the default, for all that there are.
        """
        del state
        return None

    def check(self, mask: np.ndarray) -> None:
        """Raises UserError when something that it needs is missing; by default it needs nothing.

        Args:
          mask: `bool[D, K]`.
        """
        del mask

    @abc.abstractmethod
    def init(self, key: jax.Array, mask: jax.Array) -> Any:
        """Returns the initial state, a pytree of arrays of fixed shape.

        Args:
          key: random key.
          mask: `bool[D, K]`, true where an option exists; kept in the state where it is needed.
        """

    @abc.abstractmethod
    def ask(self, state: Any, key: jax.Array, ahead: Ahead) -> jax.Array:
        """Returns the architectures to evaluate next, `int32[n, D]`.

        Args:
          state: what `init` or `tell` returned.
          key: random key.
          ahead: says of any architectures what is known before they are evaluated.
        """

    def fidelity(self, state: Any) -> jax.Array:
        """Returns how many fidelities below the highest to evaluate next, `int32[]`.

        It is below `fidelities` and holds for all architectures of the round; zero by default.
        """
        del state
        return jnp.zeros((), jnp.int32)

    @abc.abstractmethod
    def tell(self, state: Any, architectures: jax.Array, told: Told) -> Any:
        """Returns the state after the architectures asked for were evaluated."""


STRATEGIES: Registry[Strategy] = Registry("strategy", Strategy, "hwnas_jax.strategies")  # type: ignore[type-abstract]


class History(NamedTuple):
    """Everything a strategy asked for, in order.

    Attributes:
      architectures: `int32[R, n, D]`, `R` rounds.
      told: leaves `float32[R, n]`.
      metrics: whatever the evaluator returned, leaves `float32[R, n]`.
      fidelity: `int32[R, n]`, how many fidelities below the highest each was evaluated.
    """

    architectures: jax.Array
    told: Told
    metrics: dict[str, jax.Array]
    fidelity: jax.Array


def best_so_far(history: History) -> History:
    """Returns the best architecture known after each evaluation, the earliest of equals.

    Within the budget, what was evaluated at a higher fidelity is better than any at a lower one.

    Args:
      history: of one run, as `run_strategy` returns it; `jax.vmap` serves those of many seeds.

    Returns:
      The architecture, what was told of it and its metrics, with a leading axis of `R * n`, one
      row for each evaluation.
    """
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), history)
    level = jnp.where(flat.told.excess <= 0, -flat.fidelity, jnp.iinfo(jnp.int32).min)

    def better(one, other):
        is_other = (other[0] > one[0]) | ((other[0] == one[0]) & (other[1] > one[1]))
        return jax.tree.map(lambda mine, its: jnp.where(is_other, its, mine), one, other)

    known = level, fitness(flat.told), jnp.arange(len(level))
    best = jax.lax.associative_scan(better, known)[2]
    return jax.tree.map(lambda leaf: leaf[best], flat)


Evaluate = Callable[[jax.Array, jax.Array, jax.Array], tuple[Told, dict[str, jax.Array]]]
"""`(int32[n, D], fidelity, key) -> (Told, metrics)`, pure."""


def one_round(
    strategy: Strategy, key: jax.Array, evaluate: Evaluate, ahead: Ahead
) -> Callable[[Any, jax.Array], tuple[Any, History]]:
    """Returns `(state, number) -> (state, History)`: what a strategy does in a round.

    Args:
      strategy: the method.
      key: random key of the whole run.
      evaluate: says what the architectures asked for are worth.
      ahead: what is known before an evaluation.
    """

    def one(state, number):
        ask_key, evaluate_key = jax.random.split(jax.random.fold_in(key, number))
        asked, fidelity = strategy.ask(state, ask_key, ahead), strategy.fidelity(state)
        told, metrics = evaluate(asked, fidelity, evaluate_key)
        level = jnp.broadcast_to(fidelity, told.score.shape)
        return strategy.tell(state, asked, told), History(asked, told, metrics, level)

    return one


def run_strategy(
    strategy: Strategy,
    key: jax.Array,
    mask: jax.Array,
    evaluate: Evaluate,
    rounds: int,
    ahead: Ahead = no_budget,
) -> tuple[Any, History]:
    """Runs a strategy from start to end; pure, to be jitted, and vmapped over `key`.

    Args:
      strategy: the method.
      key: random key.
      mask: `bool[D, K]`.
      evaluate: `(int32[n, D], fidelity, key) -> (Told, metrics)`.
      rounds: how many times it asks.
      ahead: what is known before an evaluation.

    Returns:
      The final state and the history.
    """
    one = one_round(strategy, key, evaluate, ahead)
    init_key = jax.random.fold_in(key, rounds)
    return jax.lax.scan(one, strategy.init(init_key, mask), jnp.arange(rounds))


def check_strategy(strategy: Strategy, mask: np.ndarray) -> None:
    """Checks what a strategy needs, and the shapes of what it returns, without running it.

    Raises:
      UserError: names what is missing, or the function, what it returned and what the contract asks
        for.
    """
    from hwnas_jax.errors import UserError

    strategy.check(mask)
    where = f"strategy {strategy.name}"
    wanted = (strategy.each, mask.shape[0])

    def every(key, mask):
        state = strategy.init(key, mask)
        asked = strategy.ask(state, key, no_budget)
        told = Told(*[jnp.zeros(strategy.each, jnp.float32)] * 3)
        after = strategy.tell(state, asked, told)
        return state, asked, strategy.fidelity(state), after, strategy.alive(after)

    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        options = jax.ShapeDtypeStruct(mask.shape, bool)
        before, asked, fidelity, after, alive = jax.eval_shape(every, key, options)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{where} fails on {mask.shape} options: {reason}") from error
    if asked.shape != wanted or asked.dtype != jnp.int32:
        raise UserError(
            f"{where}: ask must return int32{list(wanted)}, got {asked.dtype}{list(asked.shape)}"
        )
    phases = strategy.phases(mask)
    if phases[:1] != (0,) or list(phases) != sorted(set(phases)):
        raise UserError(f"{where}: phases must be rising rounds that begin with 0, got {phases}")
    if not isinstance(strategy.fidelities, int) or strategy.fidelities < 1:
        raise UserError(
            f"{where}: fidelities must be an integer of at least 1, got {strategy.fidelities!r}"
        )
    if fidelity.shape != () or fidelity.dtype != jnp.int32:
        raise UserError(
            f"{where}: fidelity must return int32[], got {fidelity.dtype}{list(fidelity.shape)}"
        )
    if alive is not None and (alive.shape != mask.shape or alive.dtype != jnp.bool_):
        raise UserError(
            f"{where}: alive must return bool{list(mask.shape)}, got {alive.dtype}"
            f"{list(alive.shape)}"
        )
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (before, after)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{where}: tell must return a state like that of init, {shapes[0]}, got {shapes[1]}"
        )
