"""How alike two architectures are: a sum of kernels over single decisions, pairs and triples.

Apart from the parts that only tables have, each part is a sum of products of matches `[x_d = y_d]`
over distinct decisions `d`. A weighted sum of kernels to fixed architectures is therefore linear in
each row of the gates.

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
class AdditiveKernel:
    """The parts of an additive kernel. On average a part is one between equal architectures.

    The parts come in this order:

    - `constant`.
    - `shared` counts options regardless of their decision; only where decisions share options.
    - `timed` multiplies the sums of timed operations; only where operations were timed.
    - `empty` is one where no path leads from input to output; only where asked for.
    - `relations` multiplies the counts of what a compiler leaves of the networks, and `alike
      relations` is one where the counts are equal and falls with their distance; only in a table of
      a space that knows them.
    - The orders `1..O` of each view.

    The first view is the architecture as it is written. In spaces where different architectures
    build the same network, the canonical form is the second: some runtimes drop what cannot reach
    the output, others run it. A table has a third view, which drops what nothing reads but keeps
    what computes on zeros.

    Attributes:
      space: the space of the architectures.
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
        """Whether there is a canonical view. Gates need the mixture of forms for it."""
        if self.tabulated:
            return type(self.space).canonical is not Choices.canonical
        return self.space.mixes_canonical

    @property
    def shared(self) -> np.ndarray | None:
        """Which of `S` shared options each option is, `float64[D, K, S]`; None where none is."""
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
        """The `J` names of the parts."""
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
        """Returns what linear parts see, `float64[N, D, K]`, the same for equal networks."""
        options = architectures
        if self.has_canonical:
            options = effective_options(self.space, architectures)
        return np.eye(self.space.num_options + 1, self.space.num_options)[options]

    def features(self) -> list[np.ndarray]:
        """Returns the tables of `shared` and `timed`, where there are, `float64[D, K, S]` each."""
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


def make_kernel(space: Choices, timed: np.ndarray | None, *, tabulated: bool) -> AdditiveKernel:
    """Returns the kernel of the Gaussian process.

    Args:
      space: the space of the architectures.
      timed: `float64[D, K]` from `timed_table`, or None.
      tabulated: whether all architectures are put in a table, with effects up to triples.
    """
    empty = tabulated and bool(disconnected(space, space.enumerate()).any())
    return AdditiveKernel(space, 3 if tabulated else 2, timed, tabulated, empty)


def timed_table(space: Choices, observations: Observations, metric: str) -> np.ndarray | None:
    """Returns what each option adds by the timed operations, `float64[D, K]`.

    It is scaled so that the sum over a network is at most one. None where no operation was observed
    for the metric.
    """
    operations = observations.operations.items()
    values = {name: costs[metric] for name, costs in operations if metric in costs}
    if not values or not isinstance(space, Space):
        return None
    table, _ = sum_places(space, values)
    largest = table.max(axis=1).sum()
    return table / largest if largest > 0 else None
