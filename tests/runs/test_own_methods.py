"""Methods from a user's own file run a whole search, from the command line to the report."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.runs.run import Run

METHODS = Path(__file__).parents[1] / "methods"

COUNTED = (
    "--data.name digits --space.args.channels 2 --cost.model analytic --target.metric macs "
    "--search.steps 8 "
    "--search.warmup-steps 4 --search.steps-per-dispatch 4 --search.batch-size 16 "
    "--search.rounds 6 --retrain.epochs 1 --derive.confirm 2 "
    "--derive.controls most_macs --parallel.devices 1"
)
OWN = {
    "relaxation": "--search.relaxation {}/my_relaxation.py:Exploring explore 0.3",
    "budget": "--budget {}/my_budget.py:GrowingPenalty growth 1.5 start 2.0",
    "strategy": "--search.strategy {}/my_strategy.py:HillClimbing patience 3",
    "task": "--task {}/my_task.py:Ordinal smoothing 0.1",
    "data": "--data.name {}/my_data.py:Shapes --data.args.examples 240",
}


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("relaxation", "budget", "data"), ("strategy", "task")])
def test_methods_of_ones_own_run_a_search(kinds, tmp_path):
    folder, words = tmp_path / "run", []
    trained = 4 if "strategy" in kinds else 2
    words += ["--derive.rule", "halving", "trainings", str(trained), "steps", "2"]
    for kind in kinds:
        assert len((METHODS / f"my_{kind}.py").read_text().splitlines()) < 60
        words += OWN[kind].format(METHODS).split()
    assert main(["search", "--run-dir", str(folder), *COUNTED.split(), *words]) == 0
    networks = json.loads((folder / "networks.json").read_text())["networks"]
    assert [network["origin"] for network in networks] == ["search", "most_macs"]
    for network in networks:
        assert network["predicted"] == network["measured"] == network["macs"] <= network["target"]
    assert not (folder / "measurements.json").exists()
    assert "report.html" in {path.name for path in folder.iterdir()}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    for kind in kinds:
        check(kind, Run.open(folder), networks, lines)


def check(kind, run, networks, lines):
    """Checks that it was this method which did its part, by what it leaves behind."""
    last = [line for line in lines if line["stage"] in ("search", "strategy")][-1]
    if kind == "relaxation":
        share = np.array(last["probabilities"])
        assert share.min() >= 0.3 / 5 - 1e-5  # no option has less than its share of exploring
        np.testing.assert_allclose(share.sum(-1), 1.0, atol=1e-4)
    if kind == "budget":
        # A limit that is missed raises the weight from its start; one that is met leaves it.
        assert last["multiplier"] >= 2.0
        assert not run.budget.both_sides
    if kind == "strategy":
        assert last["step"] == 6
        told = [network["score"] for network in networks]
        assert told[0] is not None and told[1] is None
    if kind == "task":
        assert run.task.metric == "steps_off"
        assert all(0 <= network["test_metric"] <= 9 for network in networks)
        assert "steps off" in (run.folder / "report.html").read_text()
    if kind == "data":
        assert (run.dataset.name, run.space.num_outputs) == ("shapes", 3)
        assert run.space.input_shape == (10, 10, 1)
