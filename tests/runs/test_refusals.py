"""What is refused before anything is compiled, with what is allowed, and no run folder left."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel, save_measurements
from hwnas_jax.data import load_data
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.registry import Part
from hwnas_jax.runs.checks import one_device_each
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.wanted import Wanted
from hwnas_jax.spaces import make_space
from tests.cost.toy import synthetic

SMALL = override(Config(), space__args={"channels": 2, "cells": 1}, parallel__devices=1)


@pytest.fixture
def compiled():
    """The programs that are compiled while a test runs."""
    events = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def refused(folder, config, **options):
    """Returns what is said; the run must leave nothing behind."""
    with pytest.raises(UserError) as caught:
        Run.create(config, folder / "new", **options)
    assert not list(folder.iterdir())
    return str(caught.value)


def strategy(name="random", **changes):
    return {"search__strategy__name": name, **changes}


METHODS = [
    # A relaxation that the space cannot use.
    (
        {"space__name": "ofa", "space__args": {"halvings": 1},
         "search__relaxation__name": "fair_darts"},
        ("fair_darts may choose several options", "the space ofa cannot", "sampled_path"),
    ),
    (
        {"space__name": "single_path", "space__args": {"thresholds": True, "halvings": 1},
         "search__relaxation__name": "gaea"},
        ("the space single_path scores its options", "gaea has none", "softmax"),
    ),
    # Methods that do not go together.
    (
        {"search__estimator__name": "implicit", "search__weights__optimizer": "adamw"},
        ("'implicit' does not go with search.weights.optimizer = 'adamw'", "second_order"),
    ),
    (
        {"search__paths": "own", "parallel__sync_batch_statistics": True},
        ("search.paths = 'own' does not go with", "sampled_path"),
    ),
    (
        {"search__paths": "own", "parallel__sync_batch_statistics": True,
         "search__relaxation__name": "softmax", "search__estimator__name": "reinforce"},
        ("search.paths = 'own' does not go with", "search.estimator = 'reinforce'"),
    ),
    (
        strategy(derive__rule__name="perturbation"),
        ("derive.rule = 'perturbation'", "search.strategy = 'random'", "most_probable"),
    ),
    (
        strategy(target__measurements=3),
        ("target.measurements goes with search.strategy = 'gradient' alone", "'random'"),
    ),
    (
        strategy(search__evaluator=Part("table", {"path": "nowhere.npz"})),
        ("nowhere.npz",),
    ),
    (
        strategy("hyperband"),
        ("the strategy hyperband evaluates at 2 fidelities", "evaluator supernet has 1"),
    ),
    (
        {"search__strategy__args": {"population": 3}},
        ("'gradient' has no options of its own, got population", "search.relaxation"),
    ),
    # A budget on what the cost model does not predict.
    ({"target__metric": "energy_mj"}, ("metric of the cost model 'energy_mj'", "latency_ms")),
    ({"target__limits": {"parms": 1e4}}, ("metric of the cost model 'parms'", "'params'?")),
    (
        {"cost__model__name": "table", "profile__energy": True, "target__metric": "energy_mj"},
        ("metric of the cost model 'energy_mj': allowed are latency_ms, macs, flops, params",),
    ),
    # A task that does not fit the targets.
    (
        {"data__name": "gratings", "task__name": "multi_label"},
        ("multi_label", "gratings is made for task.name = 'regression'"),
    ),
    ({"task__name": "regression"}, ("regression", "made for task.name = 'classification'")),
    # Names.
    (strategy("evolutoin"), ("strategy 'evolutoin'", "Did you mean 'evolution'?")),
    (strategy(search__evaluator__name="supernte"), ("evaluator 'supernte'", "'supernet'?")),
    ({"budget__name": "upper"}, ("budget 'upper'", "upper_bound")),
    ({"derive__rule__name": "best"}, ("derivation 'best'", "best_by_supernet")),
    ({"derive__controls": ("most_mac",)}, ("derive.controls 'most_mac'", "'most_macs'?")),
    ({"derive__controls": ("random", "random")}, ("names 'random' more than once",)),
    (strategy(derive__controls=("no_search",)), ("no_search derives from", "has none")),
    ({"derive__rule__args": {"training": 4}}, ("option of the derivation", "'trainings'?")),
    ({"cost__model__name": "gausian"}, ("cost model 'gausian'", "'gaussian'?")),
    ({"data__name": "digitz"}, ("digitz",)),
    ({"profile__runtime": "systolic"}, ("profile.runtime = 'systolic' does not go with",)),
    # What fits no machine, batch or schedule.
    ({"search__batch_size": 63, "parallel__devices": 8}, ("search.batch_size = 63", "is 64")),
    ({"search__draws": 3}, ("search.batch_size = 64 does not divide by 1 devices times 3", "63")),
    (
        {"search__fair": True, "search__draws": 4},
        ("search.fair runs each of the 5 options", "search.draws = 4 must be 5 or a multiple"),
    ),
    (
        {"search__elastic__networks": 4},
        ("search.elastic.networks", "the space nasbench201 are not", "autoformer", "channels"),
    ),
    ({"search__batch_size": 4096}, ("search.batch_size = 4096 is more than the",)),
    ({"retrain__batch_size": 4096}, ("retrain.batch_size = 4096 is more than the",)),
    (
        {"target__measurements": 3, "target__measure_every": 900},
        ("measure_every = 900 leaves no time",),
    ),
    ({"cost__model__args": {"steps": 3}}, ("option of the cost model gaussian 'steps'",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "parts"), METHODS, ids=["-".join(map(str, parts))[:50] for _, parts in METHODS]
)
def test_mistakes(tmp_path, compiled, changes, parts):
    said = refused(tmp_path, override(SMALL, **changes))
    assert not compiled
    for part in parts:
        assert part in said


def test_a_storage_that_cannot_be_used_is_refused(tmp_path, compiled):
    pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    changes = strategy("optuna_tpe", search__strategy__args={"storage": "nowhere/shared.log"})
    said = refused(tmp_path, override(SMALL, **changes))
    assert "storage = 'nowhere/shared.log'" in said and "a folder that exists" in said
    assert not compiled


def test_what_can_be_counted_is_what_the_analytic_model_predicts(tmp_path):
    changes = {"cost__model__name": "analytic", "target__metric": "macs"}
    said = refused(tmp_path, override(SMALL, **changes, target__limits={"parms": 1e4}))
    assert "metric of the cost model 'parms'" in said and "Did you mean 'params'?" in said
    run = Run.create(override(SMALL, **changes, target__limits={"params": 1e4}), tmp_path / "run")
    assert run.folder.is_dir()


def test_good_methods_are_not_refused(tmp_path, compiled):
    """The same configs without their mistakes."""
    for number, changes in enumerate(
        (
            {"search__relaxation__name": "fair_darts"},
            {"search__estimator__name": "implicit"},
            strategy("evolution"),
            strategy(search__evaluator__name="training"),
            strategy(derive__rule__name="halving"),
            {"search__fair": True, "search__draws": 5, "search__batch_size": 60},
            {
                "search__elastic__networks": 4,
                "search__warmup_steps": SMALL.search.steps,
                "space__name": "channels",
                "space__args": {"width": 0.1, "depth": 1, "halvings": 1},
            },
            {"derive__rule__name": "perturbation"},
            {"data__name": "gratings"},
            {"profile__energy": True, "target__metric": "energy_mj"},
        )
    ):
        assert Run.create(override(SMALL, **changes), tmp_path / str(number)).folder.is_dir()
    assert not compiled


def test_a_sweep_of_weights_that_know_no_budget_is_refused():
    steps = SMALL.search.steps
    with pytest.raises(UserError, match=f"warmup_steps = {steps}, as many .* know no budget"):
        one_device_each(override(SMALL, search__elastic__networks=3, search__warmup_steps=steps))


def space_of(config):
    data = load_data(config.data)
    return make_space(
        config.space.name, config.space.args,
        input_shape=data.input_shape, num_outputs=data.num_outputs,
    )  # fmt: skip


def test_a_task_is_that_of_the_data_unless_another_is_named(tmp_path):
    run = Run.create(override(SMALL, data__name="gratings"), tmp_path / "run")
    assert Run.open(tmp_path / "run").task.name == run.task.name == "regression"


def test_a_target_out_of_reach_and_searches_that_are_one(tmp_path):
    model = tmp_path.parent / f"{tmp_path.name}.npz"
    AnalyticModel.count(space_of(SMALL)).save(model, space_of(SMALL))
    config = override(SMALL, cost__model__name="analytic", target__metric="macs")
    said = refused(tmp_path, override(config, target__value=1.0), cost_model=model)
    assert "target 1 macs is out of reach" in said and "median" in said
    said = refused(tmp_path, override(SMALL, target__metric="latency_ms"), cost_model=model)
    assert "metric of the cost model 'latency_ms': allowed are macs, flops, params" in said
    wanted = Wanted(percentiles=(50.0, 50.0000001))
    said = refused(tmp_path, config, cost_model=model, wanted=wanted)
    assert "distinct searches" in said


def test_limits_that_no_network_keeps_together_are_refused_before_the_search(tmp_path):
    """Many operations and few parameters: each limit by itself is within reach."""
    counted = override(SMALL, cost__model__name="analytic", target__metric="macs")
    run = Run.create(
        override(counted, target__percentile=90.0, target__limits={"params": 1e6}),
        tmp_path / "kept",
    )  # fmt: skip
    assert dict(run.target.others) == {"params": 1e6}
    shutil.rmtree(run.folder)
    bare = AnalyticModel.count(space_of(SMALL)).predict(np.eye(5, dtype=np.float32)[[0] * 6])
    few = {"params": float(bare["params"]) - 1}
    said = refused(tmp_path, override(counted, target__limits=few))
    assert "no architecture is predicted to meet" in said and "params" in said


def test_a_sweep_keeps_its_data_on_the_devices(tmp_path):
    config = override(SMALL, data__resident=False)
    said = refused(tmp_path, config, wanted=Wanted(percentiles=(50.0,)))
    assert "data.resident = False" in said


def test_files_of_another_space_are_refused_and_those_of_another_device_noted(tmp_path):
    space = space_of(SMALL)
    measured = synthetic(space, space.random(np.random.default_rng(0), 12))
    path = tmp_path.parent / f"{tmp_path.name}.json"
    save_measurements(dataclasses.replace(measured, operations={}), path)
    said = refused(tmp_path, override(SMALL, space__args={"channels": 3}), measurements=path)
    assert "belong to the space" in said
    run = Run.create(SMALL, tmp_path / "elsewhere", measurements=path)
    assert "profile.batch_size = 64" in read_json(run.folder / "device.json", "file")["reason"]
    shutil.rmtree(run.folder)
    payload = json.loads(path.read_text())
    path.write_text(json.dumps({**payload, "source": "simulated"}))
    said = refused(tmp_path, SMALL, measurements=path)
    assert "does not say its" in said and "--derive.confirm 0" in said
    run = Run.create(override(SMALL, derive__confirm=0), tmp_path / "new", measurements=path)
    assert run.finished("profile")


def test_a_job_of_several_processes_is_for_the_gradient_search(tmp_path):
    changes = {"coordinator": "h:1", "processes": 2, "process": 0}
    changes = {f"parallel__{key}": value for key, value in changes.items()}
    said = refused(tmp_path, override(SMALL, **strategy(), **changes))
    assert "a job of several processes goes with search.strategy = 'gradient' alone" in said


def test_an_existing_folder_is_not_overwritten(tmp_path):
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match=r"exists and is not overwritten: .*--resume"):
        Run.create(SMALL, tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())
