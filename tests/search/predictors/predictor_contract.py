"""What every predictor must keep, whatever it does inside."""

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.search.predictors import Predictor, check_predictor

ROWS, ASKED, FEATURES = 40, 30, 8
_RNG = np.random.default_rng(0)
EVERY = (_RNG.uniform(size=(ROWS + ASKED, FEATURES)) < 0.5).astype(np.float32)
EFFECTS = _RNG.normal(size=FEATURES).astype(np.float32)
SCORES = EVERY @ EFFECTS + 0.1 * _RNG.normal(size=len(EVERY)).astype(np.float32)
KNOWN = np.arange(ROWS) % 7 != 3


def check_contract(predictor: Predictor) -> None:
    """Raises UserError or AssertionError, with words, when a predictor breaks its contract."""
    check_predictor(predictor)

    @jax.jit
    def run(key, features, targets):
        fitted = predictor.fit(key, features, targets, KNOWN)
        return predictor.predict(fitted, EVERY[ROWS:])

    key, features, targets = jax.random.key(1), EVERY[:ROWS], SCORES[:ROWS]
    mean, std = run(key, features, targets)
    assert np.corrcoef(mean, SCORES[ROWS:])[0, 1] > 0.8, "does not learn a sum"
    assert (std > 0).all(), "is sure of what it never saw"

    for filling in (np.nan, 1e3):
        other = (
            np.where(KNOWN[:, None], features, np.float32(filling)),
            np.where(KNOWN, targets, np.float32(filling)),
        )
        np.testing.assert_array_equal(run(key, *other)[0], mean, "reads rows that are not known")
    found = run(key, features, 8.0 * targets + 64.0)
    np.testing.assert_allclose(found[0], 8 * mean + 64, atol=0.3, err_msg="depends on the scale")
    np.testing.assert_allclose(found[1], 8 * std, rtol=0.1, atol=0.05)
    two = jax.jit(jax.vmap(run, (0, None, None)))(jnp.stack([key, key]), features, targets)
    np.testing.assert_allclose(two[0], np.stack([mean] * 2), atol=0.05, err_msg="not under vmap")

    same = run(key, features, np.full_like(targets, 3.0))
    np.testing.assert_allclose(same[0], 3.0, atol=0.2, err_msg="equal targets are not learned")
    assert np.isfinite(same[1]).all(), "equal targets give no deviation"
