"""Times mixed kernels in direct and Fourier form, and a search step with more and more options.

    python benchmarks/large_kernel.py [--rounds 20] [--out large_kernel.json]

The rows of the second table differ only in how many options there are. The largest kernel and
dilation are always among them, so that the mixed kernel has the same size. All contestants take
turns in one process. A ratio is taken in every round, and its median is given with the quartiles.
"""

import argparse
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import Config, Part, override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.cost.files.environment import describe_device, describe_software
from hwnas_jax.cost.measure.timing import StoppingRule, sample_interleaved
from hwnas_jax.data.batches import Batch
from hwnas_jax.nn.kernels.convolution import conv2d
from hwnas_jax.nn.kernels.large_kernel import conv_fourier
from hwnas_jax.search.gradient import make_search
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces import make_space
from hwnas_jax.tasks import Classification

SHAPES = [  # image, kernel
    ((32, 32, 32, 16), (5, 5)),
    ((32, 32, 32, 16), (9, 9)),
    ((32, 32, 32, 16), (13, 13)),
    ((32, 32, 32, 16), (25, 25)),
    ((32, 1, 1000, 16), (1, 43)),
    ((32, 1, 1000, 16), (1, 127)),
    ((32, 1, 1000, 16), (1, 271)),
]
OPTIONS = [("9", "3"), ("3,9", "1,3"), ("3,5,7,9", "1,2,3")]


def gradients(form):
    return jax.jit(jax.grad(lambda x, k: (form(x, k) ** 2).sum(), argnums=(0, 1)))


def milliseconds(calls, rounds):
    """Returns `float64[rounds]` for each of the calls, which take turns."""
    rule = StoppingRule(least=rounds, most=rounds, precision=0.01)
    sampled = sample_interleaved(calls, rule, warmup=1, seed=0)
    return {name: series.ms for name, series in sampled.series.items()}


def forms(rounds):
    rows = []
    for image, size in SHAPES:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.standard_normal(image), jnp.float32)
        kernel = jnp.asarray(rng.standard_normal((*size, image[-1], image[-1])), jnp.float32)

        calls = {
            name: functools.partial(gradients(form), x, kernel)
            for name, form in (("direct", conv2d), ("fourier", conv_fourier))
        }
        samples = milliseconds(calls, rounds)
        ratio = samples["fourier"] / samples["direct"]
        rows.append({
            "image": image, "kernel": size,
            "direct_ms": float(np.median(samples["direct"])),
            "fourier_ms": float(np.median(samples["fourier"])),
            "ratio": np.percentile(ratio, [25, 50, 75]).tolist(),
        })  # fmt: skip
    return rows


def steps(rounds):
    calls, names = {}, []
    for kernels, dilations in OPTIONS:
        space = make_space(
            "dash", {"channels": 8, "kernels": kernels, "dilations": dilations},
            input_shape=(32, 32, 3), num_outputs=10,
        )  # fmt: skip
        config = override(
            Config(), search__relaxation=Part("gumbel_softmax"), search__steps=10,
            search__warmup_steps=0, budget=Part("fixed_weight", {"weight": 0.0}),
        )  # fmt: skip
        search = make_search(make_methods(space, Classification(), config), config.search)
        state = jax.jit(search.init)(jax.random.key(0), {"macs": 1e9})
        keys = jax.random.split(jax.random.key(1), 32)
        batch = Batch(jnp.ones((32, 32, 32, 3)), jnp.zeros(32, jnp.int32), keys)
        model = AnalyticModel.count(space)
        step = jax.jit(lambda s, b, step=search.step, model=model: step(s, b, model)[0])
        name = f"{space.num_options} options"
        names.append(name)
        calls[name] = functools.partial(step, state, {"weight": batch, "arch": batch})
    samples = milliseconds(calls, rounds)
    base = samples[names[0]]
    return [
        {
            "options": name, "step_ms": float(np.median(samples[name])),
            "ratio": np.percentile(samples[name] / base, [25, 50, 75]).tolist(),
        }
        for name in names
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = {
        "device": describe_device(), "software": describe_software(),
        "forms": forms(options.rounds), "steps": steps(options.rounds),
    }  # fmt: skip
    print(
        "| image | kernel | direct ms | Fourier ms | ratio (quartiles) |\n|---|---|---:|---:|---|"
    )
    for row in result["forms"]:
        low, middle, high = row["ratio"]
        print(
            f"| {row['image']} | {row['kernel']} | {row['direct_ms']:.1f} | "
            f"{row['fourier_ms']:.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    print("\n| options | ms per step | ratio to one option |\n|---|---:|---|")
    for row in result["steps"]:
        low, middle, high = row["ratio"]
        print(
            f"| {row['options']} | {row['step_ms']:.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"
        )
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
