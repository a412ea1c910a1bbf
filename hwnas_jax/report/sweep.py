"""What a sweep found, as one HTML page, as JSON and as a table."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.report.front import plot_front
from hwnas_jax.report.html import (
    document,
    figure,
    missing,
    prose,
    section,
    table,
    text,
)
from hwnas_jax.report.page import cost, details
from hwnas_jax.report.pareto_front import Reference, hypervolume, on_front
from hwnas_jax.report.read import Run, read_run
from hwnas_jax.report.summary import half, kept_with, number, percent, spread

_ACCURACIES = {
    "validation_accuracy": "validation accuracy, trained from scratch",
    "supernet_accuracy": "accuracy with the supernet's weights, architecture half",
}


def write_sweep_report(folder: Path) -> Path:
    """Writes `report.html` (one file, nothing loaded from elsewhere) and `report.json`.

    Args:
      folder: the run folder of a sweep; unfinished parts are named on the page.

    Returns:
      The path of `report.html`.

    Raises:
      UserError: when a file is damaged.
    """
    run, targets = read_run(folder), _targets(folder)
    front = _front(run, targets)
    payload = {
        "format": "hwnas_jax.sweep_report", "version": 1, "name": run.name, "targets": targets,
        "networks": run.networks and run.networks["networks"], "front": front,
        "cost_fit": run.cost_fit, "measurements_during_search": run.measurements_during_search,
        "stages": run.stages, "versions": run.versions,
        "config": run.config and run.config["config"],
    }  # fmt: skip
    text_of_it = json.dumps(payload, indent=1, allow_nan=False, ensure_ascii=False)
    (run.path / "report.json").write_text(text_of_it + "\n", encoding="utf-8")
    page = run.path / "report.html"
    page.write_text(_render(run, targets, front), encoding="utf-8")
    return page


def sweep_rows(folder: Path) -> list[tuple[str, ...]]:
    """Returns the final table as text, headings first, a row for every search.

    Raises:
      UserError: when a file is damaged.
    """
    run, targets = read_run(folder), _targets(folder)
    return _rows(run, targets, _front(run, targets))


def _targets(folder: Path) -> dict[str, Any] | None:
    path = Path(folder) / "targets.json"
    if not path.exists():
        return None
    payload = read_json(path, "file of targets")
    absent = [k for k in ("metric", "targets", "range_ms", "chance") if k not in payload]
    if absent:
        raise UserError(f"{path} is damaged: it lacks {', '.join(absent)}")
    return payload


def _networks(run: Run) -> list[dict[str, Any]]:
    return run.networks["networks"] if run.networks else []


def _front(run: Run, targets: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns costs, accuracies, front and hypervolume; None before there are networks.

    Costs are measured and accuracies are of retrained networks where every network has them. The
    reference point, the slowest network of the space at the accuracy of guessing, depends on the
    space and the device alone, so that sweeps can be compared.
    """
    networks = _networks(run)
    if not networks or not targets:
        return None

    def first(keys):
        return next(
            (key for key in keys if all(n.get(key) is not None for n in networks)), keys[-1]
        )

    cost_key, accuracy_key = first(("measured_ms", "predicted_ms")), first(tuple(_ACCURACIES))
    costs = np.array([n[cost_key] for n in networks], float)
    accuracies = np.array([n[accuracy_key] for n in networks], float)
    reference = Reference(float(targets["range_ms"][1]), float(targets["chance"]))
    area = hypervolume(costs, accuracies, reference)
    return {
        "cost": cost_key,
        "accuracy": accuracy_key,
        "on_front": on_front(costs, accuracies).tolist(),
        "reference": reference._asdict(),
        "hypervolume": area,
        "share": area / (reference.cost * (1 - reference.accuracy)),
    }


def _rows(
    run: Run, targets: dict[str, Any] | None, front: dict[str, Any] | None
) -> list[tuple[str, ...]]:
    name = unit(targets["metric"]) if targets else "ms"
    rows: list[tuple[str, ...]] = [
        (
            "search", f"target ({name})", f"predicted ({name})", f"measured ({name})",
            "vs target", "supernet accuracy", "validation accuracy", "test accuracy", "front",
        )
    ]  # fmt: skip
    for i, network in enumerate(_networks(run)):
        measured = network.get("measured_ms")
        over = None if measured is None else measured / network["target_ms"] - 1
        rows.append(
            (
                network["label"],
                number(network["target_ms"]),
                spread(network.get("predicted_ms"), network.get("predicted_std_ms")),
                spread(measured, half(network.get("measured_iqr_ms"))),
                percent(over, sign=True),
                percent(network.get("supernet_accuracy")),
                percent(network.get("validation_accuracy")),
                percent(network.get("test_accuracy")),
                "yes" if front and front["on_front"][i] else "no",
            )
        )
    return rows


def _area(front: dict[str, Any], name: str) -> str:
    reference = front["reference"]
    return (
        f"Hypervolume {front['hypervolume']:.4g} {name}, {percent(front['share'])} of what no cost "
        f"and no errors would have, measured from the reference point "
        f"{number(reference['cost'])} {name} (the slowest network of the space, as predicted) and "
        f"{percent(reference['accuracy'])} (guessing)."
    )


def _render(run: Run, targets: dict[str, Any] | None, front: dict[str, Any] | None) -> str:
    device = (run.versions or {}).get("device") or {}
    facts = [
        (run.settings("space", "name"), "search space {}"),
        (run.settings("data", "name"), "data {}"),
        (device.get("kind") or device.get("platform"), "device {}"),
        ((run.versions or {}).get("started"), "started {}"),
    ]
    line = " · ".join(text(form.format(value)) for value, form in facts if value is not None)
    verdict = "This sweep is not finished: no network was derived yet."
    if front and targets:
        kept = sum(front["on_front"])
        verdict = (
            f"{len(_networks(run))} searches in one program, {kept} networks on the front. "
            + _area(front, unit(targets["metric"]))
        )
    header = (
        '<header>\n<p class="kicker">Hardware-aware architecture search: a sweep</p>\n'
        f'<h1>{text(run.name)}</h1>\n<p class="facts">{line}</p>\n'
        f'<p class="verdict">{prose(verdict)}</p>\n</header>'
    )
    body = [header, _result(run, targets, front), _drawn(run, targets, front), cost(run)]
    return document(f"{run.name}: sweep report", "\n".join([*body, details(run)]))


def _result(run: Run, targets: dict[str, Any] | None, front: dict[str, Any] | None) -> str:
    if not front:
        return section("Result", missing("table of networks", "networks.json"))
    head, *rows = _rows(run, targets, front)
    notes = (
        "Highlighted: on the front. Supernet accuracy is with the search's own shared weights, on "
        "the half of the training data that the architecture was optimised on; validation and "
        "test accuracy are of the network trained from scratch. ± is one standard deviation of "
        "the cost model for a prediction, half the interquartile range for a measurement."
    )
    confidence = targets and targets.get("confidence")
    if confidence:
        notes += " " + kept_with(confidence)
    strings = table(
        ("search", "network"), [(n["label"], n.get("string") or "") for n in _networks(run)]
    )
    return section(
        "Result",
        table(head, rows, front["on_front"]),
        f'<p class="note">{text(notes)}</p>',
        f"<h3>The networks</h3>{strings}",
    )


def _drawn(run: Run, targets: dict[str, Any] | None, front: dict[str, Any] | None) -> str:
    if not front or not targets:
        return section("The front", missing("front", "networks.json"))
    networks, name = _networks(run), unit(targets["metric"])
    measured = front["cost"] == "measured_ms"
    drawn = plot_front(
        [n[front["cost"]] for n in networks],
        [n[front["accuracy"]] for n in networks],
        Reference(**front["reference"]),
        targets=[n["target_ms"] for n in networks],
        errors=[(n.get("measured_iqr_ms") or 0.0) / 2 for n in networks] if measured else None,
        metric=targets["metric"],
        accuracy=_ACCURACIES[front["accuracy"]].partition(",")[0],
        area=front["hypervolume"],
    )
    caption = (
        f"{'Measured' if measured else 'Predicted'} cost and {_ACCURACIES[front['accuracy']]}. "
        + _area(front, name)
    )
    return section("The front", figure(drawn, "front", caption))
