"""The systems that are built again: their commands and the sections of their figures exist."""

import re
from pathlib import Path

import pytest

from hwnas_jax.cli import COMMANDS, main
from hwnas_jax.config import Config, config_names
from hwnas_jax.relax import RELAXATIONS
from hwnas_jax.report.systems import SYSTEMS
from hwnas_jax.search.blockwise.options import Blockwise
from hwnas_jax.search.strategies import STRATEGIES

RESULTS = (Path(__file__).resolve().parents[2] / "benchmarks" / "RESULTS.md").read_text()
OPTIONS = {"--samples", "RUN", "10", "4", "teacher", "network"}
METHODS = {*STRATEGIES, Blockwise.name, *RELAXATIONS, "dual_ascent"}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_its_command_and_its_section_exist(system):
    program, *words = system.command.split()
    assert program == "hwnas"
    length = 1 if words[0] in COMMANDS else 2
    assert " ".join(words[:length]) in COMMANDS
    for word in words[length:]:
        if "." in word:
            kind = Config()
            for name in word.removeprefix("--").replace("-", "_").split("."):
                kind = getattr(kind, name)
        else:
            known = {*OPTIONS, *METHODS, *config_names(), "nb201_accuracy", "--budget"}
            assert word in known, word
    for section in re.findall(r"\((\d[\d.]*)\)$", system.figure):
        assert re.search(rf"^##+ {re.escape(section)}\.? ", RESULTS, flags=re.MULTILINE), section


def test_every_figure_is_measured_and_has_a_section_or_is_said_to_be_missing():
    for system in SYSTEMS:
        assert system.figure == "not yet measured" or re.search(r"\(\d[\d.]*\)$", system.figure)


def test_they_are_listed(capsys):
    assert main(["list", "systems"]) == 0
    shown = capsys.readouterr().out
    for system in SYSTEMS:
        assert f"{system.name} ({system.paper})" in shown and system.command in shown
