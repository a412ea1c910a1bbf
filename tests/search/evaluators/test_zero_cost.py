"""The proxies against slow computations in numpy, and what they must not depend on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.errors import UserError
from hwnas_jax.nn import tally
from hwnas_jax.nn.initialisation import abstract, weight_rngs
from hwnas_jax.nn.kernels import activation
from hwnas_jax.nn.normalisation import EPSILON, BatchStatistics
from hwnas_jax.registry import Part
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.search.evaluators import EVALUATORS, ZeroCost, check_evaluator
from hwnas_jax.search.evaluators.proxies import PROXIES, Trial
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.spaces.nasbench201 import CellChoices, NasBench201
from tests.cost.toy import FEATURES
from tests.search.dense import SPACE, DenseSpace
from tests.search.evaluators.benches import dense_bench
from tests.search.evaluators.evaluator_contract import check_contract

BENCH = dense_bench()
PATHS = np.array([[0, 1, 2], [2, 2, 1], [0, 0, 0]], np.int32)


WEIGHTS = BENCH.weights


@pytest.mark.parametrize("proxy", ["synflow", "grad_norm", "macs"])
def test_contract(proxy):
    """That of `naswot`, the default, is tested with the other evaluators."""
    check_contract(EVALUATORS.make(Part("zero_cost", {"proxy": proxy})), BENCH)


@functools.cache
def program(name, bench):
    """The proxy as a function of weights and examples, for all paths."""

    def score(own, weights, key, examples):
        def one(architecture):
            gates = one_hot_gates(architecture, bench.space.num_options, sampled=True)
            return PROXIES[name].score(bench, own, Trial(gates, key, weights, *examples))

        return jax.lax.map(one, jnp.asarray(PATHS))

    return jax.jit(score)


def scores(name, weights=WEIGHTS, bench=BENCH, key=None):
    """Returns the proxy's scores of the paths on one batch, `float32[3]`."""
    own = PROXIES[name].arrays(bench, len(X))
    key = jax.random.key(0) if key is None else key
    return np.asarray(program(name, bench)(own, weights, key, EXAMPLES))


def tree(bench, weights):
    """The supernet's weights in the module's structure, `float64`."""
    state = jax.jit(bench.supernet.unravel)(weights)
    return jax.tree.map(lambda leaf: np.array(leaf, np.float64), nnx.to_pure_dict(state))


def blocks(weights, architecture):
    """The weights of the blocks that run; option zero has none."""
    return [weights["mixed"][d]["blocks"][k - 1] for d, k in enumerate(architecture) if k]


def forward(weights, architecture, x, *, squash=np.tanh):
    """Outputs of a path of the dense supernet and the codes of its ReLUs, in numpy."""
    codes = []
    for block in blocks(weights, architecture):
        inner = x @ block["up"]["kernel"] + block["up"]["bias"]
        codes.append(inner > 0)
        outer = np.maximum(inner, 0) @ block["down"]["kernel"] + block["down"]["bias"]
        x = squash(x + outer)
    return x @ weights["head"]["kernel"] + weights["head"]["bias"], codes


def examples(rows):
    """The examples of some numbers, scaled as in training."""
    inputs = (BENCH.data.inputs[rows] / 255.0 - BENCH.data.mean) / BENCH.data.std
    return inputs.astype(np.float32), BENCH.data.targets[rows]


EXAMPLES = examples(np.arange(5, 21))
X = EXAMPLES[0].reshape(16, -1).astype(np.float64)


def slopes(weights, architecture):
    """The gradient of the cross-entropy by differences, weight for weight."""

    def loss():
        outputs = forward(weights, architecture, X)[0]
        log_sum = np.log(np.exp(outputs).sum(-1))
        return (log_sum - outputs[np.arange(len(X)), EXAMPLES[1]]).mean()

    used = [*blocks(weights, architecture), weights["head"]]
    found = []
    for leaf in jax.tree.leaves(used):
        slope = np.empty_like(leaf)
        for place in np.ndindex(leaf.shape):
            value = leaf[place]
            ends = []
            for step in (1e-6, -1e-6):
                leaf[place] = value + step
                ends.append(loss())
            leaf[place] = value
            slope[place] = (ends[0] - ends[1]) / 2e-6
        found.append((leaf, slope))
    return found


def log_det(codes):
    """`log det(I + K)`, where `K` counts units alike, one by one."""
    same = sum((own[:, None] == own[None]).reshape(len(own), len(own), -1).sum(-1) for own in codes)
    return np.linalg.slogdet(np.eye(len(same)) + same)[1]


def test_naswot_is_the_log_determinant_of_what_relus_agree_in():
    found, weights = scores("naswot"), tree(BENCH, WEIGHTS)
    for score, path in zip(found, PATHS, strict=True):
        codes = forward(weights, path, X)[1]
        assert score == pytest.approx(log_det(codes) if codes else 0.0, rel=1e-4, abs=1e-6)
    assert len(set(found.tolist())) == 3


def test_synflow_is_the_slope_along_all_weights_at_once():
    """By Euler's rule the sum of `w dR/dw` is the derivative of `R` by a factor on all weights."""
    plain = tree(BENCH, np.abs(WEIGHTS) / np.sqrt(6.0))

    def flow(factor, path):
        scaled = jax.tree.map(lambda leaf: factor * leaf, plain)
        return forward(scaled, path, np.ones((1, FEATURES)), squash=lambda x: x)[0].sum()

    for score, path in zip(scores("synflow"), PATHS, strict=True):
        slope = (flow(1 + 1e-5, path) - flow(1 - 1e-5, path)) / 2e-5
        assert score == pytest.approx(np.log(slope), abs=1e-4)


def test_grad_norm_and_snip_by_differences():
    norm, snip, weights = scores("grad_norm"), scores("snip"), tree(BENCH, WEIGHTS)
    for number, path in enumerate(PATHS):
        found = slopes(weights, path)
        expected = sum(np.linalg.norm(slope) for _, slope in found)
        assert norm[number] == pytest.approx(expected, rel=1e-3)
        expected = sum(np.abs(leaf * slope).sum() for leaf, slope in found)
        assert snip[number] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("proxy", ["params", "macs"])
def test_counts_need_neither_data_nor_a_supernet(proxy):
    bench = dataclasses.replace(BENCH, data=None, supernet=None, weights=None)
    evaluator = ZeroCost(proxy=proxy)
    arrays = check_evaluator(evaluator, bench)
    found = evaluator.evaluate(bench, arrays, jnp.asarray(PATHS), jnp.int32(0), jax.random.key(0))
    widths = np.array([0, 8, 32])[PATHS].sum(1)
    more = {"params": 2 * widths, "macs": 0}[proxy]
    head = FEATURES * SPACE.num_outputs
    np.testing.assert_array_equal(found[proxy], 2 * FEATURES * widths + more + head)


def test_every_batch_has_weights_and_examples_of_its_own():
    method, key = ZeroCost(batches=2, batch_size=8), jax.random.key(3)
    arrays = check_evaluator(method, BENCH)
    run = jax.jit(lambda arrays, rows: method.evaluate(BENCH, arrays, rows, jnp.int32(0), key))
    found = run(arrays, PATHS)["naswot"]
    assert arrays["rows"].shape == (2, 8)
    assert len(set(arrays["rows"].ravel()) & set(BENCH.data.weight_half.tolist())) == 16
    drawn = [BENCH.supernet.init(own[0]) for own in jax.random.split(key, (2, 2))]
    each = np.zeros((2, 3))
    for batch, (rows, weights) in enumerate(zip(arrays["rows"], drawn, strict=True)):
        x = examples(rows)[0].reshape(8, -1).astype(np.float64)
        for number, path in enumerate(PATHS):
            codes = forward(tree(BENCH, weights), path, x)[1]
            each[batch, number] = log_det(codes) if codes else 0.0
    assert abs(each[0, :2] - each[1, :2]).min() > 0.01
    np.testing.assert_allclose(found, each.mean(0), rtol=1e-4, atol=1e-6)


class Layer(nnx.Module):
    def __init__(self, rngs, norm):
        self.linear = nnx.Linear(FEATURES, FEATURES, use_bias=False, rngs=rngs)
        self.norm, self.activation = norm, tally.relu

    def __call__(self, x):
        return self.activation(self.norm(self.linear(x)))


class NormedSupernet(nnx.Module):
    """Each decision skips, or runs one of two layers that are normalised."""

    def __init__(self, classes, rngs):
        self.layers = nnx.List(Layer(rngs, BatchStatistics()) for _ in range(6))
        self.head = nnx.Linear(FEATURES, classes, rngs=rngs)

    def __call__(self, x, gates):
        return self.head(self.features(x, gates)[-1])

    def features(self, x, gates):
        x = x.reshape(len(x), -1)
        for d in range(3):
            x = jax.lax.switch(gates.index[d], [jnp.array, *self.layers[2 * d : 2 * d + 2]], x)
        return (x,)


class NormedSpace(DenseSpace):
    name, has_features = "normed", True

    def supernet(self, rngs, *, axis_name=None, rematerialise=False):
        return NormedSupernet(self.num_outputs, rngs)


@functools.cache
def normed_bench():
    space = NormedSpace()
    return dataclasses.replace(BENCH, space=space, supernet=make_supernet(space))


@functools.cache
def normed_weights():
    return np.asarray(normed_bench().supernet.init(jax.random.key(0)))


def test_naswot_ignores_the_scale_of_normalised_weights():
    weights = normed_weights()
    one, other = (scores("naswot", factor * weights, normed_bench()) for factor in (1, 8))
    np.testing.assert_allclose(one, other, rtol=1e-3)
    assert len(set(one.tolist())) == 3


def test_synflow_sees_no_normalisation():
    """Where it is normalised away, a factor on the weights would count once, for the head."""
    weights = normed_weights()
    one, other = (scores("synflow", factor * weights, normed_bench()) for factor in (1, 8))
    with_weights = 1 + (PATHS > 0).sum(1)
    np.testing.assert_allclose(other - one, with_weights * np.log(8), atol=1e-3)


def test_zen_is_the_change_of_features_without_normalisation():
    weights, key = normed_weights(), jax.random.key(1)
    layers = tree(normed_bench(), weights)["layers"]
    one, other, _ = jax.random.split(key, 3)
    inputs = np.asarray(jax.random.normal(one, (16, 2, 2, 1)), np.float64).reshape(16, -1)
    moved = inputs + 0.01 * np.asarray(jax.random.normal(other, (16, 2, 2, 1))).reshape(16, -1)

    def features(x, path):
        deviations = 0.0
        for d, k in enumerate(path):
            if k:
                x = x @ layers[2 * d + k - 1]["linear"]["kernel"]
                deviations += 0.5 * np.log((x.var(0) + EPSILON).mean())
                x = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + EPSILON), 0)
        return x, deviations

    found = scores("zen", weights, normed_bench(), key)
    for score, path in zip(found, PATHS, strict=True):
        (after, _), (before, deviations) = features(moved, path), features(inputs, path)
        change = np.log(np.abs(after - before).sum(1).mean())
        assert score == pytest.approx(change + deviations, abs=1e-3)


class OneStage(NasBench201):
    """A stage of two cells."""

    name, num_stages = "one_stage", 1


def test_naswot_of_cells_is_that_of_the_networks(monkeypatch):
    """The supernet runs fused cells and drawn edges, the network its layers one by one."""
    space = OneStage(input_shape=(8, 8, 3), num_outputs=4, channels=3, cells=2)
    bench = dataclasses.replace(BENCH, space=space, supernet=make_supernet(space))
    inputs = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    # The second has a convolution into a node that leads nowhere.
    paths = np.array([[3, 1, 2, 4, 0, 3], [3, 2, 0, 1, 0, 0]], np.int32)

    @jax.jit
    def score(weights, path):
        gates = one_hot_gates(path, space.num_options, sampled=True)
        return PROXIES["naswot"].score(bench, (), Trial(gates, jax.random.key(0), weights, inputs))

    weights = bench.supernet.init(jax.random.key(0))
    found = [score(weights, path) for path in paths]
    graph = nnx.split(abstract(space.supernet))[0]
    codes = []

    def keep(amount, saved, value):
        if amount is tally.agreement:
            codes.append(saved())
        return value

    for place in (tally, activation):
        monkeypatch.setattr(place, "note", keep)
    for wanted, path in zip(found, paths, strict=True):

        @jax.jit
        def run(weights, path=path):
            codes.clear()
            network = space.network(path, weight_rngs(jax.random.key(0)))
            space.inherit(network, path, nnx.merge(graph, bench.supernet.unravel(weights)))
            network.train()
            network(inputs)
            return list(codes)

        assert wanted == pytest.approx(log_det([np.asarray(c) for c in run(weights)]), rel=1e-3)


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        (ZeroCost(), {"data": None}, "zero_cost needs training data"),
        (ZeroCost(), {"supernet": None}, "zero_cost needs a supernet"),
        (ZeroCost(proxy="zen"), {}, "which dense does not hand out"),
        (ZeroCost(proxy="params"), {"space": CellChoices("cells")}, "params counts operations"),
    ],
)
def test_a_bench_that_does_not_fit(method, changes, said):
    with pytest.raises(UserError, match=said):
        check_evaluator(method, dataclasses.replace(BENCH, **changes))


def test_naswot_refuses_a_space_without_relus():
    small = {"patch": 4, "depths": "1,2", "embeddings": "8,16", "heads": "1,2", "head_size": 4}
    space = make_space("autoformer", small, input_shape=(8, 8, 3), num_outputs=4)
    bench = dataclasses.replace(BENCH, space=space, supernet=make_supernet(space))
    with pytest.raises(UserError, match="naswot looks at ReLUs, and the networks of autoformer"):
        check_evaluator(ZeroCost(), bench)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"proxy": "nawsot"}, "nawsot"),
        ({"batches": 0}, "batches = 0 must be greater than or equal to 1"),
        ({"batch_size": 1}, "batch_size = 1 must be greater than or equal to 2"),
    ],
)
def test_options_that_cannot_be(args, said):
    with pytest.raises(UserError, match=said):
        EVALUATORS.make(Part("zero_cost", args))
