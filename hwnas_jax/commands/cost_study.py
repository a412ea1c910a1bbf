"""`hwnas cost study`: cost models compared on a table of costs."""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from hwnas_jax.cost.files.readers import load_table
from hwnas_jax.cost.judge.study import Study, run_study, temperature_rows
from hwnas_jax.cost.models.registry import check_cost_model
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import write_json
from hwnas_jax.files.new import taken_folder
from hwnas_jax.registry import Part
from hwnas_jax.report.study import draw_study

_MOST_DEVICES = 6
_MODELS = ("gaussian", "bayesian", "mlp")


@dataclasses.dataclass(frozen=True)
class StudyOptions:
    """Compares cost models on a table of measured networks.

    Every model is fitted to the same random networks and judged on all the others: by rank, by
    error, and by whether its intervals cover as much as they promise. On a table of a whole space
    its gradient is compared with that of the true expected cost too.
    """

    table: tyro.conf.Positional[str]
    """a table: .npz, HELP folder, HW-NAS-Bench pickle, CSV or measurement file; a name in
    HWNAS_DATA"""
    devices: tuple[str, ...] = ()
    """devices of the table; when left out its split `test`, or the first six"""
    models: tuple[str, ...] = _MODELS
    """cost models, as `hwnas list` names them, with options: gaussian mlp,members=4,steps=500"""
    train: int = 900
    """networks that each model is fitted to"""
    draws: int = 3
    """how often these networks are drawn"""
    metric: str = "latency_ms"
    """the cost to predict"""
    task: str | None = None
    """which task, for a table of several; the first when left out"""
    seed: int = 0
    out: Path = Path("cost_study")
    """a new folder for study.json and study.png"""


def run(words: list[str]) -> None:
    """Prints and draws the comparison, and writes it as JSON."""
    options = tyro.cli(StudyOptions, args=words, prog="hwnas cost study")
    if not options.out.parent.is_dir():
        raise UserError(f"there is no folder {options.out.parent} to write {options.out.name} in")
    with taken_folder(options.out, named=True, resumes=False):
        _study(options)


def _study(options: StudyOptions) -> None:
    models = [_part(text) for text in options.models]
    table = load_table(options.table, task=options.task)
    devices = options.devices or table.splits.get("test") or table.devices[:_MOST_DEVICES]
    for device in devices:
        table.row(device)
    display = Terminal()
    with display.stage("study") as report:
        study = run_study(
            table, devices, models, train=options.train, draws=options.draws,
            metric=options.metric, seed=options.seed, progress=report,
        )  # fmt: skip
    for note in table.notes:
        display.say(note)
    show(study, display)
    write_json(options.out / "study.json", study.to_dict())
    if study.rows:
        draw_study(study).savefig(options.out / "study.png", dpi=150)
    display.say(f"wrote {options.out}")


def _part(text: str) -> Part:
    """Returns the cost model that `text` names ("mlp,members=4"), once its options are checked."""
    part = Part.parse(text)
    check_cost_model(part)
    return part


def show(study: Study, display: Terminal) -> None:
    """Prints the tables of a study."""
    for refused in study.refused:
        display.say(f"{refused['model']} on {refused['device']}: {refused['reason']}")
    if not study.rows:
        return
    header = (
        "device", "model", "Spearman", "Kendall", "MAPE", "within 1 / 5 / 10 %", "in 50 / 90 %",
        "cosine", "gap", "fit s", "predict us",
    )  # fmt: skip
    title = (
        f"{study.metric} of {study.source}: fitted to {study.train} networks, tested on all "
        f"others; mean of {study.draws} draws"
    )
    display.table(title, header, [_line(line) for line in study.summary()])
    rows = [
        (
            row["device"], row["model"], f"{row['temperature']:g}", f"{row['by_logits']:.4f}",
            f"{row['ceiling']:.4f}", f"{row['by_gates']:.4f}", f"{row['gap']:.2%}",
            f"{row['error']:.2%}",
        )
        for row in temperature_rows(study)
    ]  # fmt: skip
    if rows:
        names = (
            "device", "model", "temperature", "gradient cosine", "at most", "within simplex",
            "relaxation gap", "expectation error",
        )  # fmt: skip
        display.table("gradients against exact enumeration, means over logits", names, rows)


def _line(line: dict[str, Any]) -> tuple[str, ...]:
    def number(key: str, form: str) -> str:
        return "-" if line[key] is None else format(line[key], form)

    spread = line["spearman_sd"]
    ranks = number("spearman", ".4f") + ("" if spread is None else f" ±{spread:.4f}")
    within = (number(f"within_{percent}", ".1%") for percent in (1, 5, 10))
    covered = (number(f"covered_{percent}", ".1%") for percent in (50, 90))
    return (
        line["device"], line["model"], ranks, number("kendall", ".4f"), number("mape", ".1%"),
        " / ".join(within).replace("%", ""), " / ".join(covered).replace("%", ""),
        number("fidelity", ".4f"), number("gap", ".2%"), number("fit_s", ".1f"),
        number("predict_us", ".1f"),
    )  # fmt: skip
