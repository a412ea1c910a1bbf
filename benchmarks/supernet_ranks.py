"""Does a supernet rank networks as their trained accuracies do, and could one tell without them?

    HWNAS_DATA=FOLDER python benchmarks/supernet_ranks.py [--space nasbench_macro] [--seeds 0 1 2]
        [--steps 500 1000 2000 4000] [--networks 100] [--percentile 65]

Supernets are trained on CIFAR-10 at 16x16 pixels (`cifar10_images.py`) by paths drawn uniformly, by
fair paths, and with all operations mixed; a fair step takes one path for every option of the widest
decision, each on a part of the batch. At each number of steps Kendall's tau with the published
accuracies is printed for the supernet's validation loss: over networks of the whole space, and over
those that use 97 to 100 % of a limit (published latency of cells, multiply-adds of layers). Beside
it stands the stability of its ranking, Kendall's tau between its losses now and at the number of
steps before. Multiply-adds and parameters are printed for comparison. FOLDER is that of
`search_on_table.py`.
"""

import argparse
from typing import NamedTuple

import jax
import numpy as np
from ranking import cells_on_cifar10, window_of

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import SpaceConfig, override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.registry import Part
from hwnas_jax.runs.gradient_search import (
    batches_of,
    examples_of,
    make_dispatch,
    search_functions,
)
from hwnas_jax.search.candidates import counts_of
from hwnas_jax.search.judge import Judge
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import load_benchmark
from hwnas_jax.tabular.base import numbers_of
from hwnas_jax.tasks import make_task

CELLS, LAYERS = "nasbench201", "nasbench_macro"
TABLES = {CELLS: "nb201_accuracy", LAYERS: "nasbench_macro_cifar10"}
CALL = 100


class Networks(NamedTuple):
    """Networks `int32[N, D]` with their published accuracies in percent."""

    rows: np.ndarray
    accuracy: np.ndarray


def setting(name, seed):
    """Returns the config, the images and the space."""
    config, dataset, space = cells_on_cifar10(seed)
    if name == LAYERS:
        config = override(config, space=SpaceConfig(LAYERS, {"width": 0.125}))
        space = make_space(
            LAYERS, config.space.args, input_shape=dataset.input_shape,
            num_outputs=dataset.num_outputs,
        )  # fmt: skip
    return config, dataset, space


def networks_of(space, options, seed):
    """Returns networks of the whole space, and networks inside the window."""
    table = load_benchmark(TABLES[options.space])
    reported = 100 * table.metrics[table.report]
    every = np.unique(space.canonical(space.enumerate()), axis=0)
    rng = np.random.default_rng(seed)
    some = rng.permutation(every)[: options.networks]
    if options.space == CELLS:
        options.seed = seed
        inside = window_of(space, options)[0]
    else:
        macs = counts_of(space, every)["macs"]
        limit = np.percentile(macs, options.percentile)
        inside = every[(macs <= limit) & (macs >= 0.97 * limit)]
        inside = rng.permutation(inside)[: options.networks]
    return [Networks(rows, reported[numbers_of(space, rows)]) for rows in (some, inside)]


def ways(space):
    """Returns how supernets are trained, as changes of the config, by name."""
    options = int(space.mask.sum(axis=1).max())
    batch = options * -(-64 // options)
    return {
        "uniform paths": {},
        "fair paths": {
            "search__fair": True, "search__draws": options, "search__batch_size": batch,
        },
        "mixed": {"search__relaxation": Part("gumbel_softmax")},
    }  # fmt: skip


def trained(space, dataset, config, marks):
    """Yields the supernet's weights at each of several numbers of steps of one training."""
    methods = make_methods(space, make_task(config.task, dataset), config)
    target = Target("macs", 1e12)
    search = search_functions(methods, target, config)
    batches = batches_of(dataset, config, CALL)
    call = jax.jit(make_dispatch(search, batches, None), donate_argnums=0)
    data = jax.device_put({**batches.resident(), "cost_model": AnalyticModel.count(space)})
    state = jax.jit(search.init)(jax.random.key(config.seed), target.limits)
    while int(state.step) < marks[-1]:
        state = call(state, data)[0]
        if int(state.step) in marks:
            yield np.asarray(state.weights)


def main():
    """Prints one line for each seed, way and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", choices=list(TABLES), default=CELLS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--percentile", type=float, default=65.0)
    parser.add_argument("--device", default="gold_6226")
    parser.add_argument("--ways", nargs="+", default=["uniform paths", "fair paths", "mixed"])
    options = parser.parse_args()
    for seed in options.seeds:
        base, dataset, space = setting(options.space, seed)
        both = networks_of(space, options, seed)
        for count in ("macs", "params"):
            taus = [kendall(n.accuracy, counts_of(space, n.rows)[count]) for n in both]
            print(f"seed {seed} {count:<14}        all {taus[0]:6.3f} window {taus[1]:6.3f}")
        for way in options.ways:
            last = options.steps[-1]
            config = override(
                base, search__steps=last + 1, search__warmup_steps=last,
                search__steps_per_dispatch=CALL, **ways(space)[way],
            )  # fmt: skip
            judge = Judge(space, make_supernet(space), make_task(config.task, dataset), config)
            examples = examples_of(dataset, config, seed=seed)
            before = None
            for steps, weights in zip(
                options.steps, trained(space, dataset, config, options.steps), strict=True
            ):
                asked = judge.searched(
                    examples, probabilities=None, prior=None, weights=weights, seed=seed
                )
                losses = [asked.judge(weights, n.rows)["loss"] for n in both]
                taus = [kendall(n.accuracy, -loss) for n, loss in zip(both, losses, strict=True)]
                stable = (
                    [np.nan] * 2 if before is None
                    else [kendall(a, b) for a, b in zip(losses, before, strict=True)]
                )  # fmt: skip
                print(
                    f"seed {seed} {way:<14} {steps:6d} all {taus[0]:6.3f} window {taus[1]:6.3f} "
                    f"stability all {stable[0]:6.3f} window {stable[1]:6.3f}",
                    flush=True,
                )
                before = losses


if __name__ == "__main__":
    main()
