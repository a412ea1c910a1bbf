"""What is derived of a search that evaluated at several fidelities."""

import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.proposals import Proposals
from tests.search.dense import SPACE, DenseModel, images

CONFIG = override(
    Config(), search__strategy=Part("hyperband"), derive__rule=Part("most_probable"),
)  # fmt: skip
NETWORKS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [2, 2, 2]], np.int32)
SCORES = np.array([0.9, 0.8, 0.3, 0.5, 0.4], np.float32)


@pytest.mark.parametrize(
    ("fidelity", "derived"),
    [
        ([1, 1, 0, 0, 0], [3, 2]),  # the last keeps no budget
        ([2, 1, 1, 1, 0], [1, 3, 2]),
        (None, [0, 1, 3, 2]),
    ],
)
def test_networks_compete_at_the_highest_fidelity_alone(fidelity, derived):
    found = Found(
        networks=NETWORKS[None], scores=SCORES[None], excess=np.zeros((1, 5), np.float32),
        fidelity=None if fidelity is None else np.array([fidelity]),
    )  # fmt: skip
    config = override(CONFIG, budget=Part("upper_bound"))
    proposals = Proposals(SPACE, images(), DenseModel(), config, found)
    candidates = proposals.of(0, Target("latency_ms", 3.0), seed=0)
    rows = [candidate.architecture.tolist() for candidate in candidates]
    assert rows == NETWORKS[derived].tolist()
