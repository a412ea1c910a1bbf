"""A table that needs no download: small graphs on small images, made once on this machine.

The networks are complete graphs of four nodes whose edges carry a 3x3 convolution, an average
pooling or nothing: 290 of them. The data are the built-in digits among pieces of others. The table
is made by `hwnas_jax.tabular.make` when it is asked for the first time, which takes a few minutes,
and is kept in the cache folder of the user. Latencies, which are of one device, are not in it.

Of 28 networks drawn at random, the test accuracies after three epochs had a standard deviation of
9.0 points between networks and of 1.8 between two trainings of one. Kendall's tau between the two
seeds was .82, that of the accuracy with the multiply-accumulates .66. The trainings of one network
took 1.1 s of CPU time, by which those of all take 330 s, divided by the cores.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

from rich.console import Console

from hwnas_jax.config import Config, DataConfig, RetrainConfig, SearchConfig, SpaceConfig
from hwnas_jax.cost.files.table_file import VERSION, load_table_file
from hwnas_jax.display import Silent, Terminal
from hwnas_jax.errors import UserError
from hwnas_jax.files.cache import cache_folder
from hwnas_jax.tabular.make import TableSettings, make_table

BUILT_IN = "built_in"
"""What the table is called where a file of a table is asked for."""

_REVISION = 1
"""Raised when the same settings no longer train the same networks."""

CONFIG = Config(
    name=BUILT_IN,
    space=SpaceConfig(
        name="complete_graph",
        args={"channels": 8, "nodes": 4, "stages": 3},
        off={"*": ("skip_connect", "conv_1x1")},
    ),
    data=DataConfig(name="cluttered_digits", args={"size": 8, "clutter": 1, "repeats": 4}, shift=1),
    search=SearchConfig(batch_size=64, steps_per_dispatch=100),
    retrain=RetrainConfig(validation_fraction=0.2),
)
"""The experiment whose networks are in the table."""

SETTINGS = TableSettings(epochs=(1, 3), seeds=2, measured=0)


def built_in_table(display: Silent | None = None) -> Path:
    """Returns the file of the built-in table, which is made if it is not there yet.

    Processes that ask at the same time share the work.

    Args:
      display: shows how far it is; a bar on standard error when left out.

    Raises:
      UserError: when the cache folder cannot be written, or the file in it is damaged.
    """
    path = built_in_path()
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shown = display or Terminal(Console(stderr=True, highlight=False))
            shown.say(f"making the built-in table, once; it is kept as {path}")
            make_table(CONFIG, path, SETTINGS, display=shown)
        except OSError as error:
            raise UserError(
                f"cannot write the built-in table to {path.parent}: {error.strerror or error}; set "
                "HWNAS_CACHE to a folder that can be written"
            ) from error
    try:
        load_table_file(path)
    except UserError as error:
        raise UserError(
            f"the built-in table {path} is damaged ({error}); delete it and it is made again"
        ) from error
    return path


def built_in_path() -> Path:
    """Returns where the table is kept: its name tells the settings that it depends on."""
    parts = [dataclasses.asdict(CONFIG), dataclasses.asdict(SETTINGS), VERSION, _REVISION]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return cache_folder() / "tables" / f"{BUILT_IN}-{key}.npz"
