"""The networks of a finished run ranked again for another device, from few samples of it."""

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.cost.files.observations import Observations, unit
from hwnas_jax.cost.files.readers import load_observations
from hwnas_jax.cost.judge.proxy import (
    Agreement,
    Verdict,
    adapted_model,
    kept_order,
    rank_agreement,
)
from hwnas_jax.cost.models.base import predict_architectures, std_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.files.whole import write_whole
from hwnas_jax.report.pareto_front import on_front
from hwnas_jax.runs.network_stages import NetworkStages
from hwnas_jax.search.candidates import architectures_of

_REFERENCE = 2000


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A network of the run on the new device.

    Attributes:
      string: the network.
      proxy: its cost on the run's device, measured where it was.
      cost: what it is predicted to cost on the new device.
      std: standard deviation of that prediction.
      value: the task's metric on the test data; None where it was not trained.
      on_front: whether no other network of the run is cheaper on the new device and as good.
    """

    string: str
    proxy: float
    cost: float
    std: float
    value: float | None
    on_front: bool | None


@dataclasses.dataclass(frozen=True)
class ProxyFront:
    """What samples of a new device say of a run's networks.

    Attributes:
      device: the new device.
      metric: the cost.
      agreement: of the run's cost model with the samples.
      verdict: whether the run's own order may be kept.
      networks: the cheapest on the new device first.
    """

    device: str
    metric: str
    agreement: Agreement
    verdict: Verdict
    networks: tuple[Ranked, ...]

    def in_words(self) -> str:
        """Returns the verdict with its figures."""
        a = self.agreement
        follows = {
            "safe": "the order of the run's own device is kept",
            "unsafe": "the order is that of the run's cost model, adapted to the samples",
            "unsure": "the interval contains the threshold: the order is that of the run's cost "
            "model, adapted to the samples, and more samples would decide",
        }
        return (
            f"reuse is {self.verdict}: rank correlation with {self.device} {a.rho:.3f}, "
            f"{a.level:.0%} interval {a.low:.3f} to {a.high:.3f} (Fisher's z, {a.samples} "
            f"samples); {follows[self.verdict]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the whole as plain values."""
        plain = dataclasses.asdict(self)
        return {**plain, "agreement": self.agreement._asdict()}

    def rows(self) -> list[tuple[str, ...]]:
        """Returns a table of the networks, its header first."""
        name = unit(self.metric)
        lines: list[tuple[str, ...]] = [
            ("network", f"here [{name}]", f"{self.device} [{name}]", "±", "test", "front")
        ]
        for one in self.networks:
            value = "-" if one.value is None else f"{one.value:.4g}"
            front = {True: "yes", False: "no", None: "-"}[one.on_front]
            lines.append(
                (one.string, f"{one.proxy:.4g}", f"{one.cost:.4g}", f"{one.std:.2g}", value, front)
            )
        return lines


def rank_again(
    run: NetworkStages, path: Path, *, threshold: float, level: float, seed: int = 0
) -> ProxyFront:
    """Ranks the networks that a run derived for another device.

    Args:
      run: finished up to its stage derive.
      path: a file with measurements of the new device, at least five networks.
      threshold: the rank correlation from which on the order of the run's device is kept.
      level: the probability of the interval around it.
      seed: of all draws.

    Raises:
      UserError: when the run has no networks yet, or the samples are too few, of another space, or
        lack the run's metric.
    """
    if not 0 < threshold < 1:
        raise UserError(f"--threshold must lie between 0 and 1, got {threshold:g}")
    entries = _distinct(run)
    space, metric = run.space, run.target.metric
    read = load_observations(path, space=space)
    samples: Observations = read.observations
    if metric not in samples.values:
        had = ", ".join(samples.metrics) or "no figures"
        raise UserError(f"{path} has {had}, and the run's budget is of {metric}")
    own = predict_architectures(run.cost_model, samples.architectures, space.num_options)[metric]
    agreement = rank_agreement(own, samples.values[metric], level)
    reference = architectures_of(space, seed=seed)
    rng = np.random.default_rng(seed)
    if len(reference) > _REFERENCE:
        reference = reference[rng.choice(len(reference), _REFERENCE, replace=False)]
    known = predict_architectures(run.cost_model, reference, space.num_options)[metric]
    model = adapted_model(space, reference, known, samples, metric=metric, seed=seed)
    rows = np.stack([space.from_names(entry["architecture"]) for entry in entries])
    cost = predict_architectures(model, rows, space.num_options)[metric]
    std = std_architectures(model, rows, space.num_options)[metric]
    proxy = np.array([e.get("measured") or e["predicted"] for e in entries], float)
    verdict = agreement.verdict(threshold)
    values = [entry.get("test_metric") for entry in entries]
    front: list[bool | None] = [None] * len(entries)
    if all(value is not None for value in values):
        judged = proxy if verdict == "safe" else cost
        best = on_front(judged, np.array(values, float), higher_is_better=run.task.higher_is_better)
        front = [bool(one) for one in best]
    ranked = [
        Ranked(e["string"], float(p), float(c), float(s), v, f)
        for e, p, c, s, v, f in zip(entries, proxy, cost, std, values, front, strict=True)
    ]
    order = kept_order(verdict, proxy, cost)
    name = read.origin.name if read.origin is not None else "the new device"
    return ProxyFront(name, metric, agreement, verdict, tuple(ranked[i] for i in order))


def _distinct(run: NetworkStages) -> list[dict[str, Any]]:
    """Returns the entries of the run's own networks, each network once."""
    if not run.finished("derive"):
        raise UserError(f"{run.folder} has no networks yet; {run.goes_on}")
    own = [entry for entry in run.networks["networks"] if entry["origin"] == "search"]
    return list({entry["string"]: entry for entry in own}.values())


def write_plan(run: NetworkStages, path: Path, count: int, *, seed: int = 0) -> int:
    """Writes a sheet of networks to measure on a new device, with an empty column for the cost.

    All networks are put in the order of their cost by the run's model, and one is drawn from each
    of `count` equal parts of that order, so that cheap and dear networks are among them.

    Args:
      run: whose space and cost model are taken.
      path: the CSV file.
      count: how many networks.
      seed: of the draw.

    Returns:
      How many there are: fewer where the space is smaller.
    """
    space, metric = run.space, run.target.metric
    pool = architectures_of(space, seed=seed)
    rng = np.random.default_rng(seed)
    cost = predict_architectures(run.cost_model, pool, space.num_options)[metric]
    parts = np.array_split(np.argsort(cost, kind="stable"), min(count, len(pool)))
    chosen = [int(rng.choice(part)) for part in parts]
    out = io.StringIO()
    out.write(f"# space: {json.dumps(space.spec)}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["architecture", metric])
    writer.writerows([space.to_string(pool[row]), ""] for row in chosen)
    write_whole(path, out.getvalue())
    return len(chosen)
