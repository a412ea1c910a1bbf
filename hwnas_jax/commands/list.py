"""`hwnas list`: names what there is."""

import ast
import dataclasses

import jax
import tyro

from hwnas_jax.config import config_folder, config_names
from hwnas_jax.cost import COST_MODELS
from hwnas_jax.data import DATA_SETS
from hwnas_jax.display import Terminal
from hwnas_jax.relax import RELAXATIONS
from hwnas_jax.spaces import known_spaces


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Names the search spaces, relaxations, cost models, data sets, configs and devices."""


def run(words: list[str]) -> None:
    """Names what there is, a line each."""
    tyro.cli(ListOptions, args=words, prog="hwnas list")
    groups: dict[str, dict[str, str]] = {
        "search spaces": known_spaces(),
        "relaxations": RELAXATIONS.summaries(),
        "cost models": {name: summary for name, (summary, _) in COST_MODELS.items()},
        "data sets": dict(DATA_SETS),
        "configs": {name: _first_line(name) for name in config_names()},
        "devices": {
            f"{device.platform}:{device.id}": device.device_kind for device in jax.local_devices()
        },
    }
    console = Terminal().console
    for title, lines in groups.items():
        console.print(f"[bold]{title}[/]")
        for name, line in lines.items():
            console.print(f"  {name:<18} {line}", markup=False, soft_wrap=True)


def _first_line(config: str) -> str:
    text = (config_folder() / f"{config}.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
