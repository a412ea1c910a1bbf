"""A run that is resumed with other settings of its measurements: is its device still here?"""

import dataclasses
import json

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel, load_measurements, save_measurements
from hwnas_jax.cost.files.environment import describe_device
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.decided_again import SETTINGS, decide_again
from hwnas_jax.runs.elsewhere import Elsewhere
from hwnas_jax.runs.resumed import LAST_STAGE, check_changes
from hwnas_jax.runs.run import Run
from tests.cost.toy import synthetic

CONFIG = override(
    Config(), space__args={"channels": 2, "cells": 1}, parallel__devices=1,
    cost__model=Part("linear"),
)  # fmt: skip
HERE = describe_device()


def begun(folder, config=CONFIG, **changes):
    """Returns a run that was given measurements, by default of this machine at batch 64."""
    space = Run(folder, config, None).space
    made = synthetic(space, space.random(np.random.default_rng(0), 24))
    fields = {"device": HERE, "batch_size": 64, "operations": {}, **changes}
    path = folder.with_suffix(".json")
    save_measurements(dataclasses.replace(made, **fields), path)
    return Run.create(config, folder, measurements=path)


def again(run, **changes):
    config = override(run.config, **changes)
    return decide_again(run, config, check_changes(run, config, ("parallel",)))


def resume(run, *words):
    return main(["search", "--resume", str(run.folder), "--until", "profile", *words])


def test_what_decides_may_change_until_networks_are_derived():
    assert {LAST_STAGE[key] for key in SETTINGS} == {"derive"}


def test_a_device_that_the_new_setting_fits_is_here(tmp_path, capsys):
    run = begun(tmp_path / "run", batch_size=8)
    assert "profile.batch_size = 64" in Elsewhere.load(run.folder).reason
    assert resume(run, "--profile.batch-size", "8") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "is taken to be this machine: the networks are timed here" in said
    opened = Run.open(run.folder)
    assert Elsewhere.load(run.folder) is None and opened.config.profile.batch_size == 8
    assert not (run.folder / "device.json").exists()


def test_a_device_that_is_still_elsewhere_has_the_new_reason(tmp_path, capsys):
    run = begun(tmp_path / "run", batch_size=8)
    assert resume(run, "--profile.batch-size", "16") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "is not here (profile.batch_size = 16" in said
    found = Elsewhere.load(run.folder)
    assert "profile.batch_size = 16" in found.reason and found.batch_size == 8


def test_a_run_that_could_no_longer_time_keeps_its_settings(tmp_path, capsys):
    run = begun(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    assert resume(run, "--profile.batch-size", "1") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "profile.batch_size may not change" in said and f"{HERE['kind']}" in said
    assert "profile.batch_size = 1, but the measurements were taken with 64" in said
    after = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before


def test_costs_that_could_not_be_confirmed_are_refused(tmp_path, monkeypatch):
    run = begun(tmp_path / "run", batch_size=8, device={**HERE, "kind": "Pixel 8"})
    assert again(run, profile__batch_size=8).after.device == "Pixel 8"
    monkeypatch.setattr(Elsewhere, "find", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"(?s)could not be confirmed.*Pixel 8"):
        again(run, profile__batch_size=8)


def test_nothing_is_decided_where_nothing_depends_on_it(tmp_path):
    run = begun(tmp_path / "run")
    assert again(run, profile__rounds=20) is None
    (run.folder / "measurements.json").unlink()
    assert again(run, profile__batch_size=1) is None  # costs are still to be measured
    run = begun(tmp_path / "counted")
    run.config = override(run.config, target__metric="macs")
    assert again(run, profile__batch_size=1) is None


def test_a_cost_model_alone_decides_by_the_device_that_it_names(tmp_path):
    other, path = begun(tmp_path / "other", batch_size=8), tmp_path / "model.npz"
    known = load_measurements(other.folder / "measurements.json", other.space)
    AnalyticModel.fit(other.space, known.observations(other.space)).save(
        path, other.space, origin=known.origin
    )
    run = Run.create(CONFIG, tmp_path / "run", cost_model=path)
    decided = again(run, profile__batch_size=8)
    assert decided.before.batch_size == 8 and decided.after is None
    assert json.loads((run.folder / "stages.json").read_text()).keys() == {"profile", "fit_cost"}
