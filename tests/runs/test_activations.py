"""What needs more memory than there is, is refused before anything is compiled."""

import jax
import numpy as np
import pytest

from hwnas_jax.compile import least_memory
from hwnas_jax.config import Config, override
from hwnas_jax.cost.measure.build import compile_all
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.activations import check_supernet
from hwnas_jax.runs.retrain import train
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces import make_space
from tests.helpers import stripes

SMALL = override(Config(), space__args={"channels": 16, "cells": 1}, parallel__devices=1)
SPACE = make_space(
    "nasbench201", {"channels": 16, "cells": 1}, input_shape=(4, 4, 1), num_outputs=3
)


@pytest.fixture
def little(monkeypatch):
    """A machine with 10 KiB of free memory, on which nothing may be compiled."""
    compiled = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            compiled.append(event)

    monkeypatch.setattr(least_memory, "free_bytes", lambda devices: 10 * 1024)
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield
    jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


def test_a_supernet(little, tmp_path):
    with pytest.raises(UserError) as caught:
        Run.create(SMALL, tmp_path / "run")
    said = str(caught.value)
    assert "the supernet of nasbench201 on 64 examples a device does not fit" in said
    assert "0 MiB are free" in said
    for option in ("search.batch_size", "search.accumulate", "search.rematerialise = true",
                   "space.args.channels", "space.args.cells"):  # fmt: skip
        assert option in said
    assert not list(tmp_path.iterdir())


def test_by_the_part_of_a_batch_that_one_device_holds_at_once(little):
    check_supernet(override(SMALL, search__batch_size=64, search__accumulate=64), SPACE)
    with pytest.raises(UserError, match="on 64 examples a device"):
        check_supernet(SMALL, SPACE)
    told = override(SMALL, search__strategy__name="random", search__evaluator=Part("training"))
    check_supernet(told, SPACE)  # it has no supernet


def test_a_network_that_is_retrained(little):
    config = override(SMALL, retrain__batch_size=32)
    with pytest.raises(UserError, match=r"retrain mine on 32 examples.*retrain\.batch_size"):
        train(lambda rngs: SPACE.network(np.full(6, 3), rngs), stripes(), config, label="mine")


def test_a_network_that_is_timed(little):
    with pytest.raises(UserError, match=r"on 512 examples a call.*profile\.batch_size"):
        compile_all(SPACE, [np.full(6, 3)], [], 512)
