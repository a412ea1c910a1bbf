"""Times one dispatch of the standard search state for several numbers of devices.

    python benchmarks/dispatch.py [--out dispatch.json]

The state is that of NAS-Bench-201 at C=16, N=5. The step does nothing but count, so that the time
is that of the call itself: passing the arguments in and the results out. Eight CPU devices are
forced. `pmap` and `shard_map` take turns, each called as the jitted function and as the program
that was compiled ahead.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.compile.ahead import compile_ahead
from hwnas_jax.config import Config
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.parallel.replicas import Replicas
from hwnas_jax.search.gradient import SearchInfo, make_search
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces import make_space
from hwnas_jax.tasks import Classification

DEVICES, ROUNDS, CALLS = (1, 2, 4, 8), 30, 20


def standard_state():
    space = make_space(
        "nasbench201", {"channels": 16, "cells": 5}, input_shape=(32, 32, 3), num_outputs=10
    )
    config = Config()
    search = make_search(make_methods(space, Classification(), config), config.search)
    shapes = jax.eval_shape(lambda key: search.init(key, {"macs": 1e8}), jax.random.key(0))
    key = jax.random.key(0)
    return jax.tree.map(
        lambda leaf: key if leaf.dtype == key.dtype else jnp.zeros(leaf.shape, leaf.dtype), shapes
    )


def standard_data():
    return {
        "inputs": np.zeros((1024, 32, 32, 3), np.uint8),
        "targets": np.zeros(1024, np.int32),
        "rows": {half: np.arange(512, dtype=np.int32) for half in ("weight", "arch")},
        "mean": np.zeros(3, np.float32),
        "std": np.ones(3, np.float32),
    }


def count(state, data):
    number = state.step.astype(jnp.float32) + data["mean"][0]
    return state._replace(step=state.step + 1), SearchInfo(*[number] * len(SearchInfo._fields))


def milliseconds(call, state, data):
    """Returns the state and the time of one call: until it returns, and until it is done."""
    returned = done = 0.0
    for _ in range(CALLS):
        start = time.perf_counter()
        state, info = call(state, data)
        returned += time.perf_counter() - start
        jax.block_until_ready((state, info))
        done += time.perf_counter() - start
    return state, (1e3 * returned / CALLS, 1e3 * done / CALLS)


def measure(state, data):
    cases = {}
    for number in DEVICES:
        if number > jax.local_device_count():
            continue
        for backend in ("pmap", "shard_map"):
            replicas = Replicas(tuple(jax.local_devices()[:number]), backend)
            placed, shared = replicas.place(state), replicas.share(data)
            dispatch = replicas.compile(count)
            ahead = compile_ahead(dispatch, placed, shared, "counting", "").call
            for way, call in (("jitted", dispatch), ("ahead", ahead)):
                cases[number, backend, way] = [call, placed, shared, []]
                placed = replicas.place(state)
    for turn in range(ROUNDS + 1):
        for case in cases.values():
            case[1], times = milliseconds(*case[:3])
            if turn:
                case[3].append(times)
    rows = []
    for (number, backend, way), (*_, times) in cases.items():
        returned, done = zip(*times, strict=True)
        low, _, high = statistics.quantiles(returned, n=4)
        rows.append(
            {
                "devices": number, "backend": backend, "call": way,
                "returned_ms": statistics.median(returned), "returned_iqr_ms": high - low,
                "least_ms": min(returned), "done_ms": statistics.median(done),
            }
        )  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    state = standard_state()
    leaves = jax.tree.leaves(state)
    rows = measure(state, standard_data())
    print(
        f"{jax.default_backend()}, one call, state of {len(leaves)} leaves and "
        f"{state.weights.size:,} weights, median of {ROUNDS} rounds of {CALLS} calls\n"
    )
    print("| devices | backend | call | returned ms | spread ms | least ms | done ms |")
    print("|---:|---|---|---:|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['devices']} | {row['backend']} | {row['call']} | {row['returned_ms']:.3f} | "
            f"{row['returned_iqr_ms']:.3f} | {row['least_ms']:.3f} | {row['done_ms']:.3f} |"
        )
    if options.out:
        result = {
            "device": describe_device(), "software": describe_software(), "rounds": ROUNDS,
            "calls": CALLS, "leaves": len(leaves), "weights": int(state.weights.size),
            "rows": rows,
        }  # fmt: skip
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
