"""Cost models as ensembles: a linear base, a trained correction, a calibrated deviation.

Legend: `N` networks, `M` members, `Q` metrics, `D` decisions, `K` options of the widest decision,
`F` features of an architecture.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from hwnas_jax.cost.files.observations import Observations, checked_metrics
from hwnas_jax.cost.models.additive import Features, fit_additive, positive
from hwnas_jax.cost.models.base import Costs, FittedModel
from hwnas_jax.cost.models.calibration import calibrate, out_of_bag
from hwnas_jax.cost.models.model_file import check_array
from hwnas_jax.cost.models.training import Training, train
from hwnas_jax.errors import UserError
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
class EnsembleOptions:
    """What every ensemble can be told."""

    members: Annotated[int, Gt(0)] = 8
    """networks in the ensemble"""


@dataclasses.dataclass(frozen=True)
class TrainedOptions(Training, EnsembleOptions):
    """What an ensemble can be told whose correction is trained."""

    hidden: Annotated[int, Gt(0)] = 32
    """width of the hidden layers"""


@dataclasses.dataclass(frozen=True)
class Ensemble(FittedModel):
    """Members that differ in their bootstrap sample and their initial weights.

    A member predicts `unit * positive(bias + table . x) * exp(correction(x))` from the features
    `x`, and the ensemble predicts the mean. A subclass with a correction defines `draw` and
    `correct` and takes `TrainedOptions`.

    References: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles", 2017; Breiman, "Bagging Predictors", 1996.

    Attributes:
      parameters: `bias` (`[M, Q]`), `table` (`[M, Q, F]`) and the parameters of the correction, by
        name, each with a leading axis `M`.
      unit: `float32[Q]`, the median of each metric.
      noise: `float32[Q]`, relative deviation that the members' spread does not explain.
      scale: `float32[Q]`, factor on the members' spread: below one where the spread alone is too
        wide, one otherwise.
      metrics: names with units.
      features: turn gates into what a member sees.
      hidden: width of the correction's hidden layers; zero without a correction.
    """

    parameters: dict[str, jax.Array]
    unit: jax.Array
    noise: jax.Array
    scale: jax.Array
    metrics: tuple[str, ...]
    features: Features
    hidden: int

    Options: ClassVar[type] = EnsembleOptions
    knows_uncertainty = True

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
        options: Any = None,
        *,
        seed: int = 0,
    ) -> Model:
        """Fits all members to bootstrap samples of the networks.

        Raises:
          UserError: with too few networks, or with costs that are not positive.
        """
        options = options or cls.Options()
        observations.require(_LEAST, f"the {cls.name} cost model")
        features, metrics = Features(space), observations.metrics
        x = features.observed(observations.architectures)
        values = np.stack([observations.values[metric] for metric in metrics], axis=1)
        unit = np.median(values, axis=0)
        count = len(values)
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=options.members)
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
        trained = isinstance(options, TrainedOptions)
        model = cls(
            parameters, jnp.asarray(unit, jnp.float32), 0 * ones, ones, metrics, features,
            options.hidden if trained else 0,
        )  # fmt: skip
        if trained:
            parameters = train(model, x, values / unit, draws, options, seed=seed)
            model = dataclasses.replace(model, parameters=parameters)
        members = np.asarray(model.members_of(x), float)
        noise, scale = calibrate(*out_of_bag(members, values / unit, draws))
        return dataclasses.replace(
            model, noise=jnp.asarray(noise, jnp.float32), scale=jnp.asarray(scale, jnp.float32)
        )

    @classmethod
    def reads_operations(cls, space: Choices) -> bool:
        return True

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

    def predict(self, weight: jax.Array) -> Costs:
        return self._mean(self._all(self.features.expected(jnp.asarray(weight))))

    def std(self, weight: jax.Array) -> Costs:
        """Returns one standard deviation; 1.645 of them to either side hold 90 % of networks."""
        return self._deviation(self._all(self.features.expected(jnp.asarray(weight))))

    def encode(self, architectures: np.ndarray) -> np.ndarray:
        return self.features.observed(architectures)

    def encoded_members(self, rows: jax.Array) -> jax.Array:
        """Returns each member's prediction in medians, `float32[M, N, Q]`, of rows of `encode`."""
        return self._all(rows)

    def predict_encoded(self, rows: jax.Array, num_options: int) -> dict[str, jax.Array]:
        return self._mean(self.encoded_members(rows))

    def std_encoded(self, rows: jax.Array, num_options: int) -> dict[str, jax.Array]:
        return self._deviation(self.encoded_members(rows))

    def contents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays = {f"parameters/{name}": array for name, array in self.parameters.items()}
        arrays |= {name: getattr(self, name) for name in ("unit", "noise", "scale")}
        members = len(self.parameters["bias"])
        return {"hidden": self.hidden, "members": members, "metrics": list(self.metrics)}, arrays

    @classmethod
    def load(
        cls: type[Model], values: dict[str, Any], arrays: dict[str, np.ndarray], space: Choices
    ) -> Model:
        hidden, members = _count(values, "hidden", 0), _count(values, "members", 1)
        metrics = checked_metrics(values.get("metrics"))
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


def _count(values: dict[str, Any], key: str, least: int) -> int:
    value = values.get(key)
    if not isinstance(value, int) or value < least:
        raise UserError(f"{key} must be a whole number of at least {least}, got {value!r}")
    return value
