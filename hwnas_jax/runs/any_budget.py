"""Networks of a finished run for any budgets: by its own rule, or by its supernet.

Legend: `n` networks, `D` decisions.
"""

import csv
import io
from collections.abc import Sequence

import numpy as np

from hwnas_jax.config import override
from hwnas_jax.cost.files.observations import unit
from hwnas_jax.parallel.progress import Progress, quiet
from hwnas_jax.runs.network_stages import NetworkStages
from hwnas_jax.runs.shared_weights import evaluate, weights_of
from hwnas_jax.search.candidates import cost_range, resolve_target
from hwnas_jax.search.judgements import Judgements
from hwnas_jax.search.specialise import Specialised, Specialising, deviation_of, specialise


def by_rule(
    run: NetworkStages, number: int, budgets: Sequence[float], progress: Progress = quiet
) -> list[Specialised]:
    """Returns the network that a search proposes first under each budget, as its run chooses.

    Args:
      run: whose search is finished.
      number: of the search.
      budgets: in the run's metric; the search's own where there are none.
      progress: reports what is done.

    Raises:
      UserError: for a budget that is out of reach.
    """
    targets = [run.members[number].target]
    if budgets:
        settings = [override(run.config, target__value=value).target for value in budgets]
        reachable = cost_range(
            run.space, run.cost_model, settings[0].metric, seed=run.config.seed,
            confidence=settings[0].confidence,
        )  # fmt: skip
        targets = [resolve_target(one, reachable) for one in settings]
    found = []
    for target in targets:
        first = run.candidates(number, target=target, progress=progress)[0]
        std = deviation_of(run.space, run.cost_model, target.metric, first.architecture)
        found.append(Specialised(target, first.architecture, first.predicted, std))
    return found


def by_supernet(
    run: NetworkStages,
    number: int,
    budgets: Sequence[float],
    ways: Specialising | None = None,
    progress: Progress = quiet,
) -> list[Specialised]:
    """Returns the best network found under each budget by the supernet of a finished run.

    What the supernet says is kept in the run folder, in `judged_<search>.npz`, so that a later call
    with other budgets asks it of few networks. The file is replaced as a whole, and what it holds
    does not depend on who wrote it, so that several calls may go on at the same time.

    Args:
      run: whose search is finished.
      number: of the search.
      budgets: in the run's metric; the search's own where there are none.
      ways: how the networks are looked for; the defaults when left out.
      progress: reports what is done.

    Raises:
      UserError: when the run has no shared weights, for an unknown predictor, a damaged file of
        judgements, and a budget that no network meets.
    """
    ways, member, task = ways or Specialising(), run.members[number], run.for_search.task
    for value in budgets:
        override(run.config, target__value=value)  # refuses what is no amount
    targets = [member.target._replace(value=value) for value in budgets] or [member.target]
    _, weights = weights_of(run, member.label)
    path = run.folder / f"judged_{member.label}.npz"

    def judge(networks: np.ndarray) -> np.ndarray:
        found = evaluate(
            run, networks, search=member.label, batches=ways.batches, progress=progress
        )
        return found[task.metric]

    return specialise(
        run.space, run.cost_model, targets, run.budget, judge,
        Judgements.load(path, run.space, weights, ways.batches),
        higher_is_better=task.higher_is_better, ways=ways, seed=member.seed,
        keep=lambda judgements: judgements.save(path, weights, ways.batches), progress=progress,
    )  # fmt: skip


def in_table(run: NetworkStages, found: Sequence[Specialised]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of the table that people see."""
    task, name = run.for_search.task, unit(run.target.metric)
    metric = task.metric.replace("_", " ")
    judged = any(one.judged is not None for one in found)
    header = ["architecture", f"budget, {name}", f"predicted, {name}"]
    header += [f"{metric}, predicted", f"{metric} by the supernet"] if judged else []
    rows = []
    for one in found:
        std = "" if one.cost_std is None else f" ± {one.cost_std:.2g}"
        row = [run.space.to_string(one.architecture), f"{one.target.value:.4g}",
               f"{one.cost:.4g}{std}"]  # fmt: skip
        if one.metric is not None and one.metric_std is not None and one.judged is not None:
            row += [f"{task.show(one.metric)} ± {task.show(one.metric_std)}", task.show(one.judged)]
        rows.append(row)
    return header, rows


def table_file(run: NetworkStages, found: Sequence[Specialised], files: Sequence[str]) -> str:
    """Returns the same as the text of a .csv file, with the names of the architecture files."""
    cost, metric = run.target.metric, run.for_search.task.metric
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([
        "file", "architecture", f"budget_{cost}", f"predicted_{cost}", f"predicted_{cost}_std",
        f"predicted_{metric}", f"predicted_{metric}_std", f"judged_{metric}",
    ])  # fmt: skip
    for name, one in zip(files, found, strict=True):
        numbers = (one.target.value, *one[2:])
        shown = ["" if number is None else f"{number:.6g}" for number in numbers]
        writer.writerow([name, run.space.to_string(one.architecture), *shown])
    return out.getvalue()
