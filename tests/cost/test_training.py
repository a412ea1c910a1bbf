import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.cost.models.additive import Features
from hwnas_jax.cost.models.training import ranking_loss, relaxed_pool
from tests.cost.toy import CuttableSpace


@pytest.mark.parametrize("turn", [1, 3])
def test_the_ranking_loss_is_the_mean_cross_entropy_of_pairs(turn):
    rng = np.random.default_rng(0)
    logs, target = rng.normal(0, 0.1, (2, 7, 2))
    total = 0.0
    for i in range(7):
        j = (i - turn) % 7
        for q in range(2):
            chance = 1 / (1 + np.exp(-(logs[i, q] - logs[j, q]) / 0.05))
            certain = 1 / (1 + np.exp(-(target[i, q] - target[j, q]) / 0.05))
            total -= certain * np.log(chance) + (1 - certain) * np.log(1 - chance)
    found = ranking_loss(jnp.asarray(logs), jnp.asarray(target), jnp.int32(turn))
    assert float(found) == pytest.approx(total / 14, rel=1e-5)


def test_ranking_is_least_at_the_truth_and_blind_to_the_level():
    target = jnp.asarray(np.random.default_rng(1).normal(0, 0.2, (9, 1)), jnp.float32)
    gradient = jax.grad(ranking_loss)
    np.testing.assert_allclose(gradient(target + 3, target, 2), 0, atol=1e-5)
    assert np.abs(gradient(1.5 * target, target, 2)).max() > 1e-2


def test_the_pool_holds_draws_from_its_gates():
    features = Features(CuttableSpace())
    soft, hard = map(np.asarray, relaxed_pool(features, seed=0))
    assert soft.shape[0] == hard.shape[0]
    assert np.isin(hard, (0, 1)).all()
    # Over thousands of gates the means of draws scatter around the expectations without bias.
    error = hard.mean(axis=1) - soft
    allowed = 4 * error.std(axis=0) / np.sqrt(len(soft)) + 1e-6
    assert (np.abs(error.mean(axis=0)) <= allowed).all()
    sharpness = soft[:, :15].reshape(-1, 5, 3).max(axis=2).mean(axis=1)
    assert sharpness.min() < 0.5 and sharpness.max() > 0.98
