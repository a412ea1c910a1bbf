"""Fits cost models to few networks of every search space, and judges them on others.

    python benchmarks/cost_spaces.py [--spaces fbnet darts] [--models gaussian mlp]

The costs stand in for a device: a million plus the number of multiply-accumulates, times normal
noise. They show how a model copes with the size and shape of a space. Each space has the arguments
of its own config. The times are those of a fit, and of a prediction with its gradient at uniform
gates, which is what a search step asks for.
"""

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import config_names, load_config
from hwnas_jax.cost import COST_MODELS, AnalyticModel, Observations, predict_architectures
from hwnas_jax.cost.judge.metrics import mape, spearman
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.data import load_data
from hwnas_jax.display import Terminal
from hwnas_jax.registry import Part
from hwnas_jax.spaces import SPACES, make_space

CALLS = 20


def judge(space, models, count, noise):
    """Returns the scores of each model."""
    rng = np.random.default_rng(0)
    train, test = space.random(rng, count), space.random(rng, 100)
    counted = AnalyticModel.count(space)

    def cost(rows):
        return 1e6 + predict_architectures(counted, rows, space.num_options)["macs"].astype(float)

    seen = cost(train) * np.exp(noise * rng.standard_normal(count))
    found = {}
    for name in models:
        started = time.perf_counter()
        model = fit_model(Part(name), space, Observations(train, {"latency_ms": seen}))
        fit_s = time.perf_counter() - started
        uniform = jnp.asarray(space.mask / space.mask.sum(axis=1, keepdims=True), jnp.float32)
        ask = jax.jit(jax.value_and_grad(lambda w, model=model: model.predict(w)["latency_ms"]))
        jax.block_until_ready(ask(uniform))
        started = time.perf_counter()
        for _ in range(CALLS):
            jax.block_until_ready(ask(uniform))
        gradient_ms = 1e3 * (time.perf_counter() - started) / CALLS
        predicted = predict_architectures(model, test, space.num_options)["latency_ms"]
        found[name] = {
            "spearman": spearman(cost(test), predicted), "mape": mape(cost(test), predicted),
            "fit_s": fit_s, "gradient_ms": gradient_ms,
        }  # fmt: skip
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spaces", nargs="+", choices=list(SPACES), default=list(SPACES))
    parser.add_argument(
        "--models", nargs="+", choices=list(COST_MODELS), default=["gaussian", "mlp"]
    )
    parser.add_argument("--networks", type=int, default=64, help="that are fitted to")
    parser.add_argument("--noise", type=float, default=0.02, help="deviation of the log cost")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    rows, result = [], {}
    for name in options.spaces:
        config = load_config(name) if name in config_names() else load_config()
        data = load_data(config.data)
        args = config.space.args if config.space.name == name else {}
        space = make_space(name, args, input_shape=data.input_shape, num_outputs=data.num_outputs)
        result[name] = judge(space, options.models, options.networks, options.noise)
        for model, found in result[name].items():
            rows.append((name, model, f"{found['spearman']:.3f}", f"{found['mape']:.1%}",
                         f"{found['fit_s']:.1f}", f"{found['gradient_ms']:.2f}"))  # fmt: skip
        if options.out is not None:
            options.out.write_text(json.dumps(result, indent=1))
    header = ("space", "model", "Spearman", "mean error", "fit s", "gradient ms")
    Terminal().table(f"fitted to {options.networks} networks", header, rows)


if __name__ == "__main__":
    main()
