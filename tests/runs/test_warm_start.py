"""A gradient search that begins with what a search for another task found."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwnas_jax.config import override
from hwnas_jax.errors import UserError
from hwnas_jax.nn.initialisation import abstract
from hwnas_jax.nn.outputs import Output
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.population import Member
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.warm_start import WarmStart, check_warm_start, warm_start
from hwnas_jax.search.gradient import SearchState
from hwnas_jax.search.methods import make_methods
from hwnas_jax.spaces import make_space
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import make_task
from tests.helpers import initialise


@pytest.fixture(scope="module")
def finished(finished_run):
    return Run.open(finished_run)


def other_task(finished, **outputs):
    """Returns the space of the finished run with other heads."""
    space = finished.space
    return make_space(space.name, space.args, input_shape=space.input_shape, **outputs)


def begun(finished, **changes):
    return override(finished.config, search__start_from=str(finished.folder), **changes)


def started(finished, space, folder, *, seeds=(None,), **changes):
    config = begun(finished, **changes)
    methods = make_methods(space, make_task(config.task, finished.dataset), config)
    members = [Member(finished.target, config.seed, f"{number}") for number in range(len(seeds))]
    return methods, config, warm_start(space, methods.task, members, config, folder)


def arrays_of(space, weights):
    """Returns the supernet's arrays by their paths, by the module itself."""
    state = nnx.state(abstract(space.supernet), nnx.Param)
    first, found = 0, {}
    for path, leaf in jax.tree.leaves_with_path(state):
        found[jax.tree_util.keystr(path)] = weights[first : first + leaf.size].reshape(leaf.shape)
        first += leaf.size
    assert first == len(weights)
    return found


def test_all_weights_but_those_of_another_head_are_taken(finished, tmp_path):
    space = other_task(finished, num_outputs=3)
    methods, config, start = started(finished, space, tmp_path)
    drawn = make_supernet(space).init(jax.random.key(7))
    state = first_state(methods, drawn)
    begun_weights = np.asarray(start.into(state).weights)
    found = Found.load(finished.folder, finished.space, 1)
    theirs, mine = arrays_of(finished.space, found.weights[0]), arrays_of(space, begun_weights)
    new = arrays_of(space, np.asarray(drawn))
    heads = {path for path, leaf in mine.items() if theirs[path].shape != leaf.shape}
    assert heads and all("head" in path for path in heads)
    for path, leaf in mine.items():
        np.testing.assert_array_equal(leaf, new[path] if path in heads else theirs[path])
    np.testing.assert_array_equal(start.into(state).params, found.params[0].reshape(6, 5))
    again = WarmStart.load(tmp_path, methods, [config.seed])
    for one, other in zip(again, start, strict=True):
        np.testing.assert_array_equal(one, other)
    # The run keeps what it began with: it goes on when the other is gone.
    gone = override(config, search__start_from=str(tmp_path / "gone"))
    kept = warm_start(space, methods.task, [Member(finished.target, 0, "x")], gone, tmp_path)
    np.testing.assert_array_equal(kept.weights, start.weights)


def first_state(methods, weights):
    params = methods.relaxation.init(jax.random.key(0), jnp.asarray(methods.mask))
    parts = dict.fromkeys(SearchState._fields) | {"weights": weights, "params": params}
    return SearchState(**parts)


@pytest.mark.parametrize("wanted", ["weights", "architecture"])
def test_one_of_them_alone(finished, tmp_path, wanted):
    space = finished.space
    methods, _, start = started(finished, space, tmp_path, search__start_with=wanted)
    drawn = make_supernet(space).init(jax.random.key(7))
    state = first_state(methods, drawn)
    found, got = Found.load(finished.folder, space, 1), start.into(state)
    weights, params = found.weights[0], found.params[0].reshape(6, 5)
    if wanted == "weights":
        params = np.zeros((6, 5))
    else:
        weights = drawn
    np.testing.assert_array_equal(got.weights, weights)
    np.testing.assert_array_equal(got.params, params)


def test_searches_of_several_seeds_take_their_own():
    rng = np.random.default_rng(0)
    start = WarmStart(
        np.array([2, 5], np.int32), rng.random((2, 4)).astype(np.float32),
        np.array([True, True, False, True]), rng.random((2, 6)).astype(np.float32),
    )  # fmt: skip
    parts = {"weights": jnp.full((1, 4), -1.0), "params": {"a": jnp.zeros((1, 2, 3))}}
    got = start.into_seeds(SearchState(**dict.fromkeys(SearchState._fields) | parts), [5])
    np.testing.assert_array_equal(got.weights[0], [*start.weights[1, :2], -1, start.weights[1, 3]])
    np.testing.assert_array_equal(got.params["a"][0], start.params[1].reshape(2, 3))


def test_a_start_that_cannot_be(finished, tmp_path):
    space = finished.space
    check_warm_start(begun(finished), other_task(finished, num_outputs=3))
    dense = other_task(finished, num_outputs=2, outputs=(Output(2, dense=True),))
    check_warm_start(begun(finished), dense)
    wide = make_space(space.name, {"channels": 5}, input_shape=(8, 8, 1), num_outputs=10)
    with pytest.raises(
        UserError, match=r"this run searches .*'channels': 5.* only what networks pu"
    ):
        check_warm_start(begun(finished), wide)
    drnas = begun(finished, search__relaxation=Part("drnas"))
    with pytest.raises(UserError, match=r"those of drnas; take the same .*start_with = weights"):
        check_warm_start(drnas, space)
    check_warm_start(override(drnas, search__start_with="weights"), space)
    folder = tmp_path / "strategy"
    shutil.copytree(finished.folder, folder)
    found = Found.load(folder, space, 1)
    found._replace(params=None).save(folder)
    with pytest.raises(
        UserError, match=r"leaves no architecture parameters; set search.start_with"
    ):
        check_warm_start(override(finished.config, search__start_from=str(folder)), space)
    found._replace(weights=None).save(folder)
    with pytest.raises(UserError, match=r"left no weights; set search.start_with = architecture"):
        check_warm_start(override(finished.config, search__start_from=str(folder)), space)


def test_a_whole_search_begins_where_the_other_ended(finished, tmp_path):
    """Its first weight loss is far below that of a search which begins anew."""
    config = begun(
        finished, search__warmup_steps=0, search__steps=4, search__steps_per_dispatch=2,
        search__weights__learning_rate=1e-6, search__weights__learning_rate_end=1e-6,
    )  # fmt: skip
    losses, moved = {}, {}
    for name, one in {"warm": config, "cold": override(config, search__start_from=None)}.items():
        run = Run.create(
            one, tmp_path / name, measurements=finished.folder / "measurements.json",
            cost_model=None,
        )  # fmt: skip
        run.fit_cost()
        run.search()
        lines = [
            json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()
        ]
        losses[name] = lines[-1]["weight_loss"]
        share = Found.load(run.folder, run.space, 1).probabilities[0]
        before = Found.load(finished.folder, finished.space, 1).probabilities[0]
        moved[name] = np.abs(share - before).max()
    assert losses["warm"] < losses["cold"] - 0.1, losses
    assert moved["warm"] < 0.7 * moved["cold"], moved
    assert dataclasses.asdict(config)["search"]["start_with"] == "both"


def test_a_damaged_start_is_refused(finished, tmp_path):
    methods, config, start = started(finished, finished.space, tmp_path)
    for changed, said in (
        (start._replace(seeds=start.seeds + 5), r"its seeds are \[5\], not \[0\]"),
        (start._replace(copied=None), "both weights and copied, or neither"),
        (start._replace(params=start.params[:, :-1]), "params must be"),
    ):
        changed.save(tmp_path)
        with pytest.raises(UserError, match=said):
            WarmStart.load(tmp_path, methods, [config.seed])


def test_parameters_of_another_size_are_refused(finished, tmp_path, monkeypatch):
    found = Found.load(finished.folder, finished.space, 1)
    monkeypatch.setattr(Found, "load", lambda *_: found._replace(params=found.params[:, :-1]))
    with pytest.raises(UserError, match="left 29 architecture parameters, and 30 are needed"):
        started(finished, finished.space, tmp_path)


def test_a_trained_network_becomes_the_path_that_it_is_in_a_wider_supernet(finished, tmp_path):
    wide = make_space(
        finished.space.name, {**finished.space.args, "channels": 4}, input_shape=(8, 8, 1),
        num_outputs=10,
    )  # fmt: skip
    _, config, start = started(finished, wide, tmp_path, seeds=(0,), search__start_with="network")
    check_warm_start(config, wide)
    chosen = wide.from_names(finished.network()["architecture"])
    supernet = nnx.merge(
        nnx.split(abstract(wide.supernet))[0], make_supernet(wide).unravel(start.weights[0])
    )
    network = initialise(lambda rngs: wide.network(chosen, rngs))
    wide.inherit(network, chosen, supernet)
    stem = np.asarray(network.stem.conv.kernel[...])
    trained = np.asarray(finished.trained().network.stem.conv.kernel[...])
    np.testing.assert_allclose(stem, trained[..., [0, 0, 1, 1]], rtol=1e-6)
    assert start.params is None
    assert 0 < start.copied.sum() < len(start.copied)
    with pytest.raises(UserError, match=r"a network of nasbench201 with .* become one of dash"):
        check_warm_start(config, make_space("dash", {}, input_shape=(8, 8, 1), num_outputs=10))
    narrow = make_space(
        wide.name, {**wide.args, "channels": 1}, input_shape=(8, 8, 1), num_outputs=10
    )
    with pytest.raises(UserError, match=r"cannot compute .*would shrink from"):
        started(finished, narrow, tmp_path / "narrow", search__start_with="network")
