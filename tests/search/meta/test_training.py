"""The outer step: tasks at once or in turn, on one device or two, with a budget or without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.compile.hlo import tally
from hwnas_jax.data.episodes import draw_episode
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.replicas import AXIS, Replicas
from hwnas_jax.relax import one_hot_gates
from hwnas_jax.search.meta import META_LEARNERS, Learned, MetaNAS, adapt
from hwnas_jax.search.meta.choice import choose, field_of
from hwnas_jax.search.meta.judging import Judge, Judged
from hwnas_jax.search.meta.objectives import Price
from hwnas_jax.search.meta.training import Schedule, make_meta_training
from tests.search.dense import DenseModel
from tests.search.meta.toy import SHAPE, SPACE, objectives, pool, start, task_of

KEY = jax.random.key(4)
DATA = {"pool": pool()}
COSTS = DenseModel()


def training(name="metanas", within="map"):
    learner = META_LEARNERS[name](inner_steps=2, inner_arch_rate=1.0)
    return make_meta_training(learner, task_of, Schedule(8, 0, 4, within=within))


@functools.cache
def stepped(name, within):
    """Returns state and info after two steps on one device."""
    made = training(name, within)
    state = made.init(KEY, start())
    step = jax.jit(lambda s: made.step(s, DATA))
    return step(step(state)[0])


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", META_LEARNERS)
def test_all_tasks_at_once_equal_one_after_another(name):
    same(stepped(name, "map"), stepped(name, "batch"))


def test_two_devices_equal_one_with_one_all_reduce():
    made, place = training(), Replicas(tuple(jax.devices()[:2]))
    program = place.compile(lambda state, data: made.step(state, data, AXIS))
    state, data = place.place(made.init(KEY, start())), place.share(DATA)
    found = tally(program.lower(state, data).compile().as_text())
    assert found["all-reduce"] == 1
    assert not found["all-gather"]
    state, _ = program(state, data)
    state, info = program(state, data)
    place.check_identical(state)
    same(place.read((state, info)), stepped("metanas", "map"))


def test_a_step_is_the_mean_of_its_tasks():
    made, learner = training(), MetaNAS(inner_steps=2, inner_arch_rate=1.0)
    state, info = jax.jit(lambda s: made.step(s, DATA))(made.init(KEY, start()))
    pulls = []
    alone = jax.jit(
        lambda task_key, key: learner.pull(
            key, start(), task_of(task_key, DATA, jnp.ones(()), jnp.zeros(()))
        )
    )
    for key in jax.random.split(jax.random.fold_in(KEY, 0), 4):
        pulls.append(alone(*jax.random.split(key)))
    mean = np.mean([pull.gradient.weights for pull in pulls], axis=0)
    # The first step of metanas goes all the way.
    np.testing.assert_allclose(state.learned.weights, start().weights - mean, rtol=1e-4, atol=1e-5)
    assert float(info.query_loss) == pytest.approx(
        np.mean([float(pull.query_loss) for pull in pulls]), rel=1e-4
    )


@functools.cache
def episode():
    with jax.ensure_compile_time_eval():  # it is kept, also where a trace asks for it first
        return draw_episode(KEY, pool(), SHAPE)


def test_a_budget_moves_an_adaptation_to_cheaper_networks():
    """Limits that do not count change nothing, and those that do lower the expected cost."""
    made, learner = objectives(), MetaNAS(inner_steps=4, inner_arch_rate=1.0)

    @jax.jit
    def unpriced():
        return adapt(learner.inner(), start(), made.mixed(episode(), jnp.ones(())), KEY, 4).learned

    @jax.jit
    def cost(limit, counts):
        price = Price(COSTS, {"latency_ms": limit}, counts)
        task = made.mixed(episode(), jnp.ones(()), 1.0, price)
        found = adapt(learner.inner(), start(), task, KEY, 4).learned
        share = made.relaxation.probabilities(found.params, jnp.asarray(SPACE.mask))
        return COSTS.predict(share)["latency_ms"], found

    free, found = cost(1.5, False)
    same(found, unpriced())
    assert float(cost(1.5, True)[0]) < float(free) - 0.3


def share_of(*rows):
    return jnp.asarray(np.array(rows, np.float32))


SHARE = share_of([0.1, 0.2, 0.7], [0.1, 0.6, 0.3], [0.5, 0.3, 0.2])
"""The strongest options are wide, narrow and skip, which cost 3.5 ms."""


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("limit", "expected"), [(9.0, None), (3.5, None), (3.0, [1, 1, 1])])
def test_the_most_probable_network_within_the_budget_is_kept(monkeypatch, whole, limit, expected):
    """Against a list of all 27; a space too large to list keeps its strongest options if it may."""
    made = objectives()
    every = SPACE.enumerate()
    costs = 1 + np.array([0.0, 0.5, 2.0])[every].sum(1)
    odds = np.prod(np.asarray(SHARE)[np.arange(3), every], axis=1)
    best = every[np.argmax(np.where(costs <= limit, odds, -1))]
    if expected is not None:
        assert best.tolist() != [2, 1, 0]
    target = Target("latency_ms", limit)
    field = field_of(SPACE, np.asarray(SHARE), made.budget, cost_model=COSTS, target=target)
    assert field.fits.sum() == (costs <= limit).sum()
    monkeypatch.setattr("hwnas_jax.search.meta.choice.is_whole", lambda space: whole)
    price = Price(COSTS, {"latency_ms": jnp.float32(limit)})
    found, fine = choose(SHARE, field, SPACE, made.budget, price)
    assert found.tolist() == best.tolist()
    assert bool(fine) == (expected is None)
    free = field_of(SPACE, np.asarray(SHARE), made.budget)
    assert choose(SHARE, free, SPACE, made.budget)[0].tolist() == [2, 1, 0]


def test_no_network_within_a_budget_is_named():
    with pytest.raises(UserError, match=r"none of the 27 architectures.* 0.5 of latency_ms"):
        field_of(
            SPACE, np.asarray(SHARE), objectives().budget, cost_model=COSTS,
            target=Target("latency_ms", 0.5),
        )  # fmt: skip


def test_an_episode_is_judged_as_by_hand():
    """Every figure is computed a second time from the parts, network by network."""
    made, learner = objectives(), MetaNAS(inner_steps=3, inner_arch_rate=2.0)
    begin, limit = start(), 3.0
    field = field_of(
        SPACE, np.asarray(jax.nn.softmax(begin.params)), made.budget, cost_model=COSTS,
        target=Target("latency_ms", limit),
    )  # fmt: skip
    price = Price(COSTS, {"latency_ms": jnp.float32(limit)})
    judge = Judge(made, learner, SPACE, 0.1)
    found = jax.jit(lambda key: judge(key, begin, episode(), field, price))(KEY)

    keys = jax.random.split(KEY, 4)
    mixed = made.mixed(episode(), jnp.float32(0.1), 1.0, price)
    adapted = jax.jit(lambda s: adapt(learner.inner(), s, mixed, keys[0], 3).learned)(begin)

    apply = jax.jit(made.supernet.apply)

    def strongest(learned):
        return choose(jax.nn.softmax(learned.params), field, SPACE, made.budget, price)[0]

    def accuracy(learned, architecture):
        gates = one_hot_gates(architecture, 3)  # all options run, and one counts
        outputs = apply(learned.weights, episode().query_inputs, gates)
        return float((outputs.argmax(-1) == episode().query_targets).mean())

    chosen = strongest(adapted)
    expected = {
        "mixed": float(jax.jit(lambda learned: mixed.query(learned, keys[1])[1])(adapted)),
        "adapted": accuracy(adapted, chosen),
        "cost": 1 + np.array([0.0, 0.5, 2.0])[np.asarray(chosen)].sum(),
    }

    @jax.jit
    def slope(weights, architecture):
        task = made.fixed(episode(), architecture)
        return jax.grad(lambda w: task.support(Learned(w, begin.params), KEY, ())[0])(weights)

    for name, architecture in (("anew", chosen), ("fixed", strongest(begin))):
        weights = begin.weights
        for _ in range(3):
            weights = weights - learner.inner_rate * slope(weights, architecture)
        expected[name] = accuracy(Learned(weights, begin.params), architecture)
    assert expected["cost"] <= limit
    for name, value in expected.items():
        assert float(getattr(found, name)) == pytest.approx(value, abs=1e-5), name
    assert set(expected) | {"random", "unrepaired"} == set(Judged._fields)
    assert 0 <= float(found.random) <= 1
