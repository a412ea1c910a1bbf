"""`hwnas evaluate`: a finished run held against a published table of accuracies."""

import dataclasses
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
    """a .npz file with accuracies; a file of the folder HWNAS_DATA needs only its name"""
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
    """Prints the tables of what `evaluate_on_table` returned."""
    measure = found["measure"].replace("_", " ") + (" %" if percent else "")
    factor, published = 100 if percent else 1, found["published_costs"]
    one = found["searches"][0]
    costs = unit(one["metric"])
    header = ["network", "origin", measure, "percentile 97-100 %", "percentile feasible", "regret",
              costs, "kept"]  # fmt: skip
    rows = []
    for row in found["networks"]:
        rows.append(
            [
                f"{row['label']}{' *' if row['selected'] else ''}", row["origin"],
                _number(row["quality"], 2, factor), _number(row["window_percentile"], 1),
                _number(row["feasible_percentile"], 1), _number(row["regret"], 2, factor),
                f"{row['predicted']:.4g}", _yes(row["keeps_limit"]),
            ]
        )  # fmt: skip
        if published:
            cost = row["published_cost"]
            rows[-1] += ["-" if cost is None else f"{cost:.4g}", _yes(row["keeps_limit_published"])]
    if published:
        header += [f"published {costs}", "kept there"]
    display.table(f"in {found['table']}, {found['quality']}", header, rows)
    for search in found["searches"]:
        oracle = search["oracle"]
        best = "none is feasible"
        if oracle is not None:
            best = f"the oracle is {oracle['string']} with {_number(oracle['quality'], 2, factor)}"
        display.say(
            f"{search['search']}: target {search['target']:.4g} {costs}; of {search['networks']:,} "
            f"networks {search['feasible']:,} are feasible and {search['window']:,} use 97 to "
            f"100 %; {best}"
        )
    if len(found["networks"]) > len(found["origins"]):
        rows = [
            [
                f"{origin}, {mean['networks']} networks", _number(mean["quality"], 2, factor),
                _number(mean["window_percentile"], 1), _number(mean["feasible_percentile"], 1),
                _number(mean["regret"], 2, factor), str(mean["over_limit"]),
            ]
            for origin, mean in found["origins"].items()
        ]  # fmt: skip
        header = ["mean of", measure, "percentile 97-100 %", "percentile feasible", "regret",
                  "over the limit"]  # fmt: skip
        display.table("by origin", header, rows)
    several = len(found["searches"]) > 1
    rows = [
        [
            rank["by"].replace("_", " ") + " (sample)" * rank["sampled"]
            + (f", {search['search']}" if several else ""),
            _number(rank["overall"], 3), f"{rank['overall_networks']:,}",
            _number(rank["window"], 3), f"{rank['window_networks']:,}",
        ]
        for search in found["searches"] for rank in search["ranks"]
    ]  # fmt: skip
    header = ["ranked by", "overall", "networks", "at 97-100 %", "networks"]
    display.table("Kendall's tau with the table", header, rows)


def _number(value: float | None, digits: int, factor: int = 1) -> str:
    return "-" if value is None else f"{factor * value:.{digits}f}"


def _yes(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "-"}[value]
