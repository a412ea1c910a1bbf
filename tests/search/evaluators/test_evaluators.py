"""The evaluators against plain loops, and their contract: good ones pass, broken ones are told."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.data.pipeline import augment
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.registry import Part
from hwnas_jax.relax import Gates
from hwnas_jax.search.evaluators import (
    EVALUATORS,
    Evaluator,
    Score,
    SharedWeights,
    ShortTraining,
    check_evaluator,
    make_ahead,
    make_evaluate,
    members,
)
from hwnas_jax.search.strategies import Outlook
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tabular import Table
from hwnas_jax.tasks import Classification
from tests.search.dense import SPACE
from tests.search.evaluators.benches import dense_bench
from tests.search.evaluators.evaluator_contract import check_contract
from tests.tabular.tables import CELLS, small_table
from tests.tiny import TinySpace

BENCH = dense_bench()
assert Table.name in EVALUATORS


@pytest.mark.parametrize("name", EVALUATORS)
def test_contract(name, tmp_path):
    if name == "table":
        part = Part(name, {"path": str(small_table(tmp_path / "table.npz"))})
        check_contract(EVALUATORS.make(part), dataclasses.replace(BENCH, space=CELLS))
    else:
        check_contract(EVALUATORS.make(Part(name)), BENCH)


class _Table(Evaluator):
    """A good evaluator; the broken ones below each change one thing."""

    name, summary = "table_of_tests", "a table"

    def arrays(self, bench):
        return np.random.default_rng(0).normal(size=(27, 64)).astype(np.float32)

    def evaluate(self, bench, arrays, architectures, fidelity, key):
        return {"accuracy": arrays[architectures @ jnp.array([9, 3, 1])].mean(-1)}


class Constant(_Table):
    def evaluate(self, bench, arrays, architectures, fidelity, key):
        arrays = jnp.asarray(self.arrays(bench))
        return super().evaluate(bench, arrays, architectures, fidelity, key)


class Relative(_Table):
    def evaluate(self, bench, arrays, architectures, fidelity, key):
        score = super().evaluate(bench, arrays, architectures, fidelity, key)["accuracy"]
        return {"accuracy": score - score.mean()}


class Summed(_Table):
    def evaluate(self, bench, arrays, architectures, fidelity, key):
        found = super().evaluate(bench, arrays, architectures, fidelity, key)
        return {"accuracy": found["accuracy"].sum()}


class Unranked(_Table):
    def score(self, bench):
        return Score("latency", False)


class Unknown(_Table):
    def evaluate(self, bench, arrays, architectures, fidelity, key):
        return {"accuracy": jnp.full(len(architectures), jnp.nan)}


class Host(_Table):
    def evaluate(self, bench, arrays, architectures, fidelity, key):
        return {"accuracy": np.asarray(arrays)[np.asarray(architectures)]}


class Bare(_Table):
    def evaluate(self, bench, arrays, architectures, fidelity, key):
        return super().evaluate(bench, arrays, architectures, fidelity, key)["accuracy"]


def test_a_good_evaluator_passes():
    check_contract(_Table(), BENCH)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (Constant, "bytes of arrays as constants"),
        (Relative, "by those beside it"),
        (Summed, r"accuracy must be float32\[2\], got float32\[\]"),
        (Unranked, "it ranks by 'latency', which evaluate does not return; it returns accuracy"),
        (Unknown, "gives a member of the space no score"),
        (Host, r"fails on \(2, 3\) architectures"),
        (Bare, "must return a dict"),
    ],
)
def test_a_broken_evaluator_is_told(broken, said):
    with pytest.raises((UserError, AssertionError), match=said):
        check_contract(broken(), BENCH)


@functools.cache
def _module(bench):
    """The supernet's module with all its paths, as a function of weights."""
    graph = nnx.split(abstract(bench.space.supernet))[0]

    @jax.jit
    def run(weights, inputs, weight):
        return nnx.merge(graph, bench.supernet.unravel(weights))(inputs, Gates(weight))

    return run


def _scaled(bench, inputs):
    return ((inputs / 255.0 - bench.data.mean) / bench.data.std).astype(np.float32)


def _plain(bench, weights, architecture, rows):
    """Accuracy and loss of a path among all paths, in numpy behind the module."""
    gates = np.eye(bench.space.num_options, dtype=np.float32)[architecture]
    right, losses = [], []
    for batch in rows:
        inputs = _scaled(bench, bench.data.inputs[batch])
        outputs = np.asarray(_module(bench)(weights, inputs, gates), np.float64)
        targets = bench.data.targets[batch]
        right.append(outputs.argmax(-1) == targets)
        log_sum = np.log(np.exp(outputs).sum(-1))
        losses.append(log_sum - outputs[np.arange(len(batch)), targets])
    return np.mean(right), np.mean(losses)


def _run(evaluator, bench, architectures, seed=0):
    arrays = check_evaluator(evaluator, bench)
    run = jax.jit(
        lambda arrays, rows, key: evaluator.evaluate(bench, arrays, rows, jnp.int32(0), key)
    )
    return run(arrays, np.asarray(architectures, np.int32), jax.random.key(seed)), arrays


def test_shared_weights_judge_as_a_plain_loop_does():
    """Here every operation is mixed, there the drawn path runs alone."""
    architectures = [[0, 1, 2], [2, 2, 1], [0, 0, 0]]
    found, arrays = _run(SharedWeights(), BENCH, architectures)
    rows = arrays["rows"]
    assert rows.shape == (3, 16)
    assert set(rows.ravel()) == set(BENCH.data.arch_half.tolist())
    for number, architecture in enumerate(architectures):
        accuracy, loss = _plain(BENCH, BENCH.weights, architecture, rows)
        assert float(found["accuracy"][number]) == pytest.approx(accuracy, abs=1e-6)
        assert float(found["loss"][number]) == pytest.approx(loss, rel=1e-4)
    assert len(set(np.asarray(found["loss"]).tolist())) == 3


def test_batches_are_normalised_by_their_own_statistics():
    """In a supernet with normalisation, a batch judged alone gives what it gives among others."""
    space = TinySpace()
    supernet, rng = make_supernet(space), np.random.default_rng(0)
    data = BENCH.data._replace(
        inputs=rng.integers(0, 256, (96, 4, 4, 1)).astype(np.uint8), mean=np.float32([0.5]),
        std=np.float32([0.3]),
    )  # fmt: skip
    bench = dataclasses.replace(
        BENCH, space=space, data=data, supernet=supernet,
        weights=np.asarray(supernet.init(jax.random.key(0))), batch_size=24,
    )  # fmt: skip
    found, arrays = _run(SharedWeights(), bench, [[1, 3], [2, 0]])
    first, second = arrays["rows"]
    for number, architecture in enumerate([[1, 3], [2, 0]]):
        each = [_plain(bench, bench.weights, architecture, [rows])[1] for rows in (first, second)]
        assert float(found["loss"][number]) == pytest.approx(np.mean(each), rel=1e-4)
        together = _plain(bench, bench.weights, architecture, [np.concatenate([first, second])])
        assert abs(together[1] - np.mean(each)) > 1e-3


def test_fewer_batches_where_they_are_asked_for():
    arrays = SharedWeights(batches=2).arrays(BENCH)
    assert arrays["rows"].shape == (2, 16)
    np.testing.assert_array_equal(arrays["rows"], SharedWeights().arrays(BENCH)["rows"][:2])
    small = dataclasses.replace(BENCH, batch_size=500)
    assert SharedWeights().arrays(small)["rows"].shape == (1, 48)
    other = dataclasses.replace(BENCH, seed=1)
    assert (SharedWeights().arrays(other)["rows"] != SharedWeights().arrays(BENCH)["rows"]).any()


def _trained_by_hand(bench, architecture, key, method):
    """SGD with Nesterov momentum, decay, clipping and a cosine, written out in numpy."""
    gates = np.eye(bench.space.num_options, dtype=np.float32)[architecture]
    init_key, order_key, augment_key = jax.random.split(key, 3)
    per_epoch = len(bench.data.weight_half) // bench.batch_size
    steps = method.epochs * per_epoch

    @jax.jit
    def gradient(weights, inputs, targets):
        def loss(weights):
            outputs = _module(bench)(weights, inputs, gates)
            chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[:, None], 1)
            return -chosen.mean()

        return jax.grad(loss)(weights)

    @jax.jit
    def order_of(epoch):
        return jax.random.permutation(
            jax.random.fold_in(order_key, epoch), len(bench.data.weight_half)
        )

    @jax.jit
    def moved(step, inputs):
        keys = jax.random.split(jax.random.fold_in(augment_key, step), bench.batch_size)
        return augment(keys, inputs, bench.augmentation)

    weights = np.asarray(bench.supernet.init(init_key), np.float64)
    velocity = np.zeros_like(weights)
    for step in range(steps):
        epoch, batch = divmod(step, per_epoch)
        order = np.asarray(order_of(epoch))[batch * bench.batch_size :][: bench.batch_size]
        rows = bench.data.weight_half[order]
        inputs = _scaled(bench, np.asarray(moved(step, bench.data.inputs[rows])))
        targets = bench.data.targets[rows]
        slope = np.asarray(gradient(weights.astype(np.float32), inputs, targets), np.float64)
        slope *= min(1.0, method.clip_norm / np.linalg.norm(slope))
        slope += method.weight_decay * weights
        velocity = 0.9 * velocity + slope
        falling = 0.5 * (1 + np.cos(np.pi * step / steps))
        rate = method.learning_rate_end
        rate += (method.learning_rate - method.learning_rate_end) * falling
        weights = weights - rate * (0.9 * velocity + slope)
    return weights.astype(np.float32)


def test_training_is_a_plain_loop_for_each_architecture():
    bench = dense_bench(shift=1)
    method = ShortTraining(epochs=3, learning_rate=0.2, learning_rate_end=0.01, clip_norm=0.5)
    architectures = [[2, 0, 1], [1, 1, 2]]
    found, arrays = _run(method, bench, architectures, seed=4)
    for number, architecture in enumerate(architectures):
        weights = _trained_by_hand(bench, architecture, jax.random.key(4), method)
        accuracy, loss = _plain(bench, weights, architecture, arrays["rows"])
        assert float(found["loss"][number]) == pytest.approx(loss, rel=2e-3)
        assert float(found["accuracy"][number]) == pytest.approx(accuracy, abs=0.03)
        assert loss < 0.8 * _plain(bench, bench.weights, architecture, arrays["rows"])[1]


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        (SharedWeights(), {"weights": None}, "supernet needs the weights of a trained supernet"),
        (SharedWeights(), {"supernet": None, "data": None}, "needs training data and a supernet"),
        (ShortTraining(), {"data": None}, "training needs training data"),
        (ShortTraining(), {"batch_size": 64}, "batch_size = 64 is more than the 48 examples"),
        (
            SharedWeights(),
            {"data": BENCH.data._replace(arch_half=np.zeros(1, np.int32))},
            "judged by at least 2 examples, there are 1",
        ),
    ],
)
def test_a_bench_that_does_not_fit(method, changes, said):
    with pytest.raises(UserError, match=said):
        check_evaluator(method, dataclasses.replace(BENCH, **changes))


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("training", {"epochs": 0}, "epochs = 0 must be greater than or equal to 1"),
        ("training", {"learning_rate": 0.0}, "learning_rate = 0.0 must be greater than 0"),
        ("supernet", {"batches": 0}, "batches = 0 must be greater than or equal to 1"),
        ("supernett", {}, r"unknown evaluator 'supernett'.*Did you mean 'supernet'"),
    ],
)
def test_options_that_cannot_be(name, args, said):
    with pytest.raises(UserError, match=said):
        EVALUATORS.make(Part(name, args))


class Descending(Classification):
    """A task whose metric is better when smaller."""

    higher_is_better = False


def test_a_strategy_is_told_a_score_that_is_better_when_higher():
    table = _Table()
    arrays, rows = table.arrays(BENCH), SPACE.random(np.random.default_rng(0), 5)
    ahead = make_ahead(SPACE)
    told, metrics = make_evaluate(table, BENCH, arrays, ahead)(jnp.asarray(rows), 0, None)
    np.testing.assert_array_equal(told.score, metrics["accuracy"])
    np.testing.assert_array_equal(told.excess, 0.0)
    bench = dataclasses.replace(BENCH, task=Descending())
    told, metrics = make_evaluate(table, bench, arrays, ahead)(jnp.asarray(rows), 0, None)
    np.testing.assert_array_equal(told.score, -metrics["accuracy"])


def test_a_strategy_is_told_how_far_over_the_budget_each_lies():
    rows = SPACE.enumerate()

    def costs(architectures):
        cost = architectures.sum(axis=1) / 1.0
        return Outlook(cost, jnp.maximum(cost / 4.0 - 1.0, 0.0), jnp.ones(len(rows)), cost)

    ahead = make_ahead(SPACE, costs)
    told, _ = make_evaluate(_Table(), BENCH, _Table().arrays(BENCH), ahead)(
        jnp.asarray(rows), 0, None
    )
    np.testing.assert_array_equal(told.cost, rows.sum(axis=1))
    expected = np.maximum(rows.sum(axis=1) / 4 - 1, 0)
    np.testing.assert_allclose(told.excess, expected, rtol=1e-6)
    assert 0 < (expected == 0).sum() < len(rows)


def test_what_is_no_member_of_the_space_is_told():
    space = make_space("transnas_macro", {}, input_shape=(64, 64, 3), num_outputs=4)
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, row.sum(), 60) for row in space.mask], axis=1)
    rows = rows.astype(np.int32)
    expected = space.feasible(rows)
    assert 0 < expected.sum() < len(rows)
    np.testing.assert_array_equal(jax.jit(lambda a: members(space, a))(rows), expected)
    batched = jax.jit(jax.vmap(lambda a: members(space, a)))(rows.reshape(5, 12, -1))
    np.testing.assert_array_equal(batched, expected.reshape(5, 12))

    class Any(_Table):
        def evaluate(self, bench, arrays, architectures, fidelity, key):
            return {"accuracy": jnp.ones(len(architectures))}

    bench = dataclasses.replace(BENCH, space=space)
    told, _ = make_evaluate(Any(), bench, (), make_ahead(space))(jnp.asarray(rows), 0, None)
    np.testing.assert_array_equal(np.isinf(told.excess), ~expected)
    np.testing.assert_array_equal(make_ahead(space)(jnp.asarray(rows)).chance, expected)
