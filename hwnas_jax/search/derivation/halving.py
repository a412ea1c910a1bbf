"""Successive halving: short trainings of the most promising networks, longer ones of the best."""

import dataclasses
from typing import Annotated

import numpy as np
import scipy
from annotated_types import Ge, Gt

from hwnas_jax.parallel.progress import Progress
from hwnas_jax.search.derivation.base import DERIVATIONS, Candidates, Derivation, Searched
from hwnas_jax.search.derivation.best_by_supernet import judged_losses
from hwnas_jax.search.derivation.most_probable import MostProbable


@DERIVATIONS.add
@dataclasses.dataclass(frozen=True)
class Halving(Derivation):
    """Trains networks of the budget shortly, each with weights of its own, and keeps the better.

    A training of a network's own ranks better than any weights that are shared, and costs more. So
    cheap signs choose who is trained: the size of a network, what the supernet loses with it, how
    much more probable the search has made it, or what a strategy was told of it. Each sign ranks
    all candidates, and those with the best mean rank form the first round. Every further round
    trains the best of them again, for as much longer as they are fewer, while two or more are left.

    A training counts by the sum of its validation loss and of its training loss near the end. A
    round starts from weights of its own, so that the errors of the rounds differ, and a network is
    placed by the sum over all its rounds, networks that reached later rounds first. Those that were
    not trained follow by their mean ranks. Several devices train several networks side by side. All
    of them run in one compiled program.

    References: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization", 2016; Ru et al., "Speedy Performance Estimation for Neural Architecture Search",
    2021, for the training loss.
    """

    name = "halving"
    summary = "short trainings of the most promising, longer ones of the best of these"

    trainings: Annotated[int, Ge(1)] = 16
    """networks that the first round trains"""
    steps: Annotated[int, Gt(0)] = 300
    """steps of a training in the first round"""
    shrink: Annotated[int, Ge(2)] = 4
    """how many times fewer networks each round trains than the one before, each as many times as
    long"""
    warm: bool = False
    """start from the supernet's weights, where there are any; false starts from new ones"""
    by_size: bool = True
    """let the number of multiply-adds choose who is trained; that of parameters ranks worse"""
    by_supernet: Annotated[int, Ge(0)] = 256
    """networks that the supernet judges, those with the best mean rank of the other signs, so that
    its losses choose too; 0 asks it nothing"""
    by_probability: bool = False
    """let the probabilities of a gradient search choose who is trained; what a strategy was told
    always does"""

    def order(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns all candidates."""
        promising = self.shortlist(candidates, searched, progress, seed=seed)
        rounds = self._rounds(min(self.trainings, len(promising)))
        seeds = np.random.default_rng(seed).integers(2**31, size=len(rounds))
        start = searched.weights if self.warm else None
        left, order = promising, np.zeros(0, promising.dtype)
        losses = np.zeros(len(promising))
        for (kept, steps), own in zip(rounds, seeds, strict=True):
            order = np.concatenate([left[kept:], order])
            left, losses = left[:kept], losses[:kept]
            told = searched.train(start, candidates.networks[left], steps, progress, seed=int(own))
            losses = losses + told["loss"] + told["training_loss"]
            best = np.argsort(losses, kind="stable")
            left, losses = left[best], losses[best]
        return np.concatenate([left, order])

    def with_more_passes(self, passes: int) -> "Halving":
        """Returns the rule with as many more trainings as so many passes allow."""
        rule, allowed = self, self._passes + passes
        while (more := dataclasses.replace(rule, trainings=rule.trainings + 1))._passes <= allowed:
            rule = more
        return rule

    def _rounds(self, trainings: int) -> list[tuple[int, int]]:
        """Returns of every round how many networks it trains, and for how many steps."""
        rounds = [(trainings, self.steps)]
        while (kept := rounds[-1][0] // self.shrink) > 1:
            rounds.append((kept, self.shrink * rounds[-1][1]))
        return rounds

    @property
    def _passes(self) -> int:
        return sum(count * steps for count, steps in self._rounds(self.trainings))

    def shortlist(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns all candidates, the most promising first; equal ones are in random order."""
        count = len(candidates.networks)
        luck = np.random.default_rng(seed).permutation(count)
        signs = []
        if self.by_size:
            signs.append(-candidates.counts["macs"])
        told = candidates.scores is not None
        found = MostProbable().scores(candidates)
        if (told or self.by_probability) and np.ptp(found) > 1e-6:
            signs.append(-found)
        order = np.lexsort((luck, mean_ranks(signs) if signs else luck))
        if self.by_supernet and searched.weights is not None and not told:
            some = order[: self.by_supernet]
            losses = judged_losses(candidates.networks[some], searched, progress)
            ranks = mean_ranks([*(sign[some] for sign in signs), losses])
            order = np.concatenate([some[np.lexsort((luck[some], ranks))], order[len(some) :]])
        return order


def mean_ranks(signs: list[np.ndarray]) -> np.ndarray:
    """Returns the mean rank of each candidate, `float64[N]`, over signs of which less is better."""
    return np.mean([scipy.stats.rankdata(sign) for sign in signs], axis=0)
