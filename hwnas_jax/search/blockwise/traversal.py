"""The best combinations of one candidate a block under several budgets at once, with a proof.

Legend: `G` blocks, `N_g` candidates of block `g`, `M` budgets, `n` combinations.

The loss of a combination is the sum over its blocks. The cost in each budget is also a sum, up to
a remainder that is bounded from below and that only the whole cost model knows. This is branch and
bound. The linear relaxation of the problem yields a price for each budget. For any prices, the sum
of loss plus priced cost, minimised in each block by itself, is a lower bound on the loss of every
combination within the budgets. What the bound rules out is never visited; what remains is visited
group by group, and every complete combination is asked of the whole cost model.

References: Li et al., CVPR 2020, whose traversal prunes by partial sums of cost; Kellerer et al.,
"Knapsack Problems", 2004, chapter 11, for the multiple-choice knapsack problem and its bounds.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy

_EXPANDED = 500_000
"""Partial combinations that one expansion looks at."""
_CHECKED = 1024
"""Combinations that the whole cost model is asked about at once."""
_BEAM = 256
"""Partial combinations that the first descent keeps."""


class Problem(NamedTuple):
    """What is to be combined.

    Attributes:
      losses: `float64[N_g]` for each block.
      costs: `float64[N_g, M]` for each block, which parts of the costs its candidates bring.
      room: `float64[M]`; the sum of these parts is at most this in each combination that meets the
        budgets. A combination within the room may still miss a budget.
      meets: `int[n, G] -> bool[n]`, whether combinations, by the numbers of their candidates, meet
        all budgets by the whole cost model.
    """

    losses: Sequence[np.ndarray]
    costs: Sequence[np.ndarray]
    room: np.ndarray
    meets: Callable[[np.ndarray], np.ndarray]


class Traversed(NamedTuple):
    """The best combinations.

    Attributes:
      chosen: `int[n, G]`, numbers of candidates, the lowest loss first; empty where no combination
        meets the budgets.
      loss: `float64[n]`.
      bound: no combination that meets the budgets and is not among `chosen` has a lower loss.
      optimal: whether `chosen` are proved to be the best; otherwise the visit ended early.
      visited: partial and complete combinations that were looked at.
    """

    chosen: np.ndarray
    loss: np.ndarray
    bound: float
    optimal: bool
    visited: int


def traverse(problem: Problem, count: int = 1, *, most: int = 200_000_000) -> Traversed:
    """Finds the combinations of lowest loss that meet all budgets.

    Args:
      problem: what is combined.
      count: how many combinations, `n`; fewer are returned where fewer meet the budgets.
      most: how many partial combinations are looked at before it gives up the proof.

    Returns:
      The combinations with a proof, or without one where `most` did not suffice.
    """
    order = sorted(range(len(problem.losses)), key=lambda g: len(problem.losses[g]))
    search = _Search(problem, order, count)
    if search.reachable:
        search.descend()
        search.fix()
        search.run(most)
    return search.result()


def prices(problem: Problem) -> np.ndarray | None:
    """Returns what a unit of each budget is worth, `float64[M]`, by the linear relaxation.

    None where not even a mixture of candidates has the room.
    """
    scale = np.maximum(np.max([np.abs(c).max(axis=0) for c in problem.costs], axis=0), 1e-30)
    sizes = [len(losses) for losses in problem.losses]
    total = sum(sizes)
    block = np.repeat(np.arange(len(sizes)), sizes)
    one_each = scipy.sparse.csr_array(
        (np.ones(total), (block, np.arange(total))), shape=(len(sizes), total)
    )
    solved = scipy.optimize.linprog(
        np.concatenate(problem.losses),
        A_ub=np.concatenate(problem.costs).T / scale[:, None],
        b_ub=problem.room / scale, A_eq=one_each, b_eq=np.ones(len(sizes)), method="highs",
    )  # fmt: skip
    if solved.status == 2:
        return None
    if not solved.success:  # any prices give a bound, free budgets too
        return np.zeros_like(scale)
    return np.maximum(-solved.ineqlin.marginals, 0.0) / scale


class _Search:
    """Branch and bound, with the blocks in the order in which they are chosen."""

    def __init__(self, problem: Problem, order: list[int], count: int):
        self.order, self.count, self.meets = order, count, problem.meets
        self.losses = [np.asarray(problem.losses[g], np.float64) for g in order]
        self.costs = [np.asarray(problem.costs[g], np.float64) for g in order]
        self.room = np.asarray(problem.room, np.float64)
        self.numbers = [np.arange(len(losses)) for losses in self.losses]
        self.chosen = np.zeros((0, len(order)), int)
        self.loss = np.zeros(0)
        self.visited, self.left = 0, np.inf
        self.size = sum(np.ptp(losses) for losses in self.losses) or 1.0
        least = sum(costs.min(axis=0) for costs in self.costs)
        self.reachable = bool((least <= self.room).all())
        price = prices(problem) if self.reachable else None
        self.reachable = price is not None
        self.price = np.zeros(len(self.room)) if price is None else price
        self._sum_up()

    def _sum_up(self) -> None:
        """Computes what the blocks that are still open add at least."""
        self.priced = [
            loss + cost @ self.price for loss, cost in zip(self.losses, self.costs, strict=True)
        ]

        def open_ones(least):
            return [sum(least[depth + 1 :], 0 * least[0]) for depth in range(len(least))]

        self.rest_priced = open_ones([priced.min() for priced in self.priced])
        self.rest_loss = open_ones([loss.min() for loss in self.losses])
        self.rest_cost = open_ones([cost.min(axis=0) for cost in self.costs])

    @property
    def worst(self) -> float:
        """The loss that a further combination must stay below."""
        return self.loss[-1] if len(self.loss) == self.count else np.inf

    def _open(self, bound: np.ndarray) -> np.ndarray:
        return bound < self.worst - 1e-12 * self.size

    def _children(self, depth, path, loss, priced, cost):
        """Returns the ways to go on from partial combinations, with their lower bounds."""
        self.visited += len(path) * len(self.losses[depth])
        bounds_loss = loss[:, None] + self.losses[depth]
        bounds_priced = priced[:, None] + self.priced[depth]
        spent = self.price @ self.room
        bound = np.maximum(
            bounds_loss + self.rest_loss[depth], bounds_priced + self.rest_priced[depth] - spent
        )
        fits = self._open(bound)
        for metric, room in enumerate(self.room):
            least = cost[:, metric, None] + self.costs[depth][:, metric]
            fits &= least + self.rest_cost[depth][metric] <= room
        parents, options = np.nonzero(fits)
        order = np.argsort(bound[parents, options], kind="stable")
        parents, options = parents[order], options[order]
        return (
            np.concatenate([path[parents], options[:, None]], axis=1),
            bounds_loss[parents, options],
            bounds_priced[parents, options],
            cost[parents] + self.costs[depth][options],
            bound[parents, options],
        )

    def _root(self):
        return (
            np.zeros((1, 0), int), np.zeros(1), np.zeros(1), np.zeros((1, len(self.room))),
            np.full(1, -np.inf),
        )  # fmt: skip

    def descend(self) -> None:
        """Finds first combinations by keeping the most promising partial ones."""
        nodes = self._root()
        for depth in range(len(self.losses)):
            nodes = tuple(part[:_BEAM] for part in self._children(depth, *nodes[:4]))
        self._take(nodes[0], nodes[1])

    def fix(self) -> None:
        """Drops candidates that no better combination has."""
        least = sum(priced.min() for priced in self.priced) - self.price @ self.room
        lowest = sum(loss.min() for loss in self.losses)
        for g, (loss, priced) in enumerate(zip(self.losses, self.priced, strict=True)):
            bound = np.maximum(lowest + loss - loss.min(), least + priced - priced.min())
            others = self.rest_cost[0] + self.costs[0].min(axis=0) - self.costs[g].min(axis=0)
            kept = self._open(bound) & (self.costs[g] + others <= self.room).all(axis=1)
            self.numbers[g] = self.numbers[g][kept]
        if all(map(len, self.numbers)):
            # The combinations that are known keep their own numbers; see `_take`.
            pairs = list(zip(self.losses, self.costs, self.numbers, strict=True))
            self.losses = [loss[kept] for loss, _, kept in pairs]
            self.costs = [cost[kept] for _, cost, kept in pairs]
            self._sum_up()
        else:
            self.losses = []

    def run(self, most: int) -> None:
        """Visits what the bounds do not rule out."""
        if not self.losses:
            return
        stack = [(0, self._root())]
        while stack:
            depth, nodes = stack.pop()
            still = self._open(nodes[4])
            nodes = tuple(part[still] for part in nodes)
            if not len(nodes[0]):
                continue
            if self.visited >= most:
                self.left = min(self.left, nodes[4].min())
                continue
            if depth == len(self.losses):
                self._take(nodes[0], nodes[1])
                continue
            now = max(1, _EXPANDED // len(self.losses[depth]))
            if len(nodes[0]) > now:
                stack.append((depth, tuple(part[now:] for part in nodes)))
            children = self._children(depth, *(part[:now] for part in nodes[:4]))
            stack.append((depth + 1, children))

    def _take(self, path: np.ndarray, loss: np.ndarray) -> None:
        """Keeps the best of complete combinations, those that meet the budgets."""
        order = np.argsort(loss, kind="stable")
        for start in range(0, len(order), _CHECKED):
            rows = order[start : start + _CHECKED]
            rows = rows[self._open(loss[rows])]
            if not len(rows):
                return
            paths = np.stack([n[p] for n, p in zip(self.numbers, path[rows].T, strict=True)], 1)
            back = np.empty_like(paths)
            back[:, self.order] = paths
            rows, paths = (part[np.asarray(self.meets(back), bool)] for part in (rows, paths))
            every = np.concatenate([self.chosen, paths])
            every, first = np.unique(every, axis=0, return_index=True)
            losses = np.concatenate([self.loss, loss[rows]])[first]
            best = np.argsort(losses, kind="stable")[: self.count]
            self.chosen, self.loss = every[best], losses[best]

    def result(self) -> Traversed:
        chosen = np.empty_like(self.chosen)
        chosen[:, self.order] = self.chosen
        bound = min(self.left, self.worst)
        return Traversed(chosen, self.loss, float(bound), self.left == np.inf, self.visited)
