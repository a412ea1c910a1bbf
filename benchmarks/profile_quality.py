"""How long the default profile takes, and how well its cost model knows networks never seen.

    python benchmarks/profile_quality.py --runtime jax --out profile_quality_jax.json
    python benchmarks/profile_quality.py --runtime onnxruntime --seeds 0 1 2

Each seed profiles the space of the config from nothing (no compiled program is kept), fits the
config's cost model to all that was measured, draws networks that the profile has not seen, not
even in another spelling, and measures them beside networks of the profile. Their ranks and values
are compared with what the model predicted. "again" is what a second measurement of the same
networks says of the first: no model can be expected to do better than that.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from hwnas_jax.config import load_config, override
from hwnas_jax.cost import fit_cost, measure_networks, profile
from hwnas_jax.cost.base import predict_architectures
from hwnas_jax.cost.metrics import mape, share_within, spearman
from hwnas_jax.data import load_data
from hwnas_jax.spaces import make_space


def options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="digits")
    parser.add_argument("--runtime", choices=["jax", "onnxruntime"], default="jax")
    parser.add_argument("--model", help="another cost model than the config's")
    parser.add_argument("--networks", type=int, default=30, help="never seen")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="JSON; the table goes beside it as Markdown")
    return parser.parse_args()


def unseen(space, seen, count, rng):
    """Returns networks that equal none of `seen` and not one another, drawn uniformly."""
    known = {tuple(row) for row in space.canonical(seen).tolist()}
    found = []
    while len(found) < count:
        row = space.random(rng, 1)
        form = tuple(space.canonical(row)[0].tolist())
        if form not in known:
            known.add(form)
            found.append(row[0])
    return np.array(found)


def judge(first, second):
    return {
        "spearman": spearman(first, second),
        "mape": mape(first, second),
        "within_10": share_within(first, second, 0.1),
    }


def run(args, seed):
    config = override(load_config(args.config), seed=seed, profile__runtime=args.runtime)
    if args.model:
        config = override(config, cost__model=args.model)
    data = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args,
        input_shape=data.image_shape, num_classes=data.num_classes,
    )  # fmt: skip
    started = time.perf_counter()
    measured = profile(space, config.profile, seed=seed)
    profiled = time.perf_counter()
    model, _ = fit_cost(space, measured, config.cost, seed=seed)
    fitted = time.perf_counter()
    rng = np.random.default_rng(1000 + seed)
    architectures = unseen(space, measured.encoded(space), args.networks, rng)
    beside = [
        measure_networks(space, architectures, measured, config.profile, seed=number)
        for number in range(2)
    ]
    first, second = (np.array([s.median for s in one.paced]) for one in beside)
    predicted = predict_architectures(model, architectures, space.num_options)["latency_ms"]
    return {
        "seed": seed,
        "profile_s": profiled - started,
        "fit_s": fitted - profiled,
        "model": config.cost.model,
        "predicted": judge(first, predicted),
        "again": judge(first, second),
        "drift_since": beside[0].drift,
        "notes": measured.conditions["notes"],
        "notes_of_unseen": beside[0].conditions["notes"],
        "device": measured.device,
        "software": measured.software,
        "options": measured.conditions["options"],
        "rows": [
            {"architecture": space.to_string(a), "measured_ms": m, "again_ms": n, "predicted_ms": p}
            for a, m, n, p in zip(
                architectures, first.tolist(), second.tolist(), predicted.tolist(), strict=True
            )
        ],
    }  # fmt: skip


def table(args, runs):
    lines = [
        f"{args.networks} networks never seen, runtime {args.runtime}, model {runs[0]['model']}",
        "",
        "| seed | profile s | fit s | Spearman | MAPE | within 10 % | again: Spearman | MAPE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for found in runs:
        ours, again = found["predicted"], found["again"]
        lines.append(
            f"| {found['seed']} | {found['profile_s']:.1f} | {found['fit_s']:.1f} "
            f"| {ours['spearman']:.3f} | {ours['mape']:.1%} | {ours['within_10']:.0%} "
            f"| {again['spearman']:.3f} | {again['mape']:.1%} |"
        )
    if len(runs) > 1:
        ours = [found["predicted"] for found in runs]
        for key, form in (("spearman", ".3f"), ("mape", ".1%")):
            values = [one[key] for one in ours]
            spread = f"{np.std(values, ddof=1):{form}}"
            lines.append(f"\n{key}: mean {np.mean(values):{form}}, deviation {spread}")
    return "\n".join(lines) + "\n"


def main():
    args = options()
    runs = []
    for seed in args.seeds:
        runs.append(run(args, seed))
        for note in runs[-1]["notes"] + runs[-1]["notes_of_unseen"]:
            print(f"seed {seed}: {note}", flush=True)
        if args.out:
            args.out.write_text(json.dumps({"runtime": args.runtime, "runs": runs}, indent=1))
            args.out.with_suffix(".md").write_text(table(args, runs))
    print(table(args, runs))


if __name__ == "__main__":
    main()
