"""A search that learns from other data than those its networks are trained on."""

import numpy as np
import pytest

from hwnas_jax.config import Config, DataConfig, override
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs import network_stages
from hwnas_jax.runs import run as run_module
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.run import Run

CONFIG = override(
    Config(), space__args={"channels": 2, "cells": 1}, data__name="digits",
    search__data__name="rotation", search__data__args={"repeats": 2}, target__metric="macs",
    cost__model=Part("analytic"), search__strategy=Part("evolution"),
    derive__rule=Part("most_probable"), derive__controls=(), derive__confirm=0,
    parallel__devices=1,
)  # fmt: skip


class Seen(Exception):
    """Holds what a function was called with."""


def test_the_search_learns_from_its_own_data_and_networks_are_trained_on_the_real_ones(
    tmp_path, monkeypatch
):
    def searched(space, dataset, cost_model, members, config, **_):
        given.append((space, dataset, config, cost_model))
        networks = np.random.default_rng(0).integers(0, 5, (1, 30, 6)).astype(np.int32)
        return Found(networks=networks, scores=np.zeros((1, 30)), excess=np.zeros((1, 30)))

    def trained(build, dataset, config, **_):
        raise Seen(build, dataset, config)

    given = []
    monkeypatch.setattr(run_module, "run_searches", searched)
    monkeypatch.setattr(network_stages, "train", trained)
    run = Run.create(CONFIG, tmp_path / "run")
    run.all(until="derive")
    space, dataset, config, _ = given[0]
    assert (space.num_outputs, dataset.name, config.data.name) == (4, "rotation", "rotation")
    assert config.search.data == DataConfig()
    assert len(dataset.train_inputs) == 2 * len(run.dataset.train_inputs)
    task = run.read("targets")["task"]
    assert len(task["outputs"]) == 10 and task["test_examples"] == len(run.dataset.test_inputs)
    assert run.proposals._space.num_outputs == 4
    with pytest.raises(Seen) as seen:
        run.retrain()
    build, dataset, config = seen.value.args
    assert (dataset.name, config.data.name) == ("digits", "digits")
    assert build.func.__self__.num_outputs == 10
    assert Run.open(tmp_path / "run").for_search.dataset.name == "rotation"


def test_without_data_of_its_own_a_search_is_given_what_the_run_has(tmp_path):
    run = Run(tmp_path, override(CONFIG, search__data=DataConfig()), Silent())
    given = run.for_search
    assert (given.space, given.dataset, given.task) == (run.space, run.dataset, run.task)
    assert given.config is run.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search__data__args": {"grid": 2}}, "unknown option of the data set rotation 'grid'"),
        ({"search__data__name": "noise", "search__data__args": {"width": 9}},
         r"search.data: .*\(8, 9, 1\), those of digits have \(8, 8, 1\)"),
        ({"search__data__name": None, "search__data__args": {}, "search__data__path": "nowhere"},
         "data.path = 'nowhere': there is no such file or folder"),
        ({"search__data__name": "noise", "search__data__args": {"examples": 60}},
         "search.batch_size = 64 is more than the 24 in half of 48 train examples"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_before_the_first_stage(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        Run.create(override(CONFIG, **changes), tmp_path / "never")
    assert not (tmp_path / "never").exists()
