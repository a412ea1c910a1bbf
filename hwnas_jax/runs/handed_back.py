"""Measurements of a run's networks that a person has taken on the device and hands back."""

import dataclasses
from pathlib import Path
from typing import Any

from hwnas_jax.cost import Measurements, load_measurements
from hwnas_jax.cost.files.measurements import Sample
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError, nearest
from hwnas_jax.runs.confirm import meets_budget
from hwnas_jax.runs.elsewhere import TEMPLATE, Elsewhere
from hwnas_jax.runs.network_stages import NetworkStages

_UNKNOWN = "unknown"
# A prediction that is off by more is less likely than a column in another unit.
_DOUBTED, _REFUSED = 5.0, 50.0


def take_back(run: NetworkStages, path: Path) -> list[str]:
    """Notes in a run what its networks cost on the device that it was for.

    Networks whose cells are empty, or whose rows are not in the file, stay unmeasured. Of each
    search and control the network that counts is chosen again, among those that meet the budget.

    Args:
      run: of a device that is not here, with its networks derived.
      path: the filled `to_measure.csv`, or a measurement file of the same networks.

    Returns:
      Sentences for people.

    Raises:
      UserError: when another command is writing to the run, for a run of this machine, and for a
        file of another space, device, runtime or batch size, without a figure, with a network that
        is not of the run, or with figures that must be in another unit.
    """
    with run.writing():
        return _taken(run, path)


def _taken(run: NetworkStages, path: Path) -> list[str]:
    device = Elsewhere.load(run.folder)
    if device is None:
        raise UserError(
            f"{run.folder} is a run of the device here, which its stage measure times; --from is "
            "for runs whose costs came from a file of another device"
        )
    if not run.finished("derive"):
        command = "sweep" if run.wanted.several else "search"
        raise UserError(
            f"{run.folder} has no networks yet; continue it with: hwnas {command} --resume "
            f"{run.folder}"
        )
    metric = run.target.metric
    given = load_measurements(
        path, run.space, device=device.device, batch_size=device.batch_size, gaps=True
    )
    _check_device(path, given, device)
    if not given.networks:
        raise UserError(
            f"{path}: no network has a figure in the column {metric}; fill it and hand it back"
        )
    if metric not in given.metrics:
        raise UserError(f"{path}: the budget is of {metric}, the file has {given.metrics[0]}")
    payload = run.networks
    networks = payload["networks"]
    found = _by_string(run, path, given, networks)
    medians = {string: samples[metric].median for string, samples in found.items()}
    warnings = _check_unit(path, medians, networks, metric)
    for entry in networks:
        if entry["string"] in found:
            entry.update(_measured(run, entry, found[entry["string"]]))
    run.choose_again(payload)
    left = [entry["label"] for entry in networks if entry.get("measured") is None]
    unmeasured = [f"not measured yet: {', '.join(left)}"] if left else []
    return [*given.notes, *warnings, *unmeasured]


def _check_device(path: Path, given: Measurements, device: Elsewhere) -> None:
    own, origin = dataclasses.asdict(device), given.origin
    theirs = {
        "device": origin.name, "runtime": origin.runtime, "batch_size": origin.batch_size,
    }  # fmt: skip
    for key, value in theirs.items():
        if value != own[key] and not (key == "runtime" and _UNKNOWN in (value, own[key])):
            raise UserError(
                f"{path} is of {key.replace('_', ' ')} {value!r}; the run searched for {own[key]!r}"
            )


def _measured(
    run: NetworkStages, entry: dict[str, Any], samples: dict[str, Sample]
) -> dict[str, Any]:
    """Returns what `networks.json` says of a network once it is measured."""
    target, sample = run.target, samples[run.target.metric]
    bound = entry.get("predicted_bound") or entry["predicted"]
    limits = {metric: samples[metric].median for metric, _ in target.others if metric in samples}
    meets = meets_budget(sample.median, entry["predicted"], bound, entry["target"], run.budget)
    return {
        "measured": sample.median,
        "measured_now": sample.median,
        "measured_iqr": sample.iqr or None,
        "measured_limits": limits,
        "meets_budget": meets and all(v <= target.limits[m] for m, v in limits.items()),
    }


def _by_string(
    run: NetworkStages, path: Path, given: Measurements, networks: list[dict[str, Any]]
) -> dict[str, dict[str, Sample]]:
    """Returns the figures of each network of the run that has them."""
    own = {tuple(run.space.from_names(e["architecture"]).tolist()): e["string"] for e in networks}
    found = {}
    for row, samples in zip(given.encoded(run.space), given.networks, strict=True):
        string = own.get(tuple(row.tolist()))
        if string is None:
            text = run.space.to_string(row)
            close = nearest(text, own.values())
            hint = f"; the nearest is {close}" if close else ""
            raise UserError(
                f"{path}: {text} is not among the {len(own)} networks of {run.folder / TEMPLATE}"
                f"{hint}"
            )
        found[string] = samples
    return found


def _check_unit(
    path: Path, medians: dict[str, float], networks: list[dict[str, Any]], metric: str
) -> list[str]:
    """Returns a warning where measurements are far from what was predicted; refuses nonsense."""
    predicted = {entry["string"]: entry["predicted"] for entry in networks}
    ratios = {s: median / predicted[s] for s, median in medians.items() if predicted[s] > 0}
    if not ratios:
        return []
    far = {string: max(ratio, 1 / ratio) for string, ratio in ratios.items()}
    worst = max(far, key=far.__getitem__)
    said = (
        f"{worst} has {metric} {medians[worst]:.4g}, {ratios[worst]:.3g} times what was predicted"
    )
    if far[worst] > _REFUSED:
        raise UserError(
            f"{path}: {said}. Is it in another unit? The column counts {unit(metric)}; a column "
            "may say its own unit in its name, as latency_us does"
        )
    return [f"warning: {said}"] if far[worst] > _DOUBTED else []
