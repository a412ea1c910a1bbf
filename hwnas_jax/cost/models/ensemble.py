"""Cost models as ensembles: a linear base, a trained correction, a calibrated deviation.

Legend: `N` networks, `M` members, `Q` metrics, `D` decisions, `K` options of the widest decision,
`F` features of an architecture.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.files.observations import METRICS, Observations
from hwnas_jax.cost.models.additive import Features, fit_additive, positive
from hwnas_jax.cost.models.calibration import calibrate, out_of_bag
from hwnas_jax.cost.models.model_file import check_array, write_model
from hwnas_jax.cost.models.training import train
from hwnas_jax.errors import UserError, choose
from hwnas_jax.spaces.base import Choices

_LEAST = 4
Model = TypeVar("Model", bound="Ensemble")


def register(kind: type[Model]) -> type[Model]:
    """Makes a subclass of `Ensemble` a frozen dataclass and a pytree."""
    return jax.tree_util.register_dataclass(
        dataclasses.dataclass(frozen=True)(kind),
        data_fields=["parameters", "unit", "noise", "scale"],
        meta_fields=["metrics", "features", "hidden"],
    )


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Members that differ in their bootstrap sample and their initial weights.

    A member predicts `unit * positive(bias + table . x) * exp(correction(x))` of the features
    `x`; the ensemble predicts the mean. A subclass says what its correction is, and sets `name`,
    `what` (for messages) and `trained`.

    References: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles", 2017; Breiman, "Bagging Predictors", 1996.

    Attributes:
      parameters: `bias` (`[M, Q]`), `table` (`[M, Q, F]`) and those of the correction by name,
        each with a leading axis `M`.
      unit: `float32[Q]`, the median of each metric.
      noise: `float32[Q]`, relative deviation that the members' spread does not explain.
      scale: `float32[Q]`, factor on the members' spread where it alone is too wide; else one.
      metrics: units in the names.
      features: what a member sees of gates.
      hidden: width of the correction's hidden layers.
    """

    parameters: dict[str, jax.Array]
    unit: jax.Array
    noise: jax.Array
    scale: jax.Array
    metrics: tuple[str, ...]
    features: Features
    hidden: int

    name: ClassVar[str]
    what: ClassVar[str]
    trained: ClassVar[bool] = True

    @staticmethod
    def draw(
        rng: np.random.Generator, features: Features, metrics: int, hidden: int
    ) -> dict[str, np.ndarray]:
        """Returns the initial parameters of one member's correction; by default it has none."""
        del rng, features, metrics, hidden
        return {}

    @staticmethod
    def correct(parameters: dict[str, jax.Array], x: jax.Array, features: Features) -> jax.Array:
        """Returns one member's log correction `float32[..., Q]` of features `float32[..., F]`."""
        del parameters, x, features
        return jnp.zeros(())

    @staticmethod
    def base(parameters: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        """Returns one member's linear part in medians, `float32[..., Q]`, of `float32[..., F]`."""
        return positive(parameters["bias"] + x @ parameters["table"].T)

    @classmethod
    def member(
        cls, parameters: dict[str, jax.Array], x: jax.Array, features: Features
    ) -> jax.Array:
        """Returns one member's prediction in medians, `float32[..., Q]`, of `float32[..., F]`."""
        return cls.base(parameters, x) * jnp.exp(cls.correct(parameters, x, features))

    @classmethod
    def fit(
        cls: type[Model],
        space: Choices,
        observations: Observations,
        config: CostConfig,
        *,
        seed: int = 0,
    ) -> Model:
        """Fits all members to bootstrap samples of the networks.

        Raises:
          UserError: with too few networks, or with costs that are not positive.
        """
        observations.require(_LEAST, cls.what)
        features, metrics = Features(space), observations.metrics
        x = features.observed(observations.architectures)
        values = np.stack([observations.values[metric] for metric in metrics], axis=1)
        unit = np.median(values, axis=0)
        count = len(values)
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=config.members)
        base = fit_additive(
            x, values / unit, draws,
            prior=[features.timed(observations, metric) for metric in metrics],
            groups=features.groups,
        )  # fmt: skip
        parameters = {
            "bias": jnp.asarray(base.bias, jnp.float32),
            "table": jnp.asarray(base.table, jnp.float32),
        }
        ones = jnp.ones(len(metrics), jnp.float32)
        model = cls(
            parameters, jnp.asarray(unit, jnp.float32), 0 * ones, ones, metrics, features,
            config.hidden,
        )  # fmt: skip
        if cls.trained:
            parameters = train(model, x, values / unit, draws, config, seed=seed)
            model = dataclasses.replace(model, parameters=parameters)
        members = np.asarray(model.members_of(x), float)
        noise, scale = calibrate(*out_of_bag(members, values / unit, draws))
        return dataclasses.replace(
            model, noise=jnp.asarray(noise, jnp.float32), scale=jnp.asarray(scale, jnp.float32)
        )

    def members_of(self, x: jax.Array | np.ndarray) -> jax.Array:
        """Returns each member's prediction in medians, `float32[M, ..., Q]`, of features."""
        return _members(self, x)

    def _all(self, x):
        return jax.vmap(lambda parameters: self.member(parameters, x, self.features))(
            self.parameters
        )

    def _mean(self, members):
        mean = self.unit * members.mean(axis=0)
        return {metric: mean[..., q] for q, metric in enumerate(self.metrics)}

    def _deviation(self, members):
        spread = self.scale * members.std(axis=0)
        noise = self.noise * members.mean(axis=0)
        deviation = self.unit * jnp.sqrt(spread**2 + noise**2)
        return {metric: deviation[..., q] for q, metric in enumerate(self.metrics)}

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{metric: float32[]}` of gate weights `float32[D, K]`."""
        return self._mean(self._all(self.features.expected(weight)))

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns one standard deviation: 1.645 of them to either side hold 90 % of networks."""
        return self._deviation(self._all(self.features.expected(weight)))

    def encode(self, architectures: np.ndarray) -> np.ndarray:
        """Returns what the quick way to architectures `int32[N, D]` takes, an array `[N, ...]`."""
        return self.features.observed(architectures)

    def encoded_members(self, rows: jax.Array) -> jax.Array:
        """Returns each member's prediction in medians, `float32[M, N, Q]`, of `encode`'s rows."""
        return self._all(rows)

    def predict_encoded(self, rows: jax.Array) -> dict[str, jax.Array]:
        """Returns `{metric: float32[N]}` of `encode`'s rows."""
        return self._mean(self.encoded_members(rows))

    def std_encoded(self, rows: jax.Array) -> dict[str, jax.Array]:
        """Returns one standard deviation, `{metric: float32[N]}`, of `encode`'s rows."""
        return self._deviation(self.encoded_members(rows))

    def save(self, path: Path, space: Choices) -> None:
        """Writes the model to an `.npz` file."""
        arrays = {f"parameters/{name}": array for name, array in self.parameters.items()}
        arrays |= {name: getattr(self, name) for name in ("unit", "noise", "scale")}
        members = len(self.parameters["bias"])
        extra = {"hidden": self.hidden, "members": members, "metrics": list(self.metrics)}
        write_model(path, self.name, space, extra, arrays)

    @classmethod
    def load(
        cls: type[Model], header: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> Model:
        """Builds the model from what `read_model` returned."""
        hidden, members = (_positive(header, key) for key in ("hidden", "members"))
        metrics = header.get("metrics")
        if not isinstance(metrics, list) or not metrics:
            raise UserError(f"metrics must be a list of names, got {metrics!r}")
        metrics = tuple(choose(str(metric), METRICS, "metric") for metric in metrics)
        features, count = Features(space), len(metrics)
        shapes = {"bias": (count,), "table": (count, features.size)}
        drawn = cls.draw(np.random.default_rng(0), features, count, hidden)
        shapes |= {name: leaf.shape for name, leaf in drawn.items()}
        parameters = {
            name: jnp.asarray(check_array(arrays, f"parameters/{name}", (members, *shape)))
            for name, shape in shapes.items()
        }
        unit, noise, scale = (
            jnp.asarray(check_array(arrays, name, (count,))) for name in ("unit", "noise", "scale")
        )
        return cls(parameters, unit, noise, scale, metrics, features, hidden)


@jax.jit
def _members(model, x):
    chex.assert_axis_dimension(x, -1, model.features.size)
    return model._all(jnp.asarray(x))


def _positive(header: dict[str, Any], key: str) -> int:
    value = header.get(key)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{key} must be a positive integer, got {value!r}")
    return value
