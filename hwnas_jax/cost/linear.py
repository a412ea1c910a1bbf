"""Costs as a sum over what was chosen: a ridge on one-hot rows, in closed form.

Exact on relaxed gates: what a sum costs in expectation is the sum at the expected features.
"""

from typing import ClassVar

from hwnas_jax.cost.ensemble import Ensemble, register


@register
class LinearEnsemble(Ensemble):
    """An ensemble of ridges, each on a bootstrap sample."""

    name: ClassVar[str] = "linear"
    what: ClassVar[str] = "the linear cost model"
    trained: ClassVar[bool] = False
