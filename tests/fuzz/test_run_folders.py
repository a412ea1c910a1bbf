"""Every file of a run folder, damaged in turn, and the commands that go on with the run."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import strategies as st

from hwnas_jax.spaces.core.architecture_files import load_architecture
from tests.fuzz.console import command, quick
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_npz, strict_json
from tests.fuzz.judge import finite, judge

FILES = {
    "architecture.json", "config.json", "cost_fit.json", "cost_model.npz", "device.json",
    "examples_search-0.npz", "measurements.json", "metrics.jsonl", "networks.json",
    "report.html", "report.json", "search.npz", "searches.json", "shares.json", "space.json",
    "stages.json", "start.npz", "targets.json", "tested.npz", "to_measure.csv", "versions.json",
}  # fmt: skip
"""What the run holds; a file that is new has to be damaged, too."""

COMMANDS = {
    "report": ["report", "run"],
    "derive": ["derive", "run", "--out", "derived.json"],
    "search --resume": ["search", "--resume", "run"],
    "search --resume, no stage": ["search", "--resume", "run"],
    "measure --from": ["measure", "run", "--from", "../filled.csv"],
    "evaluate": ["evaluate", "run", "--table", "../accuracies.npz", "--sample", "0", "--json"],
    "export": ["export", "run", "--format", "stablehlo"],
}

_EXAMPLES = {"derive": 6, "evaluate": 6}
"""Those take a second each; the others far less."""


def damage(path):
    """Returns the strategy that damages a file by what it is."""
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        return damaged_json(value)
    if path.suffix == ".npz":
        with np.load(path) as file:
            return damaged_npz(dict(file))
    return damaged_bytes(path.read_bytes())


@st.composite
def damaged_file(draw, folder):
    name = draw(st.sampled_from(sorted(FILES)))
    how = draw(st.sampled_from(("content",) * 7 + ("gone", "folder", "link", "loop", "empty")))
    content = draw(damage(folder / name)) if how == "content" else b""
    return name, how, content


def change(path, how, content):
    path.unlink()
    match how:
        case "content" | "empty":
            path.write_bytes(content)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(path.parent / "nothing")
        case "loop":
            path.symlink_to(path)


def test_every_file_of_the_run_is_known(made):
    held = {path.name for path in (made / "run").iterdir() if not path.name.startswith(".")}
    assert held == FILES


@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_file_is_one_message_or_does_no_harm(made, here, attack, name):
    words = COMMANDS[name]
    for file in ("filled.csv", "accuracies.npz"):
        (here.parent / file).unlink(missing_ok=True)
        shutil.copy(made / file, here.parent)

    def check(drawn):
        file, how, content = drawn
        shutil.rmtree(here / "run", ignore_errors=True)
        shutil.copytree(made / "run", here / "run")
        for left in ("derived.json", "network.stablehlo"):
            (here / left).unlink(missing_ok=True)
        if name in ("search --resume, no stage", "export"):
            (here / "run" / "stages.json").write_text('{"search": {"seconds": 1.0}}')
        change(here / "run" / file, how, content)

        def right(said):
            if name == "derive":
                space, _ = load_architecture(here / "derived.json")
                assert space.spec["name"] == "nasbench201"
            if name in ("report", "measure --from"):
                finite(strict_json((here / "run" / "report.json").read_bytes()))
                page = (here / "run" / "report.html").read_text()
                assert "NaN" not in page and "Infinity" not in page
            if name == "evaluate":
                finite(json.loads(said))

        judge(f"run folder: {name}", lambda: command(words), right)

    with quick():
        attack(damaged_file(made / "run"), check, examples=_EXAMPLES.get(name, 12))
