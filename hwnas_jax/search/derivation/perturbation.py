"""DARTS-PT: an option counts for as much as the supernet loses without it."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Ge

from hwnas_jax.parallel.progress import Progress
from hwnas_jax.search.derivation.base import DERIVATIONS, Candidates, Derivation, Searched


@DERIVATIONS.add
@dataclasses.dataclass(frozen=True)
class Perturbation(Derivation):
    """Fixes one decision after another, each to the option whose removal hurts the supernet most.

    Decisions are taken in random order; the others stay mixed by their probabilities. Only options
    that some network within the budget still has are considered, so that the outcome meets the
    budget. The networks that agree with it in most decisions follow it, the more probable ones
    first.

    References: Wang et al., "Rethinking Architecture Selection in Differentiable NAS" (DARTS-PT),
    2021. There the supernet is trained on for five epochs after every decision.
    """

    name = "perturbation"
    summary = "the options whose removal hurts the supernet most (DARTS-PT)"
    needs_weights = True

    tune_steps: Annotated[int, Ge(0)] = 20
    """training steps of the supernet's weights after every decision"""

    def order(
        self, candidates: Candidates, searched: Searched, progress: Progress, *, seed: int
    ) -> np.ndarray:
        """Returns all candidates."""
        networks = candidates.networks
        gates = np.array(searched.probabilities, np.float32)
        left = np.ones(len(networks), bool)
        weights = searched.weights
        assert weights is not None and searched.probabilities is not None
        decisions = np.random.default_rng(seed).permutation(len(gates))
        for number, decision in enumerate(decisions, 1):
            possible = np.unique(networks[left, decision])
            if len(possible) > 1:
                judged = searched.judge_mixed(weights, _without(gates, decision, possible))
                values = judged[searched.metric] * (1 if searched.higher_is_better else -1)
                chosen = possible[np.argmin(values)]
            else:
                chosen = possible[0]
            gates[decision] = np.eye(gates.shape[1], dtype=np.float32)[chosen]
            left &= networks[:, decision] == chosen
            if self.tune_steps and number < len(decisions):
                weights = searched.tune(weights, gates, self.tune_steps)
            progress(number, len(decisions), "decisions")
        agreeing = (networks == gates.argmax(-1)).sum(axis=1)
        return np.lexsort((-candidates.log_probability, -agreeing))


def _without(gates: np.ndarray, decision: int, options: np.ndarray) -> np.ndarray:
    """Returns the gates with one option of a decision removed, for each of `options`.

    What is left of the decision is scaled to sum to one; where nothing is left it stays at zero.
    """
    removed = np.repeat(gates[None], len(options), axis=0)
    removed[np.arange(len(options)), decision, options] = 0.0
    sums = removed[:, decision].sum(-1, keepdims=True)
    removed[:, decision] /= np.where(sums > 0, sums, 1.0)
    return removed
