"""Commands in this process: what they print and return, and what of them is left out."""

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hwnas_jax.cli import main
from hwnas_jax.errors import UserError
from hwnas_jax.runs.run import Run
from hwnas_jax.spaces.nasbench201 import NasBench201

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST = 2500


class Reached(BaseException):
    """What was asked for is right so far, and the work that would take long begins."""


def command(words: list[str], typed: str = "") -> str:
    """Runs a command and returns what it prints.

    Args:
      words: of the command line.
      typed: what comes on standard input.

    Raises:
      UserError: with what it says, when its exit code is 2.
      AssertionError: when it prints what a terminal would not show, or has another exit code.
    """
    out, err, usual = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO(typed)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(words)
            except Reached:
                code = 0
    finally:
        sys.stdin = usual
    said, told = out.getvalue(), err.getvalue()
    found = _CONTROL.search(said + told)
    assert not found, f"the terminal gets {found.group()!r}"
    assert "Traceback" not in said + told, said + told
    if code == 0:
        return said
    assert code == 2, f"exit code {code}"
    # Of a value that fits no type, tyro repeats what each of the types says, NoneType among them.
    raise UserError((told or said).replace("NoneType", "None")[:_LONGEST])


def _reached(*args: object, **options: object) -> None:
    raise Reached


LONG = (
    "hwnas_jax.cost.profile", "hwnas_jax.cost.fit_cost", "hwnas_jax.cost.measure_networks",
    "hwnas_jax.cost.simulate.estimates.estimate", "hwnas_jax.runs.retrain.train",
    "hwnas_jax.commands.cost_study.run_study", "hwnas_jax.commands.cost_transfer.learn_prior",
    "hwnas_jax.runs.compare.study.run_cell",
    "hwnas_jax.runs.sources.study.Run.create", "hwnas_jax.runs.few_shot.run.FewShotRun.all",
    "hwnas_jax.parallel.distributed.start",
    "hwnas_jax.runs.compile_for.compile_for", "hwnas_jax.commands.export._untrained",
    "hwnas_jax.tabular.builtin.make_table", "hwnas_jax.tabular.make.table.Trainer",
    "hwnas_jax.tabular.make.table.measure_part_by_part", "hwnas_jax.runs.table_ranks.evaluate",
)  # fmt: skip
"""Where the work of commands begins that takes seconds or more, or would join other processes."""

_KNOWN: dict[str, Any] = {}
_COUNTED = NasBench201.operations


def _operations(space: NasBench201) -> Any:
    """Counts the operations of each space once; commands count them for every space they build."""
    key = str(space.spec)
    if key not in _KNOWN:
        _KNOWN[key] = _COUNTED(space)
    return _KNOWN[key]


STAGES = ("profile", "fit_cost", "search", "derive", "retrain", "measure")


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Leaves out the work that takes long; what was asked for counts as right where it begins."""
    with pytest.MonkeyPatch.context() as patch:
        for name in LONG:
            patch.setattr(name, _reached)
        for stage in STAGES:
            patch.setattr(Run, stage, _reached)
        patch.setattr("hwnas_jax.report.html.to_svg", lambda figure, name, words: "<svg></svg>")
        patch.setattr("hwnas_jax.report.study.draw_study", _reached)
        patch.setattr(NasBench201, "operations", _operations)
        patch.setenv("COLUMNS", "200")
        yield
