"""A search that asks and tells: what it asks, what it is told, and that it resumes to the bit."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from hwnas_jax.budgets import DualAscent
from hwnas_jax.config import override
from hwnas_jax.registry import Part
from hwnas_jax.relax import Gates
from hwnas_jax.runs.gradient_search import examples_of
from hwnas_jax.runs.strategy_search import bench_of, search_by_strategy, search_name
from hwnas_jax.search.evaluators import SharedWeights, make_ahead
from hwnas_jax.search.outlook import outlook_of
from hwnas_jax.search.strategies import RegularisedEvolution, Told
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.tasks import Classification
from tests.cost.toy import FEATURES
from tests.runs.strategy_worker import CONFIG, MEMBERS, searched
from tests.search.dense import SPACE, DenseModel, images

ROOT = Path(__file__).resolve().parents[2]
COSTS = np.array([0.0, 0.5, 2.0])
WIDTHS = np.array([0, 8, 32])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What two searches find that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    return searched(folder), lines(folder)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").open()]


@pytest.mark.slow
@pytest.mark.parametrize(("running", "step"), [("supernet", 9), (f"{MEMBERS[1].label}", 20)])
def test_killed_and_resumed_it_ends_bit_identical(whole, tmp_path, running, step):
    """Killed while the supernet is trained, and in the second of two searches."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.runs.strategy_worker", str(tmp_path), running, str(step)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    half_done = sorted((tmp_path / "checkpoints").iterdir())[-1 if running == "supernet" else -2]
    assert running in half_done.name and any(half_done.glob("[0-9]*"))
    resumed = searched(tmp_path)
    for name, ours in resumed._asdict().items():
        theirs = getattr(whole[0], name)
        assert (ours is None and theirs is None) or ours.tobytes() == theirs.tobytes(), name
    names = ("stage", "member", "step", "score", "best", "weight_loss")
    kept = [[tuple(line.get(name) for name in names) for line in own]
            for own in (lines(tmp_path), whole[1])]  # fmt: skip
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_what_is_told_is_the_supernets_accuracy_and_the_distance_from_the_budget(whole):
    found, _ = whole
    assert found.probabilities is None and found.prior is None
    assert found.networks.shape == (2, 30, 3)
    assert found.scores.shape == found.excess.shape == (2, 30)
    np.testing.assert_array_equal(found.weights[0], found.weights[1])  # one seed, one supernet
    for member, networks, excess in zip(MEMBERS, found.networks, found.excess, strict=True):
        used = (1.0 + COSTS[networks].sum(-1)) / member.target.value
        wanted = np.maximum(used - 1, 0) + np.maximum(1 - 0.03 - used, 0)
        np.testing.assert_allclose(excess, wanted, atol=1e-6)
    np.testing.assert_allclose(
        DualAscent().distance({"latency_ms": np.array([2.0, 2.95, 4.5])}, {"latency_ms": 3.0}),
        [0.97 - 2 / 3, 0.0, 0.5], rtol=1e-6,
    )  # fmt: skip


@pytest.mark.slow
def test_it_asks_what_the_strategy_asks_by_itself(whole):
    """The same strategy, driven by hand from the host, with the keys of the search."""
    found, _ = whole
    strategy = RegularisedEvolution(population=4, sample=2)
    key = jax.random.key(CONFIG.seed)
    state = strategy.init(jax.random.fold_in(key, 30), SPACE.mask)
    costs = outlook_of(DenseModel(), MEMBERS[0].target, DualAscent(), SPACE.num_options)
    ahead = make_ahead(SPACE, costs)
    ask = jax.jit(lambda state, key: strategy.ask(state, key, ahead))
    tell = jax.jit(strategy.tell)
    for step in range(30):
        ask_key, _ = jax.random.split(jax.random.fold_in(key, step))
        asked = ask(state, ask_key)
        np.testing.assert_array_equal(asked[0], found.networks[0, step])
        told = Told(found.scores[:1, step], found.excess[:1, step], np.zeros(1))
        state = tell(state, asked, told)


@pytest.mark.slow
def test_scores_are_those_of_the_evaluator_on_the_half_of_the_architecture(whole):
    found, evaluator = whole[0], SharedWeights()
    bench = bench_of(SPACE, images(), Classification(), CONFIG, found.weights[0])
    data = examples_of(images(), CONFIG, seed=CONFIG.seed)
    rows = np.asarray(evaluator.arrays(bench)["rows"])
    assert set(rows.ravel().tolist()) <= set(np.asarray(data.arch_half).tolist())
    supernet = make_supernet(SPACE)

    @jax.jit
    def outputs(inputs, weight):
        return supernet.apply(found.weights[0], inputs, Gates(weight))

    for number in (0, 7, 29):
        weight = np.eye(3, dtype=np.float32)[found.networks[0, number]]
        right = 0
        for batch in rows:
            scaled = (images().train_inputs[batch] / 255.0 - images().mean) / images().std
            classes = np.asarray(outputs(scaled.astype(np.float32), weight)).argmax(-1)
            right += (classes == images().train_targets[batch]).sum()
        assert found.scores[0, number] == pytest.approx(right / rows.size)


def test_a_search_by_a_score_of_untrained_networks():
    config = override(
        CONFIG, search__strategy=Part("random"), search__rounds=8, budget=Part("upper_bound"),
        search__evaluator=Part("zero_cost", {"proxy": "macs"}),
    )  # fmt: skip
    found = search_by_strategy(SPACE, images(), DenseModel(), MEMBERS[:1], config)
    assert found.weights is None
    counted = 2 * FEATURES * WIDTHS[found.networks].sum(-1) + FEATURES * SPACE.num_outputs
    np.testing.assert_array_equal(found.scores, counted)
    assert len(set(found.scores[0].tolist())) > 1


def test_a_search_writes_what_it_is_told_to_a_storage_under_its_name(tmp_path):
    optuna = pytest.importorskip("optuna", reason="needs Optuna, of the extra blackbox")
    storage = f"sqlite:///{tmp_path}/shared.db"
    config = override(
        CONFIG, search__strategy=Part("optuna_tpe", {"storage": storage, "each": 2}),
        search__rounds=3, search__evaluator=Part("zero_cost", {"proxy": "macs"}),
        target__percentile=20.0,
    )  # fmt: skip
    found = search_by_strategy(SPACE, images(), DenseModel(), MEMBERS[:1], config, folder=tmp_path)
    search = (
        "nasbench201 channels=8 cells=1 / digits / zero_cost proxy=macs / latency_ms percentile 20"
    )
    assert search_name(config) == search
    trials = optuna.load_study(study_name=f"optuna_tpe {search}", storage=storage).trials
    assert [list(trial.params.values()) for trial in trials] == found.networks[0].tolist()
    assert [trial.value for trial in trials] == found.scores[0].tolist()
    # The searches of a sweep have budgets of their own, and so studies of their own.
    assert search_name(config, "3ms-seed0").endswith(" / 3ms-seed0")
