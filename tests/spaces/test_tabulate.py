"""The table of operations is made once for a space, by shapes alone."""

import jax
import pytest
from flax import nnx

from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.mbconv import MBConv
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core import tabulate

SMALL = {"blocks": 2, "width": 0.2, "depth": 1, "halvings": 2, "head": 40}


@pytest.fixture
def built(monkeypatch):
    """The modules that tables have built, in order."""
    modules = []

    def noted(build, **options):
        modules.append(abstract(build, **options))
        return modules[-1]

    monkeypatch.setattr(tabulate, "abstract", noted)
    return modules


def is_convolution(name):
    return name.startswith("conv ")


def test_a_space_makes_its_table_once_and_a_restricted_space_its_own(built):
    space = make_space("mnasnet", SMALL, input_shape=(8, 8, 1), num_outputs=3)
    operations, places = space.operations()
    assert len(built) == len(operations) > 10
    again, _ = space.operations()
    again.clear()
    assert space.operations() == (operations, places)
    assert len(built) == len(operations)
    part = space.restricted({"*.op": ("conv",)}).operations()[0]
    kept = {name: op for name, op in operations.items() if not is_convolution(name)}
    assert part.keys() == kept.keys() < operations.keys()
    assert {n: (op.macs, op.params) for n, op in part.items()} == {
        n: (op.macs, op.params) for n, op in kept.items()
    }
    assert space.operations() == (operations, places)


def test_what_is_only_counted_has_the_same_shapes():
    def build(rngs):
        return MBConv(
            6, 8, network_norm(), rngs, kernel=3, stride=1, expansion=3, activation="relu",
            se_features=4, residual=False,
        )  # fmt: skip

    drawn, counted = (
        jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype),
            nnx.to_pure_dict(nnx.state(abstract(build, counts_only=only), nnx.Param)),
        )
        for only in (False, True)
    )
    assert counted == drawn
    assert len(jax.tree.leaves(drawn)) > 10
