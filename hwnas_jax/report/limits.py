"""The further limits of a run beside its budget, and what each network takes of them."""

from typing import Any

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.numbers import NOTHING, number
from hwnas_jax.report.read import RunFiles


def limits_of(run: RunFiles) -> dict[str, float]:
    """Returns the further limits by metric; empty where the budget is the only one."""
    return dict((run.targets or {}).get("limits") or {})


def measured_limits(run: RunFiles) -> dict[str, float]:
    """Returns the further limits on metrics that were measured of any network of the run."""
    measured = {metric for network in run.found for metric in network.get("measured_limits") or {}}
    return {metric: most for metric, most in limits_of(run).items() if metric in measured}


def limit_headings(run: RunFiles) -> tuple[str, ...]:
    """Returns what the cells of `limit_cells` are called."""
    return tuple(
        f"{metric.removesuffix(f'_{unit(metric)}').replace('_', ' ')}, at most {number(most)} "
        f"({unit(metric)})"
        for metric, most in measured_limits(run).items()
    )


def limit_cells(run: RunFiles, network: dict[str, Any]) -> tuple[str, ...]:
    """Returns what was measured of a network for each limit of `measured_limits`, as text.

    A value above its limit is marked as "over"; a dash stands where nothing was measured.
    """
    values, cells = network.get("measured_limits") or {}, []
    for metric, most in measured_limits(run).items():
        value = values.get(metric)
        over = value is not None and value > most
        cells.append(NOTHING if value is None else number(value) + ", over" * over)
    return tuple(cells)


def limits_missed(run: RunFiles, networks: list[dict[str, Any]]) -> list[str]:
    """Returns a sentence for each network and further limit that it was measured to be over."""
    limits = limits_of(run)
    return [
        f"{network['label']} misses the limit of {metric}: {number(value)}, at most "
        f"{number(limits[metric])}."
        for network in networks
        for metric, value in (network.get("measured_limits") or {}).items()
        if metric in limits and value > limits[metric]
    ]
