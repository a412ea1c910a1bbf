"""What a profile costs, and how well its cost model predicts networks that it never saw.

    python benchmarks/profile_quality.py --runtime jax --out profile_quality_jax.json
    python benchmarks/profile_quality.py --runtime onnxruntime --seeds 0 1 2

Each seed profiles the space of the config from nothing: no compiled program is kept. The cost
models are fitted to all that was measured. Then networks are drawn that the profile has not seen in
any spelling, and are measured beside networks of the profile. Their ranks and values are compared
with what each model predicted. With `--again` they are measured a second time. That shows how well
a measurement predicts itself, and no model can be expected to do better.

Beside the wall time, which other work on the machine stretches, stand the number of compiled
programs and the processor seconds of the profile.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from hwnas_jax.config import load_config, override
from hwnas_jax.cost import measure_networks, profile, save_measurements
from hwnas_jax.cost.judge.metrics import mape, share_within, spearman
from hwnas_jax.cost.measure.calls import forget_calls
from hwnas_jax.cost.models.base import predict_architectures
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.data import load_data
from hwnas_jax.registry import Part
from hwnas_jax.spaces import make_space


def options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", default="digits")
    parser.add_argument("--runtime", choices=["jax", "onnxruntime"], default="jax")
    parser.add_argument("--threads", type=int, help="of ONNX Runtime; one a core")
    parser.add_argument("--models", nargs="+", default=["gaussian"], help="cost models to fit")
    parser.add_argument("--networks", type=int, default=30, help="never seen")
    parser.add_argument("--profiled", type=int, help="networks of the profile; the config's")
    parser.add_argument("--operations", action="store_true", help="time the operations too")
    parser.add_argument("--again", action="store_true", help="measure them a second time")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, help="JSON; the table goes beside it as Markdown")
    return parser.parse_args()


def cpu_s():
    """Returns the processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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
    config = override(
        load_config(args.config), seed=seed,
        profile__runtime=args.runtime, profile__threads=args.threads,
    )  # fmt: skip
    if args.profiled:
        config = override(config, profile__networks=args.profiled)
    if args.operations:
        config = override(config, profile__operations=True)
    data = load_data(config.data)
    space = make_space(
        config.space.name, config.space.args,
        input_shape=data.input_shape, num_outputs=data.num_outputs,
    )  # fmt: skip
    forget_calls()
    started, cpu = time.perf_counter(), cpu_s()
    measured = profile(space, config.profile, cost_model=Part(args.models[0]), seed=seed)
    profiled, profile_cpu_s = time.perf_counter(), cpu_s() - cpu
    if args.out:
        save_measurements(measured, args.out.with_name(f"{args.out.stem}_{seed}_measurements.json"))
    models, fit_s = {}, {}
    for name in args.models:
        begun = time.perf_counter()
        models[name] = fit_model(Part(name), space, measured.observations(space), seed=seed)
        fit_s[name] = time.perf_counter() - begun
    rng = np.random.default_rng(1000 + seed)
    architectures = unseen(space, measured.encoded(space), args.networks, rng)
    beside = [
        measure_networks(space, architectures, measured, config.profile, seed=number)
        for number in range(2 if args.again else 1)
    ]
    first, *more = (np.array([s.median for s in one.corrected]) for one in beside)
    predicted = {
        name: predict_architectures(model, architectures, space.num_options)["latency_ms"]
        for name, model in models.items()
    }
    return {
        "seed": seed,
        "profile_s": profiled - started,
        "profile_cpu_s": profile_cpu_s,
        "programs": len(measured.networks) + len(measured.operations),
        "models": {
            name: {"fit_s": fit_s[name], **judge(first, values)}
            for name, values in predicted.items()
        },
        "again": judge(first, more[0]) if more else None,
        "measured_again_ms": more[0].tolist() if more else None,
        "drift_since": beside[0].drift,
        "notes": measured.conditions["notes"],
        "notes_of_unseen": beside[0].conditions["notes"],
        "device": measured.device,
        "software": measured.software,
        "options": measured.conditions["options"],
        "rows": [
            {
                "architecture": space.to_string(row),
                "measured_ms": float(first[number]),
                "predicted_ms": {name: float(p[number]) for name, p in predicted.items()},
            }
            for number, row in enumerate(architectures)
        ],
    }  # fmt: skip


def table(args, runs):
    lines = [
        f"{args.networks} networks never seen, runtime {args.runtime}",
        "",
        "| seed | programs | processor s | profile s | model | fit s | Spearman | MAPE "
        "| within 10 % | again: Spearman, MAPE |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in runs:
        again = found["again"]
        beside = f"{again['spearman']:.3f}, {again['mape']:.1%}" if again else ""
        lines += [
            f"| {found['seed']} | {found['programs']} | {found['profile_cpu_s']:.0f} "
            f"| {found['profile_s']:.1f} | {name} | {ours['fit_s']:.1f} "
            f"| {ours['spearman']:.3f} | {ours['mape']:.1%} | {ours['within_10']:.0%} "
            f"| {beside} |"
            for name, ours in found["models"].items()
        ]
    for name in args.models if len(runs) > 1 else []:
        for key, form in (("spearman", ".3f"), ("mape", ".1%")):
            values = [found["models"][name][key] for found in runs]
            spread = f"{np.std(values, ddof=1):{form}}"
            lines.append(f"\n{name}, {key}: mean {np.mean(values):{form}}, deviation {spread}")
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
