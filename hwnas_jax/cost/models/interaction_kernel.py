"""How alike two architectures are: a sum of kernels over single decisions, pairs and triples.

Every part but those for tables alone is a sum of products of matches `[x_d = y_d]` over distinct
decisions `d`, so whatever is a weighted sum of kernels to fixed architectures is linear in each
row of the gates.

Legend: `N, M` architectures, `D` decisions, `K` options of the widest decision, `J` parts,
`O` the highest order.

References: Duvenaud, Nickisch and Rasmussen, "Additive Gaussian Processes", 2011.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from hwnas_jax.cost.files.observations import Observations
from hwnas_jax.cost.files.unit_checks import disconnected
from hwnas_jax.spaces.base import Choices, Space
from hwnas_jax.spaces.core.mixture import effective_options
from hwnas_jax.spaces.core.terms import sum_places

_ORDERS = ("constant", "single", "pair", "triple")


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The parts of an additive kernel; each is one on average where architectures are equal.

    The parts are, in this order: a constant; `shared`, which counts options whatever the decision,
    where several decisions have the same options; `timed`, the sums of timed operations, where
    operations were timed; `empty`, whether no path leads from input to output, where asked for;
    `relations`, products of the counts of what a compiler leaves, and `alike relations`, one where
    they are equal and falling with their distance, in a table of a space that tells them; then per
    view the orders `1..O`. The views are the architecture as it is written and, in spaces where
    different architectures build the same network, its canonical form: some runtimes drop what
    cannot reach the output, others run it. In a table there is a third, without what nothing reads
    but with what computes on zeros.

    Attributes:
      space: what the architectures are of.
      order: `O`, from one to three.
      timed: `float64[D, K]`, what each option adds by timing, in any unit; None without timings.
      tabulated: whether the kernel is for a table of all architectures, not for gates.
      empty: whether networks without a path have a part of their own. It is not linear in the
        gates, so only a table can hold it.
    """

    space: Choices
    order: int
    timed: np.ndarray | None = None
    tabulated: bool = False
    empty: bool = False

    @functools.cached_property
    def _relations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Which relations differ between architectures, their means and their scales."""
        counts = self.space.relations(self.space.enumerate()) if self.tabulated else None
        if counts is None:
            return None
        differ = np.flatnonzero(counts.std(axis=0) > 0)
        return differ, counts[:, differ].mean(axis=0), counts[:, differ].std(axis=0)

    def related(self, architectures: np.ndarray) -> np.ndarray | None:
        """Returns the counts of relations, each of mean zero, `float64[N, S]`, or None.

        Over the space their squares add up to one on average.
        """
        if self._relations is None:
            return None
        differ, mean, scale = self._relations
        counts = np.asarray(self.space.relations(architectures))[:, differ]
        return (counts - mean) / scale / math.sqrt(len(differ))

    @property
    def has_canonical(self) -> bool:
        """Whether canonical forms are seen: gates need their mixture, a table the forms alone."""
        if self.tabulated:
            return type(self.space).canonical is not Choices.canonical
        return self.space.mixes_canonical

    @property
    def shared(self) -> np.ndarray | None:
        """`float64[D, K, S]`, which of `S` shared options each is; None where none is shared."""
        lists = [decision.options for decision in self.space.decisions]
        common = sorted({options for options in lists if lists.count(options) > 1})
        names = [(options, name) for options in common for name in options]
        if not names:
            return None
        table = np.zeros((self.space.num_decisions, self.space.num_options, len(names)))
        for d, options in enumerate(lists):
            for k, name in enumerate(options):
                if options in common:
                    table[d, k, names.index((options, name))] = 1
        return table / len(lists)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts, `J` of them."""
        linear = ["shared"] * (self.shared is not None) + ["timed"] * (self.timed is not None)
        views = ["", *(f"{name} " for name, _ in self._forms)]
        orders = [view + order for view in views for order in _ORDERS[1 : self.order + 1]]
        relations = ["relations", "alike relations"] if self._relations else []
        return ("constant", *linear, *["empty"] * self.empty, *relations, *orders)

    def views(self, architectures: np.ndarray) -> list[np.ndarray]:
        """Returns the architectures, `int32[N, D]`, as written and in each other form."""
        return [architectures, *(form(architectures) for _, form in self._forms)]

    @property
    def _forms(self) -> Sequence[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
        """Names and functions of the views beside the architecture as it is written."""
        forms = [("canonical", self.space.canonical)] if self.has_canonical else []
        if self.tabulated and type(self.space).used is not Choices.used:
            forms.append(("used", self.space.used))
        return forms

    def effective(self, architectures: np.ndarray) -> np.ndarray:
        """Returns what linear parts see, `float64[N, D, K]`: alike in all forms of a network."""
        options = architectures
        if self.has_canonical:
            options = effective_options(self.space, architectures)
        return np.eye(self.space.num_options + 1, self.space.num_options)[options]

    def features(self) -> list[np.ndarray]:
        """Returns the tables of the parts that are linear, `float64[D, K, S]` each."""
        timed = None if self.timed is None else self.timed[..., None]
        return [table for table in (self.shared, timed) if table is not None]

    def parts(self, left: np.ndarray, right: np.ndarray) -> Iterator[np.ndarray]:
        """Yields each part between `left` (`int32[N, D]`) and `right`, `float64[N, M]`."""
        yield np.ones((len(left), len(right)))
        matter = self.effective(left), self.effective(right)
        for table in self.features():
            sums = [np.einsum("ndk,dks->ns", rows, table) for rows in matter]
            yield sums[0] @ sums[1].T
        if self.empty:
            cut = [disconnected(self.space, rows).astype(float) for rows in (left, right)]
            yield np.outer(*cut)
        one, other = self.related(left), self.related(right)
        if one is not None and other is not None:
            products = one @ other.T
            lengths = [(counts**2).sum(axis=1) for counts in (one, other)]
            yield products
            yield np.exp(products - np.add.outer(*lengths) / 2)
        for one, other in zip(self.views(left), self.views(right), strict=True):
            yield from symmetric_matches(one, other, self.order)

    def diagonal(self, architectures: np.ndarray) -> np.ndarray:
        """Returns each part between every architecture and itself, `float64[J, N]`."""
        matter = self.effective(architectures)
        linear = [(np.einsum("ndk,dks->ns", matter, t) ** 2).sum(axis=1) for t in self.features()]
        ones = np.ones(len(architectures))
        if self.empty:
            linear.append(disconnected(self.space, architectures).astype(float))
        counts = self.related(architectures)
        if counts is not None:
            linear += [(counts**2).sum(axis=1), ones]
        return np.array([ones, *linear, *[ones] * (self.order * (1 + len(self._forms)))])

    def weighted(self, variances: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Returns the sum of the parts times `variances` (`float64[J]`), `float64[N, M]`."""
        total = np.zeros((len(left), len(right)))
        for variance, part in zip(variances, self.parts(left, right), strict=True):
            total += variance * part
        return total


def symmetric_matches(left: np.ndarray, right: np.ndarray, order: int) -> list[np.ndarray]:
    """Returns the share of matching sets of 1, 2, ... `order` decisions, `float64[N, M]` each.

    The elementary symmetric polynomials of the matches over their largest value.
    """
    decisions = left.shape[1]
    sums = [np.ones((len(left), len(right)))]
    sums += [np.zeros_like(sums[0]) for _ in range(order)]
    for d in range(decisions):
        match = left[:, d][:, None] == right[:, d][None, :]
        for o in range(min(d + 1, order), 0, -1):
            sums[o] += match * sums[o - 1]
    return [total / math.comb(decisions, o) for o, total in enumerate(sums) if o]


def timed_table(space: Choices, observations: Observations, metric: str) -> np.ndarray | None:
    """Returns what the timed operations add per option, `float64[D, K]`, at most one in a network.

    None where no operation of the metric was observed.
    """
    operations = observations.operations.items()
    values = {name: costs[metric] for name, costs in operations if metric in costs}
    if not values or not isinstance(space, Space):
        return None
    table, _ = sum_places(space, values)
    largest = table.max(axis=1).sum()
    return table / largest if largest > 0 else None
