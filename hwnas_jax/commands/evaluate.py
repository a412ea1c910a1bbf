"""`hwnas evaluate`: a finished run held against a published table of accuracies."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import tyro

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.display import Silent, Terminal
from hwnas_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Looks up the networks that a run derived in a published table of accuracies.

    Each is compared with all networks of the table that the run's cost model predicts to use 97 to
    100 % of the target, and with all that keep the limit. What the search knew (probabilities,
    the supernet's loss) is correlated with the table, beside operations and parameters.
    """

    run: tyro.conf.Positional[Path]
    """the run folder"""
    table: str
    """accuracies: a .npz file, or the file or folder that a benchmark's authors publish; a file of
    the folder HWNAS_DATA needs only its name"""
    data_set: str | None = None
    """one of the table's data sets or tasks; its first when left out"""
    latency_table: str | None = None
    """published costs: each network's cost in them is shown beside what the run predicted"""
    device: str | None = None
    """which device of --latency-table"""
    search: str | None = None
    """of a run with several searches: the label of one; all of them when left out"""
    sample: int = 100
    """networks that the supernet judges, and as many again inside the window; 0 asks for none"""
    batches: int = 16
    """batches that the supernet judges by, of the search's batch size"""
    json: bool = False
    """print one JSON object"""

    def check(self) -> None:
        """Refuses options that do not go together, and numbers out of range."""
        if self.device is not None and self.latency_table is None:
            raise UserError("--device names a device of --latency-table, which is not given")
        if self.sample < 0 or self.sample == 1:
            raise UserError(f"--sample must be 0, or at least 2 to be ranked; got {self.sample}")
        if self.batches < 1:
            raise UserError(f"--batches must be positive, got {self.batches}")


def run(words: list[str]) -> None:
    """Prints where the networks stand, and Kendall's tau of what the run knew."""
    from hwnas_jax.cost.files.readers import load_observations
    from hwnas_jax.runs.on_table import evaluate_on_table
    from hwnas_jax.runs.run import Run
    from hwnas_jax.tabular import load_benchmark

    options = tyro.cli(EvaluateOptions, args=words, prog="hwnas evaluate")
    options.check()
    opened = Run.open(options.run)
    table = load_benchmark(options.table, data_set=options.data_set)
    published = None
    if options.latency_table is not None:
        published = load_observations(options.latency_table, device=options.device)
    display: Silent = Silent() if options.json else Terminal()
    with display.stage("evaluate") as report:
        found = evaluate_on_table(
            opened, table, published=published, search=options.search, sample=options.sample,
            batches=options.batches, progress=report,
        )  # fmt: skip
    if options.json:
        print(json.dumps(found))
        return
    show(found, display, percent=table.measure.percent)


def show(found: dict[str, Any], display: Silent, *, percent: bool) -> None:
    """Prints what `evaluate_on_table` returned.

    Args:
      found: as it was returned.
      display: prints.
      percent: whether the table's measure is a share, which is shown in percent.
    """
    measure = found["measure"].replace("_", " ") + (" %" if percent else "")
    shown = functools.partial(_number, digits=2, factor=100) if percent else _number
    costs, several = unit(found["searches"][0]["metric"]), len(found["searches"]) > 1
    header, rows = _networks(found, measure, shown, costs)
    display.table(f"in {found['table']}, {found['quality']}", header, rows)
    for search in found["searches"]:
        oracle = search["oracle"]
        best = "none is feasible"
        if oracle is not None:
            best = f"the oracle is {oracle['string']} with {shown(oracle['quality'])}"
        display.say(
            f"{search['search']}: target {search['target']:.4g} {costs}; of {search['networks']:,} "
            f"networks {search['feasible']:,} are feasible and {search['window']:,} use 97 to "
            f"100 %; {best}"
        )
    if len(found["networks"]) > len(found["origins"]):
        display.table("by origin", *_origins(found, measure, shown))
    header = ["ranked by", "overall", "networks", "at 97-100 %", "networks"]
    rows = [
        [
            rank["by"].replace("_", " ") + " (sample)" * rank["sampled"]
            + f", {search['search']}" * several,
            _number(rank["overall"], 3), f"{rank['overall_networks']:,}",
            _number(rank["window"], 3), f"{rank['window_networks']:,}",
        ]
        for search in found["searches"] for rank in search["ranks"]
    ]  # fmt: skip
    display.table("Kendall's tau with the table", header, rows)


def _networks(found, measure, shown, costs) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of the table of derived networks."""
    header = ["network", "origin", measure, "percentile 97-100 %", "percentile feasible", "regret",
              costs, "kept"]  # fmt: skip
    rows = [
        [
            row["label"] + " *" * row["selected"], row["origin"], *_standing(row, shown),
            f"{row['predicted']:.4g}", _yes(row["keeps_limit"]),
        ]
        for row in found["networks"]
    ]  # fmt: skip
    if found["published_costs"] is not None:
        header += [f"published {costs}", "kept as published"]
        for cells, row in zip(rows, found["networks"], strict=True):
            cost = row["published_cost"]
            cells += ["-" if cost is None else f"{cost:.4g}", _yes(row["keeps_limit_published"])]
    return header, rows


def _origins(found, measure, shown) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of the table of means."""
    header = ["mean of", measure, "percentile 97-100 %", "percentile feasible", "regret",
              "over the limit"]  # fmt: skip
    rows = [
        [f"{origin}, {mean['networks']} networks", *_standing(mean, shown), str(mean["over_limit"])]
        for origin, mean in found["origins"].items()
    ]
    if found["published_costs"] is not None:
        header.append("over it as published")
        for cells, mean in zip(rows, found["origins"].values(), strict=True):
            cells.append(str(mean["over_limit_published"]))
    return header, rows


def _standing(row, shown) -> list[str]:
    percentiles = (row["window_percentile"], row["feasible_percentile"])
    return [
        shown(row["quality"]), *(_number(value, 1) for value in percentiles), shown(row["regret"])
    ]  # fmt: skip


def _number(value: float | None, digits: int = 4, factor: int = 1) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "-"}[value]
