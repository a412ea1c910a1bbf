"""What the supernet says of architectures, against the network written down a second time."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, override
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.relax import Gates, one_hot_gates
from hwnas_jax.search.evaluators import Bench, Data, ShortTraining
from hwnas_jax.search.evaluators.path_training import PathTraining
from hwnas_jax.search.judge import Judge
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE, images

CONFIG = override(
    Config(), search__batch_size=8, search__steps_per_dispatch=3, data__shift=0, parallel__devices=1
)
SETTINGS = CONFIG.search
HALVES = {"weight": np.arange(0, 96, 2), "arch": np.arange(5, 55)}


@functools.cache
def found(most_batches=16, seed=3):
    supernet, data = make_supernet(SPACE), images()
    even = np.full((3, 3), 1 / 3, np.float32)
    judge = Judge(SPACE, supernet, Classification(), CONFIG, most_batches=most_batches)
    examples = Data(
        data.train_inputs, data.train_targets, HALVES["weight"], HALVES["arch"],
        data.mean, data.std,
    )  # fmt: skip
    return judge.searched(
        examples, probabilities=even, prior=even, seed=seed,
        weights=3 * supernet.init(jax.random.key(1)),
    )  # fmt: skip


def outputs_of(weights, rows, gates):
    """Returns outputs and targets of some rows, by the module itself."""
    data, supernet = images(), make_supernet(SPACE)
    module = nnx.merge(nnx.graphdef(abstract(SPACE.supernet)), supernet.unravel(weights))
    scaled = (data.train_inputs[rows] / 255.0 - data.mean) / data.std
    return np.asarray(module(scaled.astype(np.float32), Gates(gates))), data.train_targets[rows]


def dealt(count, seed=3):
    """Returns the examples of the architecture's half that are judged by."""
    return np.random.default_rng(seed).permutation(HALVES["arch"])[:count]


def judged(weights, rows, gates):
    """Returns mean loss and accuracy of rows, in float64."""
    outputs, targets = outputs_of(weights, rows, gates)
    outputs = outputs.astype(float)
    logged = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    loss = -logged[np.arange(len(targets)), targets].mean()
    return loss, (outputs.argmax(-1) == targets).mean()


def test_architectures_and_mixtures_are_judged_on_the_half_of_the_architecture():
    """Whole batches only: of 50 examples in batches of 8 the last two are left out."""
    rows = dealt(48)
    architectures = np.array([[0, 1, 2], [2, 2, 0], [0, 0, 0]], np.int32)
    mixtures = np.random.default_rng(0).dirichlet(np.ones(3), (2, 3)).astype(np.float32)
    one_hot = np.eye(3, dtype=np.float32)
    for ask, given, gates in (
        (found().judge, architectures, one_hot[architectures]),
        (found().judge_mixed, mixtures, mixtures),
    ):
        told = ask(found().weights, given)
        expected = [judged(found().weights, rows, each) for each in gates]
        np.testing.assert_allclose(told["loss"], [loss for loss, _ in expected], rtol=1e-4)
        np.testing.assert_allclose(told["accuracy"], [right for _, right in expected])
        assert len(set(told["loss"].tolist())) == len(given)


def test_of_a_large_half_some_batches_are_enough():
    """Dealt at random: a half that is sorted by class would fill batches with one class each."""
    architecture = np.array([[1, 0, 2]], np.int32)
    told = found(2).judge(found(2).weights, architecture)
    rows = dealt(16)
    loss, _ = judged(found().weights, rows, np.eye(3, dtype=np.float32)[architecture[0]])
    assert float(told["loss"][0]) == pytest.approx(loss, rel=1e-4)


def test_training_on_lowers_the_loss_on_the_other_half_alone():
    gates = np.eye(3, dtype=np.float32)[[1, 2, 1]]
    before, after = found().weights, found().tune(found().weights, gates, 12)
    rows = HALVES["weight"]
    assert judged(after, rows, gates)[0] < 0.9 * judged(before, rows, gates)[0]
    np.testing.assert_array_equal(found().tune(before, gates, 0), before)


def test_short_trainings_start_alike_and_end_as_the_evaluator_of_trainings_ends():
    """Six calls of three steps are three epochs of the 48 examples; both follow one cosine."""
    networks = np.array([[0, 1, 2], [2, 2, 0]], np.int32)
    reports = []
    told = found().train(
        None, networks, 5, lambda done, total, _: reports.append((done, total)), seed=3
    )
    again = found().train(None, networks[1:], 6, quiet, seed=3)
    other = found().train(None, networks[1:], 6, quiet, seed=4)
    assert other["loss"][0] != again["loss"][0]
    assert told["loss"][1] == again["loss"][0], "steps are whole calls, and networks are alone"
    assert reports[-1] == (4, 4)
    from_shared = found().train(found().weights, networks[1:], 6, quiet, seed=3)
    assert from_shared["loss"][0] != again["loss"][0]

    data, weights = images(), SETTINGS.weights
    bench = Bench(
        SPACE, Classification(),
        Data(
            data.train_inputs, data.train_targets, HALVES["weight"], HALVES["arch"],
            data.mean, data.std,
        ),
        make_supernet(SPACE), batch_size=8, seed=3,
    )  # fmt: skip
    evaluator = ShortTraining(
        epochs=3, learning_rate=weights.learning_rate, weight_decay=weights.decay,
        clip_norm=weights.clip_norm,
    )  # fmt: skip
    arrays = evaluator.arrays(bench)
    whole = evaluator.evaluate(bench, arrays, networks, 0, jax.random.key(3))
    told = found().train(None, networks, 18, quiet, seed=3)
    for metric in ("loss", "accuracy"):
        np.testing.assert_allclose(told[metric], whole[metric], rtol=1e-4)

    # The training loss is that of the last four of 18 steps, each before its own update.
    training = PathTraining(
        bench, learning_rate=weights.learning_rate, weight_decay=weights.decay,
        clip_norm=weights.clip_norm,
    )  # fmt: skip
    key, sampler = jax.random.key(3), training.sampler(len(HALVES["weight"]), 18)
    orders = sampler.orders(jax.random.split(key, 3)[1], 0)
    for network, loss in zip(networks, told["training_loss"], strict=True):
        gates = one_hot_gates(network, 3, sampled=True)
        last = []
        for step in range(14, 18):
            before, _ = training.steps(
                training.init(key), bench.data, gates, key, first=0, length=step, total=18
            )
            rows = HALVES["weight"][np.asarray(sampler.indices(orders, 0, step))]
            path = np.eye(3, dtype=np.float32)[network]
            last.append(judged(before.weights, rows, path)[0])
        assert float(loss) == pytest.approx(np.mean(last), rel=1e-4)
