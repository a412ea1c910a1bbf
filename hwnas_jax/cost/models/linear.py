"""Costs as a sum over the chosen options: a ridge on one-hot rows, in closed form.

On relaxed gates the sum is that of the expected features. It is the expected cost except where a
network is predicted near zero: costs stay positive, which bends the line there.
"""

from typing import ClassVar

from hwnas_jax.cost.models.ensemble import Ensemble, register
from hwnas_jax.cost.models.registry import COST_MODELS


@COST_MODELS.add
@register
class LinearEnsemble(Ensemble):
    """An ensemble of ridges, each on a bootstrap sample."""

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = "ensemble of ridges on one-hot rows, from measured networks"
    label: ClassVar[str] = "linear ensemble"
