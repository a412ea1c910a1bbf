"""What the README says exists: its paths, commands, options and names, and its example runs."""

import dataclasses
import inspect
import re
import typing
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.budgets import BUDGETS
from hwnas_jax.cli import COMMANDS
from hwnas_jax.config import Config
from hwnas_jax.cost import COST_MODELS
from hwnas_jax.cost.files.plain_text import parse_text
from hwnas_jax.data import SOURCES
from hwnas_jax.registry import Part
from hwnas_jax.relax import RELAXATIONS, check_relaxation
from hwnas_jax.search.derivation import DERIVATIONS
from hwnas_jax.search.estimators import ESTIMATORS
from hwnas_jax.search.evaluators import EVALUATORS
from hwnas_jax.search.strategies import STRATEGIES
from hwnas_jax.spaces import SPACES, make_space
from hwnas_jax.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 200


def test_its_paths_exist():
    named = re.findall(r"`((?:hwnas_jax|tests|benchmarks|notebooks|configs)/[\w/.]*)`", TEXT)
    linked = re.findall(r"\]\(([\w/.]+)\)", re.sub(r"<!--.*?-->", "", TEXT, flags=re.DOTALL))
    assert len(named) > 20
    assert [path for path in [*named, *linked] if not (ROOT / path).exists()] == []


def test_its_commands_exist():
    named = set(re.findall(r"hwnas ([a-z]+(?: [a-z]+)?)", TEXT))
    known = {*COMMANDS, *(command.split()[0] for command in COMMANDS)}
    assert len(named) > 10
    assert [words for words in named if not {words, words.split()[0]} & known] == []
    for command in COMMANDS:
        assert f"`{command.split()[-1]}`" in TEXT or f"hwnas {command}" in TEXT, command


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--([a-z]+\.[\w.-]+)", TEXT))))
def test_its_options_exist(option):
    kind = Config
    for name in option.rstrip(".").replace("-", "_").split("."):
        assert dataclasses.is_dataclass(kind), option
        hints = typing.get_type_hints(kind)
        assert name in hints, option
        kind = hints[name]


METHODS = {
    "relaxation": RELAXATIONS, "estimator": ESTIMATORS, "budget": BUDGETS, "strategy": STRATEGIES,
    "evaluator": EVALUATORS, "derivation": DERIVATIONS, "task": TASKS, "data source": SOURCES,
    "search space": SPACES, "cost model": COST_MODELS,
}  # fmt: skip


@pytest.mark.parametrize("kind", METHODS)
def test_its_methods_exist(kind):
    (row,) = re.findall(rf"^\| {kind}.*\|$", TEXT, flags=re.MULTILINE)
    names = re.findall(r"`(\w+)`", row.rpartition(" | ")[2])
    assert names
    # Neither of these two strategies asks for architectures, so they are not in the registry.
    known = {*METHODS[kind], "gradient", "blockwise"}
    assert [name for name in names if name not in known] == []


def test_every_search_space_is_named():
    assert [name for name in SPACES if f"`{name}`" not in TEXT] == []


def test_its_example_keeps_the_contract(tmp_path):
    (source,) = re.findall(r'```python\n("""my_relaxation.py.*?)```', TEXT, flags=re.DOTALL)
    (tmp_path / "my_relaxation.py").write_text(source)
    name = f"{tmp_path / 'my_relaxation.py'}:Decisive"
    relaxation = RELAXATIONS.make(Part(name, {"strength": 0.2}))
    mask = np.ones((2, 4), bool)
    check_relaxation(relaxation, mask)
    even = np.zeros((2, 4), np.float32)
    assert float(relaxation.penalty(even, mask, 0.5)) == pytest.approx(0.2 * 0.5 * np.log(4))
    sure = np.array([[50.0, 0, 0, 0]] * 2, np.float32)
    assert float(relaxation.penalty(sure, mask, 1.0)) == pytest.approx(0.0, abs=1e-6)


def test_its_table_of_a_phone_is_read():
    (block,) = re.findall(r"\n((?:    .*\n)*    architecture,latency.*\n(?:    .*\n)+)", TEXT)
    found = parse_text(inspect.cleandoc(block) + "\n")
    space = Config().space
    made = make_space(space.name, space.args, input_shape=(8, 8, 1), num_outputs=10)
    assert found.space == made.spec and found.device == {"kind": "Pixel 8"}
    assert found.latencies_ms.tolist() == [1.93]


def test_its_python_is_short_and_names_what_there_is():
    import hwnas_jax as hw

    (source,) = re.findall(r"```python\n(import hwnas_jax as hw.*?)```", TEXT, flags=re.DOTALL)
    assert len(source.splitlines()) <= 12
    compile(source, "README.md", "exec")
    assert [name for name in re.findall(r"hw\.(\w+)", source) if not hasattr(hw, name)] == []
    assert [name for name in re.findall(r"run\.(\w+)\(", source) if not hasattr(hw.Run, name)] == []
