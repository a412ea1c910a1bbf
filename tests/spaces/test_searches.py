"""A whole job in small for each space."""

import json

import numpy as np
import pytest

from hwnas_jax.config import load_config, override
from hwnas_jax.files import read_json
from hwnas_jax.run import Run
from tests.helpers import SMALL

SIZES = {
    "nasbench_macro": {"width": 0.1, "depth": 1},
    "fbnet": {"width": 0.1, "depth": 1},
    "proxylessnas": {"width": 0.1, "depth": 1, "head": 160},
    "dna": {"width": 0.1, "depth": 1, "head": 160},
    "mnasnet": {"width": 0.2, "depth": 1, "blocks": 2, "head": 160},
    "transnas_macro": {"channels": 4, "least": 2, "most": 3, "doublings": 1, "halvings": 1},
    "ofa": {
        "width": 0.1, "units": "2,4", "depths": "1,2", "kernels": "3,5", "expansions": "1,4",
        "resolutions": "", "halvings": 1,
    },
    "single_path": {"width": 0.1, "stages": 2, "depth": 2, "halvings": 1, "head": 160},
    "channels": {"width": 0.25, "stages": 2, "depth": 2, "divisor": 2, "head": 160},
    "edmips": {"channels": 4, "stages": 2, "weights": "1,3", "activations": "2,3"},
    "bnas": {"channels": 8},
    "autoformer": {
        "embeddings": "8,16", "depths": "1,2", "heads": "1,2", "ratios": "1,2", "head_size": 4,
        "patch": 2,
    },
    "dash": {"channels": 4},
    "complete_graph": {"channels": 4, "nodes": 4},
    "darts": {"channels": 2, "cells": 3, "network_cells": 3},
    "transnas_cell": {"channels": 4, "macro": "4"},
}  # fmt: skip
OFF = {
    "fbnet": {"*": ("k5*", "*g2", "k3_e6")},
    "proxylessnas": {"*": ("5x5*", "7x7*")},
    "dna": {"*": ("*5x5", "*7x7")},
    "mnasnet": {"*.op": ("conv", "mbconv6"), "*.kernel": ("5",), "*.filters": ("0.75",)},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SIZES]
)
def test_search_meets_its_target(name, tmp_path):
    config = load_config(name)
    args = {**config.space.args, **SIZES[name]}
    config = override(config, space__args=args, space__off=OFF.get(name, {}), **SMALL)
    folder = tmp_path / name
    Run.create(config, folder).all()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    losses = [line["weight_loss"] for line in lines if "weight_loss" in line]
    assert np.mean(losses[-3:]) < 0.95 * losses[0]
    target = read_json(folder / "target.json", "target")["target_ms"]
    networks = read_json(folder / "networks.json", "networks")["networks"]
    assert [network["origin"] for network in networks] == ["search", "random"]
    for network in networks:
        assert network["predicted_ms"] <= target
        assert network["measured_ms"] > 0
        assert 0.1 < network["test_accuracy"] <= 1
    assert (folder / "report.html").is_file()
