"""Measuring during a search: what is chosen, that the step goes by it, that nothing is lost."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwnas_jax.budgets.target import Target
from hwnas_jax.config import Config, Part, SearchConfig, TargetConfig, override
from hwnas_jax.cost import CostModel, Measured, Sample, save_measurements
from hwnas_jax.cost.models.registry import fit_model
from hwnas_jax.errors import UserError
from hwnas_jax.parallel.progress import quiet
from hwnas_jax.runs import loop
from hwnas_jax.runs.gradient_search import search_architecture
from hwnas_jax.runs.population import make_members, search_population
from hwnas_jax.search import refine
from hwnas_jax.search.refine import Refinement, most_informative, newest_model, rounds
from tests.cost.toy import law_ms, synthetic
from tests.helpers import small_search
from tests.search.dense import SPACE, DenseModel, images
from tests.search.steps import batches

CONFIG = override(
    Config(), search__steps=15, search__warmup_steps=3, search__steps_per_dispatch=3,
    search__batch_size=16, search__checkpoint_every=3, search__weights__learning_rate=0.02,
    parallel__devices=1, cost__model=Part("mlp", {"members": 3, "hidden": 4, "steps": 150}),
    target__measurements=5, target__measure_every=4,
)  # fmt: skip
TARGET = Target("latency_ms", 3.0)
EVEN = np.full((3, 3), 1 / 3)
ROUNDS = {9: 3, 12: 2}
PROFILED = np.array(
    [[0, 0, 0], [2, 2, 2], [0, 1, 2], [1, 1, 1], [2, 0, 0], [0, 2, 0], [1, 0, 1], [0, 0, 1]]
)


@jax.tree_util.register_static
class Unsure(CostModel):
    """Known means and deviations of every network of `SPACE`."""

    name, metrics, knows_uncertainty = "unsure", ("latency_ms",), True
    means = np.random.default_rng(1).uniform(1.0, 6.0, (3, 3, 3)).astype(np.float32)
    deviations = np.random.default_rng(2).uniform(0.05, 1.0, (3, 3, 3)).astype(np.float32)

    def predict(self, weight):
        return {"latency_ms": jnp.einsum("ijk,i,j,k", self.means, *weight)}

    def std(self, weight):
        return {"latency_ms": jnp.einsum("ijk,i,j,k", self.deviations, *weight)}


@pytest.mark.parametrize("confidence", [None, 0.9])
def test_the_choice_is_that_of_the_enumeration(confidence):
    shares, known = np.random.default_rng(3).dirichlet(np.ones(3), (2, 3)), PROFILED[:3]
    targets = [Target("latency_ms", value, confidence) for value in (2.0, 4.0)]
    z = 1.2815515655446004 if confidence else 0.0
    scores = {}
    for cell in np.ndindex(3, 3, 3):
        mean, std = float(Unsure.means[cell]), float(Unsure.deviations[cell])
        scores[cell] = 0.0
        for target, own in zip((2.0, 4.0), shares, strict=True):
            chance = math.prod(own[d, k] for d, k in enumerate(cell))
            width = std**2 + (0.1 * target) ** 2
            scores[cell] += std * chance * math.exp(-((mean + z * std - target) ** 2) / 2 / width)
    for row in known:
        del scores[tuple(row)]
    wanted = sorted(scores, key=scores.get, reverse=True)[:6]
    found = most_informative(SPACE, Unsure(), targets, shares, EVEN, known, 6)
    assert [tuple(row) for row in found.tolist()] == wanted


def test_rounds_fall_between_calls_after_the_warm_up():
    search = SearchConfig(steps=100, warmup_steps=20)
    target = TargetConfig(measurements=7, measure_every=25)
    assert rounds(search, target, range(0, 100, 10)) == {50: 4, 70: 3}
    assert rounds(search, dataclasses.replace(target, measurements=1), range(0, 100, 10)) == {50: 1}
    assert rounds(search, TargetConfig(), range(0, 100, 10)) == {}
    with pytest.raises(UserError, match=r"measure_every = 90 leaves no time .* 80 architecture"):
        rounds(search, dataclasses.replace(target, measure_every=90), range(0, 100, 10))


def test_a_step_goes_by_the_model_it_is_given():
    """The model is an input: one compiled step serves every model of the same kind."""
    _, search = small_search(
        SPACE, search__steps=10, search__warmup_steps=0, budget__name="fixed_weight",
        budget__args={"weight": 1.0},
    )  # fmt: skip
    state, data = search.init(jax.random.key(0), {"latency_ms": 3.0}), batches(space=SPACE)
    step = jax.jit(functools.partial(search.step, batches=data, axis_name=None))
    tables = [jnp.asarray(np.random.default_rng(seed).uniform(1, 5, (3, 3))) for seed in (0, 1)]
    ends = [step(state, cost_model=Adding(table)) for table in (*tables, tables[0])]
    assert step._cache_size() == 1
    np.testing.assert_array_equal(ends[0][0].params, ends[2][0].params)
    assert np.abs(ends[0][0].params - ends[1][0].params).max() > 1e-3
    for (_, info), table in zip(ends, tables, strict=False):
        assert float(info.cost) == pytest.approx(float((EVEN * table).sum()), rel=1e-5)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Adding:
    """Adds up a table that is an array of the program."""

    table: jax.Array

    name, metrics, exact_expectation = "adding", ("latency_ms",), True

    def predict(self, weight):
        return {"latency_ms": (weight * self.table).sum()}


@pytest.fixture(scope="module")
def profiled():
    measurements = synthetic(SPACE, PROFILED)
    model = fit_model(CONFIG.cost.model, SPACE, measurements.observations(SPACE))
    return measurements, model


@pytest.fixture
def timed(monkeypatch):
    """Every network that was timed; the device has become twice as slow for wide layers."""
    calls = []

    def measure(space, architectures, measurements, config, *, around_ms, **options):
        latencies = [law_ms(space, a) * 1.5 ** (a == 2).sum() for a in architectures]
        calls.extend(tuple(a) for a in architectures.tolist())
        timings = [Sample(float(ms), 0.01, 3) for ms in latencies]
        return Measured(timings, timings, 1.0)

    monkeypatch.setattr(refine, "measure_networks", measure)
    return calls


@pytest.fixture
def compiled(monkeypatch):
    """The programs that were compiled."""
    programs, compile_ahead = [], loop.compile_ahead

    def count(*args):
        programs.append(args[3])
        return compile_ahead(*args)

    monkeypatch.setattr(loop, "compile_ahead", count)
    return programs


def search(folder, profiled, *, progress=quiet, config=CONFIG, **options):
    folder.mkdir(exist_ok=True)
    save_measurements(profiled[0], folder / "measurements.json")
    return search_architecture(
        SPACE, images(), profiled[1], TARGET, config, folder=folder, progress=progress, **options
    )


def recorded(folder):
    return json.loads((folder / refine.FILE).read_text())["networks"]


@pytest.mark.slow
def test_a_search_measures_and_goes_on_by_what_it_learned(tmp_path, profiled, timed, compiled):
    result = search(tmp_path, profiled)
    rows = recorded(tmp_path)
    assert [row["step"] for row in rows] == [9, 9, 9, 12, 12]
    assert len(set(timed)) == 5
    assert not set(timed) & {tuple(row) for row in PROFILED.tolist()}
    assert len(compiled) == 1, "a refit must not compile the step again"
    files = sorted(path.name for path in (tmp_path / refine.FOLDER).iterdir())
    assert files == ["step-12.npz", "step-9.npz"]
    (tmp_path / refine.FOLDER / "step-x.npz").touch()
    assert newest_model(tmp_path).name == "step-12.npz"

    worst = np.array(max(timed, key=lambda a: a.count(2)), np.int32)
    truth = law_ms(SPACE, worst) * 1.5 ** (worst == 2).sum()
    weight = np.eye(3, dtype=np.float32)[worst]
    before, after = (
        abs(float(model.predict(weight)["latency_ms"]) / truth - 1)
        for model in (profiled[1], result.cost_model)
    )
    assert after < before
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    share = np.array([line["probabilities"] for line in lines])[2]
    likeliest = np.eye(3, dtype=np.float32)[share.argmax(-1)]
    assert lines[2]["step"] == 9
    assert lines[2]["argmax_cost"] == pytest.approx(
        float(profiled[1].predict(likeliest)["latency_ms"]), rel=1e-4
    )


def test_nothing_is_left_to_measure_in_a_space_that_was_profiled_whole(tmp_path, timed):
    measurements = synthetic(SPACE, SPACE.enumerate())
    save_measurements(measurements, tmp_path / "measurements.json")
    model = fit_model(CONFIG.cost.model, SPACE, measurements.observations(SPACE))
    refinement = Refinement(SPACE, model, [TARGET], CONFIG, range(0, 15, 3), folder=tmp_path)
    after = refinement.at(9, lambda: EVEN[None], EVEN)
    assert not timed
    for ours, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_resumed_search_refits_or_says_what_it_lacks(tmp_path, profiled, timed):
    save_measurements(profiled[0], tmp_path / "measurements.json")

    def started():
        return Refinement(SPACE, profiled[1], [TARGET], CONFIG, range(0, 15, 3), folder=tmp_path)

    def shares():
        return EVEN[None]

    kept = started().at(9, shares, EVEN)
    (tmp_path / refine.FOLDER / "step-9.npz").unlink()
    again = started().at(10, shares, EVEN)
    assert len(timed) == 3
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(kept), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / refine.FOLDER / "step-9.npz").unlink()
    (tmp_path / refine.FILE).unlink()
    with pytest.raises(UserError, match=r"measured up to step 9.*has neither .*step-9\.npz"):
        started().at(10, shares, EVEN)


class Stop(Exception):
    pass


@pytest.mark.slow
def test_stopped_after_a_refit_and_resumed_ends_bit_identical(tmp_path, profiled, timed):
    """Stopped between the two refits, after the first of them."""
    stop_at, whole = 12, search(tmp_path / "whole", profiled)
    there = list(timed)
    timed.clear()

    def stop(done, total, what):
        if done > stop_at and what.startswith("search"):
            raise Stop

    with pytest.raises(Stop):
        search(tmp_path / "broken", profiled, progress=stop)
    resumed = search(tmp_path / "broken", profiled, from_step=stop_at)
    assert timed == there, "what was measured is not measured again"
    ends = [jax.tree.leaves(run.state._replace(key=())) for run in (resumed, whole)]
    for ours, theirs in zip(*ends, strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
    for ours, theirs in zip(
        jax.tree.leaves(resumed.cost_model), jax.tree.leaves(whole.cost_model), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert recorded(tmp_path / "broken") == recorded(tmp_path / "whole")


@pytest.mark.slow
def test_members_of_a_population_share_what_is_measured(tmp_path, profiled, timed, compiled):
    save_measurements(profiled[0], tmp_path / "measurements.json")
    members = make_members([Target("latency_ms", value) for value in (2.0, 4.0)], [0])
    states = search_population(
        SPACE, images(), profiled[1], members,
        override(CONFIG, sweep__devices=2, sweep__within="map"), folder=tmp_path,
    )  # fmt: skip
    assert [row["step"] for row in recorded(tmp_path)] == [9, 9, 9, 12, 12]
    assert len(set(timed)) == 5
    assert len(compiled) == 2, "the warm-up and the search, once each"
    assert all(np.isfinite(state.params).all() for state in states)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Growing(CostModel):
    """As wide as what it has seen."""

    seen: jax.Array

    name, metrics, knows_uncertainty = "growing", ("latency_ms",), True

    def predict(self, weight):
        return {"latency_ms": 1.0 + weight.sum() + 0.0 * self.seen.sum()}

    def std(self, weight):
        return {"latency_ms": 0.1 * weight.sum()}


@pytest.mark.slow
def test_a_model_that_grows_costs_one_compilation_a_refit(
    tmp_path, profiled, timed, compiled, monkeypatch
):
    grown = iter([jnp.zeros(4), jnp.zeros(6)])
    monkeypatch.setattr(Refinement, "_fit", lambda self, step: None)
    monkeypatch.setattr(refine, "load_cost_model", lambda path, space: Growing(next(grown)))
    result = search(tmp_path, (profiled[0], Growing(jnp.zeros(3))))
    assert len(compiled) == 3
    assert result.cost_model.seen.shape == (6,)


def test_what_cannot_be_measured_is_said_before_the_search(tmp_path, profiled):
    def refinement(model, folder, metric="latency_ms"):
        target = Target(metric, 3.0)
        return Refinement(SPACE, model, [target], CONFIG, range(0, 15, 3), folder=folder)

    with pytest.raises(UserError, match="needs a run folder"):
        refinement(profiled[1], None)
    with pytest.raises(UserError, match=r"there is no .*measurements\.json"):
        refinement(profiled[1], tmp_path)
    save_measurements(profiled[0], tmp_path / "measurements.json")
    with pytest.raises(UserError, match=r"'dense' does not"):
        refinement(DenseModel(), tmp_path)
    with pytest.raises(UserError, match="not energy_mj"):
        refinement(profiled[1], tmp_path, "energy_mj")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"architecture": None}, r"networks\[1\]\.architecture must be a table of keys, got None"),
        ({"architecture": {}}, r"networks\[1\]: "),
        ({"measured": 0.0}, r"networks\[1\]\.measured = 0.0 must be greater than 0"),
        ({"step": -9}, r"networks\[1\]\.step = -9 must be greater than or equal to 0"),
        ({"measured": math.nan}, "NaN is no number"),
    ],
)
def test_a_damaged_file_names_the_row(tmp_path, row, said):
    names = SPACE.to_names(np.array([0, 1, 2]))
    good = {"step": 9, "string": "", "architecture": names, "predicted": 1.0, "std": 0.1,
            "measured": 1.0, "measured_iqr": 0.0, "measured_now": 1.0, "repeats": 3,
            "drift": 1.0}  # fmt: skip
    path = tmp_path / refine.FILE
    payload = {"format": "hwnas_jax.measurements_during_search", "version": 1,
               "space": SPACE.spec, "networks": [good, {**good, **row}]}  # fmt: skip
    path.write_text(json.dumps(payload))
    with pytest.raises(UserError, match=said):
        refine.read_rows(path, SPACE)
    path.write_text(json.dumps({**payload, "networks": [good], "space": {"name": "other"}}))
    with pytest.raises(UserError, match="its networks belong to the space"):
        refine.read_rows(path, SPACE)
