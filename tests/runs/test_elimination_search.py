"""A search by elimination: the supernet is trained on between the eliminations, on what is left."""

import json

import jax
import numpy as np
import pytest

from hwnas_jax.config import override
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.relax.base import one_hot_gates
from hwnas_jax.runs import strategy_supernet
from hwnas_jax.runs.strategy_search import bench_of, search_by_strategy
from hwnas_jax.search.evaluators import SharedWeights
from hwnas_jax.search.strategies import Elimination
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Classification
from tests.cost.toy import FEATURES
from tests.runs.strategy_worker import CONFIG, MEMBERS
from tests.search.dense import SPACE, DenseModel, images

STRATEGY = Elimination(samples=1)
PHASES = STRATEGY.phases(SPACE.mask)
BY_ELIMINATION = override(
    CONFIG, search__strategy=Part("elimination", {"samples": 1}), search__rounds=9,
    search__steps=13, search__steps_per_dispatch=2, search__checkpoint_every=2,
    search__weights__decay=0.0, budget=Part("upper_bound"),
)  # fmt: skip


class Killed(Exception):
    """Stands for the end of a process."""


def searched(folder, die_at=None):
    """Returns what a search finds; it may end at a step of what is running."""

    def progress(done, total, what):
        if die_at is not None and (what, done) == die_at:
            raise Killed

    return search_by_strategy(
        SPACE, images(), DenseModel(), MEMBERS[:1], BY_ELIMINATION,
        folder=folder, progress=progress,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What is found where nobody interrupts, and what each training began with and ended with."""
    folder, trainings = tmp_path_factory.mktemp("whole"), []
    train = strategy_supernet.search_architecture

    def recorded(*args, begin, stage, **rest):
        result = train(*args, begin=begin, stage=stage, **rest)
        steps = args[4].search.steps
        further = begin and begin.__self__
        trainings.append((stage, steps, further, np.asarray(result.state.weights)))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy_supernet, "search_architecture", recorded)
        return searched(folder), trainings, folder


@pytest.mark.slow
def test_trainings_and_eliminations_alternate(whole):
    found, trainings, folder = whole
    assert PHASES == (0, 4, 7)
    later = [f"supernet-seed0-phase{phase}" for phase in (1, 2)]
    assert [stage for stage, *_ in trainings] == ["supernet-seed0", *later]
    assert [steps for _, steps, *_ in trainings] == [5, 4, 4]
    networks, before = found.networks[0], trainings[0][3]
    for phase, (_, _, further, weights) in enumerate(trainings[1:], start=1):
        assert further.phase == phase
        np.testing.assert_array_equal(further.weights, before)
        np.testing.assert_array_equal(further.alive.sum(axis=1), 3 - phase)
        assert further.alive[np.arange(3), networks[PHASES[phase] :]].all()
        # Without a decay, weights of what was dropped stay as they were; the others learn.
        changed = weights != before
        assert changed.any() and not changed.all()
        before = weights
    np.testing.assert_array_equal(found.weights[0], before)
    assert (networks[PHASES[-1] :] == networks[-1]).all()
    # Scores by weights that were trained on are not compared with those of later phases.
    assert found.fidelity[0].tolist() == [2] * 4 + [1] * 3 + [0] * 2
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    own = [line for line in lines if line["stage"] == "strategy"]
    assert [(line["step"], line["phase"]) for line in own] == [
        (step, int(step > 4) + int(step > 7)) for step in range(1, 10)
    ]


@pytest.mark.slow
def test_scores_of_a_phase_are_those_of_its_weights(whole):
    found, trainings, _ = whole
    supernet = make_supernet(SPACE)
    apply = jax.jit(lambda weights, inputs, row: supernet.apply(
        weights, inputs, one_hot_gates(row, 3)
    ))  # fmt: skip
    bench = bench_of(SPACE, images(), Classification(), BY_ELIMINATION, found.weights[0])
    rows = np.asarray(SharedWeights().arrays(bench)["rows"])
    data = images()
    for training, number in zip(trainings, (3, 5, 8), strict=False):
        right = 0
        for batch in rows:
            scaled = (data.train_inputs[batch] / 255.0 - data.mean) / data.std
            outputs = apply(training[3], scaled.astype(np.float32), found.networks[0, number])
            right += (np.asarray(outputs).argmax(-1) == data.train_targets[batch]).sum()
        assert found.scores[0, number] == pytest.approx(right / rows.size)


@pytest.mark.slow
def test_ended_twice_and_resumed_it_is_the_same_to_the_bit(whole, tmp_path):
    for die_at in (("elimination by supernet", 6), ("supernet-seed0-phase2 on stripes", 2)):
        with pytest.raises(Killed):
            searched(tmp_path, die_at)
    resumed = searched(tmp_path)
    for name in ("weights", "networks", "scores", "excess"):
        assert getattr(resumed, name).tobytes() == getattr(whole[0], name).tobytes(), name
    kept = [
        [(line["stage"], line["step"], line.get("score"), line.get("weight_loss"))
         for line in map(json.loads, (folder / "metrics.jsonl").open())]
        for folder in (tmp_path, whole[2])
    ]  # fmt: skip
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search__rounds": 7}, r"takes 8 rounds to decide .* of dense; search.rounds = 7"),
        ({"search__steps": 2}, r"trains the supernet 3 times; search.steps = 2"),
        ({"search__fair": True}, r"search.fair draws from all options, and .* elimination"),
        ({"search__elastic__networks": 3}, r"search.elastic.networks draws from all options"),
    ],
)
def test_what_does_not_go_with_phases_is_refused(changes, said):
    config = override(BY_ELIMINATION, **changes)
    with pytest.raises(UserError, match=said):
        search_by_strategy(SPACE, images(), DenseModel(), MEMBERS[:1], config)


def test_where_no_weights_judge_nothing_is_trained():
    config = override(
        BY_ELIMINATION, search__evaluator=Part("zero_cost", {"proxy": "macs"}),
        search__steps=1, search__warmup_steps=0,
    )  # fmt: skip
    found = search_by_strategy(SPACE, images(), DenseModel(), MEMBERS[:1], config)
    assert found.weights is None
    assert (found.excess[0] <= 1e-6).all()
    assert found.fidelity[0].tolist() == [0] * 9
    assert (found.networks[0, PHASES[-1] :] == found.networks[0, -1]).all()
    widths = np.array([0, 8, 32])[found.networks[0]].sum(-1)
    np.testing.assert_array_equal(
        found.scores[0], 2 * FEATURES * widths + FEATURES * SPACE.num_outputs
    )
