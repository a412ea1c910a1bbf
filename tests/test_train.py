"""Training in micro-batches and in bfloat16."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import Config, override
from hwnas_jax.data import Dataset
from hwnas_jax.errors import UserError
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.train import train


def images():
    rng = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int32) % 3
    pictures = rng.integers(0, 80, (96, 4, 4, 1)) + 60 * labels[:, None, None, None]
    return Dataset(
        name="stripes", train_images=pictures.astype(np.uint8), train_labels=labels,
        test_images=pictures[:30].astype(np.uint8), test_labels=labels[:30],
        class_names=("a", "b", "c"),
    )  # fmt: skip


class Network(nnx.Module):
    """Records the type that its convolution computes in."""

    seen: ClassVar[list] = []

    def __init__(self, rngs):
        norm = network_norm()
        self.conv = ops.Conv(1, 4, 3, rngs)
        self.head = ops.Head(4, 3, norm, rngs)

    def __call__(self, x):
        x = self.conv(x)
        self.seen.append(x.dtype)
        return self.head(x)


def trained(**changes):
    config = override(
        Config(), data__shift=0, retrain__epochs=6, retrain__batch_size=16,
        retrain__learning_rate=0.05, retrain__steps_per_dispatch=10,
        **{"parallel__devices": 1, **changes},
    )  # fmt: skip
    Network.seen.clear()
    done = train(Network, images(), config)
    return done, [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(done.network))]


def test_micro_batches_are_to_a_step_what_replicas_are():
    """The same slices of the same batch, each with its own statistics, averaged."""
    _, one_after_another = trained(retrain__accumulate=2)
    _, side_by_side = trained(parallel__devices=2)
    for leaf, other in zip(one_after_another, side_by_side, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-4)
    _, whole = trained()
    assert any(
        not np.allclose(leaf, other, rtol=1e-3, atol=1e-4)
        for leaf, other in zip(one_after_another, whole, strict=True)
    )


def test_bfloat16_computes_in_bfloat16_and_leaves_a_float32_network():
    done, leaves = trained(retrain__dtype="bfloat16")
    assert Network.seen[0] == jnp.bfloat16
    assert all(leaf.dtype == np.float32 for leaf in leaves)
    assert done.test_accuracy > 0.9
    assert any((leaf.astype(jnp.bfloat16).astype(np.float32) != leaf).any() for leaf in leaves)


def test_what_cannot_be_is_named():
    with pytest.raises(UserError, match=r"retrain.dtype 'float16': allowed are float32, bfloat16"):
        trained(retrain__dtype="float16")
    with pytest.raises(UserError, match=r"batch_size = 16 .* times 3 micro-batches; .* is 15"):
        trained(retrain__accumulate=3)
