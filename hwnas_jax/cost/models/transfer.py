"""A cost model for a new device from few samples of it and tables of other devices.

Legend: `n` samples, `D` decisions, `K` options of the widest decision, `P = D K`, `V` source
devices, `R` pairs of options, `F = P + V` features of a network, `M` metrics.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.models.model_file import check_array, write_model
from hwnas_jax.cost.models.prior import TransferConfig, TransferPrior, check_samples, learn_prior
from hwnas_jax.cost.models.sources import pairs_of
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices

_ARRAYS = ("constant", "table", "pair", "centre", "mean", "spread", "noise")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[*_ARRAYS, "pairs"],
    meta_fields=["metrics", "devices"],
)
@dataclasses.dataclass(frozen=True)
class TransferModel:
    """A posterior over costs that are linear in options and in the costs on other devices.

    The prediction is linear in every row of a gate weight, so on a relaxed architecture it is
    the expected cost under independent choices. The standard deviation is that of this
    expectation and of a measurement's noise.

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

    name = "transfer"
    exact_expectation = True

    @classmethod
    def fit(
        cls, space: Choices, observations: Observations, config: CostConfig, *, seed: int = 0
    ) -> "TransferModel":
        """Raises UserError: without other devices there is nothing to carry over."""
        del space, observations, config, seed
        raise UserError(
            "the transfer model needs a table of other devices: hwnas cost transfer TABLE"
        )

    @classmethod
    def of(
        cls, priors: Sequence[TransferPrior], observations: Observations | None
    ) -> "TransferModel":
        """Conditions priors, one a metric, on what was observed; None or empty: on nothing."""
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
        )

    def features(self, weight: jax.Array) -> jax.Array:
        """Returns `float32[M, F + 1]` of a gate weight `float32[D, K]`."""
        chex.assert_rank(weight, 2)
        chex.assert_equal(weight.size, self.centre.size)
        entries = weight.reshape(-1)
        together = entries[self.pairs[:, 0]] * entries[self.pairs[:, 1]]
        relative = self.constant - 1 + self.table @ entries + self.pair @ together
        shared = jnp.concatenate([jnp.ones(1), entries - self.centre])
        shared = jnp.broadcast_to(shared, (len(relative), len(shared)))
        return jnp.concatenate([shared, relative], axis=1)

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{metric: float32[]}` of a gate weight `float32[D, K]`."""
        costs = (self.features(weight) * self.mean).sum(axis=1)
        return dict(zip(self.metrics, costs, strict=True))

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns one standard deviation of a measurement of each metric."""
        along = jnp.einsum("mf,mfg->mg", self.features(weight), self.spread)
        deviations = jnp.sqrt((along**2).sum(axis=1) + self.noise**2)
        return dict(zip(self.metrics, deviations, strict=True))

    def save(self, path: Path, space: Choices) -> None:
        """Writes the model to an `.npz` file."""
        extra = {"metrics": list(self.metrics), "devices": list(self.devices)}
        write_model(path, self.name, space, extra, {n: getattr(self, n) for n in _ARRAYS})

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> "TransferModel":
        """Builds the model from what `read_model` returned."""
        metrics, devices = _texts(header, "metrics"), _texts(header, "devices")
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
            **found, pairs=jnp.asarray(pairs, jnp.int32), metrics=metrics, devices=devices
        )  # fmt: skip


def _texts(header, key):
    value = header.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise UserError(f"{key} must be a list of texts, got {value!r}")
    return tuple(value)


def fit_transfer(
    table: CostTable,
    observations: Observations | None,
    sources: Sequence[str],
    config: TransferConfig | None = None,
    *,
    rows: np.ndarray | None = None,
    seed: int = 0,
) -> TransferModel:
    """Fits a cost model to few samples of a new device, helped by a table of other devices.

    All metrics that table and samples share are fitted, each on its own.

    Args:
      table: holds the sources.
      observations: of the new device, networks of the table's space; None or empty: the mean of
        the sources.
      sources: names of devices of the table.
      config: how it is done.
      rows: `int[n]`, the architectures of the table whose costs may be looked at; None draws
        `config.source_rows` of them.
      seed: of all draws.

    Raises:
      UserError: for one or two samples, costs that are not positive, no metric in common, and as
        `learn_prior`.
    """
    metrics = tuple(table.values)
    if observations is not None and len(observations):
        observations.require(1, "transfer")
        check_samples(len(observations))
        metrics = tuple(metric for metric in metrics if metric in observations.values)
        if not metrics:
            raise UserError(
                f"the samples have {', '.join(observations.metrics)}, "
                f"{table.source} has {', '.join(table.values)}"
            )
    priors = [
        learn_prior(table, sources, config, metric=metric, rows=rows, seed=seed)
        for metric in metrics
    ]
    return TransferModel.of(priors, observations)


def source_devices(
    table: CostTable, target: str | None, named: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Returns the devices to learn from.

    Args:
      table: holds them.
      target: the new device if it is one of the table, which is never a source.
      named: what the user named; otherwise those that the table was published to be learned from
        (its split `train`), or all.

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
