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

    def evaluate(arrays, architectures, fidelity, key):
        return evaluator.evaluate(bench, arrays, architectures, fidelity, key)

    highest = np.int32(0)
    closed = jax.make_jaxpr(evaluate)(arrays, first, highest, key)
    held = sum(getattr(constant, "nbytes", 0) for constant in closed.consts)
    assert held <= CONSTANT_BYTES, f"holds {held} bytes of arrays as constants of the program"

    run = jax.jit(evaluate)
    one, other = run(arrays, first, highest, key), run(arrays, second, highest, key)
    metric = evaluator.score(bench).metric
    assert np.isfinite(one[metric]).all(), "gives a member of the space no score"
    again = run(arrays, first, highest, key)
    for name, values in again.items():
        assert np.array_equal(one[name], values), "gives two results for one key"
    # Each architecture is judged on its own: company and place change nothing.
    mixed = run(arrays, np.stack([second[1], first[2], first[0]]), highest, key)
    for name, values in mixed.items():
        expected = np.array([other[name][1], one[name][2], one[name][0]])
        np.testing.assert_allclose(
            values, expected, rtol=rtol, atol=1e-6,
            err_msg="judges an architecture by those beside it",
        )  # fmt: skip
    for fidelity in range(len(evaluator.fidelities(bench))):
        lower = run(arrays, first, np.int32(fidelity), key)
        assert np.isfinite(lower[metric]).all(), "gives no score at a lower fidelity"
    assert run._cache_size() == 1, "is compiled anew for other architectures"
