"""A cost model for a new device, from a few samples of it and tables of other devices.

Legend: `D` decisions, `K` options of the widest decision, `V` source devices, `M` metrics.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions
from hwnas_jax.cost.models.multilinear import is_enumerable
from hwnas_jax.cost.models.posterior import Posterior
from hwnas_jax.cost.models.prior import TransferPrior
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.cost.models.tabulated import TabulatedForm
from hwnas_jax.cost.models.transfer_linear import LinearForm
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices, Forms

_LEAST_SHARE = 0.01
_LAYOUT = 2


@COST_MODELS.add
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["form"],
    meta_fields=["metrics", "devices", "sampled"],
)
@dataclasses.dataclass(frozen=True)
class TransferModel(ExactModel, FittedModel):
    """A posterior over costs that are linear in options and in the costs on other devices.

    The prediction is linear in every row of a gate weight. The standard deviation covers the
    uncertainty of the prediction and the noise of a measurement. Without samples only the ranks
    mean something: the scale is that of the sources, and the model claims no uncertainty.

    Attributes:
      form: the posterior, as a table in small spaces.
      metrics: `M` names.
      devices: `V` names.
      sampled: whether the device was sampled.
    """

    form: Any
    metrics: tuple[str, ...]
    devices: tuple[str, ...]
    sampled: bool

    name: ClassVar[str] = "transfer"
    summary: ClassVar[str] = "few samples and other devices' tables: hwnas cost transfer"
    most_networks: ClassVar[int | None] = 200

    @classmethod
    def check_count(cls, count: int) -> None:
        """Refuses more samples than a transfer is for."""
        if cls.most_networks is not None and count > cls.most_networks:
            raise UserError(
                f"a transfer takes at most {cls.most_networks} samples, there are {count}: so many "
                "need no other device, fit a model to them alone (hwnas cost fit)"
            )

    @property
    def knows_uncertainty(self) -> bool:  # type: ignore[override]
        """Whether the device was sampled."""
        return self.sampled

    @property
    def knows_costs(self) -> bool:  # type: ignore[override]
        """Whether the device was sampled; other devices alone tell ranks."""
        return self.sampled

    @classmethod
    def fit(
        cls,
        space: Choices,
        observations: Observations,
        options: NoOptions | None = None,
        *,
        seed: int = 0,
    ) -> "TransferModel":
        """Raises UserError, because a transfer needs tables of other devices."""
        del space, observations, options, seed
        raise UserError(
            "the transfer model needs a table of other devices: hwnas cost transfer TABLE"
        )

    @classmethod
    def of(
        cls, priors: Sequence[TransferPrior], observations: Observations | None
    ) -> "TransferModel":
        """Returns the model after observations.

        Args:
          priors: one for each metric.
          observations: of the new device; None or empty for a model without samples.
        """
        space, rows, costs = priors[0].space, None, [np.zeros(0) for _ in priors]
        if observations is not None and len(observations):
            rows = observations.architectures
            costs = [observations.values[prior.metric] for prior in priors]
        sampled = rows is not None
        if rows is None:
            rows = np.zeros((0, space.num_decisions), int)
        posteriors = [p.condition(rows, values) for p, values in zip(priors, costs, strict=True)]
        form: Any
        if is_enumerable(space):
            pairs = zip(priors, posteriors, strict=True)
            form = TabulatedForm.of(space, [functools.partial(_ask, *pair) for pair in pairs])
            if sampled:
                form = form.at_least([_LEAST_SHARE * float(values.min()) for values in costs])
        else:
            form = LinearForm.of(priors, posteriors)
        metrics = tuple(prior.metric for prior in priors)
        return cls(form, metrics, priors[0].sources.devices, sampled)

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        return dict(zip(self.metrics, self.form.mean(weight, forms), strict=True))

    def std(self, weight: jax.Array) -> Costs:
        if not self.sampled:
            return {metric: jnp.zeros((), jnp.float32) for metric in self.metrics}
        deviations = jnp.sqrt(self.form.variance(jnp.asarray(weight)))
        return dict(zip(self.metrics, deviations, strict=True))

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values = {
            "layout": _LAYOUT, "metrics": list(self.metrics), "devices": list(self.devices),
            "sampled": self.sampled,
        }  # fmt: skip
        return values, self.form.arrays()

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> "TransferModel":
        if values.get("layout") != _LAYOUT:
            raise UserError(
                f"its arrays have layout {values.get('layout')!r}, known is {_LAYOUT}: "
                "run hwnas cost transfer again"
            )
        metrics, devices = _texts(values, "metrics"), _texts(values, "devices")
        sampled = values.get("sampled")
        if not isinstance(sampled, bool):
            raise UserError(f"sampled must be true or false, got {sampled!r}")
        form: Any
        if is_enumerable(space):
            least = 0.0 if sampled else -math.inf  # without samples it only ranks
            form = TabulatedForm.load(arrays, space, len(metrics), least=least)
        else:
            form = LinearForm.load(arrays, space, len(metrics), len(devices))
        return cls(form, metrics, devices, sampled)


def _ask(
    prior: TransferPrior, posterior: Posterior, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and variances, `float64[N]` each, of architectures `int32[N, D]`."""
    features = np.c_[np.ones(len(rows)), prior.features(rows)]
    variance = ((features @ posterior.covariance) * features).sum(axis=1)
    return features @ posterior.mean, np.maximum(variance, 0.0) + posterior.noise


def _texts(values: dict[str, Any], key: str) -> tuple[str, ...]:
    value = values.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise UserError(f"{key} must be a list of texts, got {value!r}")
    return tuple(value)


def source_devices(
    table: CostTable, target: str | None, named: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Returns the devices to learn from.

    Args:
      table: holds them.
      target: the new device, if it is in the table. It is never a source.
      named: the devices that the user named. None takes the table's split `train`, or all devices
        of a table without one.

    Raises:
      UserError: for an unknown device, the target among those named, or none left.
    """
    if named:
        for device in named:
            choose(device, table.devices, f"device of {table.source}")
        if target in named:
            raise UserError(f"{target} is the new device and cannot be a source too")
        return tuple(named)
    found = tuple(d for d in table.splits.get("train", table.devices) if d != target)
    if not found:
        raise UserError(f"{table.source} has no device besides {target} to learn from")
    return found
