"""What candidates of blocks cost, and the best combinations of them within budgets.

Legend: `G` groups of blocks, `N_g` candidates of a group, `d` decisions of a group, `D` decisions,
`M` budgets, `n` architectures.

Blocks that read the same decisions choose together: in a cell space every block has the same cell,
so all of them are one group. A cost model knows whole networks. What a candidate costs is the mean
over a few networks that it stands in, minus the mean cost. What is left of a network's cost beyond
these parts is the interaction of the groups. Its least value bounds what a combination may seem to
cost and still meet the budget. It is zero for one group and for costs that add up, is known where
all networks can be listed, and otherwise is found by descent from the least of a random sample. If
a network is then met whose interaction is less than that, the bound is lowered and the traversal
starts again.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwnas_jax.budgets.target import Target
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.cost.models.base import CostModel
from hwnas_jax.errors import UserError
from hwnas_jax.search.blockwise.traversal import Problem, Traversed, traverse
from hwnas_jax.search.candidates import ENUMERABLE, bounded_costs
from hwnas_jax.spaces.base import Space

_REFERENCES = 4
"""Networks that a candidate's part of the cost is the mean over."""
_SAMPLE = 4096
"""Random networks whose interactions are looked at."""
_DESCENTS = 8
"""Networks from which the least interaction is looked for."""
_ADDITIVE = 1e-5
"""Interactions below this share of the largest cost are rounding."""


class Group(NamedTuple):
    """Blocks that read the same decisions.

    Attributes:
      decisions: the `d` decisions, in rising order.
      rows: `int32[N_g, d]`, the candidates.
      loss: `float64[N_g]`, the sum of the blocks' losses.
    """

    decisions: tuple[int, ...]
    rows: np.ndarray
    loss: np.ndarray


class Best(NamedTuple):
    """The best networks within the budgets.

    Attributes:
      networks: `int32[n, D]`, the lowest loss first.
      loss: `float64[n]`, summed over the blocks.
      proof: why no other network within the budgets is better, in words; or what is not proved.
      traversed: what the traversal found.
    """

    networks: np.ndarray
    loss: np.ndarray
    proof: str
    traversed: Traversed


def group_blocks(
    decisions: Sequence[tuple[int, ...]], rows: Sequence[np.ndarray], losses: Sequence[np.ndarray]
) -> list[Group]:
    """Returns the groups of blocks.

    Args:
      decisions: of each block.
      rows: of each block, `int32[N, d]`; those of blocks with the same decisions are the same.
      losses: of each block, `float[N]`.
    """
    groups: dict[tuple[int, ...], Group] = {}
    for own, candidates, loss in zip(decisions, rows, losses, strict=True):
        known = groups.get(own, Group(own, candidates, np.zeros(len(candidates))))
        groups[own] = known._replace(loss=known.loss + np.asarray(loss, np.float64))
    return list(groups.values())


@dataclasses.dataclass(eq=False)
class Combinations:
    """The networks that the candidates of groups combine to, and what these cost.

    Attributes:
      space: what is searched.
      model: predicts the costs.
      target: the budgets.
      groups: together they read every decision.
      seed: of the networks that interactions are learned from.
    """

    space: Space
    model: CostModel
    target: Target
    groups: Sequence[Group]
    seed: int = 0

    def networks(self, chosen: np.ndarray) -> np.ndarray:
        """Returns `int32[n, D]` of the numbers of candidates, `int[n, G]`."""
        every = np.zeros((len(chosen), self.space.num_decisions), np.int32)
        for group, numbers in zip(self.groups, np.asarray(chosen).T, strict=True):
            every[:, list(group.decisions)] = group.rows[numbers]
        return every

    def costs(self, chosen: np.ndarray) -> np.ndarray:
        """Returns what combinations cost, `float64[n, M]`, by the whole cost model."""
        bounds = bounded_costs(self.space, self.model, self.target, self.networks(chosen))[1]
        return np.stack([bounds[metric] for metric in self.target.limits], 1).astype(np.float64)

    @property
    def limits(self) -> np.ndarray:
        """The budgets, `float64[M]`."""
        return np.array(list(self.target.limits.values()), np.float64)

    @property
    def sizes(self) -> list[int]:
        """`N_g` of each group."""
        return [len(group.rows) for group in self.groups]

    def draw(self, count: int) -> np.ndarray:
        """Returns random combinations, `int[count, G]`, the same at every call."""
        return np.random.default_rng(self.seed).integers(0, self.sizes, (count, len(self.sizes)))

    def parts(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns the mean cost `float64[M]` and the part of each candidate, `float64[N_g, M]`."""
        if len(self.sizes) == 1:
            whole = self.costs(np.arange(self.sizes[0])[:, None])
            return np.zeros(whole.shape[1]), [whole]
        references = self.draw(_REFERENCES)
        base, parts = self.costs(references).mean(axis=0), []
        for g, size in enumerate(self.sizes):
            rows = np.repeat(references, size, axis=0)
            rows[:, g] = np.tile(np.arange(size), _REFERENCES)
            costs = self.costs(rows).reshape(_REFERENCES, size, -1)
            parts.append(costs.mean(axis=0) - base)
        return base, parts

    def best(self, count: int, *, most: int = 200_000_000) -> Best:
        """Returns the networks of lowest loss that meet the budgets.

        Args:
          count: how many; fewer are returned where fewer meet the budgets.
          most: partial combinations that are looked at before the proof is given up.

        Raises:
          UserError: when no combination meets the budgets; names the least cost that any reaches,
            and the nearest combination.
        """
        base, parts = self.parts()

        def remainder(chosen: np.ndarray, costs: np.ndarray) -> np.ndarray:
            summed = sum(part[chosen[:, g]] for g, part in enumerate(parts))
            return costs - base - summed

        least, reason = self._least_interaction(parts, remainder)
        limits, lower = self.limits, least

        def meets(chosen: np.ndarray) -> np.ndarray:
            nonlocal lower
            costs = self.costs(chosen)
            lower = np.minimum(lower, remainder(chosen, costs).min(axis=0))
            return np.all(costs <= limits, axis=1)

        losses = [group.loss for group in self.groups]
        while True:
            found = traverse(Problem(losses, parts, limits - base - least, meets), count, most=most)
            if (lower >= least).all():
                break
            least = lower - 0.1 * np.abs(lower - least)
        if not len(found.chosen):
            self._refuse(parts)
        proof = f"no other network within the budgets has a lower loss: {reason}"
        if not found.optimal:
            proof = (
                f"not proved to be the best: after {found.visited:,} combinations the visit ended; "
                f"no network within the budgets has a loss below {found.bound:.5g}"
            )
        return Best(self.networks(found.chosen), found.loss, proof, found)

    def _least_interaction(self, parts, remainder) -> tuple[np.ndarray, str]:
        """Returns the least interaction in each metric, `float64[M]`, and how it is known."""
        scale = sum(np.abs(part).max(axis=0) for part in parts)
        if len(self.sizes) == 1:
            return -_ADDITIVE * scale, "all blocks choose together, and every choice was looked at"
        size = float(np.prod(self.sizes, dtype=np.float64))
        if size <= ENUMERABLE:
            grid = np.meshgrid(*(range(own) for own in self.sizes), indexing="ij")
            chosen = np.stack([axis.ravel() for axis in grid], 1)
            rest = remainder(chosen, self.costs(chosen))
            return rest.min(axis=0) - 1e-6 * scale, "the interactions of all networks are known"
        chosen = self.draw(_SAMPLE)
        rest = remainder(chosen, self.costs(chosen))
        if (np.abs(rest).max(axis=0) <= _ADDITIVE * scale).all():
            added = f"costs add up over the blocks, in {_SAMPLE:,} random networks up to rounding"
            return -2 * _ADDITIVE * scale, added
        least = rest.min(axis=0)
        for metric in range(len(least)):
            starts = chosen[np.argsort(rest[:, metric])[:_DESCENTS]]
            least = np.minimum(least, self._descend(starts, metric, remainder))
        spread = 0.1 * (rest.max(axis=0) - least)
        return least - spread, (
            "as far as the interactions of the blocks are not below the least that was found, by "
            f"descent from the least of {_SAMPLE:,} random networks, less a tenth of their spread"
        )

    def _descend(self, chosen: np.ndarray, metric: int, remainder) -> np.ndarray:
        """Returns the least remainder on the way down in one metric, exchanging candidates."""
        rng, least = np.random.default_rng(self.seed), np.full(len(self.limits), np.inf)
        for _ in range(3):
            for g, size in enumerate(self.sizes):
                some = rng.permutation(size)[:64]
                rows = np.repeat(chosen, len(some) + 1, axis=0)
                rows[:, g] = np.concatenate([np.append(some, own) for own in chosen[:, g]])
                rest = remainder(rows, self.costs(rows))
                least = np.minimum(least, rest.min(axis=0))
                best = rest[:, metric].reshape(len(chosen), -1).argmin(axis=1)
                chosen = rows.reshape(len(chosen), -1, len(self.sizes))[range(len(chosen)), best]
        return least

    def _refuse(self, parts) -> None:
        """Raises UserError that names the least cost of each metric and the nearest network."""
        limits = self.limits
        # Each budget weighs what it is; then all of them together, each by its limit.
        weights = [*np.eye(len(limits)), 1 / limits]
        chosen = np.array([[int((p @ w).argmin()) for p in parts] for w in weights])
        for _ in range(2):
            for g, size in enumerate(self.sizes):
                rows = np.repeat(chosen, size, axis=0)
                rows[:, g] = np.tile(np.arange(size), len(chosen))
                costs = self.costs(rows).reshape(len(chosen), size, -1)
                over = np.maximum(costs / limits - 1, 0).sum(-1)
                aims = [*(costs[m, :, m] for m in range(len(limits))), over[-1]]
                chosen[:, g] = [aim.argmin() for aim in aims]
        costs = self.costs(chosen)
        names = [unit(metric) for metric in self.target.limits]

        def written(values) -> str:
            return " and ".join(f"{v:.4g} {n}" for v, n in zip(values, names, strict=True))

        over = np.maximum(costs / limits - 1, 0).sum(-1)
        near = int(over.argmin())
        least = costs[range(len(limits)), range(len(limits))]
        string = self.space.to_string(self.networks(chosen[[near]])[0])
        raise UserError(
            f"no combination of blocks meets {written(limits)}; the least that any was found to "
            f"take is {written(least)}, each by itself; the nearest to all is {string} with "
            f"{written(costs[near])}"
        )
