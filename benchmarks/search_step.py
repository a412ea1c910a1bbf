"""Times one weight step plus one architecture step of the NAS-Bench-201 supernet beside PyTorch.

    pip install -e ".[bench]"
    python benchmarks/search_step.py --out search_step.json

Every contestant is a process of its own. They take turns, so that all of them see the same minutes
of the machine, and a ratio is the median over the turns with its quartiles. A turn is `--steps`
steps, and the mean of these counts. Ours run in one dispatch, as in a search, which takes up to
50. With one step a turn, every step of every contestant would find its memory cold. A contestant
that waits for its turn stays in memory, which slows down some of the others: `--contestants` says
who takes part. Ours starts twice, first without and then with its compiled program in the cache.
Peak memory is that of the process, with the interpreter and its libraries.

The share of the peak compares two rates. The first is what the step must compute by definition:
every operation as a direct convolution, the worth of three forward passes for the weight step and
of two for the architecture step. The second is what this device reaches in the same process in a
large matrix product and in a large convolution.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZE = ("channels", "cells", "size", "batch", "dtype", "steps")
CONTESTANTS = ["torch", "torch channels_last", "torch compiled"]


def options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--modes", nargs="+", default=["mixed", "sampled"])
    parser.add_argument("--turns", type=int, default=10, help="sampled takes three times as many")
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument(
        "--contestants", nargs="*", choices=CONTESTANTS, default=CONTESTANTS[:2],
        help="who runs beside ours; compiled takes minutes to start, and no part in sampled",
    )  # fmt: skip
    parser.add_argument(
        "--before", type=Path, help="another checkout of this project, whose step takes turns too"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    return parser.parse_args()


def our_turn(args):
    """Returns a turn of ours, and what compiling it took."""
    import jax

    from hwnas_jax.compile.ahead import compile_ahead
    from hwnas_jax.config import Config, ParallelConfig, Part, override
    from hwnas_jax.cost.models.analytic import AnalyticModel
    from hwnas_jax.data.batches import Batch
    from hwnas_jax.parallel.replicas import AXIS, Replicas
    from hwnas_jax.search.gradient import make_search
    from hwnas_jax.search.methods import make_methods
    from hwnas_jax.spaces import make_space
    from hwnas_jax.tasks import Classification

    jax.config.update("jax_compilation_cache_dir", os.environ["STEP_CACHE"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    shape = (args.size, args.size, 3)
    space = make_space(
        "nasbench201", {"channels": args.channels, "cells": args.cells},
        input_shape=shape, num_outputs=10,
    )  # fmt: skip
    relaxation = {"mixed": "softmax", "sampled": "sampled_path"}[args.mode]
    config = override(
        Config(), search__relaxation=Part(relaxation, {"learning_rate": 3e-4}),
        search__steps=1000, search__warmup_steps=0, search__weights__learning_rate=0.025,
        search__temperature__start=1.0, search__temperature__end=1.0, search__dtype=args.dtype,
    )  # fmt: skip
    search = make_search(make_methods(space, Classification(), config), config.search)
    replicas = Replicas.from_config(ParallelConfig(devices=1))
    images = np.random.default_rng(0).normal(size=(2, args.steps, args.batch, *shape))
    images = images.astype(np.float32)
    labels = np.tile(np.arange(args.batch, dtype=np.int32) % 10, (args.steps, 1))

    def steps(state, data):
        def step(state, batches):
            return search.step(state, batches, data["cost_model"], AXIS)

        return jax.lax.scan(step, state, data["batches"])

    keys = jax.random.split(jax.random.key(2), (args.steps, args.batch))
    batches = {half: Batch(images[n], labels, keys) for n, half in enumerate(("weight", "arch"))}
    data = replicas.share({"batches": batches, "cost_model": AnalyticModel.count(space)})
    state = [replicas.place(jax.jit(search.init)(jax.random.key(1), {"macs": 1e8}))]
    dispatch = replicas.compile(steps)
    program = compile_ahead(dispatch, state[0], data, "the step", "")

    def turn():
        state[0], info = program.call(state[0], data)
        jax.block_until_ready((state[0], info))

    facts = {
        "gflop": step_gflop(space, args.batch, mixed=args.mode == "mixed"),
        "lower_s": program.lower_seconds,
        "compile_s": program.compile_seconds,
        "temporary_mib": program.temporary_bytes / 2**20,
        "device": jax.local_devices()[0].device_kind,
        "jax": jax.__version__,
    }
    return turn, facts


def step_gflop(space, batch, *, mixed):
    """Returns what a weight step and an architecture step must compute; of a mean drawn path.

    What is drawn on edges that lie on no path is not counted.
    """
    operations, places = space.operations()
    sizes = [len(decision.options) for decision in space.decisions]
    drawn = space.canonical(np.random.default_rng(0).integers(0, sizes, (10_000, len(sizes))))

    def share(place):
        if mixed or not place.when:
            return 1.0
        return np.mean(np.all([drawn[:, d] == o for d, o in place.when], axis=0))

    macs = sum(place.count * operations[place.operation].macs * share(place) for place in places)
    return 5 * 2 * macs * batch / 1e9


def peaks(dtype):
    """Returns GFLOP/s of a product of matrices and of a 3x3 convolution, the best of five each."""
    import jax

    def best(call, *arrays):
        call = jax.jit(call)
        times = []
        for _ in range(6):
            started = time.perf_counter()
            jax.block_until_ready(call(*arrays))
            times.append(time.perf_counter() - started)
        return min(times)

    def convolution(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    size = 2048 if jax.default_backend() == "cpu" else 8192
    square = jax.numpy.ones((size, size), dtype)
    images = jax.numpy.ones((size // 64, 32, 32, 256), dtype)
    kernel = jax.numpy.ones((3, 3, 256, 256), dtype)
    return {
        "product": 2 * size**3 / best(lambda x: x @ x, square) / 1e9,
        "convolution": 2
        * images.size
        * kernel[..., 0].size
        / best(convolution, images, kernel)
        / 1e9,
    }


def their_turn(args):
    import torch
    from torch_reference import make_step

    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = make_step(
        mode=args.mode, compiled="compiled" in args.worker,
        channels_last="channels_last" in args.worker, channels=args.channels, cells=args.cells,
        batch=args.batch, size=args.size, device=device, dtype=args.dtype,
    )  # fmt: skip

    def turn():
        for _ in range(args.steps):
            step()

    return turn, {"torch": torch.__version__, "threads": torch.get_num_threads()}


def work(args):
    """Takes a turn for each line read, and says how long a step took; in the end, the peaks."""
    turn, facts = our_turn(args) if args.worker == "ours" else their_turn(args)
    started = time.perf_counter()
    turn()
    print(json.dumps({**facts, "first_turn_s": time.perf_counter() - started}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        turn()
        seconds = (time.perf_counter() - started) / args.steps
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak_mib": peak}), flush=True)
    # Not before: what they need would count as the step's memory.
    print(json.dumps(peaks(args.dtype) if args.worker == "ours" else {}), flush=True)


class Worker:
    """A contestant in a process of its own."""

    def __init__(self, args, mode, name, cache):
        script, env = Path(__file__), {**os.environ, "STEP_CACHE": cache}
        if name == "before":
            script, name = args.before.resolve() / "benchmarks" / script.name, "ours"
            env["PYTHONPATH"] = str(args.before.resolve())
        words = [sys.executable, str(script), "--worker", name, "--mode", mode]
        for key in SIZE:
            words += [f"--{key}", str(getattr(args, key))]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.facts, self.seconds, self.peak_mib = self.read(), [], 0.0

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a contestant ended early")
        return json.loads(line)

    def turn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.read()
        self.seconds.append(answer["seconds"])
        self.peak_mib = answer["peak_mib"]

    def stop(self):
        self.process.stdin.close()
        peaks = self.read()
        if peaks:
            self.facts["peak_gflop_per_s"] = peaks
        self.process.wait()


def compare(args, mode):
    """Returns a row for each contestant."""
    skipped = {"torch compiled"} if mode == "sampled" else set()
    names = ["ours", *(name for name in args.contestants if name not in skipped)]
    names += ["before"] if args.before else []
    with tempfile.TemporaryDirectory() as cache:
        for name in ["before", "ours"] if args.before else ["ours"]:
            cold = Worker(args, mode, name, cache)
            cold.turn()
            cold.stop()
        workers = {name: Worker(args, mode, name, cache) for name in names}
        for _ in range(args.turns * (3 if mode == "sampled" else 1)):
            for worker in workers.values():
                worker.turn()
        for worker in workers.values():
            worker.stop()
    ours, rows = workers["ours"], []
    for name, worker in workers.items():
        ratios = np.quantile(np.divide(ours.seconds, worker.seconds), [0.25, 0.5, 0.75])
        row = {
            "mode": mode,
            "name": name,
            "median_s": float(np.median(worker.seconds)),
            "images_per_s": 2 * args.batch / float(np.median(worker.seconds)),
            "mean_s": float(np.mean(worker.seconds)),
            "peak_mib": worker.peak_mib,
            "ours_over_this": ratios.tolist(),
            "ours_over_this_of_means": float(np.mean(ours.seconds) / np.mean(worker.seconds)),
            "ours_over_this_memory": ours.peak_mib / worker.peak_mib,
            "seconds": worker.seconds,
            **worker.facts,
        }
        if name == "ours":
            row["cold"] = {**cold.facts, "peak_mib": cold.peak_mib}
        rows.append(row)
    return rows


def show(rows):
    print(
        "| mode | step of | median s | images/s | peak MiB "
        "| ours / this (quartiles) | of means | of memory |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        low, middle, high = row["ours_over_this"]
        print(
            f"| {row['mode']} | {row['name']} | {row['median_s']:.3f} "
            f"| {row['images_per_s']:.0f} | {row['peak_mib']:.0f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | "
            f"{row['ours_over_this_of_means']:.2f} | {row['ours_over_this_memory']:.2f} |"
        )
    for row in rows:
        if "cold" in row:
            cold = row["cold"]
            print(
                f"\n{row['mode']}: lowered in {cold['lower_s']:.1f} s and compiled in "
                f"{cold['compile_s']:.1f} s (peak {cold['peak_mib']:.0f} MiB); from the cache "
                f"{row['lower_s']:.1f} and {row['compile_s']:.1f} s; temporaries "
                f"{row['temporary_mib']:.0f} MiB"
            )
            rate = row["gflop"] / row["median_s"]
            shares = ", ".join(
                f"{rate / peak:.0%} of the {peak:.0f} of a large {name}"
                for name, peak in row["peak_gflop_per_s"].items()
            )
            print(f"{row['gflop']:.0f} GFLOP a step, {rate:.0f} GFLOP/s: {shares}")


def main():
    args = options()
    if args.worker:
        work(args)
        return
    if args.contestants and importlib.util.find_spec("torch") is None:
        raise SystemExit('PyTorch is not installed: pip install -e ".[bench]"')
    rows = [row for mode in args.modes for row in compare(args, mode)]
    show(rows)
    if args.out:
        size = {key: getattr(args, key) for key in SIZE}
        args.out.write_text(json.dumps({"size": size, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
