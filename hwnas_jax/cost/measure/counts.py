"""Counts that take the place of measurements, for metrics that follow from the architecture."""

import numpy as np

from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.cost.measure.networks import Measured
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.spaces.base import Space


def count_networks(space: Space, architectures: np.ndarray, metric: str) -> Measured | None:
    """Returns the counts of networks, or None for a metric that has to be measured.

    Args:
      space: the search space of the networks.
      architectures: `int32[N, D]`.
      metric: of `METRICS`.
    """
    if metric not in AnalyticModel.counted_metrics(space):
        return None
    model = AnalyticModel.count(space)
    counts = predict_architectures(model, architectures, space.num_options)[metric]
    samples = [Sample(float(count)) for count in counts]
    return Measured(corrected=samples, as_timed=samples, drift=1.0)
