"""Retraining that begins with the weights of another run's network, or learns from it."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.cli import main
from hwnas_jax.config import Config, override
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.nn import operations as ops
from hwnas_jax.nn.normalisation import network_norm
from hwnas_jax.runs.recycling import Known, begin_with, check_recycling, known_network
from hwnas_jax.runs.retrain import train
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces import make_space
from hwnas_jax.tasks import Classification, Regression
from hwnas_jax.train.teacher import Teacher
from hwnas_jax.train.training import make_training
from tests.helpers import initialise, stripes


@pytest.fixture(scope="module")
def finished(finished_run):
    return Run.open(finished_run)


def sized(space, **args):
    return make_space(
        space.name, {**space.args, **args}, input_shape=space.input_shape,
        num_outputs=space.num_outputs,
    )  # fmt: skip


def test_a_wider_network_begins_as_what_the_other_computes(finished):
    known = known_network(finished)
    wider = sized(known.space, channels=3)
    begin, said = begin_with(known, wider, known.architecture, seed=4)
    assert said == f"begins as what {finished.network()['label']} of {finished.folder} computes"
    training = make_training(
        lambda rngs: wider.network(known.architecture, rngs), finished.dataset, finished.task,
        finished.config, begin=begin,
    )  # fmt: skip
    state = training.experiment.init()
    tested = training.finish(state)
    assert tested.test_metric == pytest.approx(finished.network()["test_metric"], abs=0.004)
    drawn = training.experiment.init()
    assert drawn.weights.shape == state.weights.shape


def test_a_network_of_other_operations_takes_what_fits(finished):
    space = finished.space
    large, small = np.full(6, 3, np.int32), np.array([2, 3, 3, 3, 3, 3], np.int32)
    assert space.to_names(large)["1<-0"] == "nor_conv_3x3"
    known = Known(initialise(lambda rngs: space.network(large, rngs)), space, large, "that one")
    _, said = begin_with(known, space, small, seed=0)
    assert re.search(r"^begins with \d\d % of the weights of that one, and not as what it", said)
    assert "would shrink from 3 to 1" in said


class Told(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_a_run_says_what_it_takes_and_takes_nothing_once_it_has_begun(finished, tmp_path):
    run = Run(tmp_path, finished.config, Told())
    run.config = override(
        finished.config, retrain__start_from=str(finished.folder),
        retrain__teacher=str(finished.folder),
    )  # fmt: skip
    architecture = run.space.from_names(finished.network()["architecture"])
    taken = run.recycled("some", architecture, 0)
    assert set(taken) == {"begin", "teacher"}
    assert run.display.said == [
        f"some begins as what {finished.network()['label']} of {finished.folder} computes"
    ]
    assert isinstance(taken["teacher"](), Teacher)
    (tmp_path / "checkpoints" / "some" / "4").mkdir(parents=True)
    assert set(run.recycled("some", architecture, 0)) == {"teacher"}


@pytest.mark.parametrize(
    ("key", "space", "task", "said"),
    [
        ("start_from", {"name": "dash", "args": {}}, Classification(),
         r"retrain.start_from = .*: a network of nasbench201 .* cannot become one of dash"),
        ("start_from", {"num_outputs": 3}, Classification(), r"outputs \(3,\); the search space"),
        ("teacher", {"num_outputs": 3}, Classification(),
         r"retrain.teacher = .* outputs \[10\], and this network has .* outputs \[3\]"),
        ("teacher", {}, Regression(), r"has learned classification, and .* learns regression"),
    ],
)  # fmt: skip
def test_another_family_shape_or_task_is_refused(finished, key, space, task, said):
    config = override(finished.config, **{f"retrain__{key}": str(finished.folder)})
    given = {"name": finished.space.name, "args": finished.space.args, "num_outputs": 10, **space}
    other = make_space(**given, input_shape=finished.space.input_shape)
    with pytest.raises(UserError, match=said):
        check_recycling(Run, config, other, task, finished.dataset)


def test_a_run_that_is_none_or_not_trained_is_refused(finished, tmp_path):
    given = finished.space, finished.task, finished.dataset
    for key in ("start_from", "teacher"):
        gone = override(finished.config, **{f"retrain__{key}": str(tmp_path / "gone")})
        with pytest.raises(UserError, match=rf"^retrain.{key}: .*gone is no run folder"):
            check_recycling(Run, gone, *given)
    young = tmp_path / "young"
    young.mkdir()
    for name in ("config.json", "searches.json"):
        (young / name).write_bytes((finished.folder / name).read_bytes())
    config = override(finished.config, retrain__teacher=str(young))
    with pytest.raises(UserError, match=r"young has no trained network yet; continue with: hwnas"):
        check_recycling(Run, config, *given)


class Network(nnx.Module):
    def __init__(self, rngs):
        self.conv = ops.Conv(1, 4, 3, rngs)
        self.head = ops.Head(4, 3, network_norm(), rngs)

    def __call__(self, x):
        return self.head(self.conv(x))


def small(**changes):
    return override(
        Config(), data__shift=0, retrain__batch_size=16, retrain__learning_rate=0.05,
        retrain__steps_per_dispatch=10, parallel__devices=1,
        **{"retrain__epochs": 12, **changes},
    )  # fmt: skip


def teacher():
    data = stripes()
    done = train(Network, data, small(retrain__epochs=20))
    assert done.test_metric > 0.9
    return Teacher(done.network, Classification(), data.mean, data.std)


def test_a_teacher_teaches_what_targets_do_not_say(tmp_path):
    """The targets are of a wrong class throughout, and the teacher knows the right ones."""
    data, known = stripes(), teacher()
    wrong = dataclasses.replace(data, train_targets=(data.train_targets + 1) % 3)
    config = small(retrain__teacher_weight=1.0, retrain__teacher_temperature=2.0)
    learned = train(Network, wrong, config, seed=3, teacher=lambda: known)
    assert learned.test_metric > 0.9
    misled = train(Network, wrong, config, seed=3)
    assert misled.test_metric < 0.1


def test_a_teacher_sees_inputs_as_it_was_trained_on_them():
    data, known = stripes(), teacher()
    inputs = jax.random.normal(jax.random.key(0), (5, 4, 4, 1))
    said = known.network(inputs)
    mean, std = data.mean + 0.2, data.std * 3
    other = (inputs * data.std + data.mean - mean) / std
    found = known.outputs(known.state, other, mean, std, known.task)
    np.testing.assert_allclose(found, said, rtol=1e-4, atol=1e-4)


class CutOff(Exception):
    pass


def test_cut_off_with_a_teacher_it_goes_on_to_the_last_bit(tmp_path):
    known = teacher()

    def trained(folder, stop=None):
        def progress(done, total, what):
            if stop is not None and total and done >= stop:
                raise CutOff

        return train(
            Network, stripes(), small(), folder=folder, progress=progress, teacher=lambda: known
        )

    whole = trained(tmp_path / "whole")
    with pytest.raises(CutOff):
        trained(tmp_path / "cut", stop=30)
    steps = [int(path.name) for path in (tmp_path / "cut" / "checkpoints" / "network").iterdir()]
    assert 0 < max(steps) < 60
    resumed = trained(tmp_path / "cut")
    for one, other in zip(
        *(jax.tree.leaves(nnx.state(each.network)) for each in (whole, resumed)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_command_takes_both(finished, tmp_path, capsys):
    words = [
        "retrain", str(finished.folder / "architecture.json"), "--retrain.epochs", "1",
        "--retrain.start-from", str(finished.folder), "--retrain.teacher", str(finished.folder),
        "--parallel.devices", "1", "--data.name", "digits", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "the network begins as what" in said
    line = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    assert np.isfinite(line["loss"])
    words[words.index(str(finished.folder))] = str(tmp_path)
    assert main(words) == 2
    assert "retrain.start_from" in capsys.readouterr().err
