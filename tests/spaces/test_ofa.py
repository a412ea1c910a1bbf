"""Once-for-All: the contract, the published networks' counts, weights shared, image sizes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space, sum_terms
from tests.helpers import initialise
from tests.spaces import contract

TINY = {
    "width": 0.1, "units": 2, "depths": "1,2", "kernels": "3,5", "expansions": "1,2",
    "resolutions": "4,8", "halvings": 1,
}  # fmt: skip


def tiny(**more):
    return make_space("ofa", {**TINY, **more}, input_shape=(8, 8, 1), num_classes=3)


def full(**args):
    return make_space("ofa", args, input_shape=(224, 224, 3), num_classes=1000)


def published(space, kernels, expansions, depths):
    """Returns the architecture of the lists in which Once-for-All's networks are published."""
    names = {}
    for unit, depth in enumerate(depths):
        names[f"unit{unit + 1}.depth"] = str(depth)
        for layer in range(4):
            name = f"unit{unit + 1}.layer{layer + 1}"
            names[f"{name}.kernel"] = str(kernels[4 * unit + layer])
            names[f"{name}.expansion"] = str(expansions[4 * unit + layer])
    return space.from_names(names)


def counts(space, architecture, table):
    operations, places = table
    standing = [
        operations[p.operation] for p in places if all(architecture[d] == o for d, o in p.when)
    ]
    return sum(o.params for o in standing), sum(o.macs for o in standing)


def test_published_networks_count_as_published(shared):
    """Parameters and products of 2,223 networks, as measured by others, to the last one."""
    found = np.load(shared / "ofa_accuracy_dynast.npz")
    space = full()
    table = space.operations()
    rows = np.random.default_rng(0).choice(len(found["d"]), 300, replace=False)
    for row in [*rows, found["params"].argmax(), found["macs"].argmin()]:
        network = published(space, found["ks"][row], found["e"][row], found["d"][row])
        assert counts(space, network, table) == (found["params"][row], found["macs"][row])


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


@pytest.mark.slow
def test_supernet_is_the_network():
    contract.check_supernet_equals_network(tiny(), count=50)
