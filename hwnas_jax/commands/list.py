"""`hwnas list`: names what there is."""

import ast
import dataclasses
from collections.abc import Mapping

import jax
import tyro
from rich.text import Text

from hwnas_jax.config import config_folder, config_names
from hwnas_jax.display import Terminal, plain
from hwnas_jax.report.catalogue import kinds


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Names the search spaces, the methods of every kind, the configs and the devices."""


def run(words: list[str]) -> None:
    """Names what there is, with a line for each."""
    tyro.cli(ListOptions, args=words, prog="hwnas list")
    groups: dict[str, Mapping[str, str]] = {
        f"[bold]{kind.several}[/]  --{'.'.join(kind.keys)}": kind.summaries
        for kind in kinds().values()
    }
    groups["[bold]configs[/]"] = {name: _first_line(name) for name in config_names()}
    groups["[bold]devices[/]"] = {
        f"{device.platform}:{device.id}": device.device_kind for device in jax.local_devices()
    }
    console = Terminal().console
    for title, lines in groups.items():
        console.print(title, soft_wrap=True)
        for name, line in lines.items():
            console.print(Text(plain(f"  {name:<18} {line}")), soft_wrap=True)


def _first_line(config: str) -> str:
    text = (config_folder() / f"{config}.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
