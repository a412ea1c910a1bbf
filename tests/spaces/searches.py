"""A whole job in small, from the profile to the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas_jax.config import load_config, override
from hwnas_jax.files.json_files import read_json
from hwnas_jax.runs.run import Run
from hwnas_jax.search import candidates
from tests.helpers import FEW_SAMPLES, SMALL


def check_search(
    name: str,
    folder: Path,
    args: dict[str, Any],
    off: dict[str, tuple[str, ...]] | None = None,
    **changes: Any,
) -> None:
    """Searches digits by the config `name`, made smaller by `args`, under a latency target.

    `changes` are of further settings, as of `override`.

    The loss falls, and what is derived meets the target, is trained, measured and shown.
    """
    config = load_config(name)
    small = {**config.space.args, **args}
    config = override(config, space__args=small, space__off=off or {}, **{**SMALL, **changes})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "SAMPLES", FEW_SAMPLES)
        Run.create(config, folder / name).all()
    lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").open()]
    losses = [line["weight_loss"] for line in lines if line["stage"] == "search"]
    assert np.mean(losses[-3:]) < 0.95 * losses[0]
    networks = read_json(folder / name / "networks.json", "networks")["networks"]
    assert [network["origin"] for network in networks] == ["search", "random"]
    for network in networks:
        assert network["predicted"] <= network["target"]
        assert network["measured"] > 0
        assert 0.1 < network["test_metric"] <= 1
    assert (folder / name / "report.html").is_file()
