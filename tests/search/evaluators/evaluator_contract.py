"""What every evaluator must keep, whatever it judges by."""

import jax
import numpy as np

from hwnas_jax.search.evaluators import Bench, Evaluator, check_evaluator

# More bytes than any constant that a program needs besides its data.
CONSTANT_BYTES = 512


def check_contract(evaluator: Evaluator, bench: Bench, *, rtol: float = 1e-4) -> None:
    """Raises UserError or AssertionError, with words, when an evaluator breaks its contract."""
    arrays = check_evaluator(evaluator, bench)
    rng, key = np.random.default_rng(0), jax.random.key(0)
    first, second = bench.space.random(rng, 3), bench.space.random(rng, 3)

    def evaluate(arrays, architectures, key):
        return evaluator.evaluate(bench, arrays, architectures, key)

    closed = jax.make_jaxpr(evaluate)(arrays, first, key)
    held = sum(getattr(constant, "nbytes", 0) for constant in closed.consts)
    assert held <= CONSTANT_BYTES, f"holds {held} bytes of arrays as constants of the program"

    run = jax.jit(evaluate)
    one, other = run(arrays, first, key), run(arrays, second, key)
    metric = evaluator.score(bench).metric
    assert np.isfinite(one[metric]).all(), "gives a member of the space no score"
    again = run(arrays, first, key)
    for name, values in again.items():
        assert np.array_equal(one[name], values), "gives two results for one key"
    # Each architecture is judged on its own: company and place change nothing.
    mixed = run(arrays, np.stack([second[1], first[2], first[0]]), key)
    for name, values in mixed.items():
        expected = np.array([other[name][1], one[name][2], one[name][0]])
        np.testing.assert_allclose(
            values, expected, rtol=rtol, atol=1e-6,
            err_msg="judges an architecture by those beside it",
        )  # fmt: skip
    assert run._cache_size() == 1, "is compiled anew for other architectures"
