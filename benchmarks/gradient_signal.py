"""How much of a search's gradient is signal, and does it point to better cells?

    HWNAS_DATA=FOLDER python benchmarks/gradient_signal.py [--seeds 0 1 2] [--steps 2000]
        [--samples 300] [--weights paths mixed] [--percentile 65]

Cells of NAS-Bench-201 on CIFAR-10 at 16x16 pixels (`cifar10_images.py`). For every seed and every
way to train the weights a supernet is warmed up. Printed are Kendall's tau of its validation loss
with the published accuracies, over 100 cells of the whole space and over 100 that use 97 to 100 %
of a limit on published latency, and then, for every way to estimate the task's gradient by logits
at zero:

  signal to noise   the length of the mean gradient over the root of its summed variances, for one
                    step, with the bias of a finite sample taken off
  cosine            between the direction that lowers the loss and the main effect of every option
                    on the published accuracy of the cells inside the window, and over all cells
  ms                of one gradient, on this machine

FOLDER is that of `search_on_table.py`.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ranking import cells_on_cifar10, window_of

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.cost.judge.metrics import kendall
from hwnas_jax.data.pipeline import normalise
from hwnas_jax.registry import Part
from hwnas_jax.runs.gradient_search import examples_of, search_architecture
from hwnas_jax.search.estimators import Problem
from hwnas_jax.search.judge import Judge
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import load_benchmark
from hwnas_jax.tabular.base import numbers_of
from hwnas_jax.tasks import make_task

HERE = Path(__file__).resolve().parent
WEIGHTS = {
    "paths": {},
    "paths, 5 a step": {"search__draws": 5, "search__batch_size": 65},
    "fair paths, 5 a step": {
        "search__draws": 5, "search__batch_size": 65, "search__fair": True,
    },
    "mixed": {"search__relaxation": Part("gumbel_softmax")},
}  # fmt: skip
GRADIENTS = (
    ("sampled_path", "backprop", 1), ("sampled_path", "backprop", 4),
    ("advantage", "backprop", 1), ("advantage", "backprop", 4),
    ("sampled_path", "reinforce", 1), ("straight_through", "backprop", 1),
    ("reinmax", "backprop", 1), ("gumbel_softmax", "backprop", 1), ("softmax", "backprop", 1),
)  # fmt: skip
BATCH, SKIPPED = 64, 20


def gradients(space, task, config, weights, examples, samples):
    """Returns `float64[samples, D, K]`, gradients of the task's loss at zero, and ms of one."""
    methods = make_methods(space, task, config)
    estimator, relaxation = methods.estimator, methods.relaxation
    mask, draws = jnp.asarray(space.mask), config.search.draws
    params = relaxation.init(jax.random.key(0), mask)
    temperature = jnp.float32(config.search.temperature.start)

    def loss_at(weights, gates, inputs, targets):
        outputs = methods.supernet.apply(weights, inputs, gates)
        return task.loss(outputs, targets), {}

    def one(state, given):
        key, rows = given
        inputs = normalise(jnp.asarray(examples.inputs)[rows], examples.mean, examples.std)
        targets = jnp.asarray(examples.targets)[rows]
        problem = Problem(
            weights=jnp.asarray(weights), loss=loss_at,
            sample=lambda key, params: relaxation.sample(key, params, mask, temperature),
            probabilities=lambda params: relaxation.probabilities(params, mask),
            validation=lambda function: function(inputs, targets),
            training=lambda function: function(inputs, targets),
            update=lambda weights, gradient: weights, weight_decay=0.0,
            learning_rate=jnp.ones(()),
        )  # fmt: skip
        found, state = estimator.estimate(key, params, state, problem)
        return state, found.gradient

    @jax.jit
    def sample(state, key, rows):
        keys = jax.random.split(key, draws)
        state, each = jax.lax.scan(one, state, (keys, rows.reshape(draws, -1)))
        return state, each.mean(0)

    rng, state, found = np.random.default_rng(config.seed), estimator.init(), []
    half, start = np.asarray(examples.arch_half), 0.0
    for number in range(SKIPPED + samples):
        if number == SKIPPED:
            start = time.perf_counter()
        rows = rng.choice(half, BATCH, replace=False).astype(np.int32)
        state, gradient = sample(state, jax.random.fold_in(jax.random.key(1), number), rows)
        found.append(np.asarray(gradient, np.float64))
    return np.stack(found[SKIPPED:]), 1e3 * (time.perf_counter() - start) / samples


def signal_to_noise(several):
    """Returns the length of the mean over the root of the summed variances."""
    flat = several.reshape(len(several), -1)
    variance = flat.var(axis=0, ddof=1).sum()
    signal = (flat.mean(axis=0) ** 2).sum() - variance / len(flat)
    return np.sqrt(max(signal, 0.0) / variance)


def main_effects(space, cells, accuracy):
    """Returns what each option adds to the mean accuracy of its decision, `float64[D, K]`."""
    chosen = np.eye(space.num_options)[cells]
    means = np.einsum("ndk,n->dk", chosen, accuracy) / np.maximum(chosen.sum(0), 1)
    return means - means.mean(axis=1, keepdims=True)


def cosine(direction, effects):
    """Returns the cosine between main effects and a direction, less its means over options."""
    free = direction - direction.mean(axis=1, keepdims=True)
    return (free * effects).sum() / np.sqrt((free**2).sum() * (effects**2).sum())


def main():
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--weights", nargs="+", choices=list(WEIGHTS), default=list(WEIGHTS))
    parser.add_argument("--percentile", type=float, default=65.0)
    parser.add_argument("--device", default="gold_6226")
    parser.add_argument("--networks", type=int, default=100)
    options = parser.parse_args()
    base, dataset, space = cells_on_cifar10(0)
    task = make_task(base.task, dataset)
    table = load_benchmark("nb201_accuracy")
    every = np.unique(space.canonical(space.enumerate()), axis=0)
    accuracy = 100 * table.metrics[table.report][numbers_of(space, every)]
    some = np.random.default_rng(0).permutation(len(every))[: options.networks]
    options.seed = 0
    window, inside = window_of(space, argparse.Namespace(**vars(options) | {"networks": 10**9}))
    shown = np.random.default_rng(0).permutation(len(window))[: options.networks]
    effects = {
        "window": main_effects(space, window, inside), "all": main_effects(space, every, accuracy),
    }  # fmt: skip
    judge = Judge(space, make_supernet(space), task, base)
    for seed in options.seeds:
        for name in options.weights:
            steps = {"search__steps": options.steps + 1, "search__warmup_steps": options.steps}
            config = override(base, seed=seed, **steps, **WEIGHTS[name])
            start = time.perf_counter()
            result = search_architecture(
                space, dataset, AnalyticModel.count(space), Target("macs", 1e9), config
            )
            seconds = time.perf_counter() - start
            weights = np.asarray(result.state.weights)
            examples = examples_of(dataset, config, seed=seed)
            ask = judge.searched(
                examples, probabilities=None, prior=None, weights=weights, seed=seed
            )
            taus = [
                kendall(truth, -ask.judge(weights, cells)["loss"])
                for truth, cells in ((accuracy[some], every[some]), (inside[shown], window[shown]))
            ]
            print(
                f"seed {seed}, weights by {name:<22} tau over all cells {taus[0]:6.3f}, inside "
                f"the window {taus[1]:6.3f}; {seconds:.0f} s", flush=True,
            )  # fmt: skip
            for relaxation, estimator, draws in GRADIENTS:
                several, ms = gradients(
                    space, task,
                    override(
                        config, search__relaxation=Part(relaxation),
                        search__estimator=Part(estimator), search__draws=draws, search__fair=False,
                    ),
                    weights, examples, options.samples,
                )  # fmt: skip
                along = -several.mean(axis=0)
                angles = {where: cosine(along, effect) for where, effect in effects.items()}
                print(
                    f"seed {seed}, {name:<22} {relaxation:<16} {estimator:<10} draws {draws}: "
                    f"signal to noise {signal_to_noise(several):5.3f}, cosine with the window "
                    f"{angles['window']:6.3f}, all {angles['all']:6.3f}; {ms:5.1f} ms", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    main()
