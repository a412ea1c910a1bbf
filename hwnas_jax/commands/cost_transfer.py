"""`hwnas cost transfer`: a cost model of a new device from few samples and other devices' table."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from hwnas_jax.commands.cost_eval import LEVEL, evaluate
from hwnas_jax.cost.files.measurements import Origin
from hwnas_jax.cost.files.observations import CostTable, Observations
from hwnas_jax.cost.files.readers import load_observations, load_table
from hwnas_jax.cost.models.prior import (
    TransferConfig,
    TransferPrior,
    check_samples,
    choose_samples,
    learn_prior,
)
from hwnas_jax.cost.models.transfer import TransferModel, source_devices
from hwnas_jax.display import Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.new import taken_file
from hwnas_jax.files.whole import write_whole
from hwnas_jax.parallel.progress import Progress


@dataclasses.dataclass(frozen=True)
class CostTransferOptions:
    """Fits a cost model to few samples of a new device, helped by a table of other devices.

    Without --device and without a file as --samples it says which networks to measure.
    """

    table: tyro.conf.Positional[str]
    """a published table of several devices; a file of the folder HWNAS_DATA needs only its name"""
    samples: str = "20"
    """a file with measurements of the new device, in which a column index may name networks by
    their row of the table; or how many networks to choose; 0 chooses none"""
    device: str | None = None
    """the new device, when the table has it: it is sampled there and judged on the rest"""
    sources: tuple[str, ...] = ()
    """the devices to learn from; when left out, the split `train` of the table, or all others"""
    choose: Literal["random", "informative"] = "random"
    """how the networks to measure are chosen"""
    out: Path | None = None
    """the cost model to write"""
    plan: Path | None = None
    """a CSV file to write the chosen networks to, so that you can measure them"""
    task: str | None = None
    """which task, for a table of several; the first when left out"""
    seed: int = 0
    """decides every random draw"""
    transfer: TransferConfig = TransferConfig()


def run(words: list[str]) -> None:
    """Prints how the model does where that is known, and writes it."""
    options = tyro.cli(CostTransferOptions, args=words, prog="hwnas cost transfer")
    with taken_file(options.out), taken_file(options.plan, "--plan"):
        _transfer(options)


def _transfer(options: CostTransferOptions) -> None:
    count = int(options.samples) if options.samples.isdigit() else None
    if options.plan is not None and count is None:
        raise UserError("--plan goes with a number of --samples, not with a file of them")
    table = load_table(options.table, task=options.task)
    if options.device is not None:
        table.row(options.device)
    given = None
    if count is None:
        observed = load_observations(
            options.samples, space=table.space, numbered=table.architectures
        )
        given = observed.observations
        given.require(1, "transfer")
    check_samples(len(given) if given is not None else count or 0)
    TransferModel.check_count(len(given) if given is not None else count or 0)
    sources = source_devices(table, options.device, options.sources)
    metrics = _metrics(table, given, options.device)
    display = Terminal()
    for note in observed.notes if count is None else ():
        display.say(note)
    with display.stage("transfer") as report:
        priors = _learn(table, sources, metrics, options, report)
    display.say(f"learned from {', '.join(sources)}")
    _tell_outliers(display, priors[0])
    rows = np.zeros(0, int)
    if count is not None:
        rows = _take(table, priors[0], count, options)
        _write_plan(display, table, rows, options)
        if options.device is not None:
            given = table.observations(options.device, rows)
    if given is None and count:
        if options.out is not None:
            raise UserError(
                "without samples no model is written: measure the networks and give their file "
                "as --samples, or take --samples 0"
            )
        return
    model = TransferModel.of(priors, given)
    if options.device is not None:
        seen = given.architectures if given is not None else np.zeros((0, 0), int)
        _judge(display, table, model, TransferModel.of(priors, None), options.device, seen)
    if not model.sampled:
        display.say(
            "without samples only the ranks mean something: nothing is known of the new device's "
            f"scale, and {', '.join(model.metrics)} are given at that of the sources"
        )
    if options.out is not None:
        origin = observed.origin if count is None else None
        if options.device is not None:
            origin = Origin({"kind": options.device}, source="published")
        fitted_to = None if given is None else given.architectures
        model.save(options.out, table.space, fitted_to, origin)
        display.say(f"wrote {options.out}")


def _metrics(table: CostTable, given: Observations | None, device: str | None) -> list[str]:
    metrics = list(table.values)
    if given is not None:
        metrics = [metric for metric in metrics if metric in given.values]
        if not metrics:
            raise UserError(
                f"the samples have {', '.join(given.metrics)}, "
                f"{table.source} has {', '.join(table.values)}"
            )
    elif device is not None:
        known = table.observations(device)
        metrics = [metric for metric in metrics if metric in known.values]
    return metrics


def _learn(table, sources, metrics, options, report: Progress) -> list[TransferPrior]:
    priors = []
    for number, metric in enumerate(metrics):
        report(number, len(metrics), "learning from the sources")
        priors.append(
            learn_prior(table, sources, options.transfer, metric=metric, seed=options.seed)
        )
    report(len(metrics), len(metrics), "learning from the sources")
    return priors


def _tell_outliers(display, prior):
    found = [
        f"{device} {count}"
        for device, count in zip(prior.sources.devices, prior.sources.outliers, strict=True)
        if count
    ]
    if found:
        display.say(f"networks far off the rest, which count for little: {', '.join(found)}")


def _take(table, prior, count, options) -> np.ndarray:
    """Returns which rows of the table are measured."""
    known = np.arange(len(table.architectures))
    if options.device is not None:
        column = table.values[prior.metric][table.row(options.device)]
        known = np.flatnonzero(~np.isnan(column))
    if count > len(known):
        raise UserError(f"{count} samples cannot be taken from {len(known)} networks")
    if options.choose == "informative":
        return known[choose_samples(prior, table.architectures[known], count)]
    return np.random.default_rng(options.seed).choice(known, count, replace=False)


def _write_plan(display, table, rows, options):
    names = [table.space.to_string(row) for row in table.architectures[rows]]
    if options.plan is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([["architecture"], *([name] for name in names)])
        write_whole(options.plan, text.getvalue())
        display.say(f"wrote {options.plan}")
    elif options.device is None and names:
        display.say("measure these networks and give their file as --samples:")
        for name in names:
            display.say(name)


def _judge(display, table, model, unseen, device, seen):
    """Prints the scores on the networks of the table that were no samples.

    The mean of the sources has no scale, so of it only the ranks are shown.
    """
    taken = {tuple(row) for row in np.asarray(seen).tolist()}
    rest = np.array([tuple(row) not in taken for row in table.architectures.tolist()])
    observations = table.observations(device, np.flatnonzero(rest))
    lines = [("transfer", model)] if taken else []
    lines.append(("mean of the sources", unseen))
    rows = []
    for name, one in lines:
        for metric, scores in evaluate(one, table.space, observations).items():
            shares = ("-",) * 4
            if one.sampled:
                keys = ("mape", "within_5", "within_10", "coverage")
                shares = tuple(f"{scores[key]:.{int(key == 'mape')}%}" for key in keys)
            ranks = "-" if scores["spearman"] is None else f"{scores['spearman']:.3f}"
            count = str(len(taken) if one.sampled else 0)
            rows.append((name, count, metric, ranks, *shares))
    header = ("model", "samples", "metric", "Spearman", "MAPE", "within 5 %", "10 %",
              f"in {LEVEL:.0%} intervals")  # fmt: skip
    display.table(f"{device}, on {len(observations):,} other networks", header, rows)
