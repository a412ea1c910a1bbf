"""Profiling a space on a device: its operations and a sample of its networks.

Legend: `N` networks, `D` decisions.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.measurements import Measurements, Sample, check_spec
from hwnas_jax.cost.measure.device import check_same
from hwnas_jax.cost.measure.energy import EnergyMeter, measure_energy
from hwnas_jax.cost.measure.runtimes import Runtime, make_runtime
from hwnas_jax.cost.measure.timing import Sampled, StoppingRule, sample_interleaved
from hwnas_jax.cost.simulate.codesign import Systolic
from hwnas_jax.cost.simulate.estimates import computes, estimate
from hwnas_jax.errors import UserError
from hwnas_jax.spaces.base import Space
from hwnas_jax.spaces.core.terms import sum_places

Progress = Callable[[int, int, str], None]

_REFERENCES = 3
_EVERY = 8


def profile(
    space: Space, config: ProfileConfig, *, seed: int = 0, progress: Progress | None = None
) -> Measurements:
    """Times all operations of a space and a sample of its networks, interleaved in one go.

    Three of the networks, a small, a middling and a large one, are timed again in between: they
    tell how the pace of the device changes, and all timings are divided by that. With
    `config.energy` the energy of each is counted afterwards. Networks that bring accelerators of
    their own are computed instead, and operations left out.

    Args:
      space: the search space.
      config: sizes, repetitions, device and runtime.
      seed: of the sample and the orders.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: when the device, the runtime or the energy counter asked for is not there.
    """
    started = time.perf_counter()
    report = progress or (lambda done, total, what: None)
    if computes(space, config):
        report(0, 1, "accelerators")
        rng = np.random.default_rng(seed)
        architectures = sample_architectures(space, config.networks, rng)
        return estimate(space, architectures, Systolic(), batch_size=config.batch_size)
    runtime = make_runtime(config)
    meter = EnergyMeter(runtime.device) if config.energy else None
    operations = space.operations()[0]
    architectures = sample_architectures(space, config.networks, np.random.default_rng(seed))
    networks, parts = _compile(runtime, space, architectures, operations, config, report)
    calls = networks + parts
    by_work = np.argsort(_running_macs(space, architectures), kind="stable")
    places = np.linspace(0, len(networks) - 1, _REFERENCES + 2)[1:-1].round().astype(int)
    sampled = sample_interleaved(
        {str(number): call for number, call in enumerate(calls)},
        StoppingRule(config.rounds, config.max_rounds, config.precision, started + config.budget_s),
        references=[networks[number] for number in by_work[places]],
        every=_EVERY,
        warmup=config.warmup,
        seed=seed,
        on_round=lambda done, most: report(done, most, "timing"),
    )
    samples = [{"latency_ms": sampled.paced(str(number))} for number in range(len(calls))]
    conditions = _conditions(runtime, sampled, config.precision)
    if meter is not None:
        conditions["idle_w"] = meter.idle_w()
        energies = measure_energy(
            calls, meter, seconds=config.energy_s, seed=seed,
            on_round=lambda done, most: report(done, most, "energy"),
        )  # fmt: skip
        samples = [
            {**row, "energy_mj": energy} for row, energy in zip(samples, energies, strict=True)
        ]
    return Measurements(
        device=describe_device(runtime.device),
        software=describe_software(*runtime.packages),
        batch_size=config.batch_size,
        space=space.spec,
        operations=dict(zip(operations, samples[len(networks) :], strict=True)),
        architectures=tuple(space.to_names(row) for row in architectures),
        networks=tuple(samples[: len(networks)]),
        runtime=runtime.name,
        conditions={**conditions, "seconds": round(time.perf_counter() - started, 1)},
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """Networks timed beside some of a measurement file.

    Attributes:
      paced: their latencies at the pace the device had for the measurement file.
      clocked: their latencies as the clock said.
      drift: how many times as long the references took as in the file, the median over all.
      conditions: as in `Measurements.conditions`.
    """

    paced: list[Sample]
    clocked: list[Sample]
    drift: float
    conditions: dict[str, Any] = dataclasses.field(default_factory=dict)


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

    A shared or warm device changes its pace within seconds. References are therefore timed in
    between, and each timing is divided by how much longer than in the file they took then.

    Args:
      space: the search space.
      architectures: `int32[N, D]`.
      measurements: of the same space, batch size, device and runtime; with None the networks
        are their own references, which tells how the pace changed but not from when.
      config: at least `measure_rounds` repetitions.
      seed: of the orders.
      around_ms: the references are the networks of `measurements` nearest to this latency, since
        small and large networks do not slow down alike; its median when left out.
      references: how many networks of `measurements` are timed again.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: when the measurements are not comparable with a timing here and now.
    """
    started = time.perf_counter()
    report = progress or (lambda done, total, what: None)
    architectures = np.asarray(architectures, np.int32)
    runtime, count, usual_ms = make_runtime(config), len(architectures), None
    if measurements is not None:
        check_comparable(space, measurements, runtime, config.batch_size)
        chosen = _nearest(measurements, around_ms, references)
        architectures = np.concatenate([architectures, measurements.encoded(space)[chosen]])
        usual_ms = measurements.latencies_ms[chosen]
    calls = _compile(runtime, space, architectures, {}, config, report)[0]
    sampled = sample_interleaved(
        {str(number): call for number, call in enumerate(calls[:count])},
        StoppingRule(
            config.measure_rounds,
            max(config.measure_rounds, config.max_rounds),
            config.precision,
            started + config.budget_s,
        ),
        references=calls[:count] if measurements is None else calls[count:],
        usual_ms=usual_ms,
        every=_EVERY if measurements is None else 2,
        warmup=config.warmup,
        seed=seed,
        on_round=lambda done, most: report(done, most, "timing"),
    )
    conditions = _conditions(runtime, sampled, config.precision)
    if measurements is not None:
        conditions["disagreement"] = sampled.disagreement
        conditions["notes"].append(
            f"reference networks took {sampled.pace.level:.2f} times as long as in the measurement "
            f"file, one from another {sampled.disagreement:.1%} apart: so far can latencies at the "
            "pace of the file be trusted"
        )
    return Measured(
        paced=[sampled.paced(str(number)) for number in range(count)],
        clocked=[sampled.clocked(str(number)) for number in range(count)],
        drift=sampled.pace.level,
        conditions=conditions,
    )


def check_comparable(
    space: Space, measurements: Measurements, runtime: Runtime, batch_size: int
) -> None:
    """Raises UserError unless a timing here and now means the same as one of `measurements`."""
    check_spec(measurements.space, space, "the measurements")
    if not measurements.networks:
        raise UserError("the measurements hold no networks to compare with")
    if measurements.source != "measured":
        raise UserError(
            f"the figures of the measurement file are {measurements.source}: timings here cannot "
            "be compared with them"
        )
    if measurements.runtime != runtime.name:
        raise UserError(
            f"the measurements were taken with the runtime {measurements.runtime!r}, "
            f"profile.runtime is {runtime.name!r}: figures of two runtimes are not compared; "
            f"profile with {runtime.name!r} first"
        )
    if measurements.batch_size != batch_size:
        raise UserError(
            f"profile.batch_size = {batch_size}, but the measurements were taken with "
            f"{measurements.batch_size}"
        )
    check_same(measurements.device, describe_device(runtime.device))


def _nearest(measurements, around_ms, count):
    """Returns the rows of the measured networks nearest to a latency, by ratio."""
    latencies_ms = measurements.latencies_ms
    centre_ms = np.median(latencies_ms) if around_ms is None else around_ms
    return np.argsort(np.abs(np.log(latencies_ms / centre_ms)), kind="stable")[:count]


def _compile(runtime, space, architectures, operations, config, report):
    total = len(architectures) + len(operations)
    return runtime.compile_all(
        space, architectures, operations.values(), config.batch_size,
        lambda done: report(done, total, "compiling"),
    )  # fmt: skip


def _conditions(runtime: Runtime, sampled: Sampled, precision: float) -> dict[str, Any]:
    """Returns how timings were taken: notes for people, options and figures by name."""
    return {
        "notes": [sampled.words(precision), sampled.drift.words()],
        "drift": sampled.drift.change if sampled.drift.found else 0.0,
        "options": runtime.options,
    }


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
