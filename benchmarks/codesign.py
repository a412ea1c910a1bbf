"""Searches a network and its accelerator together, and one after the other; all pairs are known.

    python benchmarks/codesign.py DATA_FOLDER [--cost mlp] [--seeds 5]

There are 2,187 networks of NAS-Bench-Macro (the last layer is MB3_K3) with their published CIFAR-10
accuracies (`nasbench_macro_cifar10.npz`), and 64 accelerators. Wanted is the least energy-delay
product of the analytical model, among accelerators within an area limit and networks of at least a
given accuracy. Looking at all pairs says what is best.

The search follows the gradient of the expected cost from eight starts, and looks up the twelve
likeliest pairs of each. Searching one after the other gets every advantage: each of its two steps
looks at everything. The network comes first for an accelerator template; or the accelerator comes
first, for the most accurate network or for the mean over all networks.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.cost import Observations
from hwnas_jax.cost.models.mlp import MLPEnsemble
from hwnas_jax.cost.simulate.codesign import joint_costs
from hwnas_jax.relax import softmax_probabilities
from hwnas_jax.search.anneal import least_over, minimise
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.codesign import Codesign
from hwnas_jax.spaces.core.hardware import TEMPLATES

ARGS = {
    "network": "nasbench_macro", "rows": "8,16,32,64", "columns": "8,16,32,64",
    "buffer_kib": "64,256", "dataflow": "os,rs", "area_limit_mm2": 1.5,
}  # fmt: skip
OFF = {"block8": ("Identity", "MB6_K5")}
PERCENTILES = (30, 50, 60, 70, 80, 85, 90, 95)
NETWORK = 8
STARTS, LOOKED_UP = 8, 12
SHORT, PER_PERCENT, TOO_LARGE = 1.0, 3.0, 5.0
"""What a pair is short of is added to the logarithm of its product."""


class Problem(NamedTuple):
    """All pairs, `int32[networks * accelerators, D]`, the accelerators running fastest.

    `product` is `float64[networks, accelerators]`, infinite beyond the area limit; `templates` has
    that of every network on each template.
    """

    space: Codesign
    pairs: np.ndarray
    networks: np.ndarray
    accuracy: np.ndarray
    product: np.ndarray
    templates: dict[str, np.ndarray]


def make(**args) -> Codesign:
    shape: dict[str, Any] = {"input_shape": (32, 32, 3), "num_outputs": 10}
    space = make_space("codesign", {**ARGS, **args}, off=OFF, **shape)
    assert isinstance(space, Codesign)
    return space


def load(folder: Path) -> Problem:
    space, whole = make(), make(area_limit_mm2=None)
    templates = make(
        template=",".join(TEMPLATES), rows="", columns="", buffer_kib="", dataflow="",
        area_limit_mm2=None,
    )  # fmt: skip
    every = whole.enumerate()
    networks = np.unique(every[:, :NETWORK], axis=0)
    with np.load(folder / "nasbench_macro_cifar10.npz") as file:
        published = {tuple(row): number for number, row in enumerate(file["ops"].tolist())}
        accuracy = file["mean_acc"][[published[tuple(row)] for row in networks.tolist()]]
    product = joint_costs(whole, every)["edp_mj_ms"]
    product = np.where(space.feasible(every), product, np.inf).reshape(len(networks), -1)
    of_templates = joint_costs(templates, templates.enumerate())["edp_mj_ms"]
    columns = of_templates.reshape(len(networks), -1).T
    return Problem(
        space, every, networks, accuracy, product, dict(zip(TEMPLATES, columns, strict=True))
    )


def in_turn(problem: Problem, enough: np.ndarray) -> dict[str, float]:
    """Returns the best products of searching one after the other, exhaustively."""
    allowed = np.where(enough[:, None], problem.product, np.inf)
    found = {}
    for name, product in problem.templates.items():
        network = np.where(enough, product, np.inf).argmin()
        found[f"network first, for the {name}"] = float(allowed[network].min())
    most = problem.product[problem.accuracy.argmax()].argmin()
    found["accelerator first, for the most accurate"] = float(allowed[:, most].min())
    middle = np.log(problem.product).mean(axis=0).argmin()
    found["accelerator first, for all networks"] = float(allowed[:, middle].min())
    return found


def searcher(problem: Problem, log_cost):
    """Returns the jitted joint search: `(keys[S, N], least accuracy) -> float32[S, N, 8, K]`."""
    space = problem.space
    accuracy = np.zeros([3] * NETWORK, np.float32)
    accuracy[tuple(problem.networks.T)] = problem.accuracy
    accuracy, sizes = jnp.asarray(accuracy), space.design_shape
    fits = jnp.asarray(np.isfinite(problem.product[0]), jnp.float32)

    numbers = np.indices(sizes).reshape(len(sizes), -1).T
    answers = jax.nn.one_hot(numbers, space.num_options)

    def search(key, least):
        def function(weight):
            option = jnp.argmax(weight, axis=-1)
            short = jnp.clip(least - accuracy[tuple(option[:NETWORK])], 0.0, 10.0)
            design = jnp.ravel_multi_index(tuple(option[NETWORK:]), sizes, mode="clip")
            missing = SHORT * (short > 0) + PER_PERCENT * short + TOO_LARGE * (1 - fits[design])
            return log_cost(weight) + missing

        return minimise(least_over(function, answers), jnp.asarray(space.mask[:NETWORK]), key)

    return jax.jit(jax.vmap(jax.vmap(search, in_axes=(0, None)), in_axes=(0, None)))


def looked_up(problem: Problem, starts: np.ndarray, least: float, log_costs: np.ndarray) -> float:
    """Returns the best product among the likeliest networks of each start that are good enough.

    Each is looked up on the accelerator that `log_costs` (`float32[networks, accelerators]`) has
    as its best.
    """
    columns = np.arange(NETWORK)
    designs = np.where(np.isfinite(problem.product), log_costs, np.inf).argmin(axis=1)
    ends = np.where(
        problem.accuracy >= least, problem.product[np.arange(len(designs)), designs], np.inf
    )
    found = []
    for logits in starts:
        share = np.asarray(softmax_probabilities(logits, problem.space.mask[:NETWORK]))
        scores = np.log(share + 1e-30)[columns, problem.networks].sum(axis=1)
        found.append(ends[np.argpartition(-scores, LOOKED_UP)[:LOOKED_UP]].min())
    return float(min(found))


def cost_of(problem: Problem, kind: str, count: int):
    """Returns `float32[D, K] -> float32[]`, the logarithm of the product."""
    space = problem.space
    if kind == "simulator":
        table = np.zeros([3] * NETWORK + list(space.design_shape), np.float32)
        pairs = problem.product.reshape(-1, *space.design_shape)
        table[tuple(problem.networks.T)] = np.log(np.where(np.isfinite(pairs), pairs, 1.0))
        table = jnp.asarray(table)
        return lambda weight: table[tuple(jnp.argmax(weight, axis=-1))]
    rows = np.unique(make(area_limit_mm2=None).random(np.random.default_rng(0), count), axis=0)
    values = {"edp_mj_ms": joint_costs(space, rows)["edp_mj_ms"]}
    model = MLPEnsemble.fit(space, Observations(rows, values))
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
    log_costs = np.asarray(
        jax.jit(lambda rows: jax.lax.map(lambda r: log_cost(jax.nn.one_hot(r, 4)), rows))(
            jnp.asarray(problem.pairs)
        )
    ).reshape(problem.product.shape)
    keys = jax.random.split(jax.random.key(0), (options.seeds, STARTS))
    print(f"{problem.product.shape} pairs; products over the best of all")
    overall: dict[str, list[float]] = {}
    for percentile in PERCENTILES:
        least = float(np.percentile(problem.accuracy, percentile))
        enough = problem.accuracy >= least
        best = float(problem.product[enough].min())
        found = np.asarray(search(keys, least))
        joint = [looked_up(problem, row, least, log_costs) / best for row in found]
        spread = f"({min(joint):.3f} to {max(joint):.3f}, {len(joint)} seeds)"
        print(f"at least {least:.2f} % ({enough.sum()} networks), best {best:.4g} mJ ms")
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
