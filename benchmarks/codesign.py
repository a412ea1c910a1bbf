"""Searches network and accelerator together, and one after the other, where all pairs are known.

    python benchmarks/codesign.py DATA_FOLDER [--cost mlp] [--seeds 5]

2,000 cells of NAS-Bench-201 with their published CIFAR-100 accuracies (`nb201_accuracy.npz`) and
64 accelerators: the least energy-delay product of the analytical model, of accelerators within an
area limit and cells of at least a given validation accuracy. Exhaustive enumeration says what is
best. The search follows the gradient of the expected cost from eight starts; the twelve likeliest
pairs of each are looked up.
One after the other is given every advantage: each of its two steps is exhaustive.
"""

import argparse
import statistics
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import CostConfig
from hwnas_jax.cost import Observations
from hwnas_jax.cost.codesign import joint_costs
from hwnas_jax.cost.mlp import MLPEnsemble
from hwnas_jax.relax import probabilities
from hwnas_jax.search.anneal import minimise
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.codesign import Codesign

ARGS = {
    "network_args": "channels=16,cells=5", "rows": "8,16,32,64", "columns": "8,16",
    "buffer_kib": "32,64,128,256", "dataflow": "os,rs",
}  # fmt: skip
OFF = {
    "3<-0": ("avg_pool_3x3",), "3<-1": ("avg_pool_3x3",),
    "3<-2": ("none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3"),
}  # fmt: skip
AREA_LIMIT_MM2 = 1.5
LEAST_ACCURACIES = (60.0, 65.0, 68.0, 69.0, 70.0, 70.5, 71.0, 72.0)
STARTS, LOOKED_UP = 8, 12
SHORT, PER_PERCENT, TOO_LARGE = 1.0, 1.5, 5.0
"""What a pair is short of is added to the logarithm of its product."""


class Problem(NamedTuple):
    """All pairs, `int32[networks * accelerators, D]`, the accelerators running fastest.

    `product` is `float64[networks, accelerators]`, infinite beyond the area limit.
    """

    space: Codesign
    pairs: np.ndarray
    networks: np.ndarray
    accuracy: np.ndarray
    product: np.ndarray


def load(folder: Path) -> Problem:
    space = make_space("codesign", ARGS, input_shape=(32, 32, 3), num_classes=100, off=OFF)
    assert isinstance(space, Codesign)
    every = space.enumerate()
    networks = np.unique(every[:, :6], axis=0)
    with np.load(folder / "nb201_accuracy.npz") as file:
        accuracy = file["cifar100_valid_200"]
    with np.load(folder / "nb201_latency_help.npz") as file:
        published = {tuple(row): number for number, row in enumerate(file["ops"].tolist())}
    rows = [published[tuple(row)] for row in networks.tolist()]
    costs = joint_costs(space, every)
    product = np.where(costs["area_mm2"] <= AREA_LIMIT_MM2, costs["edp_mj_ms"], np.inf)
    return Problem(space, every, networks, accuracy[rows], product.reshape(len(networks), -1))


def in_turn(problem: Problem, enough: np.ndarray) -> dict[str, float]:
    """Returns the best products of searching one after the other, exhaustively."""
    allowed = np.where(enough[:, None], problem.product, np.inf)
    ends = [
        float(allowed[allowed[:, design].argmin()].min())
        for design in np.flatnonzero(np.isfinite(problem.product[0]))
    ]
    within = np.isfinite(problem.product[0])
    middle = np.where(within, np.log(problem.product).mean(axis=0), np.inf).argmin()
    return {
        "network first, mean over defaults": statistics.geometric_mean(ends),
        "network first, worst default": max(ends),
        "accelerator first, for the most accurate": float(
            allowed[:, problem.product[problem.accuracy.argmax()].argmin()].min()
        ),
        "accelerator first, for all networks": float(allowed[:, middle].min()),
    }


def searcher(problem: Problem, log_cost):
    """Returns the jitted joint search: `(keys[S, N], least accuracy) -> float32[S, N, D, K]`."""
    space = problem.space
    accuracy = np.zeros([5] * 6, np.float32)
    accuracy[tuple(problem.networks.T)] = problem.accuracy
    accuracy, sizes = jnp.asarray(accuracy), space.design_shape
    fits = jnp.asarray(np.isfinite(problem.product[0]), jnp.float32)

    def search(key, least):
        def function(weight):
            option = jnp.argmax(weight, axis=-1)
            short = jnp.clip(least - accuracy[tuple(option[:6])], 0.0, 10.0)
            design = jnp.ravel_multi_index(tuple(option[6:]), sizes, mode="clip")
            missing = SHORT * (short > 0) + PER_PERCENT * short + TOO_LARGE * (1 - fits[design])
            return log_cost(weight) + missing

        return minimise(function, jnp.asarray(space.mask), key)

    return jax.jit(jax.vmap(jax.vmap(search, in_axes=(0, None)), in_axes=(0, None)))


def looked_up(problem: Problem, starts: np.ndarray, least: float) -> float:
    """Returns the best product among the likeliest pairs of each start that are good enough."""
    allowed = np.where(problem.accuracy[:, None] >= least, problem.product, np.inf).reshape(-1)
    columns = np.arange(starts.shape[1])
    ends = []
    for logits in starts:
        share = np.log(np.asarray(probabilities(logits, problem.space.mask)) + 1e-30)
        scores = share[columns, problem.pairs].sum(axis=1)
        ends.append(allowed[np.argpartition(-scores, LOOKED_UP)[:LOOKED_UP]].min())
    return float(min(ends))


def cost_of(problem: Problem, kind: str, count: int):
    """Returns `float32[D, K] -> float32[]`, the logarithm of the product."""
    space = problem.space
    if kind == "simulator":
        table = np.zeros([5] * 6 + list(space.design_shape), np.float32)
        pairs = problem.product.reshape(-1, *space.design_shape)
        table[tuple(problem.networks.T)] = np.log(np.where(np.isfinite(pairs), pairs, 1.0))
        table = jnp.asarray(table)
        return lambda weight: table[tuple(jnp.argmax(weight, axis=-1))]
    rows = np.unique(space.random(np.random.default_rng(0), count), axis=0)
    values = {"edp_mj_ms": joint_costs(space, rows)["edp_mj_ms"]}
    model = MLPEnsemble.fit(space, Observations(rows, values), CostConfig())
    return lambda weight: jnp.log(model.predict(weight)["edp_mj_ms"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cost", choices=("simulator", "mlp"), default="simulator")
    parser.add_argument("--samples", type=int, default=2000, help="pairs the MLP is fitted to")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    problem = load(options.folder)
    log_cost = cost_of(problem, options.cost, options.samples)
    search, name = searcher(problem, log_cost), "together, by gradient"
    keys = jax.random.split(jax.random.key(0), (options.seeds, STARTS))
    print(f"{problem.product.shape} pairs; products over the best of all")
    overall: dict[str, list[float]] = {}
    for least in LEAST_ACCURACIES:
        enough = problem.accuracy >= least
        best = float(problem.product[enough].min())
        found = np.asarray(search(keys, least))
        joint = [looked_up(problem, row, least) / best for row in found]
        spread = f"({min(joint):.3f} to {max(joint):.3f}, {len(joint)} seeds)"
        print(f"at least {least} % ({enough.sum()} cells), best {best:.4g} mJ ms")
        print(f"  {name:<44}{statistics.mean(joint):.3f}  {spread}")
        overall.setdefault(name, []).append(statistics.mean(joint))
        for other, value in in_turn(problem, enough).items():
            print(f"  {other:<44}{value / best:.3f}")
            overall.setdefault(other, []).append(value / best)
    print("geometric mean over the accuracies")
    for name, values in overall.items():
        print(f"  {name:<44}{statistics.geometric_mean(values):.3f}")


if __name__ == "__main__":
    main()
