"""Which settings may change when a run is resumed, until when, and what is written of it."""

import dataclasses
import json

import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import Config, load_config, override
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.files.typed import flat
from hwnas_jax.runs.folder import RunFolder
from hwnas_jax.runs.resumed import FILE, LAST_STAGE, check_changes, take_config
from hwnas_jax.runs.run import STAGES
from tests.report.run_folders import network

CONFIG = override(
    Config(), space__args={"channels": 2, "cells": 1}, parallel__devices=1,
    cost__model__name="analytic", target__metric="macs", derive__confirm=0,
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    made = RunFolder(tmp_path / "run", CONFIG, Silent())
    with made.beginning(named=True):
        made.describe(())
    return made


def changed(run, **changes):
    return check_changes(run, override(run.config, **changes), ("parallel",))


def test_every_setting_exists_and_is_read_by_a_stage():
    assert LAST_STAGE.keys() <= flat(dataclasses.asdict(CONFIG)).keys()
    assert set(LAST_STAGE.values()) <= set(STAGES)


def test_settings_may_change_until_their_stage(run):
    assert changed(run) == ()
    for stages, allowed in (
        ((), ("profile.networks", "derive.confirm", "retrain.epochs", "profile.rounds")),
        (("profile", "search"), ("derive.confirm", "retrain.epochs", "profile.rounds")),
        (("derive",), ("retrain.epochs", "profile.rounds")),
        (("retrain",), ("profile.rounds",)),
        (("measure",), ()),
    ):
        for stage in stages:
            run.finish(stage, 0.0)
        for key in ("profile.networks", "derive.confirm", "retrain.epochs", "profile.rounds"):
            changes = {key.replace(".", "__"): 31}
            if key in allowed:
                assert changed(run, **changes) == (key,)
            else:
                with pytest.raises(
                    UserError, match=f"{key} may change only before {LAST_STAGE[key]}"
                ):
                    changed(run, **changes)


def test_retraining_has_begun_with_its_first_checkpoint(run):
    run.write("networks", {"networks": [network("search-1", None, None)]})
    assert changed(run, retrain__batch_size=8) == ("retrain.batch_size",)
    (run.folder / "checkpoints" / "search-1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"only before retrain, which has begun in .*run"):
        changed(run, retrain__batch_size=8)


def test_other_settings_are_refused_and_those_of_a_start_are_free(run):
    with pytest.raises(UserError, match=r"changed were: seed, search\.steps\. Only --parallel may"):
        changed(run, seed=3, search__steps=2000, retrain__epochs=3)
    assert changed(run, parallel__devices=4) == ()


def test_changes_are_written_down(run):
    for epochs in (3, 4):
        run = RunFolder.open(run.folder)
        config = override(run.config, retrain__epochs=epochs, parallel__devices=2)
        take_config(run, config, check_changes(run, config, ("parallel",)))
        assert run.config == config
    rows = json.loads((run.folder / FILE).read_text())
    assert [(row["key"], row["before"], row["after"]) for row in rows] == [
        ("retrain.epochs", 60, 3),
        ("retrain.epochs", 3, 4),
    ]
    saved = load_config(str(run.folder / "config.json"))
    assert saved == override(CONFIG, retrain__epochs=4)


def test_the_command_takes_what_may_change_and_checks_it(run, capsys):
    for stage in ("profile", "fit_cost"):
        run.finish(stage, 0.0)
    resume = ["search", "--resume", str(run.folder), "--until", "fit_cost"]
    assert main([*resume, "--retrain.batch-size", "9999"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "retrain.batch_size = 9999 is more than the 1294" in said
    assert main([*resume, "--retrain.batch-size", "32"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "changed on resuming: retrain.batch_size 64 -> 32" in said
    assert RunFolder.open(run.folder).config.retrain.batch_size == 32
