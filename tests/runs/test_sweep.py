"""A sweep from the command line: its files, its mistakes, what it keeps when resumed.

The sweep that the tests read is of networks with accelerators of their own, whose costs are
simulated: nothing is measured, and no search knows of it before it is through.
"""

import json
import shutil

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import Config, Part, load_config, override, save_config
from hwnas_jax.cost import load_cost_model
from hwnas_jax.cost.simulate.codesign import joint_costs
from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_json
from hwnas_jax.report.pareto_front import Reference, hypervolume
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.wanted import PERCENTILES, Wanted, front
from hwnas_jax.search.candidates import cost_range

# Of the cells' operations two are left, of the accelerators six.
TINY = override(
    load_config("codesign"), name="tiny",
    space__args={
        "network_args": "channels=2,cells=1", "rows": "4", "columns": "4,16",
        "buffer_kib": "2,8,64", "dataflow": "ws",
    },
    space__off={"?<-?": ("none", "avg_pool_3x3", "nor_conv_1x1")},
    profile__networks=60, cost__model=Part("linear"), target__confidence=0.7, search__steps=4,
    search__warmup_steps=2, search__steps_per_dispatch=2, search__batch_size=16,
    retrain__epochs=1, derive__rule=Part("most_probable"), derive__confirm=2, sweep__devices=2,
)  # fmt: skip
METRIC = "edap_mj_ms_mm2"


@pytest.fixture(scope="session")
def swept(once):
    """A folder with the config `tiny.json` and `run`, a finished sweep of two targets."""

    def make(folder):
        save_config(TINY, folder / "tiny.json")
        words = ["sweep", str(folder / "tiny.json"), "--run-dir", str(folder / "run")]
        assert main([*words, "--percentiles", "30", "80"]) == 0

    return once("sweep", make)


@pytest.fixture
def here(swept, tmp_path, monkeypatch):
    """A working folder of its own with copies of `tiny.json` and `run`."""
    shutil.copytree(swept, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "here"


def read(folder, name):
    return read_json(folder / f"{name}.json", name)


@pytest.mark.slow
def test_every_stage_leaves_its_files(swept):
    run, own = swept / "run", Run.open(swept / "run")
    targets = [one["value"] for one in read(run, "targets")["targets"]]
    assert targets == sorted(targets) == [member.target.value for member in own.members]
    networks = read(run, "networks")["networks"]
    assert [network["target"] for network in networks] == targets
    assert [network["label"] for network in networks] == [m.label for m in own.members]
    for network in networks:
        assert 0 < network["validation_metric"] <= 1
        assert 0 <= network["supernet_metric"] <= 1
        saved = read(run / "architectures", network["label"])
        assert saved["architecture"] == network["architecture"]
    stages = {json.loads(line)["stage"] for line in (run / "metrics.jsonl").open()}
    assert stages == {"warmup", "search", "retrain"}
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_what_is_simulated_is_simulated_again(swept):
    run = Run.open(swept / "run")
    payload = read(run.folder, "networks")
    for network in payload["networks"]:
        row = run.space.from_names(network["architecture"])
        assert network["measured"] == pytest.approx(joint_costs(run.space, row[None])[METRIC][0])
    assert len(payload["confirmations"]) == 2 * 2  # two of each search
    for row in payload["confirmations"]:
        architecture = run.space.from_string(row["string"])
        exact = joint_costs(run.space, architecture[None])[METRIC][0]
        assert row["measured"] == pytest.approx(exact)
        target = next(m.target.value for m in run.members if m.label == row["search"])
        assert not row["meets_budget"] or exact <= target


@pytest.mark.slow
def test_every_budget_is_kept_with_the_confidence(swept):
    run = Run.open(swept / "run")
    reachable = cost_range(run.space, run.cost_model, METRIC, confidence=0.7)
    for percentile, member in zip((30, 80), run.members, strict=True):
        assert member.target.confidence == 0.7
        # The budgets themselves are those of the predictions.
        assert member.target.value == pytest.approx(reachable.at(percentile))
    for network in read(run.folder, "networks")["networks"]:
        bound = network["predicted"] + 0.5244005 * network["predicted_std"]
        assert bound <= network["target"] * (1 + 1e-5)
        assert network["predicted_bound"] == pytest.approx(bound, rel=1e-4)


@pytest.mark.slow
def test_a_finished_sweep_is_shown_again_and_nothing_is_done_again(here, capsys):
    before = (here / "run" / "networks.json").read_bytes()
    assert main(["sweep", "--resume", "run"]) == 0
    shown = capsys.readouterr().out
    assert (here / "run" / "networks.json").read_bytes() == before
    for network in json.loads(before)["networks"]:
        assert network["label"] in shown


@pytest.mark.slow
def test_the_page_shows_the_front_and_its_area(swept):
    run = swept / "run"
    report, page = read(run, "report"), (run / "report.html").read_text()
    shown, networks = report["front"], report["networks"]["networks"]
    assert (shown["cost"], shown["value"]) == ("measured", "validation_metric")
    costs, values = ([network[shown[axis]] for network in networks] for axis in ("cost", "value"))
    area = hypervolume(costs, values, Reference(**shown["reference"]))
    assert shown["hypervolume"] == pytest.approx(area)
    assert all(network["label"] in page for network in networks)


@pytest.mark.slow
def test_a_run_on_a_simulated_cost_model_alone_is_confirmed_and_measured(here):
    """Without the measurement file: the space itself says how its networks are simulated."""
    config = override(TINY, target__percentile=80.0, target__confidence=None)
    run = Run.create(config, here / "single", cost_model=here / "run" / "cost_model.npz")
    run.all(until="derive")
    assert not (run.folder / "measurements.json").exists()
    for network in run.measure():
        row = run.space.from_names(network["architecture"])
        exact = joint_costs(run.space, row[None], batch_size=1)[METRIC][0]
        assert network["measured"] == pytest.approx(exact)
    given = load_cost_model(here / "run" / "cost_model.npz", run.space)
    weight = np.eye(run.space.num_options, dtype=np.float32)[run.candidates()[0].architecture]
    assert run.candidates()[0].predicted == pytest.approx(float(given.predict(weight)[METRIC]))


@pytest.mark.slow
def test_a_sweep_takes_controls_where_it_is_asked(here):
    """One of each for every search, trained from the same seed as that of the search."""
    run = Run.open(here / "run")
    run.config = override(run.config, derive__controls=("random", "most_macs"))
    networks = run.derive()
    for member in run.members:
        own = [network for network in networks if network["search"] == member.label]
        assert [network["label"] for network in own] == [
            member.label, f"{member.label}-random", f"{member.label}-most_macs",
        ]  # fmt: skip
        assert len({(n["seed"], n["training_seed"], n["target"]) for n in own}) == 1
        assert [("supernet_metric" in network) for network in own] == [True, False, False]
    tried = read(here / "run", "networks")["confirmations"]
    assert len(tried) == 2 * 3 * 2
    assert {path.stem for path in (here / "run" / "architectures").iterdir()} == {
        member.label for member in run.members
    }
    shown = run.report().read_text()
    assert "of 4 from the searches" in shown and "of 4 of most MACs" in shown
    assert len(read(here / "run", "report")["front"]["on_front"]) == 2


TYPED = [
    ("sweep --targets 0", ("--targets 0 must be positive",)),
    ("sweep --targets nan", ("--targets nan must be positive",)),
    ("sweep --targets 1.5 2 1.5", ("--targets has 1.5 more than once",)),
    ("sweep --percentiles 10 101", ("--percentiles 101 must be in [0, 100]",)),
    ("sweep --percentiles 10 --targets 1", ("exclude each other",)),
    ("sweep --seeds -1", ("--seeds -1 must be in [0, 2**32)",)),
    ("sweep --seeds 1 1", ("--seeds has 1 more than once",)),
    ("sweep --targts 1 2", ("--targts", "--targets")),
    ("sweep --sweep.devices 99", ("sweep.devices = 99", "allowed are 1 to 8")),
    ("sweep --sweep.devices 0", ("sweep.devices = 0", "greater than 0")),
    ("sweep --sweep.within bach", ("bach", "batch", "map")),
    ("sweep --parallel.devices 2", ("parallel.devices = 2", "--sweep.devices")),
    ("sweep --until serach", ("stage 'serach'", "Did you mean 'search'?")),
    ("sweep --resume nonsense", ("nonsense",)),
    ("sweep --from-step 3", ("--from-step", "--resume")),
    ("sweep digts", ("config 'digts'", "Did you mean 'digits'?")),
]  # fmt: skip


def refused(capsys, folder, line):
    """Returns what the command says; it must exit with 2 and leave nothing new behind."""
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert sorted(folder.rglob("*")) == before
    assert "Traceback" not in shown.out + shown.err
    return shown.out + shown.err


@pytest.mark.parametrize(("line", "parts"), TYPED, ids=[line for line, _ in TYPED])
def test_mistakes(capsys, tmp_path, monkeypatch, line, parts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    shown = refused(capsys, tmp_path, line)
    for part in parts:
        assert part in shown


GIVEN = "--run-dir new --cost-model run/cost_model.npz"
BESIDE = [
    (f"sweep tiny.json {GIVEN} --targets 1e-30 1", ("target 1e-30", "out of reach", "median")),
    (f"sweep tiny.json {GIVEN} --percentiles 50 50.000001", ("more than once",)),
    ("sweep tiny.json --run-dir run", ("the folder run exists",)),
    ("sweep --resume run --percentiles 20 50 90", ("keeps its percentiles: 30 80", "20 50 90")),
    ("sweep --resume run --targets 1", ("keeps its targets: none", "--cost-model run")),
    ("sweep --resume run --seeds 1", ("keeps its seeds: 0", "given were 1")),
    ("sweep --resume run --search.steps 8", ("changed were: search.", "--sweep.devices")),
    ("sweep --resume run --sweep.no-share-warmup", ("changed were: sweep.share_warmup",)),
    ("sweep --resume run --run-dir other", ("--run-dir", "--resume")),
    ("sweep --resume run --from-step 2", ("--from-step", "finished")),
    ("search --resume run", ("run is a sweep", "hwnas sweep --resume run")),
    ("derive run --out a.json", ("run holds several searches", "--search")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "parts"), BESIDE, ids=[line for line, _ in BESIDE])
def test_mistakes_beside_a_sweep(capsys, here, line, parts):
    shown = refused(capsys, here, line)
    for part in parts:
        assert part in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", ["searches", "targets"])
def test_a_damaged_file_is_named(capsys, here, name):
    path = here / "run" / f"{name}.json"
    stages = read(here / "run", "stages")
    (here / "run" / "stages.json").write_text(json.dumps({"profile": stages["profile"]}))
    payload = read(here / "run", name)
    path.write_text(json.dumps({**payload, "seeds": "x", "targets": "x"}))
    assert f"the run file run/{name}.json: " in refused(capsys, here, "sweep --resume run")
    path.write_text("{")
    assert f"run/{name}.json is damaged" in refused(capsys, here, "sweep --resume run")


def test_by_default_eight_percentiles_and_the_seed_of_the_config():
    config = override(Config(), seed=5)
    wanted = front()
    assert wanted == Wanted((), PERCENTILES, (), True)
    assert wanted.budgets(config) == [(None, value) for value in PERCENTILES]
    assert wanted.all_seeds(config) == (5,)
    assert wanted.several and len(PERCENTILES) == 8
    assert front([2.0, 1.0]).budgets(config) == [(2.0, None), (1.0, None)]
    assert front(seeds=[3, 4]).all_seeds(config) == (3, 4)


def test_a_run_of_one_search_takes_the_target_and_the_seed_of_its_config(tmp_path):
    alone, config = Wanted(), override(Config(), seed=5, target__value=2.0)
    assert alone.budgets(config) == [(2.0, None)]
    assert alone.budgets(Config()) == [(None, Config().target.percentile)]
    assert alone.all_seeds(config) == (5,)
    assert not alone.several
    alone.save(tmp_path)
    assert Wanted.load(tmp_path) == alone
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.json"):
        Run.open(tmp_path)
