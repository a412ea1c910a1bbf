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
from hwnas_jax.cost.records import Measurements, Timing, describe_device, describe_software
from hwnas_jax.cost.table import sum_places
from hwnas_jax.cost.timing import time_interleaved
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space

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
    networks, parts = _time(
        space, architectures, list(operations.values()), config, seed=seed, progress=progress
    )
    return Measurements(
        device=describe_device(),
        software=describe_software(),
        batch_size=config.batch_size,
        space=space.spec,
        operations=dict(zip(operations, parts, strict=True)),
        architectures=tuple(space.to_names(row) for row in architectures),
        networks=tuple(networks),
    )


def measure_networks(
    space: Space,
    architectures: np.ndarray,
    measurements: Measurements | None,
    config: ProfileConfig,
    *,
    seed: int,
    references: int = 12,
    progress: Progress | None = None,
) -> tuple[list[Timing], float]:
    """Times given networks beside some of the measurement file, to tell how the device drifted.

    Args:
      space: the search space.
      architectures: `int32[N, D]`.
      measurements: of the same space, batch size and device; None times without comparing.
      config: `measure_rounds` repetitions.
      seed: of the orders.
      references: how many networks of `measurements` are timed again, spread over its latencies.
      progress: called with `(done, total, what)`.

    Returns:
      The `N` timings as measured now, and the drift: the median over the references of their
      latency now divided by their latency then, 1 without measurements. Divide a timing by it to
      compare with the file.

    Raises:
      UserError: when the measurements are not comparable with a timing here and now.
    """
    config = dataclasses.replace(config, rounds=config.measure_rounds)
    if measurements is None:
        return _time(space, architectures, [], config, seed=seed, progress=progress)[0], 1.0
    known = measurements.encoded(space)
    if not len(known):
        raise UserError("the measurements hold no networks to compare with")
    if measurements.batch_size != config.batch_size:
        raise UserError(
            f"profile.batch_size = {config.batch_size}, but the measurements were taken with "
            f"{measurements.batch_size}"
        )
    here = describe_device()
    for key in ("platform", "kind"):
        if measurements.device.get(key) != here[key]:
            raise UserError(
                f"the measurements were taken on {measurements.device.get(key)!r}, "
                f"this device is {here[key]!r}: profile it first"
            )
    order = np.argsort(measurements.latencies_ms)
    spread = np.linspace(0, len(order) - 1, min(references, len(order)))
    chosen = order[np.unique(np.round(spread).astype(int))]
    everything = np.concatenate([np.asarray(architectures, np.int32), known[chosen]])
    timings, _ = _time(space, everything, [], config, seed=seed, progress=progress)
    count = len(architectures)
    now = np.array([timing.latency_ms for timing in timings[count:]])
    drift = float(np.median(now / measurements.latencies_ms[chosen]))
    return timings[:count], drift


def _time(space, architectures, operations, config, *, seed, progress):
    report = progress or (lambda done, total, what: None)
    total = len(architectures) + len(operations)
    networks, parts = compile_all(
        space, architectures, operations, config.batch_size,
        lambda done: report(done, total, "compiling"),
    )  # fmt: skip
    timings = time_interleaved(
        {str(i): call for i, call in enumerate(networks + parts)},
        rounds=config.rounds,
        warmup=config.warmup,
        seed=seed,
        on_round=lambda done, rounds: report(done, rounds, "timing"),
    )
    ordered = list(timings.values())
    return ordered[: len(networks)], ordered[len(networks) :]


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
    widths = np.array([len(decision.options) for decision in space.decisions])
    uniform = space.random(rng, count)
    lean = rng.integers(space.num_options, size=(count, 1)) % widths
    follow = rng.random((count, space.num_decisions)) < rng.random((count, 1))
    return np.where(follow, lean, uniform).astype(np.int32)
