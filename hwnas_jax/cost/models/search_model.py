"""From the fitted cost model of a run to the one that its search asks."""

import dataclasses

from hwnas_jax.cost.models.base import CostModel, FittedModel
from hwnas_jax.cost.models.canonical import CanonicalCosts, on_canonical_forms
from hwnas_jax.cost.models.with_counts import WithCounts
from hwnas_jax.spaces.base import Space


def search_model(fitted: CostModel, space: Space) -> CostModel:
    """Returns what a search, its strategies and its derivation ask for costs.

    It predicts the cost of canonical forms, which is what will be derived, and adds the metrics
    that can be counted, so that a budget may limit them too.

    Args:
      fitted: the cost model of the run.
      space: the search space.
    """
    return on_canonical_forms(WithCounts.of(fitted, space), space)


def with_fitted(model: CostModel, fitted: FittedModel) -> CostModel:
    """Returns `model` with another fitted model inside.

    Args:
      model: from `search_model`, or a fitted model itself.
      fitted: takes the place of the one inside.
    """
    if isinstance(model, CanonicalCosts | WithCounts):
        return dataclasses.replace(model, model=with_fitted(model.model, fitted))
    return fitted


def fitted_model(model: CostModel) -> FittedModel:
    """Returns the fitted model inside a model that `search_model` returned.

    Args:
      model: from `search_model`, or a fitted model itself.
    """
    while isinstance(model, CanonicalCosts | WithCounts):
        model = model.model
    assert isinstance(model, FittedModel)
    return model
