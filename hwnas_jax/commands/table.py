"""`hwnas table`: a table of one's own, to search on and to judge searches by."""

import dataclasses
from pathlib import Path

from hwnas_jax.commands.options import Experiment, parse
from hwnas_jax.config import Config
from hwnas_jax.display import Terminal
from hwnas_jax.errors import Interrupted
from hwnas_jax.tabular.make import TableSettings


@dataclasses.dataclass(frozen=True)
class TableOptions(TableSettings):
    """Trains all networks of a space, or a sample of them, and measures some: a table.

    `hwnas search --search.strategy evolution --search.evaluator table path FILE` searches on it in
    a moment, `hwnas evaluate RUN --table FILE` judges a run by it, and `hwnas cost fit FILE` fits a
    cost model to it. One compiled program trains all networks, as many side by side as there are
    devices. They are trained as `--search.weights` and `--search.batch-size` say, and judged on
    the held-out part of the training data (`--retrain.validation-fraction`) and on the test data.

    What is done lies in FILE.parts until the file is written: the same command goes on after any
    end. Started several times at once, on one machine or on several that share the folder, it
    divides the work.
    """

    out: Path = Path("table.npz")
    """the table to write"""
    config: Experiment = Config()


def run(words: list[str]) -> None:
    """Writes a table."""
    from hwnas_jax.parallel.replicas import one_cpu_device_per_core
    from hwnas_jax.tabular.make import make_table

    one_cpu_device_per_core()
    options = parse(TableOptions, words, "table")
    fields = dataclasses.fields(TableSettings)
    settings = TableSettings(**{field.name: getattr(options, field.name) for field in fields})
    try:
        make_table(options.config, options.out, settings, display=Terminal())
    except Interrupted as stop:
        raise Interrupted(f"{stop}; the same command goes on with the table", stop.signum) from None
