"""A population means what its members mean on their own."""

import functools
import json

import jax
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, override
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import make_members, search_population
from tests.search.dense import SPACE, DenseModel, images

MEMBERS = make_members([Target("latency_ms", value) for value in (2.0, 6.0)], [0, 7])


def settings(**changes):
    own = {
        "search__steps": 9, "search__warmup_steps": 3, "search__steps_per_dispatch": 3,
        "search__batch_size": 16, "search__checkpoint_every": 3,
        "search__weights__learning_rate": 0.02, "parallel__devices": 1,
    }  # fmt: skip
    return override(Config(), **{**own, **changes})


@functools.cache
def alone(member):
    config = settings(seed=member.seed)
    return search_architecture(SPACE, images(), DenseModel(), member.target, config).state


def together(members=MEMBERS, *, folder=None, progress=quiet, **changes):
    config = settings(
        **{key if "__" in key else f"sweep__{key}": value for key, value in changes.items()}
    )
    return search_population(
        SPACE, images(), DenseModel(), members, config, folder=folder, progress=progress
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("within", "devices", "share_warmup"), [("map", 2, True), ("batch", 1, False)]
)
def test_members_equal_single_searches(within, devices, share_warmup):
    """The first and the last member differ in target and seed."""
    states = together(within=within, devices=devices, share_warmup=share_warmup)
    for number in (0, -1):
        state, single = states[number], alone(MEMBERS[number])
        pairs = [jax.tree.leaves(one._replace(key=())) for one in (state, single)]
        for ours, theirs in zip(*pairs, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
        assert jax.random.key_data(state.key).tolist() == jax.random.key_data(single.key).tolist()
        assert int(state.step) == 9
    params = np.stack([np.asarray(state.params) for state in states])
    gaps = np.abs(params[:, None] - params[None]).max((2, 3))
    assert gaps[~np.eye(len(states), dtype=bool)].min() > 1e-2


class Stop(Exception):
    pass


@pytest.mark.slow
def test_stopped_midway_and_resumed_on_other_devices_ends_the_same(tmp_path):
    """Stopped in the warm-up, and again in the search: three devices, then two, then four."""
    changes = {"search__steps": 12, "search__warmup_steps": 6, "within": "map"}
    whole = together(folder=tmp_path / "whole", devices=3, **changes)

    def stop_at(stage, step):
        def stop(done, total, what):
            if done == step and what.startswith(stage):
                raise Stop

        return stop

    folder = tmp_path / "broken"
    for devices, stage, step in ((3, "warmup", 3), (2, "search", 9)):
        with pytest.raises(Stop):
            together(folder=folder, devices=devices, progress=stop_at(stage, step), **changes)
    resumed = together(folder=folder, devices=4, **changes)
    for ours, theirs in zip(resumed, whole, strict=True):
        np.testing.assert_allclose(ours.weights, theirs.weights, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours.params, theirs.params, rtol=1e-5, atol=1e-6)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    seen = sorted((line["stage"], line["member"], line["step"]) for line in lines)
    leaders = [member.label for member in MEMBERS[:2]]
    assert seen == sorted(
        [("warmup", label, step) for label in leaders for step in (3, 6)]
        + [("search", member.label, step) for member in MEMBERS for step in (9, 12)]
    )
    targets = {line["member"]: line["target"] for line in lines}
    assert targets == {member.label: member.target.value for member in MEMBERS}


def test_a_member_that_diverges_is_named():
    members = make_members([Target("latency_ms", value) for value in (2.0, 1e-30)], [0])
    with pytest.raises(UserError, match=r"1e-30ms-seed0: .* at step \d+"):
        together(members=members, search__steps=6, search__warmup_steps=3, within="map")


def test_members_are_distinct():
    members = make_members([Target("energy_mj", 2.0)], [3, 4])
    assert [(m.label, m.seed) for m in members] == [("2mj-seed3", 3), ("2mj-seed4", 4)]
    with pytest.raises(UserError, match=r"more than once: \['2ms-seed0'\]"):
        make_members([Target("latency_ms", value) for value in (2.0, 2.00001)], [0])
    with pytest.raises(UserError, match="at least one"):
        make_members([], [0])
