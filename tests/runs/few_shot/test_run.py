"""Runs of few-shot learning: from the command to the page, resumed, and refused."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.commands.method_options import take_methods
from hwnas_jax.config import Config, override
from hwnas_jax.cost import AnalyticModel
from hwnas_jax.data.stored import save_dataset
from hwnas_jax.errors import Interrupted, UserError
from hwnas_jax.parallel.progress import StopRequest
from hwnas_jax.registry import Part
from hwnas_jax.report.few_shot_files import FewShotFile
from hwnas_jax.runs.few_shot import FewShotRun
from hwnas_jax.runs.few_shot.learning import learn_start
from tests.methods.my_space import DenseBlocks
from tests.search.meta.toy import shades

SPACE = f"{Path(__file__).parents[2] / 'methods' / 'my_space.py'}:DenseBlocks"
SETTINGS = {
    "space__name": SPACE, "space__args": {}, "parallel__devices": 1, "target__metric": "macs",
    "few_shot__way": 2, "few_shot__shots": 2, "few_shot__queries": 3, "few_shot__steps": 8,
    "few_shot__warmup_steps": 2, "few_shot__tasks": 2, "few_shot__steps_per_dispatch": 2,
    "few_shot__checkpoint_every": 2, "few_shot__episodes": 5, "few_shot__classes": (2, 2, 2),
    "few_shot__percentiles": (10.0, 60.0),
    "few_shot__learner": Part("metanas", {"inner_steps": 2}),
}  # fmt: skip


def made(folder, data=None, **changes):
    config = override(Config(), **{**SETTINGS, **changes})
    return FewShotRun.create(config, folder, data=data or shades())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns the folder of a run that went through all of its stages."""
    folder = tmp_path_factory.mktemp("few-shot") / "run"
    made(folder).all()
    return folder


def test_a_run_leaves_its_files_and_keeps_its_budgets(finished):
    run = FewShotRun.open(finished)
    assert all(run.finished(stage) for stage in ("learn", "judge", "report"))
    found = FewShotFile.load(finished)
    assert found.episodes == 5 and found.chance == 0.5
    classes = itertools.chain(*dataclasses.asdict(found.classes).values())
    assert sorted(classes) == sorted(shades().output_names)
    assert [group.costs and group.costs.percentile for group in found.groups] == [None, 10, 60]
    judged = run.judged_episodes()
    for group, own in zip(found.groups, judged, strict=True):
        values = np.asarray(own.adapted, float)
        assert group.metrics["adapted"].value == pytest.approx(values.mean())
        half = 2.776445 * values.std(ddof=1) / np.sqrt(5)  # Student's t at four degrees
        assert group.metrics["adapted"].half_width == pytest.approx(half, rel=1e-5)
        if group.costs is not None:
            assert (own.cost <= group.costs.limit * (1 + 1e-6)).all()
            assert (own.cost > 0).all() and group.costs.over == 0
    page = (finished / "report.html").read_text()
    assert "Learning from few examples" in page and page.count("<svg") == 2
    assert "0 of 10 adapted networks" in page
    steps = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["stage"] == "meta"] == [2, 4, 6, 8]


def test_what_was_stopped_goes_on_to_the_last_bit(finished, tmp_path):
    """Stopped by a signal in the learning, then continued by the command up to each stage."""
    run, stopped = made(tmp_path / "run"), []

    def progress(done, total, what):
        if done == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        stopped.append(done)

    with StopRequest.listening(), pytest.raises(Interrupted, match="step 4 of 8"):
        learn_start(run, folder=run.folder, progress=progress)
    assert main(["fewshot", "--resume", str(run.folder), "--until", "learn"]) == 0
    assert not (run.folder / "episodes.npz").exists()
    assert main(["fewshot", "--resume", str(run.folder)]) == 0
    for name in ("start.npz", "episodes.npz"):
        one, other = (np.load(folder / name) for folder in (run.folder, finished))
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_the_page_is_written_again(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").read_text() == (finished / "report.html").read_text()
    assert main(["search", "--resume", str(finished)]) == 2
    assert "hwnas fewshot --resume" in capsys.readouterr().err


def test_a_cost_model_is_given_or_networks_are_timed(tmp_path):
    """A model of the space sets the budgets at once; without one, the first stage makes it."""
    model = tmp_path / "model.npz"
    space = DenseBlocks((2, 2, 1), 2)
    space.registered_as = SPACE
    AnalyticModel.count(space).save(model, space)
    changes = {**SETTINGS, "target__metric": "params"}
    config = override(Config(), **changes)
    given = FewShotRun.create(config, tmp_path / "given", data=shades(), cost_model=model)
    # A block of width w has 8 w weights and 2 w of its normalisation; the head has eight.
    counts = 8 + 10 * np.array([0, 8, 32])[space.enumerate()].sum(1)
    limits = [target.value for target in given.targets]
    assert given.finished("fit_cost")
    np.testing.assert_allclose(limits, np.percentile(counts, [10, 60]), rtol=1e-5)
    timed = made(tmp_path / "timed", target__metric="latency_ms")
    assert not timed.finished("profile") and not (timed.folder / "cost_model.npz").exists()
    with pytest.raises(UserError, match=r"few_shot\.percentiles names none"):
        FewShotRun.create(
            override(config, few_shot__percentiles=()), tmp_path / "none", data=shades(),
            cost_model=model,
        )  # fmt: skip


def test_a_stage_that_is_none_is_refused_at_once(tmp_path, capsys):
    words = ["fewshot", "digits", "--run-dir", str(tmp_path / "run"), "--until", "jugde"]
    assert main(words) == 2
    assert "Did you mean 'judge'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_learner_is_named_on_the_command_line():
    words = [
        "--few-shot.learner",
        "tnas",
        "inner-steps",
        "3",
        "--few-shot.relaxation.name",
        "drnas",
    ]
    rest, config = take_methods([*words, "--few-shot.way", "3"], Config())
    assert config.few_shot.learner == Part("tnas", {"inner_steps": 3})
    assert config.few_shot.relaxation == Part("drnas")
    assert rest == ["--few-shot.way", "3"]


def test_other_data_can_be_tested_on(tmp_path):
    """All classes of the run's own data are learned from then."""
    other = shades(classes=3, each=9)
    save_dataset(other, tmp_path / "other.npz")
    run = made(
        tmp_path / "run", few_shot__other_data=str(tmp_path / "other.npz"),
        few_shot__classes=None, few_shot__percentiles=(),
    )  # fmt: skip
    assert run.split.train == tuple(range(6)) and run.split.test == (0, 1, 2)
    np.testing.assert_array_equal(run.judged_pool.mean, run.train_pool.mean)
    assert len(run.judged_pool.inputs) == 27
    assert FewShotFile.load(run.folder).classes.test == list(other.output_names)


REFUSED = [
    ({"few_shot__way": 4}, "4-way episodes need 8 classes.*there are 6"),
    ({"few_shot__queries": 7}, r"takes 9 images of a class.*fewer have the train classes shade"),
    ({"few_shot__warmup_steps": 8}, "few_shot.warmup_steps = 8 must be below few_shot.steps = 8"),
    ({"few_shot__relaxation": Part("gaea")}, "'gaea': .* logits.*Allowed are .*annealed_softmax"),
    ({"few_shot__learner": Part("reptile")}, "unknown meta-learner 'reptile'"),
    ({"parallel__devices": 2, "few_shot__tasks": 3}, "few_shot.tasks = 3 does not divide by 2"),
    ({"target__metric": "energy_mj"}, "unknown metric of the cost model 'energy_mj'"),
    ({"few_shot__percentiles": (5.0, 5.0)}, "has 5 more than once"),
    ({"target__value": 3.0}, "adapted to budgets by few_shot.percentiles"),
    (
        {"few_shot__judged_on": "validation", "few_shot__classes": (3, 0, 3)},
        "there are no validation classes",
    ),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_mistakes_leave_no_folder(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        made(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_data_without_classes_are_refused(tmp_path):
    data = shades()
    values = {
        f"{part}_targets": getattr(data, f"{part}_targets").astype(np.float32)[:, None]
        for part in ("train", "test")
    }
    with pytest.raises(UserError, match=r"drawn from classes.*task.name = 'regression'"):
        made(
            tmp_path / "run",
            data=dataclasses.replace(data, output_names=("v",), task="regression", **values),
        )
    with pytest.raises(UserError, match="no run of few-shot learning"):
        made(tmp_path / "kept")
        (tmp_path / "kept" / "few_shot.json").unlink()
        FewShotRun.open(tmp_path / "kept")


def test_a_damaged_file_of_what_was_found_is_refused(finished, tmp_path):
    good = json.loads((finished / "few_shot.json").read_text())
    for part, name in (("metrics", "adapted"), ("differences", "anew - fixed")):
        damaged = json.loads(json.dumps(good))
        del damaged["groups"][1][part][name]
        (tmp_path / "few_shot.json").write_text(json.dumps(damaged))
        with pytest.raises(UserError, match=rf"few_shot.json: groups\[1\] lacks {name}"):
            FewShotFile.load(tmp_path)
