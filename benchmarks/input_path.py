"""Times the input path of a search by itself: sampling, gathering, augmenting, normalising.

    python benchmarks/input_path.py [--out input_path.json]

What runs is the dispatch of a search, with a step that only adds up its two batches. The images
are random. With `resident` the data lie on the device. With `streamed` they stay on the host,
which gathers them dispatch by dispatch, and the device augments them. `host` is the gathering by
itself; in a search it goes on while the device computes. The ways take turns, and times are those
of a step of two batches.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import Config, override
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.data import Dataset
from hwnas_jax.parallel.replicas import AXIS, Replicas
from hwnas_jax.runs.gradient_search import batches_of

SIZES = {  # name: images, side, batch, shift, steps per dispatch
    "CIFAR-10": (50_000, 32, 64, 4, 50),
    "ImageNet, 224 px": (2_000, 224, 64, 0, 5),
}
TURNS = 15


class State(NamedTuple):
    """What a dispatch asks of a search's state."""

    step: jax.Array
    key: jax.Array


class Info(NamedTuple):
    """A number that depends on every pixel."""

    total: jax.Array


def add_up(state, batches, data):
    del data
    parts = [part for batch in batches.values() for part in (batch.inputs, batch.targets)]
    total = sum(jnp.sum(jnp.asarray(part, jnp.float32)) for part in parts)
    return state._replace(step=state.step + 1), Info(total)


def random_images(count, side):
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int32) % 10
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return Dataset(
        name="random", train_inputs=images, train_targets=labels, test_inputs=images[:10],
        test_targets=labels[:10], output_names=tuple("0123456789"),
    )  # fmt: skip


def measure(count, side, batch, shift, length):
    dataset = random_images(count, side)
    config = override(
        Config(), search__batch_size=batch, search__steps=100 * length, search__warmup_steps=0,
        data__shift=shift, data__flip=True, parallel__devices=1,
    )  # fmt: skip
    replicas, batches = Replicas.from_config(config.parallel), batches_of(dataset, config, length)
    key = jax.random.key(0)
    stream, resident = batches.stream(replicas), replicas.share(batches.resident())
    calls, states = {}, {}
    for way in ("resident", "streamed"):
        calls[way] = replicas.compile(batches.scan(add_up, AXIS), own_data=way == "streamed")
        states[way] = replicas.place(State(jnp.int32(0), key))
    seconds = {"resident": [], "streamed": [], "host": []}
    for turn in range(TURNS + 2):
        taken = {}
        for way, call in calls.items():
            started = time.perf_counter()
            data = resident if way == "resident" else stream.load(key, turn * length)
            taken["host"] = time.perf_counter() - started
            states[way], info = call(states[way], data)
            jax.block_until_ready((states[way], info))
            taken[way] = time.perf_counter() - started
        for way, value in taken.items() if turn >= 2 else ():
            seconds[way].append(value / length)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    device = jax.local_devices()[0]
    print(*describe_device(device).values(), *describe_software().values(), end="\n\n")
    print("| images | batch | way | ms per step (quartiles) | images/s |\n|---|---|---|---|---|")
    result = {}
    for name, size in SIZES.items():
        result[name] = measure(*size)
        for way, seconds in result[name].items():
            low, middle, high = (1e3 * x for x in statistics.quantiles(seconds, n=4))
            rate = 2 * size[2] / middle * 1e3
            print(f"| {name} | 2 x {size[2]} | {way} | {middle:.2f} ({low:.2f} to {high:.2f}) "
                  f"| {rate:,.0f} |")  # fmt: skip
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
