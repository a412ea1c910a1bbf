"""A latency model learned from measured networks: an ensemble of small networks on a table.

Legend: `N` networks, `M` members of the ensemble, `D` decisions, `K` options of the widest
decision.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from hwnas_jax.config import CostConfig
from hwnas_jax.cost.observations import Observations
from hwnas_jax.cost.store import check_array, write_model
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.terms import sum_places

# Log-latency error beyond which a network counts as an outlier: several times timing noise.
_OUTLIER = 0.1
_ONE_SIGMA = 68.27
_BATCH = 64

Active = Callable[[jax.Array], jax.Array]


class LatencyNetwork(nnx.Module):
    """Log latency of one member: a table whose entries are learned, corrected by an MLP."""

    def __init__(self, decisions: int, options: int, hidden: int, rngs: nnx.Rngs):
        self.log_floor = nnx.Param(jnp.zeros(()))
        self.log_constant = nnx.Param(jnp.zeros(()))
        self.log_scale = nnx.Param(jnp.zeros(()))
        self.log_adjust = nnx.Param(jnp.zeros((decisions, options)))
        small = nnx.initializers.variance_scaling(0.01, "fan_in", "normal")
        self.first = nnx.Linear(decisions * options, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, 1, use_bias=False, kernel_init=small, rngs=rngs)

    def __call__(self, features: jax.Array, connected: jax.Array, prior: "Prior") -> jax.Array:
        """Returns the log of milliseconds, `float32[]`.

        Args:
          features: `float32[D, K]`, the gate weights that reach the output.
          connected: `float32[]`, whether any does.
          prior: what is known before training.
        """
        table = prior.table_ms * jnp.exp(self.log_adjust[...] + self.log_scale[...])
        latency_ms = (
            prior.floor_ms * jnp.exp(self.log_floor[...])
            + connected * prior.constant_ms * jnp.exp(self.log_constant[...])
            + (features * table).sum()
        )
        hidden = jax.nn.silu(self.first(features.reshape(-1)))
        hidden = jax.nn.silu(self.second(hidden))
        return jnp.log(latency_ms) + connected * self.last(hidden)[0]

    def penalty(self) -> jax.Array:
        """Returns the sum of squares that keeps the table near its prior and the MLP small."""
        kernels = [layer.kernel[...] for layer in (self.first, self.second, self.last)]
        return sum(((array**2).sum() for array in kernels), (self.log_adjust[...] ** 2).sum())


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["table_ms", "constant_ms", "floor_ms", "placed"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Prior:
    """What is known of a space's latency before any network was measured.

    Attributes:
      table_ms: `float32[D, K]`, milliseconds that each option adds.
      constant_ms: `float32[]`, milliseconds of the parts that every network has.
      floor_ms: `float32[]`, milliseconds of a call in which nothing is left to compute.
      placed: `float32[D, K]`, one where an option runs an operation.
    """

    table_ms: jax.Array
    constant_ms: jax.Array
    floor_ms: jax.Array
    placed: jax.Array


def make_prior(space: Space, observations: Observations) -> Prior:
    """Takes the prior from the timed operations; without any, an even share of the mean latency."""
    names = space.operations()[0]
    placed = np.zeros((space.num_decisions, space.num_options), np.float32)
    for place in space.operations()[1]:
        for decision, option in place.when:
            placed[decision, option] = 1.0
    if observations.operations:
        latencies = {name: costs["latency_ms"] for name, costs in observations.operations.items()}
        table, constant = sum_places(space, latencies)
        floor = min(latencies[name] for name in names)
    else:
        mean = observations.values["latency_ms"].mean()
        table, constant = placed * mean / (2 * space.num_decisions), mean / 2
        floor = 0.01 * mean
    # A floor keeps the logarithm finite; a constant of zero would never leave it.
    constant = max(constant, floor)
    values = (table, constant, floor, placed)
    return Prior(*(jnp.asarray(value, jnp.float32) for value in values))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["parameters", "prior", "noise"],
    meta_fields=["hidden", "active"],
)
@dataclasses.dataclass(frozen=True)
class MLPEnsemble:
    """An ensemble that predicts log latency as a learned table plus an MLP's correction.

    Log latency is `log(floor + connected * constant + sum(x * table)) + connected * MLP(x)` with
    `x = weight * active`. The table starts from the timed operations. A compiler drops whatever
    does not reach the output, so a space that offers `active(weight) -> float32[D]` lets the
    model see what remains; without it every decision counts in full and `connected` is one.
    Options that stand in no `Place` run nothing and connect nothing. Members differ in their
    initial weights and in the bootstrap sample they are trained on.

    References: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles", 2017; Breiman, "Bagging Predictors", 1996.

    Attributes:
      parameters: of `LatencyNetwork` by name, each with a leading axis `M`.
      prior: what was known before training.
      noise: `float32[]`, standard deviation of the log latency that the members' spread does not
        explain, from networks outside each member's bootstrap sample.
      hidden: width of the hidden layers.
      active: the space's own `active`, or None.
    """

    parameters: dict[str, Any]
    prior: Prior
    noise: jax.Array
    hidden: int
    active: Active | None

    name = "mlp"
    metrics = ("latency_ms",)

    @classmethod
    def fit(
        cls, space: Space, observations: Observations, config: CostConfig, *, seed: int = 0
    ) -> "MLPEnsemble":
        """Trains the ensemble on all measured networks.

        Raises:
          UserError: without networks, or with latencies that are not positive.
        """
        observations.require(1, "the learned cost model")
        architectures = observations.architectures
        latencies_ms = observations.values["latency_ms"]
        count = len(latencies_ms)
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=config.members)
        active = getattr(space, "active", None)
        weights = np.eye(space.num_options, dtype=np.float32)[architectures]
        prior = _calibrate(make_prior(space, observations), active, weights, latencies_ms)
        untrained = cls({}, prior, jnp.zeros(()), config.hidden, active)
        # Networks of no weight fill up the batch, so that fits to a few more compile only once.
        fill = -count % _BATCH
        target = np.log(latencies_ms).astype(np.float32)
        parameters = _train(
            untrained,
            jax.random.key(seed),
            np.pad(weights, ((0, fill), (0, 0), (0, 0)), mode="edge"),
            np.pad(target, (0, fill), mode="edge"),
            np.pad(draws, ((0, 0), (0, fill))).astype(np.float32),
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            steps=config.steps,
        )
        trained = dataclasses.replace(untrained, parameters=parameters)
        logs = np.asarray(_member_logs(trained, weights)).T
        return dataclasses.replace(trained, noise=_noise(logs, target, draws == 0))

    def member_logs(self, weight: jax.Array) -> jax.Array:
        """Returns each member's log of milliseconds, `float32[M]`."""
        chex.assert_equal_shape([weight, self.prior.table_ms])
        return jax.vmap(lambda parameters: self._log(parameters, weight))(self.parameters)

    def _log(self, parameters, weight):
        features, connected = _reaching(weight, self.active, self.prior.placed)
        return _merge(parameters, weight.shape, self.hidden)(features, connected, self.prior)

    def predict(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns `{"latency_ms": float32[]}` of gate weights `float32[D, K]`."""
        return {"latency_ms": jnp.exp(self.member_logs(weight).mean())}

    def std(self, weight: jax.Array) -> dict[str, jax.Array]:
        """Returns one standard deviation in milliseconds: members' spread and timing noise."""
        logs = self.member_logs(weight)
        return {"latency_ms": jnp.exp(logs.mean()) * jnp.sqrt(logs.var() + self.noise**2)}

    def save(self, path: Path, space: Space) -> None:
        """Writes the model to an `.npz` file."""
        prior = {field: getattr(self.prior, field) for field in _prior_shapes(space)}
        arrays = {**_flat(self.parameters), **prior, "noise": self.noise}
        members = len(jax.tree.leaves(self.parameters)[0])
        extra = {"hidden": self.hidden, "members": members}
        write_model(path, self.name, space, extra, arrays)

    @classmethod
    def load(
        cls, header: dict[str, Any], arrays: dict[str, np.ndarray], space: Space
    ) -> "MLPEnsemble":
        """Builds the model from what `read_model` returned."""
        hidden, members = (_positive(header, key) for key in ("hidden", "members"))
        shape = (space.num_decisions, space.num_options)
        abstract = nnx.to_pure_dict(_split(*shape, hidden)[1])
        parameters = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.asarray(
                check_array(arrays, _path_name(path), (members, *leaf.shape))
            ),
            abstract,
        )
        prior = {
            name: jnp.asarray(check_array(arrays, name, size))
            for name, size in _prior_shapes(space).items()
        }
        noise = jnp.asarray(check_array(arrays, "noise", ()))
        return cls(parameters, Prior(**prior), noise, hidden, getattr(space, "active", None))


def _reaching(weight, active, placed):
    """Returns the gate weights that reach the output, and whether any does."""
    if active is None:
        return weight, jnp.float32(1)
    features = weight * active(weight)[:, None]
    return features, 1 - jnp.prod(1 - (features * placed).sum(axis=1))


@functools.partial(jax.jit, static_argnames=["active"])
def _reach_all(weights, placed, *, active):
    return jax.vmap(lambda weight: _reaching(weight, active, placed))(weights)


@jax.jit
def _member_logs(model, weights):
    return jax.vmap(model.member_logs)(weights)


def _calibrate(prior, active, weights, latencies_ms):
    """Returns the prior with its floor and its scale taken from the measured networks.

    Operations timed alone can be several times dearer than the same within a network, and an
    empty network far from the quickest operation: further than Adam's small steps go.
    """
    features, connected = map(np.asarray, _reach_all(weights, prior.placed, active=active))
    runs = connected > 0.5
    floor = float(prior.floor_ms)
    if not runs.all():
        floor = float(np.exp(np.log(latencies_ms[~runs]).mean()))
    scale = 1.0
    if runs.any():
        table = (features[runs] * np.asarray(prior.table_ms)).sum(axis=(1, 2))
        rest = latencies_ms[runs] / (float(prior.constant_ms) + table)
        scale = float(np.median(rest))
    return dataclasses.replace(
        prior,
        floor_ms=jnp.float32(min(floor, latencies_ms.min())),
        table_ms=scale * prior.table_ms,
        constant_ms=scale * prior.constant_ms,
    )


def _positive(header: dict[str, Any], key: str) -> int:
    value = header.get(key)
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{key} must be a positive integer, got {value!r}")
    return value


def _prior_shapes(space):
    shape = (space.num_decisions, space.num_options)
    return {"table_ms": shape, "constant_ms": (), "floor_ms": (), "placed": shape}


def _path_name(path):
    return "/".join(["parameters", *(str(entry.key) for entry in path)])


def _flat(parameters):
    leaves, _ = jax.tree_util.tree_flatten_with_path(parameters)
    return {_path_name(path): leaf for path, leaf in leaves}


def _split(decisions, options, hidden):
    return nnx.split(
        nnx.eval_shape(lambda: LatencyNetwork(decisions, options, hidden, nnx.Rngs(0)))
    )


def _merge(parameters, shape, hidden):
    graphdef, state = _split(*shape, hidden)
    nnx.replace_by_pure_dict(state, parameters)
    return nnx.merge(graphdef, state)


@functools.partial(jax.jit, static_argnames=["steps"])
def _train(model, key, weights, target, draws, *, learning_rate, weight_decay, steps):
    """Returns the trained parameters of all members; `draws` (`float32[M, N]`) weighs networks."""
    chex.assert_rank([weights, target, draws], [3, 1, 2])
    shape, hidden = weights.shape[1:], model.hidden
    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(parameters, draw):
        logs = jax.vmap(lambda weight: model._log(parameters, weight))(weights)
        errors = optax.huber_loss(logs, target, delta=_OUTLIER) / _OUTLIER
        penalty = _merge(parameters, shape, hidden).penalty()
        return (draw * errors).sum() / draw.sum() + weight_decay * penalty

    def train_member(key, draw):
        network = LatencyNetwork(*shape, hidden, nnx.Rngs(key))
        # One flat vector: Adam over ten leaves takes longer to compile than to train.
        flat, unravel = ravel_pytree(nnx.to_pure_dict(nnx.state(network, nnx.Param)))

        def step(carry, _):
            flat, state = carry
            gradient = jax.grad(lambda flat: loss(unravel(flat), draw))(flat)
            update, state = optimiser.update(gradient, state, flat)
            return (optax.apply_updates(flat, update), state), None

        return unravel(jax.lax.scan(step, (flat, optimiser.init(flat)), length=steps)[0][0])

    return jax.vmap(train_member)(jax.random.split(key, len(draws)), draws)


def _noise(logs, target, held_out):
    """Returns what is left of the held-out error when the members' spread is taken off.

    Quantiles, not moments: one network unlike all others must not widen every prediction.

    Args:
      logs: `float32[M, N]`, predictions.
      target: `float32[N]`.
      held_out: `bool[M, N]`, whether a member was trained without a network.
    """
    seen = held_out.any(axis=0)
    if not seen.any():
        return jnp.asarray(np.std(logs.mean(0) - target), jnp.float32)
    mean = np.where(held_out, logs, 0).sum(0)[seen] / held_out.sum(0)[seen]
    error = np.percentile(np.abs(mean - target[seen]), _ONE_SIGMA)
    spread = np.median(logs[:, seen].std(axis=0))
    return jnp.asarray(np.sqrt(max(error**2 - spread**2, 0.0)), jnp.float32)
