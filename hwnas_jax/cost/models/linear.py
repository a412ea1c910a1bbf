"""Costs as a sum over what was chosen: a ridge on one-hot rows, in closed form.

On relaxed gates the sum is that of the expected features, so what it costs is the expectation but
where a network is predicted near zero: costs stay positive, which bends the line there.
"""

from typing import ClassVar

from hwnas_jax.cost.models.ensemble import Ensemble, register


@register
class LinearEnsemble(Ensemble):
    """An ensemble of ridges, each on a bootstrap sample."""

    name: ClassVar[str] = "linear"
    what: ClassVar[str] = "the linear cost model"
    trained: ClassVar[bool] = False
