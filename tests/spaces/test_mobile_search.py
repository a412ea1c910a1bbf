"""A whole job in small for each macro and mobile space."""

import json

import numpy as np
import pytest

from hwnas_jax.cli import main
from hwnas_jax.files import read_json

SMALL = [
    "--profile.networks", "8", "--profile.rounds", "1", "--profile.warmup", "1",
    "--profile.measure-rounds", "2", "--profile.batch-size", "16", "--cost.steps", "60",
    "--cost.members", "2", "--search.steps", "200", "--search.warmup-steps", "60",
    "--search.batch-size", "16", "--search.steps-per-dispatch", "20",
    "--search.checkpoint-every", "200", "--retrain.networks", "1", "--retrain.epochs", "2",
    "--target.confirm", "1", "--parallel.devices", "1",
]  # fmt: skip
SIZES = {
    "nasbench_macro": ["--space.args.width", "0.1", "--space.args.depth", "1"],
    "fbnet": ["--space.args.width", "0.1", "--space.args.depth", "1"],
    "proxylessnas": [
        "--space.args.width", "0.1", "--space.args.depth", "1", "--space.args.head", "160",
    ],
    "dna": ["--space.args.width", "0.1", "--space.args.depth", "1", "--space.args.head", "160"],
    "mnasnet": [
        "--space.args.width", "0.2", "--space.args.depth", "1", "--space.args.blocks", "2",
        "--space.args.head", "160",
    ],
    "transnas_macro": [
        "--space.args.channels", "4", "--space.args.least", "2", "--space.args.most", "3",
        "--space.args.doublings", "1", "--space.args.halvings", "1",
    ],
}  # fmt: skip
OFF = {"mnasnet": {"*.op": ("conv", "mbconv6"), "*.kernel": ("5",), "*.filters": ("0.75",)}}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_search_meets_its_target(name, tmp_path):
    folder = tmp_path / name
    words = ["search", name, "--run-dir", str(folder), *SIZES[name], *SMALL]
    if name in OFF:
        from hwnas_jax.config import load_config, override
        from hwnas_jax.run import Run

        config = load_config(name)
        for flag, value in zip(words[4::2], words[5::2], strict=True):
            config = override(config, **{_key(flag): json.loads(value)})
        Run.create(override(config, space__off=OFF[name]), folder).all()
    else:
        assert main(words) == 0
    losses = [json.loads(line)["weight_loss"] for line in (folder / "metrics.jsonl").open()]
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
    target = read_json(folder / "target.json", "target")["target_ms"]
    networks = read_json(folder / "networks.json", "networks")["networks"]
    assert [network["origin"] for network in networks] == ["search", "random"]
    for network in networks:
        assert network["predicted_ms"] <= target
        assert network["measured_ms"] > 0
        assert 0.1 < network["test_accuracy"] <= 1
    assert (folder / "report.html").is_file()


def _key(flag):
    return flag.removeprefix("--").replace("-", "_").replace(".", "__")
