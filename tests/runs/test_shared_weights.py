"""Accuracy by shared weights, against the network written down a second time."""

import jax
import numpy as np
import pytest
from flax import nnx

import hwnas_jax as hw
from hwnas_jax.config import override
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.registry import Part
from hwnas_jax.relax import Gates
from hwnas_jax.runs import shared_weights
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.gradient_search import halves_of
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces.core.supernet import make_supernet
from tests.runs.strategy_worker import CONFIG, MEMBERS
from tests.search.dense import SPACE, images

SUPERNET = make_supernet(SPACE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two finished searches with weights that differ."""
    made = bare_run(tmp_path_factory.mktemp("run"))
    weights = [3 * SUPERNET.init(jax.random.key(seed)) for seed in (1, 2)]
    Found(weights=np.stack(weights)).save(made.folder)
    return made


def bare_run(folder, config=CONFIG):
    run = Run(folder, config, Silent())
    run.space, run.dataset, run.members = SPACE, images(), MEMBERS
    return run


def judged(number, architecture, batches):
    """Returns mean loss and accuracy of one architecture by the module itself, in float64."""
    data, size = images(), CONFIG.search.batch_size
    half = halves_of(data, CONFIG, seed=MEMBERS[number].seed)["arch"]
    rows = np.random.default_rng(MEMBERS[number].seed).permutation(half)
    rows = rows[: min(batches, len(half) // size) * size]
    module = nnx.merge(
        nnx.graphdef(abstract(SPACE.supernet)),
        SUPERNET.unravel(3 * SUPERNET.init(jax.random.key(number + 1))),
    )
    scaled = (data.train_inputs[rows] / 255.0 - data.mean) / data.std
    gates = Gates(np.eye(3, dtype=np.float32)[architecture])
    outputs = np.asarray(module(scaled.astype(np.float32), gates), float)
    targets = data.train_targets[rows]
    logged = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    loss = -logged[np.arange(len(targets)), targets].mean()
    return loss, (outputs.argmax(-1) == targets).mean()


@pytest.mark.parametrize(("number", "batches"), [(0, 16), (1, 2)])
def test_metrics_are_those_of_the_network_on_the_held_out_half(run, number, batches):
    asked = np.array([[0, 1, 2], [2, 2, 2], [0, 0, 0]])
    found = hw.evaluate(run, asked, search=MEMBERS[number].label, batches=batches)
    assert set(found) == {"accuracy", "macro_f1", "loss"}
    expected = np.array([judged(number, one, batches) for one in asked])
    np.testing.assert_allclose(found["loss"], expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], expected[:, 1], rtol=1e-6)
    assert len(set(found["loss"].tolist())) == 3


def test_every_form_of_an_architecture_is_read(run):
    label, row = MEMBERS[0].label, np.array([0, 1, 2])
    named = SPACE.to_names(row)
    several = hw.evaluate(run, [SPACE.to_string(row), named, row, [0, 1, 2]], search=label)
    assert np.ptp(several["loss"]) == 0
    for one in (SPACE.to_string(row), named):
        np.testing.assert_array_equal(
            hw.evaluate(run, one, search=label)["loss"], several["loss"][:1]
        )


def test_one_program_judges_every_architecture(run):
    for asked, number in ((SPACE.enumerate()[:5], 0), (SPACE.enumerate()[7:9], 1)):
        hw.evaluate(run, asked, search=MEMBERS[number].label)
    hw.evaluate(run, SPACE.enumerate()[:1], search=MEMBERS[1].label, batches=2)
    # One for sixteen batches or what there are, and one for two.
    assert shared_weights._PROGRAMS[run]._cache_size() == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "no architecture was given"),
        ([[0, 1]], "2 numbers of options, an architecture of dense has 3"),
        ([[0, 1, 3]], "block2 has the options 0 to 2, got 3"),
        ([[0.0, 1.0, 2.0]], "a text in the notation of dense, a mapping .* or the whole numbers"),
        ([0, 1, 2], r"0 is no architecture: give several of them, \[\[0, 3"),
        (np.int32(3), "no architecture"),
        ([{"block0": "skip"}], "leaves open: block1, block2"),
        ([{"block0": "skpi", "block1": "skip", "block2": "wide"}], "Did you mean 'skip'"),
    ],
)
def test_what_is_no_architecture(run, asked, said):
    with pytest.raises(UserError, match=f"(?s){said}"):
        hw.evaluate(run, asked, search=MEMBERS[0].label)


def test_an_option_that_is_switched_off(run):
    space = SPACE.restricted({"block0": ["wide"]})
    with pytest.raises(UserError, match="'wide' of block0 is switched off"):
        shared_weights.as_architectures(space, [[1, 2, 2], [2, 0, 0]])


def test_refusals(run, tmp_path):
    one = [[0, 1, 2]]
    labels = ", ".join(member.label for member in MEMBERS)
    with pytest.raises(UserError, match=f"holds several searches; name one, .* --search: {labels}"):
        hw.evaluate(run, one)
    with pytest.raises(UserError, match="unknown search 'x'"):
        hw.evaluate(run, one, search="x")
    with pytest.raises(UserError, match="batches must be positive, got 0"):
        hw.evaluate(run, one, search=MEMBERS[0].label, batches=0)
    with pytest.raises(UserError, match="is no run folder"):
        hw.evaluate(tmp_path, one)
    config = override(CONFIG, search__evaluator=Part("training"))
    without = bare_run(tmp_path, config)
    with pytest.raises(UserError, match="holds no finished search"):
        hw.evaluate(without, one)
    told = np.zeros((2, 2), np.float32)
    Found(networks=np.zeros((2, 2, 3), np.int32), scores=told, excess=told).save(tmp_path)
    with pytest.raises(
        UserError,
        match=r"no shared weights: its strategy 'evolution' judged networks by 'training'.*"
        r"search\.strategy gradient.*search\.evaluator supernet",
    ):
        hw.evaluate(without, one)
