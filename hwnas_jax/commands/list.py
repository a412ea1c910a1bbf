"""`hwnas list`: names what there is."""

import ast
import dataclasses
from collections.abc import Mapping

import jax
import tyro
from rich.text import Text

from hwnas_jax.config import config_folder, config_names
from hwnas_jax.data.nasbench360.definitions import TASKS360, described
from hwnas_jax.display import Terminal, plain
from hwnas_jax.errors import choose
from hwnas_jax.report.catalogue import kinds
from hwnas_jax.report.systems import SYSTEMS

_SYSTEMS, _TASKS360 = "systems", "tasks360"


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """Names the search spaces, the methods of every kind, the configs and the devices."""

    what: tyro.conf.Positional[str | None] = None
    """systems: the published systems that are built again here, and what they reached; tasks360:
    the ten tasks of NAS-Bench-360, with their published scores and their files"""


def run(words: list[str]) -> None:
    """Names what there is, with a line for each."""
    options = tyro.cli(ListOptions, args=words, prog="hwnas list")
    if options.what is not None:
        choose(options.what, [_SYSTEMS, _TASKS360], "list")
        (_list_systems if options.what == _SYSTEMS else _list_tasks360)()
        return
    groups: dict[str, Mapping[str, str]] = {
        f"[bold]{kind.several}[/]  --{'.'.join(kind.keys).replace('_', '-')}": kind.summaries
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


def _list_systems() -> None:
    for one in SYSTEMS:
        _print_entry(f"{one.name} ({one.paper})", one.command, f"obtained here: {one.figure}")


def _list_tasks360() -> None:
    for task in TASKS360.values():
        _print_entry(*described(task))


def _print_entry(title: str, *lines: str) -> None:
    console = Terminal().console
    console.print(Text(plain(title), style="bold"), soft_wrap=True)
    for line in lines:
        console.print(Text(plain(f"  {line}")), soft_wrap=True)


def _first_line(config: str) -> str:
    text = (config_folder() / f"{config}.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
