"""What the step hands an estimator that looks through the weights' answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.search.steps import (
    KEY,
    LIMITS,
    MASK,
    arch_gradient,
    arch_step,
    batches,
    make,
    slopes_of,
    start,
)
from tests.tiny import TinyCost

DIRECTION = np.random.default_rng(3).normal(size=MASK.shape).astype(np.float32)


@pytest.fixture
def smooth(monkeypatch):
    """Slopes of a network without kinks, where differences are those of one smooth piece."""
    monkeypatch.setattr(jax.nn, "relu", jax.nn.silu)
    return slopes_of("softmax")


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.5), ("adamw", 0.05)])
def test_second_order_is_the_difference_quotient_through_the_weight_step(smooth, optimizer, rate):
    """The weights step by the optimiser itself: clipped, decayed, with momentum."""
    data = batches()
    search = make(
        search__estimator__name="second_order", search__weights__optimizer=optimizer,
        search__weights__learning_rate=rate, search__weights__clip_norm=0.2,
        search__weights__decay=0.1,
    )  # fmt: skip
    weight_step = jax.jit(functools.partial(search.weight_step, axis_name=None))
    begun = search.init(KEY, LIMITS)
    state = begun._replace(weights=start().weights, params=start().params)
    if optimizer == "adamw":
        # Its first step is the gradient's sign, which does not answer the architecture.
        for shift in range(1, 4):
            other = data["weight"]._replace(targets=(data["weight"].targets + shift) % 3)
            state, _ = weight_step(state, {**data, "weight": other}, KEY, 1.0)
    after, (loss, *_) = arch_step(search, state, data)

    def unrolled(params):
        ahead, _ = weight_step(state._replace(params=params), data, KEY, 1.0)
        return float(smooth(ahead.weights, params, data["arch"], KEY)[0])

    assert float(loss) == pytest.approx(unrolled(state.params), rel=1e-5)
    # Half along the gradient itself, where differences are large beside the rounding of the loss,
    # half along a direction that does not know it.
    found = arch_gradient(after)
    direction = found / np.linalg.norm(found) + DIRECTION / np.linalg.norm(DIRECTION)
    ends = [unrolled(state.params + sign * 0.03 * direction) for sign in (1, -1)]
    assert (found * direction).sum() == pytest.approx((ends[0] - ends[1]) / 0.06, rel=2e-3)
    ahead, (_, _, norm) = weight_step(state, data, KEY, 1.0)
    assert float(norm) > 0.2
    _, (_, direct) = smooth(ahead.weights, state.params, data["arch"], KEY)
    # The way through the weight step matters, or this test would tell nothing.
    assert np.linalg.norm(found - direct) > 0.05 * np.linalg.norm(direct)
    assert np.array_equal(after.weights, state.weights)


def test_the_implicit_series_goes_by_the_learning_rate_of_the_step():
    """Halfway through a cosine from 0.2 to 0.001, and at its start."""

    def gradient_of(steps, **args):
        search = make(
            search__estimator__name="implicit", search__estimator__args=args,
            search__weights__learning_rate=0.2,
        )  # fmt: skip
        half = functools.partial(search.arch_step, axis_name=None, cost_model=TinyCost())
        run = jax.jit(lambda state: half(state, batches(), KEY, 1.0)[0])
        return [arch_gradient(run(start()._replace(step=jnp.int32(at)))) for at in steps]

    halfway = 0.001 + (0.2 - 0.001) * 0.5 * (1 + np.cos(np.pi * 5 / 10))
    by_default, at_the_start = gradient_of((5, 0))
    (by_hand,) = gradient_of((5,), inner_step_size=float(halfway))
    np.testing.assert_allclose(by_default, by_hand, rtol=1e-3, atol=1e-6)
    assert np.abs(by_default - at_the_start).max() > 1e-3 * np.abs(by_default).max()
