"""The order of the rooms: who may import whom, and that everything in them is used."""

import ast
from pathlib import Path

import pytest

from hwnas_jax.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "hwnas_jax"

ROOMS = (
    "errors", "registry", "files", "config", "parallel", "display", "relax", "nn", "compile",
    "export", "spaces", "data", "tasks", "budgets", "cost", "train", "search", "tabular", "report",
    "runs", "commands", "cli", "__main__", "__init__",
)  # fmt: skip
"""The lowest first. A module imports from its own room and from lower ones."""


def parsed(folder: Path) -> dict[str, ast.Module]:
    """Returns the syntax tree of every module below a folder, by its dotted name.

    Names leave the package out: "nn.cell", "spaces" for that room's `__init__`.
    """
    trees = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__") or "__init__"
        trees[name] = ast.parse(path.read_text())
    return trees


MODULES = parsed(ROOT / PACKAGE)


def imported(tree: ast.Module) -> set[str]:
    """Returns the package's modules that a tree imports, those inside functions included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE:
                found.add(module_of(name.removeprefix(PACKAGE).removeprefix(".")))
    return found


def module_of(name: str) -> str:
    """Returns the module that holds a dotted name, which may go on to a class or function."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "__init__"


def room(module: str) -> str:
    return module.partition(".")[0]


IMPORTS = {name: imported(tree) - {name} for name, tree in MODULES.items()}


def test_every_room_has_its_place_in_the_order():
    assert {room(name) for name in MODULES} <= set(ROOMS)


def test_imports_point_downwards():
    upwards = {
        (module, other)
        for module, others in IMPORTS.items()
        for other in others
        if ROOMS.index(room(other)) > ROOMS.index(room(module))
    }
    assert sorted(upwards) == []


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Returns the groups of modules that reach each other, by what each of them reaches."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            for other in graph[left.pop()] - seen:
                seen.add(other)
                left.append(other)
        return seen

    reached = {module: reach(module) for module in graph}
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}
    assert circles(graph) == {frozenset("bc"), frozenset("d")}


def test_no_modules_import_each_other():
    found = circles(IMPORTS)
    assert [sorted(circle) for circle in found] == []


def test_every_module_is_used():
    """By a module of the package, by a benchmark, or by name from the command line."""
    starts = {"__init__", "__main__", "cli", *(f"commands.{name}" for name in command_modules())}
    holding = {parent for name in MODULES for parent in [name.rpartition(".")[0]] if parent}
    benchmarks = [imported(tree) for tree in parsed(ROOT / "benchmarks").values()]
    used = starts.union(holding, *IMPORTS.values(), *benchmarks)
    unused = MODULES.keys() - used
    assert sorted(unused) == []


def command_modules() -> list[str]:
    return [name.replace(" ", "_") for name in COMMANDS]


def test_every_command_has_its_file():
    assert {f"commands.{name}" for name in command_modules()} <= MODULES.keys()


def bound(tree: ast.Module) -> set[str]:
    """Returns the names that a module binds at its top."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        else:
            stored = [n for n in ast.walk(node) if isinstance(getattr(n, "ctx", None), ast.Store)]
            names.update(n.id for n in stored if isinstance(n, ast.Name))
    return names


@pytest.mark.parametrize("folder", [PACKAGE, "benchmarks", "configs"])
def test_what_is_imported_is_there(folder):
    """Holds for imports inside functions and for scripts, which no other test may run."""
    missing = [
        f"{name}:{node.lineno} {node.module}.{alias.name}"
        for name, tree in parsed(ROOT / folder).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE
        for alias in node.names
        if not is_there(node.module.removeprefix(PACKAGE).removeprefix("."), alias.name)
    ]
    assert missing == []


def is_there(module: str, name: str) -> bool:
    tree = MODULES.get(module or "__init__")
    submodule = f"{module}.{name}".removeprefix(".") in MODULES
    return submodule or (tree is not None and name in bound(tree))


def test_the_package_root_is_nearly_empty():
    files = sorted(path.name for path in (ROOT / PACKAGE).iterdir() if path.is_file())
    assert len(files) <= 8, files
