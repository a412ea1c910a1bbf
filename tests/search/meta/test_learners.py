"""Meta-learners: their contract, their directions, and what they learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.search.meta import META_LEARNERS, TNAS, Learned, MetaNAS, adapt, check_learner
from hwnas_jax.search.meta.base import MetaTask, side_by_side
from hwnas_jax.search.meta.training import Schedule, make_meta_training
from tests.search.meta.toy import smooth_task

KEY = jax.random.key(3)


def learned(dtype=np.float32, seed=1):
    rng = np.random.default_rng(seed)
    return Learned(jnp.asarray(rng.normal(size=3), dtype), jnp.asarray(rng.normal(size=2), dtype))


def by_hand(task, begin, learner):
    """Takes the inner steps one by one, as a person would write them down."""
    for _ in range(learner.inner_steps):
        slopes = jax.grad(lambda now: task.support(now, None, 0.0)[0])(begin)
        begin = Learned(
            begin.weights - learner.inner_rate * slopes.weights,
            begin.params - learner.inner_arch_rate * slopes.params,
        )
    return begin


@pytest.mark.parametrize("name", META_LEARNERS)
def test_every_learner_keeps_the_contract_and_learns(name):
    """On tasks around one centre the loss after adaptation falls; no option is ignored."""
    options = {"inner_rate": 0.05, "inner_arch_rate": 0.05, "outer_rate": 0.1}
    learner = META_LEARNERS.make(Part(name, options))
    check_learner(learner)

    def task_of(key, data, temperature, progress):
        aim = data + 0.1 * jax.random.normal(key, (3,))

        def loss(now):
            return ((now.weights - aim) ** 2).sum() + (now.params**2).sum()

        return MetaTask(lambda now, key, m: (loss(now), m), lambda now, key: (loss(now), loss(now)))

    schedule = Schedule(60, 0, 4, within="batch")
    training = make_meta_training(learner, task_of, schedule)
    state = training.init(KEY, learned())
    step, losses = jax.jit(training.step), []
    for _ in range(60):
        state, info = step(state, jnp.array([1.0, -2.0, 0.5]))
        losses.append(float(info.query_loss))
    assert np.mean(losses[-5:]) < 0.25 * np.mean(losses[:5])
    assert int(state.step) == 60


def test_gradient_of_tnas_is_that_of_finite_differences():
    learner = TNAS(inner_steps=3, inner_rate=0.1, inner_arch_rate=0.7)
    with jax.enable_x64(True):
        task, begin = smooth_task(), learned(np.float64)

        @jax.jit
        def judged(now):
            return task.query(by_hand(task, now, learner), None)[1]

        found = jax.jit(lambda now: learner.pull(KEY, now, task, 1.0))(begin)
        assert float(found.query_loss) == pytest.approx(float(judged(begin)), rel=1e-12)
        for part in Learned._fields:
            for place in range(len(getattr(begin, part))):
                moved = np.zeros(len(getattr(begin, part)))
                moved[place] = 1e-5
                high, low = (
                    float(judged(begin._replace(**{part: getattr(begin, part) + sign * moved})))
                    for sign in (1, -1)
                )
                slope = float(getattr(found.gradient, part)[place])
                assert slope == pytest.approx((high - low) / 2e-5, rel=1e-6, abs=1e-9)


def test_second_derivatives_matter_to_it():
    """Without them the gradient is that of the query at the adapted variables."""
    learner, task = TNAS(inner_steps=3, inner_arch_rate=0.7), smooth_task()
    found = jax.jit(lambda now: learner.pull(KEY, now, task))(learned())

    @jax.jit
    def without(now):
        return jax.grad(lambda end: task.query(end, None)[0])(by_hand(task, now, learner))

    first_order = without(learned())
    assert float(jnp.abs(found.gradient.weights - first_order.weights).max()) > 0.01


def test_metanas_pulls_to_where_the_inner_steps_end():
    learner, task, begin = MetaNAS(inner_steps=4, inner_arch_rate=0.3), smooth_task(), learned()
    found = jax.jit(lambda now: learner.pull(KEY, now, task))(begin)
    ended = jax.jit(lambda now: by_hand(task, now, learner))(begin)
    for part in Learned._fields:
        back = getattr(begin, part) - getattr(ended, part)
        np.testing.assert_allclose(getattr(found.gradient, part), back, rtol=1e-4, atol=1e-6)
    # A full outer step of one task ends where the task ended.
    optimizer = learner.outer(10)
    updates, _ = optimizer.update(found.gradient, optimizer.init(begin), begin)
    np.testing.assert_allclose(
        optax.apply_updates(begin, updates).weights, ended.weights, rtol=1e-4, atol=1e-6
    )


def test_an_adaptation_carries_its_memory_and_may_leave_the_architecture():
    task, learner = smooth_task(), MetaNAS(inner_steps=4)
    for inner, freedom in ((learner.inner(weights_only=True), 1.0), (learner.inner(), 0.0)):
        found = adapt(inner, learned(), task, KEY, 4, freedom)
        np.testing.assert_array_equal(found.learned.params, learned().params)
        assert (np.asarray(found.learned.weights) != np.asarray(learned().weights)).all()
        assert float(found.memory) == 4 and found.losses.shape == (4,)
        assert float(found.losses[-1]) < float(found.losses[0])


def test_the_architecture_rests_in_the_warm_up():
    training = make_meta_training(
        MetaNAS(inner_steps=2), lambda *_: smooth_task(), Schedule(4, 2, 2, within="map")
    )
    state, seen = training.init(KEY, learned()), []
    step = jax.jit(training.step)
    for _ in range(4):
        state, info = step(state, None)
        seen.append((np.asarray(state.learned.params), float(info.temperature)))
    np.testing.assert_array_equal(seen[1][0], learned().params)
    assert (seen[2][0] != seen[1][0]).all()
    np.testing.assert_allclose([hot for _, hot in seen], [1.0, 1.0, 1.0, 0.1], atol=1e-6)


def test_reptile_on_the_sinusoid():
    """Sines of any height and phase, ten points of each: 32 steps fit them after the learning.

    The task and the network are those of Finn et al. 2017 and Nichol et al. 2018 at half the width.
    Before the learning 32 steps leave most of the error, and after it the first few steps take
    most of it away.
    """
    learner = MetaNAS(inner_steps=10, inner_rate=0.02, outer_rate=1.0)
    sizes = (1, 32, 32, 1)

    def network(weights, x):
        for number, (matrix, bias) in enumerate(weights):
            x = x @ matrix + bias
            x = jnp.tanh(x) if number < len(weights) - 1 else x
        return x

    def task_of(key, data, temperature, progress):
        height_key, phase_key, x_key = jax.random.split(key, 3)
        height = jax.random.uniform(height_key, (), minval=0.1, maxval=5.0)
        phase = jax.random.uniform(phase_key, (), maxval=2 * jnp.pi)
        points = jax.random.uniform(x_key, (10, 1), minval=-5.0, maxval=5.0)
        every = jnp.linspace(-5.0, 5.0, 50)[:, None]

        def error(now, x):
            return ((network(now.weights, x) - height * jnp.sin(x + phase)) ** 2).mean()

        def query(now, key):
            return error(now, every), error(now, every)

        return MetaTask(lambda now, key, memory: (error(now, points), memory), query)

    def curve(now):
        """Returns the mean error on 50 new sines after 0, 1, ... 32 steps."""

        def of_task(key):
            task = task_of(key, None, None, None)

            def one(here, _):
                slopes = jax.grad(lambda at: task.support(at, None, ())[0])(here)
                moved = jax.tree.map(lambda a, b: a - 0.02 * b, here, slopes)
                return moved, task.query(here, None)[0]

            return jax.lax.scan(one, now, length=33)[1]

        return jax.vmap(of_task)(jax.random.split(jax.random.key(99), 50)).mean(0)

    keys = jax.random.split(KEY, 3)
    weights = tuple(
        (jax.random.normal(key, (a, b)) / np.sqrt(a), jnp.zeros(b))
        for key, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    )
    steps = 1000
    training = make_meta_training(learner, task_of, Schedule(steps, 0, 8, within="batch"))
    begin = training.init(KEY, Learned(weights, jnp.zeros(1)))
    ended, _ = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: training.step(s, None), state, length=steps)
    )(begin)
    before, after = (np.asarray(jax.jit(curve)(state.learned)) for state in (begin, ended))
    assert before[32] > 0.3 * before[0]
    assert after[32] < 0.25 * before[32]
    assert after[5] < before[32]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="Did you mean 'metanas'"):
        META_LEARNERS.make(Part("metanass"))
    with pytest.raises(UserError, match="inner_rate = -1"):
        META_LEARNERS.make(Part("tnas", {"inner_rate": -1.0}))

    @dataclasses.dataclass(frozen=True)
    class Wrong(MetaNAS):
        name = "wrong"

        def pull(self, key, start, task, freedom=1.0):
            return super().pull(key, start, task, freedom)._replace(query_loss=jnp.zeros(3))

    with pytest.raises(UserError, match=r"query_loss must be float32\[\], got float32\[3\]"):
        check_learner(Wrong())

    class Growing(MetaNAS):
        def outer(self, steps):
            grow = optax.GradientTransformation(
                lambda now: jnp.zeros(1), lambda slopes, state, now=None: (slopes, jnp.zeros(2))
            )
            return side_by_side(grow, grow)

    with pytest.raises(UserError, match="outer must keep the shapes"):
        check_learner(Growing())
