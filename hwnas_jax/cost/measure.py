"""Profiling a space on the JAX device: its operations and a sample of its networks.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.build import compile_all
from hwnas_jax.cost.records import (
    Measurements,
    Timing,
    check_spec,
    describe_device,
    describe_software,
)
from hwnas_jax.cost.timing import sample_interleaved, summarise
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.terms import sum_places

Progress = Callable[[int, int, str], None]


def profile(
    space: Space, config: ProfileConfig, *, seed: int = 0, progress: Progress | None = None
) -> Measurements:
    """Times all operations of a space and a sample of its networks, interleaved in one go.

    Args:
      space: the search space.
      config: sizes and repetitions.
      seed: of the sample and the orders.
      progress: called with `(done, total, what)`.
    """
    operations = space.operations()[0]
    architectures = sample_architectures(space, config.networks, np.random.default_rng(seed))
    samples_ms = _sample(
        space, architectures, list(operations.values()), config, seed=seed, progress=progress
    )
    timings = [summarise(row) for row in samples_ms]
    networks, parts = timings[: len(architectures)], timings[len(architectures) :]
    return Measurements(
        device=describe_device(),
        software=describe_software(),
        batch_size=config.batch_size,
        space=space.spec,
        operations=dict(zip(operations, parts, strict=True)),
        architectures=tuple(space.to_names(row) for row in architectures),
        networks=tuple(networks),
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """Networks timed beside some of a measurement file.

    Attributes:
      paced: their timings at the pace the device had for the measurement file.
      clocked: their timings as the clock said.
      drift: how many times as long the references took as in the file, the median over the rounds.
    """

    paced: list[Timing]
    clocked: list[Timing]
    drift: float


def measure_networks(
    space: Space,
    architectures: np.ndarray,
    measurements: Measurements | None,
    config: ProfileConfig,
    *,
    seed: int,
    around_ms: float | None = None,
    references: int = 12,
    progress: Progress | None = None,
) -> Measured:
    """Times given networks beside some of the measurement file, to tell how the device drifted.

    A shared or warm device changes its pace within seconds. Each round therefore times the
    references too, and is divided by how much longer than in the file they took in that round.

    Args:
      space: the search space.
      architectures: `int32[N, D]`.
      measurements: of the same space, batch size and device; None takes the clock's word.
      config: `measure_rounds` repetitions.
      seed: of the orders.
      around_ms: the references are the networks of `measurements` nearest to this latency, since
        small and large networks do not slow down alike; its median when left out.
      references: how many networks of `measurements` are timed again.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: when the measurements are not comparable with a timing here and now.
    """
    architectures = np.asarray(architectures, np.int32)
    config = dataclasses.replace(config, rounds=config.measure_rounds)
    then_ms = np.ones(0)
    if measurements is not None:
        chosen = _references(space, measurements, config.batch_size, around_ms, references)
        architectures = np.concatenate([architectures, measurements.encoded(space)[chosen]])
        then_ms = measurements.latencies_ms[chosen]
    samples_ms = np.array(
        _sample(space, architectures, [], config, seed=seed, progress=progress)
    )  # [networks, rounds]
    count = len(architectures) - len(then_ms)
    pace = np.ones(samples_ms.shape[1])
    if len(then_ms):
        pace = np.median(samples_ms[count:] / then_ms[:, None], axis=0)
    return Measured(
        paced=[summarise(row / pace) for row in samples_ms[:count]],
        clocked=[summarise(row) for row in samples_ms[:count]],
        drift=float(np.median(pace)),
    )


def _references(space, measurements, batch_size, around_ms, count):
    """Returns the rows of the measured networks nearest to a latency, by ratio."""
    check_spec(measurements.space, space, "the measurements")
    if not measurements.networks:
        raise UserError("the measurements hold no networks to compare with")
    if measurements.batch_size != batch_size:
        raise UserError(
            f"profile.batch_size = {batch_size}, but the measurements were taken with "
            f"{measurements.batch_size}"
        )
    here = describe_device()
    for key in ("platform", "kind"):
        if measurements.device.get(key) != here[key]:
            raise UserError(
                f"the measurements were taken on {measurements.device.get(key)!r}, "
                f"this device is {here[key]!r}: profile it first"
            )
    latencies_ms = measurements.latencies_ms
    centre_ms = np.median(latencies_ms) if around_ms is None else around_ms
    return np.argsort(np.abs(np.log(latencies_ms / centre_ms)), kind="stable")[:count]


def _sample(space, architectures, operations, config, *, seed, progress):
    """Returns `float64[rounds]` for each network, then for each operation."""
    report = progress or (lambda done, total, what: None)
    total = len(architectures) + len(operations)
    networks, parts = compile_all(
        space, architectures, operations, config.batch_size,
        lambda done: report(done, total, "compiling"),
    )  # fmt: skip
    samples = sample_interleaved(
        {str(i): call for i, call in enumerate(networks + parts)},
        rounds=config.rounds,
        warmup=config.warmup,
        seed=seed,
        on_round=lambda done, rounds: report(done, rounds, "timing"),
    )
    return list(samples.values())


def sample_architectures(space: Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws distinct architectures that cover the range of a space.

    Half are uniform; half are spread evenly over the multiply-accumulates that really run,
    because uniform draws are mostly average and a model fitted to them has to extrapolate to the
    extremes.

    Args:
      space: the search space.
      count: how many; no more than `space.size` are returned.
      rng: source of randomness.

    Returns:
      `int32[min(count, size), D]`, in random order.
    """
    if count >= space.size:
        return rng.permutation(space.enumerate())
    pool = _pool(space, 50 * count, rng)
    macs = _running_macs(space, pool)
    chosen: dict[tuple[int, ...], None] = {}
    targets = np.linspace(macs.min(), macs.max(), count // 2)
    for target in targets:
        # Ties are many where operations cost the same: a random one among the nearest.
        nearest = np.flatnonzero(np.abs(macs - target) == np.abs(macs - target).min())
        chosen[tuple(pool[rng.choice(nearest)].tolist())] = None
    while len(chosen) < count:
        chosen[tuple(space.random(rng, 1)[0].tolist())] = None
    return rng.permutation(np.array(list(chosen), np.int32))


def _running_macs(space, architectures):
    """Returns the work `float32[N]` of architectures, but for what cannot reach the output."""
    operations = space.operations()[0]
    # One more each, so that an operation without any still counts as more than none.
    table, _ = sum_places(space, {name: op.macs + 1 for name, op in operations.items()})
    table = jnp.asarray(table, jnp.float32)
    active = getattr(space, "active", lambda weight: jnp.ones(len(weight)))

    def macs(architecture):
        weight = jax.nn.one_hot(architecture, space.num_options)
        return (active(weight)[:, None] * weight * table).sum()

    return np.asarray(jax.jit(jax.vmap(macs))(architectures))


def _pool(space, count, rng):
    """Returns candidates that lean, each by its own amount, to one option of all decisions."""
    if space.size <= count:
        return space.enumerate()
    uniform = space.random(rng, count)
    allowed = [np.flatnonzero(row) for row in space.mask]
    towards = rng.integers(space.num_options, size=count)
    lean = np.stack([options[towards % len(options)] for options in allowed], axis=1)
    follow = rng.random((count, space.num_decisions)) < rng.random((count, 1))
    leaning = np.where(follow, lean, uniform).astype(np.int32)
    return np.where(space.feasible(leaning)[:, None], leaning, uniform)
