"""Counts in place of measurements, for metrics that follow from the architecture alone."""

from typing import Any

import numpy as np

from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.cost.measure.profile import Measured
from hwnas_jax.cost.models.analytic import AnalyticModel
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.spaces.base import Space


def count_networks(space: Space, architectures: np.ndarray, metric: str) -> Measured | None:
    """Returns what networks cost by count; None where the metric has to be measured.

    Args:
      space: of the networks.
      architectures: `int32[N, D]`.
      metric: of `METRICS`.
    """
    model: Any = AnalyticModel.count(space)
    if metric not in model.metrics:
        return None
    counts = predict_architectures(model, architectures, space.num_options)[metric]
    samples = [Sample(float(count)) for count in counts]
    return Measured(paced=samples, clocked=samples, drift=1.0)
