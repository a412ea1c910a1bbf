"""Run folders written by hand, so that reports are tested without a search."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from hwnas_jax.config import Config, override, save_config
from hwnas_jax.registry import Part
from hwnas_jax.runs.wanted import Wanted

EDGES = ("1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2")
OPTIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ARCHITECTURE = dict(zip(EDGES, (*OPTIONS, "nor_conv_3x3"), strict=True))
STRING = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|nor_conv_3x3~2|"
ACCURACY = {
    "name": "classification", "metric": "accuracy", "higher_is_better": True, "unit": "%",
    "chance": 0.1, "test_examples": 1000,
}  # fmt: skip
ERROR = {
    "name": "regression", "metric": "mse", "higher_is_better": False, "unit": "", "chance": 1.0,
}  # fmt: skip


def write(folder: Path, name: str, value: Any) -> None:
    """Writes a JSON file of a run."""
    (folder / name).write_text(json.dumps(value))


def read(folder: Path, name: str) -> Any:
    """Reads a JSON file of a run."""
    return json.loads((folder / name).read_text())


def write_lines(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the log of a run."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def network(label: str, measured: float | None, test_metric: float | None, **more: Any) -> Any:
    """Returns an entry of `networks.json`."""
    return {
        "origin": label.split("-", maxsplit=1)[0], "search": "search", "label": label, "seed": 0,
        "training_seed": 1, "target": 1.3, "string": STRING, "architecture": ARCHITECTURE,
        "probability": 1e-3, "score": None, "predicted": 1.28, "predicted_std": 0.03,
        "predicted_bound": None,
        "measured": measured, "measured_iqr": 0.02, "measured_now": measured, "drift": 1.01,
        "validation_metric": 0.98, "test_metric": test_metric, "params": 12345, "macs": 1234567,
        "meets_budget": True, "selected": True, **more,
    }  # fmt: skip


def decided(search: str = "search", **more: Any) -> dict[str, Any]:
    """Returns what `networks.json` says of how decided a search was."""
    return {
        "search": search, "network": STRING, "probability": 0.84, "cost_over_target": 0.98,
        "least_used": 0.97, "within_budget": 0.91, "derived": 0.84, **more,
    }  # fmt: skip


def write_tested(folder: Path, wrong: dict[str, Any], examples: int = 1000) -> None:
    """Writes which of the test examples each network got wrong, by its label."""
    right = {label: ~np.isin(np.arange(examples), rows) for label, rows in wrong.items()}
    np.savez(folder / "tested.npz", **right)


def search_rows(steps: int = 12, target: float = 1.3, **more: Any) -> list[dict[str, Any]]:
    """Returns the lines of a gradient search that decides for `ARCHITECTURE`."""
    chosen = np.eye(5)[[OPTIONS.index(option) for option in ARCHITECTURE.values()]]
    rows = []
    for number in range(1, steps + 1):
        done = number / steps
        warming = done <= 1 / 3
        sure = 0.0 if warming else (done - 1 / 3) * 1.3
        share = (1 - sure) * np.full((6, 5), 0.2) + sure * chosen
        rows.append(
            {
                "stage": "search", "step": 50 * number, "weight_loss": 2.2 * 0.2**done,
                "weight_metric": 1 - 0.9 * 0.1**done, "arch_loss": None if warming else 0.3**done,
                "arch_metric": None if warming else 1 - 0.9 * 0.2**done,
                "cost": target * (1.2 - 0.21 * done), "argmax_cost": target * (1.3 - 0.31 * done),
                "target": target, "multiplier": 0.0 if warming else 0.2 * (1 - done),
                "entropy": 1.6 - sure, "probabilities": share.tolist(), **more,
            }
        )  # fmt: skip
    return rows


def retrain_rows(*labels: str) -> list[dict[str, Any]]:
    """Returns the lines of trainings from scratch."""
    return [
        {"stage": "retrain", "network": label, "step": step, "loss": (1 + 0.1 * i) * 30 / step}
        for i, label in enumerate(labels)
        for step in range(20, 220, 20)
    ]


def points(count: int, seed: int) -> list[dict[str, Any]]:
    """Returns what `cost_fit.json` says of networks."""
    draws = np.random.default_rng(seed)
    measured = draws.uniform(0.6, 3.0, count)
    predicted = measured * draws.normal(1.0, 0.03, count)
    return [
        {"measured": float(m), "predicted": float(p), "std": 0.08}
        for m, p in zip(measured, predicted, strict=True)
    ]


def targets(*values: float, task: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Returns what `targets.json` says."""
    return {
        "metric": "latency_ms", "unit": "ms", "confidence": None, "limits": {},
        "budget": "dual_ascent", "range": [0.5, 4.0], "quantiles": {},
        "targets": [{"value": value, "percentile": None} for value in values],
        "task": task or ACCURACY, **more,
    }  # fmt: skip


def _write_run(
    folder: Path,
    config: Config,
    files: dict[str, Any],
    rows: list[Any],
    wanted: Wanted | None = None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.json")
    (wanted or Wanted()).save(folder)
    models = (("Gaussian process", 0.994, 0.027), ("look-up table", 0.924, 0.55))
    given = {
        "versions": {"hwnas_jax": "0.1.0", "device": {"platform": "cpu", "kind": "a <cpu>"}},
        "space": {"decisions": [{"name": edge, "options": OPTIONS} for edge in EDGES]},
        "measurements": {
            "source": "measured", "batch_size": 64,
            "operations": [{"name": "a", "metrics": {"latency_ms": {"median": 0.1}}}],
            "networks": [{"metrics": {"latency_ms": {"median": 1.0}}}],
        },
        "cost_fit": {
            "metric": "latency_ms", "held_out": points(12, 0), "fitted": points(36, 1),
            "models": [{"name": name, "label": name, "spearman": rank, "mape": error,
                        "within_10": 1 - error} for name, rank, error in models],
        },
        "stages": {"profile": {"seconds": 41.2}, "search": {"seconds": 154.3}},
        **files,
    }  # fmt: skip
    for stem, value in given.items():
        write(folder, f"{stem}.json", value)
    write_lines(folder, rows)


def write_search(folder: Path) -> Path:
    """Writes the finished run of one gradient search that learns to classify, with its controls.

    Of the 1,000 test examples the search's network has 11 wrong, the random one 19, 5 in common.
    """
    tried = [("search", True), ("search", False), ("random", True), ("random", True),
             ("no_search", True), ("most_macs", False)]  # fmt: skip
    files = {
        "targets": targets(1.3),
        "architecture": {"architecture": ARCHITECTURE, "string": STRING},
        "networks": {
            "networks": [
                network("search-1", 1.29, 0.989),
                network("search-2", 1.305, 0.991, selected=False, string="another"),
                network("random-1", 1.25, 0.981, string="by chance"),
                network("random-2", 1.22, 0.999, selected=False),
                network("no_search-1", 1.26, 0.976, string="where it began"),
                network("most_macs-1", 1.31, 0.961, string="large"),
            ],
            "confirmations": [{"origin": o, "meets_budget": met} for o, met in tried],
            "decided": [decided()],
        },
    }  # fmt: skip
    config = override(Config(name="small"), search__steps=600, search__warmup_steps=200)
    labels = ("search-1", "search-2", "random-1", "random-2", "no_search-1", "most_macs-1")
    _write_run(folder, config, files, search_rows() + retrain_rows(*labels))
    wrong = {"search-1": range(11), "random-1": range(6, 25), "no_search-1": range(24),
             "most_macs-1": range(500, 539)}  # fmt: skip
    write_tested(folder, wrong)
    return folder


def write_sweep(folder: Path) -> Path:
    """Writes the finished run of three gradient searches under targets of 1, 2 and 3 ms."""
    names = {f"{t}ms-seed0": float(t) for t in (1, 2, 3)}
    accuracies = (0.6, 0.9, 0.8)
    networks = [
        network(
            label, target, accuracy, origin="search", search=label, target=target,
            predicted=0.99 * target, predicted_std=0.01, supernet_metric=0.3 + target / 10,
            validation_metric=accuracy, string=f"|<cell-{target:g}>|",
        )
        for (label, target), accuracy in zip(names.items(), accuracies, strict=True)
    ]  # fmt: skip
    rows = [row for label, target in names.items()
            for row in search_rows(target=target, member=label)]  # fmt: skip
    files = {
        "targets": targets(*names.values()),
        "networks": {
            "networks": networks, "confirmations": [],
            "decided": [decided(label, probability=t / 4) for label, t in names.items()],
        },
    }  # fmt: skip
    config = override(Config(name="front"), search__steps=600, search__warmup_steps=200)
    wanted = Wanted(targets=tuple(names.values()))
    _write_run(folder, config, files, rows + retrain_rows(*names), wanted)
    return folder


def write_seeds(folder: Path, gains: dict[str, tuple[float, ...]]) -> Path:
    """Writes a sweep over seeds whose searches reach 90 % and that much more than each control.

    Args:
      folder: the run folder.
      gains: by control, one for each seed.
    """
    entries, count = [], max(map(len, gains.values()))
    for seed in range(count):
        label = f"1.3ms-seed{seed}"
        entries.append(network(label, 1.29, 0.9, origin="search", search=label, seed=seed))
        entries += [
            network(
                f"{label}-{control}", 1.28, 0.9 - gain[seed], origin=control, search=label,
                seed=seed, string=control,
            )
            for control, gain in gains.items()
        ]  # fmt: skip
    files = {
        "targets": targets(1.3),
        "networks": {
            "networks": entries, "confirmations": [],
            "decided": [decided(f"1.3ms-seed{seed}") for seed in range(count)],
        },
    }  # fmt: skip
    wanted = Wanted(targets=(1.3,), seeds=tuple(range(count)))
    rows = [row for seed in range(count) for row in search_rows(member=f"1.3ms-seed{seed}")]
    _write_run(folder, Config(name="seeds"), files, rows, wanted)
    return folder


def write_strategy(folder: Path) -> Path:
    """Writes the finished run of a strategy; less of its task's metric is better."""
    config = override(
        Config(name="asked"), search__strategy=Part("random", {"each": 8}),
        search__rounds=100, task=Part("regression"),
    )  # fmt: skip
    supernet = [{**row, "stage": "supernet-seed0", "arch_loss": None, "arch_metric": None,
                 "weight_metric": row["weight_loss"]} for row in search_rows()]  # fmt: skip
    asked = [
        {
            "stage": "strategy", "step": step, "best": 0.0 if step < 30 else -0.5 + step / 500,
            "score": -0.6 + step / 1000, "within_budget": 0.0 if step < 30 else step / 125,
        }
        for step in range(10, 110, 10)
    ]  # fmt: skip
    unknown = {"probability": None, "score": -0.31}
    files = {
        "targets": targets(1.3, task=ERROR),
        "architecture": {"architecture": ARCHITECTURE, "string": STRING},
        "networks": {
            "networks": [
                network("search-1", 1.29, 0.25, validation_metric=0.2, **unknown),
                network(
                    "random-1", 1.31, 0.5, validation_metric=0.4, string="by chance", **unknown
                ),
            ],
            "confirmations": [],
        },
    }
    rows = supernet + asked + retrain_rows("search-1", "random-1")
    _write_run(folder, config, files, rows)
    return folder
