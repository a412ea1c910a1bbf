"""Weak and strong scaling of the search step over TPU pods, as the TPU compiler estimates it.

    pip install 'hwnas_jax[tpu]'
    python benchmarks/tpu_scaling.py [--out tpu_scaling.json]

No TPU is needed and nothing runs: every figure is an estimate and none is a measurement. The space
is NAS-Bench-201 at its standard size (C=16, N=5, images of 32x32x3, 10 classes, float32). Others
can be named, as for ImageNet `--space fbnet --size 224 --classes 1000 --per-chip 16 --batch 4096`.

Weak scaling keeps the batch of a replica, and strong scaling the batch of all. Efficiency is
images/s per chip, relative to the first topology of the same kind. The time of the all-reduces is
their size over the published speed of the links, without latency and without overlap. Where
several hosts hold the chips the data are streamed, as in a search there; elsewhere they are
resident.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from hwnas_jax.config import Config, override
from hwnas_jax.cost.files.environment import describe_software
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.runs.compile_for import compile_for, topology_devices
from hwnas_jax.spaces import make_space

TOPOLOGIES = ("v5e:4x4", "v5e:8x8", "v5e:16x16", "v5p:2x2x4", "v5p:4x4x4", "v5p:4x8x8")
HEADER = (
    "scaling", "topology", "chips", "batch per chip", "MiB per chip", "GFLOP per image",
    "all-reduces", "all-reduced MB", "Mcycles per step", "compute ms", "all-reduce ms",
    "images/s", "efficiency",
)  # fmt: skip


def shapes_only(side, classes, count=50_000):
    """Returns a data set of these shapes that takes no memory."""
    images = np.broadcast_to(np.zeros((1, side, side, 3), np.uint8), (count, side, side, 3))
    labels = np.zeros(count, np.int32)
    names = tuple(str(number) for number in range(classes))
    return Dataset("shapes", images, labels, images[:100], labels[:100], names)


def cells(scaling, step, first):
    per_chip = step.images_per_second / step.chips
    efficiency = per_chip / (first.images_per_second / first.chips)
    memory = step.memory_bytes * step.replicas / step.chips
    return (
        scaling, step.topology, str(step.chips), f"{step.images / 2 / step.chips:g}",
        f"{memory / 2**20:.0f}", f"{step.flops_per_image / 1e9:.4g}", f"{step.all_reduces:g}",
        f"{step.all_reduce_bytes / 1e6:.3g}", f"{step.cycles / 1e6:.4g}",
        f"{1e3 * step.compute_seconds:.3g}", f"{1e3 * step.all_reduce_seconds:.3g}",
        f"{step.images_per_second:,.0f}", f"{efficiency:.0%}",
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write, after every topology")
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--size", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--per-chip", type=int, default=64, help="batch of weak scaling")
    parser.add_argument("--batch", type=int, default=16384, help="batch of strong scaling")
    parser.add_argument("--relaxation", default="sampled_path")
    parser.add_argument("--topologies", nargs="+", default=TOPOLOGIES)
    options = parser.parse_args()
    dataset = shapes_only(options.size, options.classes)
    space = make_space(
        options.space, {"channels": 16, "cells": 5} if options.space == "nasbench201" else {},
        input_shape=dataset.input_shape, num_outputs=dataset.num_outputs,
    )  # fmt: skip
    table, rows, first, known = [], [], {}, {}
    for scaling in ("weak", "strong"):
        for topology in options.topologies:
            count = len(topology_devices(topology))
            batch = options.per_chip * count if scaling == "weak" else options.batch
            started = time.perf_counter()
            if (topology, batch) not in known:
                config = override(
                    Config(), search__batch_size=batch, data__shift=4, data__flip=True,
                    search__relaxation=options.relaxation,
                )  # fmt: skip
                known[topology, batch] = compile_for(topology, space, dataset, config)
            step = known[topology, batch]
            base = first.setdefault((scaling, step.kind), step)
            table.append(cells(scaling, step, base))
            rows.append({"scaling": scaling, **step.to_dict()})
            seconds = time.perf_counter() - started
            sys.stderr.write(f"{scaling} {topology}, batch {batch}: {seconds:.0f} s\n")
            if options.out:
                settings = {key: value for key, value in vars(options).items() if key != "out"}
                payload = {"software": describe_software("libtpu"), **settings, "rows": rows}
                options.out.write_text(json.dumps(payload, indent=1) + "\n")
    print(f"| {' | '.join(HEADER)} |")
    print(f"|---|---|{'---:|' * (len(HEADER) - 2)}")
    for row in table:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
