"""A cost model for a new device, from a few samples of it and tables of other devices.

Legend: `n` samples, `D` decisions, `K` options of the widest decision, `P = D K`, `V` source
devices, `R` pairs of options, `F = P + V` features of a network, `M` metrics.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.models.base import Costs, ExactModel, FittedModel, NoOptions, as_drawn
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.multilinear import probabilities
from hwnas_jax.cost.models.prior import TransferPrior
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.cost.models.sources import pairs_of
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices, Forms
from hwnas_jax.spaces.core.mixture import marginals

_ARRAYS = ("constant", "table", "pair", "centre", "mean", "spread", "noise")


@COST_MODELS.add
@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[*_ARRAYS, "pairs"],
    meta_fields=["metrics", "devices", "sampled"],
)
@dataclasses.dataclass(frozen=True)
class TransferModel(ExactModel, FittedModel):
    """A posterior over costs that are linear in options and in the costs on other devices.

    The prediction is linear in every row of a gate weight. The standard deviation covers the
    uncertainty of the prediction and the noise of a measurement.

    Attributes:
      constant: `float32[M, V]`, of the relative cost on each source device.
      table: `float32[M, V, P]`.
      pair: `float32[M, V, R]`.
      centre: `float32[P]`, subtracted from gate weights.
      mean: `float32[M, F + 1]`, of the coefficients; the first is the constant.
      spread: `float32[M, F + 1, F + 1]`, the factor of their covariance.
      noise: `float32[M]`, standard deviation of a measurement.
      pairs: `int32[R, 2]`, entries of a gate weight.
      metrics: `M` names.
      devices: `V` names.
      sampled: whether the device was sampled. Otherwise its scale is unknown, and so is how far
        the prediction may be wrong.
    """

    constant: jax.Array
    table: jax.Array
    pair: jax.Array
    centre: jax.Array
    mean: jax.Array
    spread: jax.Array
    noise: jax.Array
    pairs: jax.Array
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
        parts: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS if name != "centre"}
        for prior in priors:
            seen = observations is not None and len(observations) > 0
            posterior = prior.condition(
                observations.architectures if seen and observations else np.zeros((0, 0), int),
                observations.values[prior.metric] if seen and observations else np.zeros(0),
            )
            values, vectors = np.linalg.eigh(posterior.covariance)
            sources = prior.sources
            for name, array in (
                ("constant", sources.constant),
                ("table", sources.table),
                ("pair", sources.pair),
                ("mean", posterior.mean),
                ("spread", vectors * np.sqrt(np.maximum(values, 0.0))),
                ("noise", np.sqrt(posterior.noise)),
            ):
                parts[name].append(np.asarray(array))
        arrays = {name: jnp.asarray(np.stack(rows), jnp.float32) for name, rows in parts.items()}
        return cls(
            **arrays,
            centre=jnp.asarray(priors[0].centre, jnp.float32),
            pairs=jnp.asarray(priors[0].sources.pairs, jnp.int32),
            metrics=tuple(prior.metric for prior in priors),
            devices=priors[0].sources.devices,
            sampled=observations is not None and len(observations) > 0,
        )

    def features(self, weight: jax.Array, forms: tuple[Forms, ...]) -> jax.Array:
        """Returns the expected features of a random architecture, `float32[M, F + 1]`.

        Args:
          weight: `float32[D, K]`.
          forms: how the architecture is distributed.
        """
        chex.assert_rank(weight, 2)
        chex.assert_equal(weight.size, self.centre.size)
        entries = marginals(forms, weight.shape).reshape(-1)
        together = probabilities(self.pairs, forms, weight.shape)
        relative = self.constant - 1 + self.table @ entries + self.pair @ together
        shared = jnp.concatenate([jnp.ones(1), entries - self.centre])
        shared = jnp.broadcast_to(shared, (len(relative), len(shared)))
        return jnp.concatenate([shared, relative], axis=1)

    def expected(self, weight: jax.Array, forms: tuple[Forms, ...]) -> Costs:
        costs = (self.features(weight, forms) * self.mean).sum(axis=1)
        return dict(zip(self.metrics, costs, strict=True))

    def std(self, weight: jax.Array) -> Costs:
        weight = jnp.asarray(weight)
        if not self.sampled:
            return {metric: jnp.zeros((), jnp.float32) for metric in self.metrics}
        along = jnp.einsum("mf,mfg->mg", self.features(weight, as_drawn(weight)), self.spread)
        deviations = jnp.sqrt((along**2).sum(axis=1) + self.noise**2)
        return dict(zip(self.metrics, deviations, strict=True))

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        values = {
            "metrics": list(self.metrics), "devices": list(self.devices), "sampled": self.sampled,
        }  # fmt: skip
        return values, {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def load(
        cls, values: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> "TransferModel":
        metrics, devices = _texts(values, "metrics"), _texts(values, "devices")
        sampled = values.get("sampled")
        if not isinstance(sampled, bool):
            raise UserError(f"sampled must be true or false, got {sampled!r}")
        entries = space.num_decisions * space.num_options
        pairs, count = pairs_of(space), len(metrics)
        wide = entries + len(devices) + 1
        shapes = {
            "constant": (count, len(devices)),
            "table": (count, len(devices), entries),
            "pair": (count, len(devices), len(pairs)),
            "centre": (entries,),
            "mean": (count, wide),
            "spread": (count, wide, wide),
            "noise": (count,),
        }
        found = {
            name: jnp.asarray(check_array(arrays, name, shape)) for name, shape in shapes.items()
        }
        return cls(
            **found, pairs=jnp.asarray(pairs, jnp.int32), metrics=metrics, devices=devices,
            sampled=bool(sampled),
        )  # fmt: skip


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
