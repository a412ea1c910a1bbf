"""Every command with damaged arguments and damaged files."""

import re
import shutil

import pytest
from hypothesis import strategies as st

from hwnas_jax.cli import COMMANDS, main
from hwnas_jax.errors import UserError
from tests.fuzz.console import command, quick
from tests.fuzz.judge import judge
from tests.fuzz.test_run_folders import damage

CELL = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
GOOD: dict[str, list[str]] = {
    "search": ["--run-dir", "new", "--data.name", "digits"],
    "sweep": ["--run-dir", "new", "--data.name", "digits", "--percentiles", "30", "60"],
    "profile": ["--out", "new.json", "--data.name", "digits"],
    "estimate": ["--accelerator", "edge-tpu-like", "--out", "new.json", "--data.name", "digits"],
    "cost fit": ["measurements.json", "--out", "new.npz"],
    "cost eval": ["cost_model.npz", "measurements.json", "--fitted", "--json"],
    "cost predict": ["cost_model.npz", CELL, "[0,0,0,0,0,3]", "architecture.json", "--json"],
    "cost study": ["measurements.json", "--train", "4", "--models", "linear", "--out", "new"],
    "cost transfer": ["accuracies.npz", "--samples", "0", "--out", "new.npz"],
    "table": ["--out", "new.npz", "--data.name", "digits"],
    "compare": ["cells.npz", "--run-dir", "new", "--seeds", "2", "--queries", "12"],
    "sources": [
        "--run-dir",
        "new",
        "--table",
        "cells.npz",
        "--data.name",
        "digits",
        "--sources",
        "noise",
        "--seeds",
        "2",
    ],
    "fewshot": [
        "--run-dir",
        "new",
        "--data.name",
        "digits",
        "--few-shot.way",
        "2",
        "--parallel.devices",
        "1",
    ],
    "evaluate": ["run", "--table", "accuracies.npz", "--sample", "0"],
    "transfer": ["run", "--measurements", "measurements.json", "--run-dir", "new"],
    "derive": ["run", "--out", "new.json"],
    "retrain": ["architecture.json", "--data.name", "digits"],
    "measure": ["architecture.json", "--cost-model", "cost_model.npz"],
    "export": ["architecture.json", "--format", "stablehlo", "--out", "new.bin"],
    "report": ["run"],
    "list": [],
}
"""Words that every command takes; nothing that takes long is done, as `console.quick` says."""

_ODD = (
    "", " ", "-1", "0", "1", "1e400", "nan", "inf", "1" + "0" * 5000, "\uff11\uff12", "1_0",
    "true", "None",
    "x" * 5000, "../x", "a/b", ".", "/", "\x1b[2J", "\u202egnp", "\udcff", "[red]x[/red]", "[/x]",
    "$\\frac{$", "{}", "[]", "[1,2", "a,b=", "a,b=c", ":", "x.py:Y", "os:system", "os.path:join",
    "--", "-", "=", "evolution", "digits", "nasbench201", "run", "cost_model.npz", "new.json",
    "measurements.csv", "architecture.json", "accuracies.npz", "metrics.jsonl", CELL,
)  # fmt: skip
_KEPT = ("--parallel", "--help", "--compile-for", "--topology")
"""Options of other processes and hardware."""


def test_every_command_has_a_case():
    assert GOOD.keys() == COMMANDS.keys()


@st.composite
def damaged_words(draw, words, options):
    """Changes, adds, repeats or leaves out some words."""
    found = list(words)
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        odd = draw(st.sampled_from(_ODD))
        at = draw(st.integers(0, max(0, len(found) - 1)))
        match draw(st.sampled_from(("option", "option", "word", "gone", "twice", "more", "miss"))):
            case "option" if options:
                found += [draw(st.sampled_from(options)), odd]
            case "word" if found:
                found[at] = odd
            case "gone" if found:
                del found[at]
            case "twice" if found:
                found.insert(at, found[at])
            case "miss" if options:
                found += [draw(st.sampled_from(options))[:-1], odd]
            case _:
                found.append(odd)
    return found


def _options(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    named = set(re.findall(r"--[a-z][\w.-]+", capsys.readouterr().out))
    return sorted(option for option in named if not option.startswith(_KEPT))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_command_is_refused_or_does_what_it_says(made, here, attack, capsys, name):
    options = _options(name, capsys)
    held = sorted(path for path in made.iterdir() if path.is_file())

    def fresh():
        for path in here.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in held:
            shutil.copy(path, here)
        shutil.copytree(made / "run", here / "run")

    def check(words):
        fresh()
        judge(f"command: {name}", lambda: command([*name.split(), *words], typed=CELL))

    files = [word for word in GOOD[name] if (made / word).is_file()]

    def check_file(drawn):
        word, content = drawn
        fresh()
        (here / word).write_bytes(content)
        judge(f"command: {name}", lambda: command([*name.split(), *GOOD[name]]))

    with quick():
        fresh()
        _check_good(name)
        attack(damaged_words(GOOD[name], options), check, examples=6)
        if files:
            damaged = st.sampled_from(files).flatmap(
                lambda word: st.tuples(st.just(word), damage(made / word))
            )
            attack(damaged, check_file, examples=4)


def _check_good(name):
    try:
        command([*name.split(), *GOOD[name]])
    except UserError as error:  # the simulator is an extra
        assert name == "estimate" and "ZigZag" in str(error), error
