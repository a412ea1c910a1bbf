"""Profiling a space on a device: a sample of its networks, and its operations where they help.

Legend: `N` networks, `D` decisions.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hwnas_jax.config import ProfileConfig
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.files.measurements import Measurements
from hwnas_jax.cost.files.unit_checks import running_macs
from hwnas_jax.cost.measure.calls import compiled_calls
from hwnas_jax.cost.measure.design import choose_networks, usual_count
from hwnas_jax.cost.measure.energy import EnergyMeter, measure_energy
from hwnas_jax.cost.measure.runtimes import Runtime, make_runtime
from hwnas_jax.cost.measure.timing import Sampled, StoppingRule, sample_interleaved
from hwnas_jax.cost.models.registry import COST_MODELS
from hwnas_jax.cost.simulate.codesign import Systolic
from hwnas_jax.cost.simulate.estimates import computes, estimate
from hwnas_jax.registry import Part
from hwnas_jax.spaces.base import Space

Progress = Callable[[int, int, str], None]

_REFERENCES = 3
_EVERY = 8


def profile(
    space: Space,
    config: ProfileConfig,
    *,
    cost_model: Part | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Measurements:
    """Times networks of a space on a device, all of them interleaved.

    Three of the networks, a small, a medium and a large one, are timed again in between. They show
    how the speed of the device changes, and all timings are corrected for that. With
    `config.energy` the energy of each call is measured afterwards. Networks that bring accelerators
    of their own are computed instead.

    Args:
      space: the search space.
      config: sizes, repetitions, device and runtime.
      cost_model: the model that will be fitted. It decides whether operations are timed, unless
        `config.operations` says so; without both they are timed.
      seed: of the choice of networks and of the orders.
      progress: called with `(done, total, what)`.

    Raises:
      UserError: when the device, the runtime or the energy counter asked for is not there.
    """
    started = time.perf_counter()
    report = progress or (lambda done, total, what: None)
    count = usual_count(space) if config.networks is None else config.networks
    computed = computes(space, config)
    architectures = choose_networks(space, count, config.held_out, np.random.default_rng(seed))
    held_out = max(0, len(architectures) - count)
    if computed:
        report(0, 1, "accelerators")
        return estimate(
            space, architectures, Systolic(), batch_size=config.batch_size, held_out=held_out
        )
    runtime = make_runtime(config)
    meter = EnergyMeter(runtime.device) if config.energy else None
    operations = space.operations()[0] if _times_operations(space, config, cost_model) else {}
    networks, parts = compiled_calls(
        runtime, space, architectures, operations, config.batch_size,
        lambda done, total: report(done, total, "compiling"),
    )  # fmt: skip
    calls = networks + parts
    by_work = np.argsort(running_macs(space, architectures), kind="stable")
    places = np.linspace(0, len(networks) - 1, _REFERENCES + 2)[1:-1].round().astype(int)
    sampled = sample_interleaved(
        {str(number): call for number, call in enumerate(calls)},
        StoppingRule(
            config.rounds, config.max_rounds, config.precision, deadline(started, config.budget_s)
        ),
        references=[networks[number] for number in by_work[places]],
        every=_EVERY,
        warmup=config.warmup,
        seed=seed,
        on_round=lambda done, most: report(done, most, "timing"),
    )
    samples = [{"latency_ms": sampled.corrected(str(number))} for number in range(len(calls))]
    conditions = timing_conditions(runtime, sampled, config.precision)
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
        held_out=held_out,
        conditions={**conditions, "seconds": round(time.perf_counter() - started, 1)},
    )


def _times_operations(space: Space, config: ProfileConfig, cost_model: Part | None) -> bool:
    if config.operations is not None or cost_model is None:
        return config.operations is not False
    return COST_MODELS.find(cost_model.name).reads_operations(space)


def deadline(started_s: float, budget_s: float) -> float:
    """Returns when timing ends on the clock `time.perf_counter`, if it is called when it begins.

    A third of the budget is for timing, even where compiling took more than the rest.

    Args:
      started_s: when compiling began.
      budget_s: for compiling and timing.
    """
    return max(started_s + budget_s, time.perf_counter() + budget_s / 3)


def timing_conditions(runtime: Runtime, sampled: Sampled, precision: float) -> dict[str, Any]:
    """Returns how timings were taken, for `Measurements.conditions`.

    Args:
      runtime: what ran the networks.
      sampled: the timings.
      precision: that was asked for.
    """
    return {
        "notes": [sampled.words(precision), sampled.drift.words()],
        "drift": sampled.drift.change if sampled.drift.found else 0.0,
        "options": runtime.options,
    }
