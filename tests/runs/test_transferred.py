"""`hwnas transfer`: a finished search on another device."""

import csv
import json
import shutil

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.config import override
from hwnas_jax.cost import predict_architectures
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from hwnas_jax.runs.found import Found
from hwnas_jax.runs.run import Run
from hwnas_jax.runs.transferred import kept_config, transfer_config


@pytest.fixture(scope="module")
def finished(finished_run):
    return Run.open(finished_run)


@pytest.fixture(scope="module")
def board(finished, tmp_path_factory):
    """A measurement file of a board that is not here, where pooling costs most."""
    path = tmp_path_factory.mktemp("board") / "board.csv"
    rng = np.random.default_rng(0)
    rows = np.unique(finished.space.random(rng, 60), axis=0)
    write_sheet(path, finished.space, rows, board_cost(finished.space, rows))
    return path


def board_cost(space, rows):
    """Returns what architectures `int32[N, D]` cost on the board, `float64[N]`."""
    each = [{"none": 0.1, "skip_connect": 0.3, "nor_conv_1x1": 0.5, "nor_conv_3x3": 0.7,
             "avg_pool_3x3": 4.0}[option] for option in space.decisions[0].options]  # fmt: skip
    return 2 + np.array(each)[space.canonical(rows)].sum(-1)


def write_sheet(path, space, rows, costs):
    lines = [f"# space: {json.dumps(space.spec)}", "# device: board", "# batch_size: 64"]
    lines += ["architecture,latency_ms"]
    lines += [f"{space.to_string(row)},{cost:.6f}" for row, cost in zip(rows, costs, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def said(capsys):
    found = capsys.readouterr()
    return found.out + found.err


def test_the_second_search_keeps_weights_and_the_new_budget(
    finished, board, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    new = tmp_path / "new"
    words = ["--measurements", str(board), "--run-dir", str(new), "--target.percentile", "30",
             "--derive.controls", "random", "--retrain.epochs", "1"]  # fmt: skip
    assert main(["transfer", str(finished.folder), *words, "--steps", "6"]) == 0
    told = said(capsys)
    assert f"transferred from {finished.folder}" in told
    run = Run.open(new)
    old, found = (Found.load(one.folder, one.space, 1) for one in (finished, run))
    np.testing.assert_array_equal(found.weights, old.weights)
    assert np.abs(found.params - old.params).max() > 1e-4
    lines = [json.loads(line) for line in (new / "metrics.jsonl").read_text().splitlines()]
    searched = [line for line in lines if line.get("stage") == "search"]
    assert searched[-1]["step"] == 6 and searched[-1]["weight_loss"] is None
    assert searched[-1]["arch_loss"] > 0
    # The budget is the 30th percentile of what networks cost there, not here.
    everything = run.space.enumerate()
    costs = board_cost(run.space, everything)
    value = run.target.value
    assert value == pytest.approx(np.percentile(costs, 30), rel=0.05)
    entry = run.networks["networks"][0]
    assert entry["predicted"] <= value
    row = run.space.from_names(entry["architecture"])
    assert board_cost(run.space, row[None])[0] <= 1.05 * value
    # The board is not here: what to measure is listed.
    names = (new / "to_measure.csv").read_text()
    assert entry["string"] in names and "# device: board" in names
    assert run.config.search.warmup_steps == 0 and run.config.search.weights.frozen


def test_weights_are_trained_where_asked(finished, board, tmp_path):
    words = ["--measurements", str(board), "--run-dir", str(tmp_path / "new"), "--until", "search"]
    assert main(["transfer", str(finished.folder), *words, "--steps", "2", "--train-weights"]) == 0
    run = Run.open(tmp_path / "new")
    old, found = (Found.load(one.folder, one.space, 1) for one in (finished, run))
    change = np.abs(found.weights - old.weights).max()
    assert 0 < change < 1
    assert run.config.search.weights.learning_rate == pytest.approx(0.01)


def test_what_a_transfer_sets(finished):
    kept = kept_config(finished)
    config = transfer_config(finished, kept)
    assert config.search.steps == 4  # a tenth of 32, rounded up
    assert config.search.start_from == str(finished.folder.resolve())
    assert config.search.start_with == "both" and config.search.weights.frozen
    fixed = override(finished.config, target__value=1.5)
    finished_fixed = Run(finished.folder, fixed, finished.display, finished.wanted)
    kept = kept_config(finished_fixed)
    changed = override(kept, target__percentile=20.0)
    assert transfer_config(finished_fixed, changed).target.value is None
    both = override(kept, target__percentile=20.0, target__value=2.0)
    assert transfer_config(finished_fixed, both).target.value == 2.0
    assert transfer_config(finished_fixed, kept).target.value == 1.5


def test_after_weights_alone_were_trained_the_architecture_gets_a_tenth_of_all_steps(finished):
    alone = override(
        finished.config, search__elastic__networks=3, search__steps=32, search__warmup_steps=32
    )
    run = Run(finished.folder, alone, finished.display, finished.wanted)
    search = transfer_config(run, kept_config(run)).search
    assert (search.warmup_steps, search.steps, search.elastic.networks) == (0, 4, None)


def test_what_a_transfer_keeps(finished):
    kept = kept_config(finished)
    for changes, parts in (
        ({"space__args": {"channels": 4}}, ("space.args.channels = 2", "another space")),
        ({"search__batch_size": 32}, ("search.batch_size = 16", "batches of this size")),
        ({"data__path": "x"}, ("data.path", "learned from these data")),
        ({"seed": 4}, ("seed = 0", "target")),
        ({"search__steps": 9}, ("give the number of steps as --steps",)),
    ):
        with pytest.raises(UserError) as error:
            transfer_config(finished, override(kept, **changes))
        assert all(part in str(error.value) for part in parts), error.value


def test_a_run_without_weights_is_refused(finished, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(finished.folder, folder)
    found = Found.load(folder, finished.space, 1)
    found._replace(weights=None).save(folder)
    with pytest.raises(UserError, match=r"has no weights to transfer.*Allowed are runs"):
        kept_config(Run.open(folder))
    (folder / "search.npz").unlink()
    with pytest.raises(UserError, match="holds no finished search"):
        kept_config(Run.open(folder))


def test_a_strategy_begins_with_the_networks_and_is_not_trained(finished, tmp_path):
    """Its supernet judges again, so that nothing is trained and only rounds are asked for."""
    folder = tmp_path / "strategy"
    shutil.copytree(finished.folder, folder)
    run = Run.open(folder)
    evolution = Part("evolution", {"population": 4})
    run.config = override(run.config, search__strategy=evolution, search__rounds=25)
    config = transfer_config(run, kept_config(run))
    assert config.search.rounds == 3 and not config.search.weights.frozen
    with pytest.raises(UserError, match=r"--train-weights goes with .*'gradient'"):
        transfer_config(run, kept_config(run), train_weights=True)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["gone"], ("there is no run folder", "gone")),
        (["--steps", "3"], ()),
        (["RUN", "digits"], ("keeps the config of its run", "leave out digits")),
        (["RUN", "--space.args", "channels", "4"], ("another space",)),
        (["RUN", "--percentiles", "10"], ("is for a sweep",)),
        (["RUN", "--threshold", "0.8"], ("--threshold goes with --samples",)),
        (["RUN", "--samples", "10", "--steps", "3"], ("--steps goes not with --samples",)),
        (["RUN", "--samples", "3"], ("at least 5 networks, got 3",)),
        (["RUN", "--samples", "gone.csv"], ("gone.csv",)),
    ],
)
def test_mistakes_of_the_command(finished, tmp_path, monkeypatch, capsys, words, parts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    given = [str(finished.folder) if word == "RUN" else word for word in words]
    assert main(["transfer", *given]) == 2
    told = said(capsys)
    assert all(part in told for part in parts), told
    assert not list(tmp_path.iterdir())


def test_frozen_weights_need_a_run(finished, tmp_path):
    config = override(finished.config, search__weights__frozen=True)
    with pytest.raises(UserError, match=r"name it with --search.start-from"):
        Run.create(config, tmp_path / "new")


def test_measurements_of_other_channels_are_refused(finished, tmp_path, capsys):
    path = tmp_path / "wide.json"
    given = json.loads((finished.folder / "measurements.json").read_text())
    given["space"]["args"]["channels"] = 4
    path.write_text(json.dumps(given))
    words = ["--measurements", str(path), "--run-dir", str(tmp_path / "new")]
    assert main(["transfer", str(finished.folder), *words]) == 2
    told = said(capsys)
    assert "channels" in told and "wide.json" in told
    assert not (tmp_path / "new").exists()


def fill(plan, space, cost):
    """Fills the empty column of a sheet by `cost`, and returns the architectures."""
    head, *lines = plan.read_text().splitlines()
    names, costs = [row["architecture"] for row in csv.DictReader(lines)], []
    rows = np.stack([space.from_string(name) for name in names])
    costs = cost(rows)
    write_sheet(plan, space, rows, costs)
    assert head.startswith("# space: ")
    return rows


def test_networks_are_ranked_again_and_the_verdict_is_told(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    space, model = finished.space, finished.cost_model
    plan = tmp_path / "plan.csv"

    def here(rows):
        return predict_architectures(model, rows, space.num_options)["latency_ms"].astype(float)

    found = {}
    for name, cost in (("alike", lambda rows: 5 * here(rows)), ("board", one_pool)):
        plan.unlink(missing_ok=True)
        words = ["transfer", str(finished.folder), "--samples"]
        assert main([*words, "12", "--plan", str(plan)]) == 0
        rows = fill(plan, space, lambda rows, cost=cost: cost(rows))
        assert len(np.unique(rows, axis=0)) == 12
        capsys.readouterr()
        assert main([*words, str(plan), "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)
        assert main([*words, str(plan)]) == 0
        assert f"reuse is {found[name]['verdict']}" in said(capsys)
    assert found["alike"]["verdict"] == "safe" and found["board"]["verdict"] == "unsafe"
    for entry in found["alike"]["networks"]:
        row = space.from_string(entry["string"])
        assert entry["cost"] == pytest.approx(5 * here(row[None])[0], rel=0.2)
        assert entry["std"] > 0 and entry["value"] is not None
    costs = [entry["cost"] for entry in found["board"]["networks"]]
    assert costs == sorted(costs)


def one_pool(rows):
    """Costs that the first edge decides, and nothing that costs much here."""
    return 1.0 + np.abs(rows[:, 0] - 2) + 0.3 * (rows[:, 3] == 1)
