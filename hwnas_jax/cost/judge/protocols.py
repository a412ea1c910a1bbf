"""How published comparisons of cost models with few samples split their tables.

Legend: `N` architectures.
"""

import dataclasses

import numpy as np

from hwnas_jax.cost.files.observations import CostTable
from hwnas_jax.errors import UserError, choose

_DROPPED = 0.1
_FBNET_SOURCES = 800


@dataclasses.dataclass(frozen=True)
class Task:
    """Source and target devices of one comparison.

    Attributes:
      sources: devices to learn from.
      targets: new devices.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]


def middle(costs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns `rows` (`int[n]`) without the tenth of lowest and of highest `costs` (`[N]`)."""
    order = rows[np.argsort(costs[rows], kind="stable")]
    dropped = int(_DROPPED * len(order))
    return np.sort(order[dropped : len(order) - dropped])


def help_cells(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows to sample from and those to test on, in HELP's protocol for NB201.

    Args:
      costs: `float[N]` of one device, cells in the order of NAS-Bench-201.

    References: Lee et al., "HELP", 2021, and its loader of NAS-Bench-201.
    """
    if len(costs) < 1900:
        raise UserError(f"HELP's protocol needs the first 1900 cells, the table has {len(costs)}")
    return middle(costs, np.arange(900)), middle(costs, np.arange(900, 1900))


def fbnet_tasks(table: CostTable) -> dict[str, Task]:
    """Returns the device splits of NASFLAT's comparison on FBNet: FD, F1 to F4 and FA.

    FD is HELP's split, which the table has to hold.

    References: Akhauri and Abdelfattah, "On Latency Predictors for Neural Architecture Search",
    2024, and the device lists of its repository.
    """
    gpus = " ".join(
        f"{device}_{batch}"
        for device in ("1080ti", "2080ti", "titan_rtx", "titanx", "titanxp")
        for batch in (1, 32, 64)
    )
    splits = {
        "F1": (
            "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
            "eyeriss fpga raspi4 samsung_a50 samsung_s7",
        ),
        "F2": (
            "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
            "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
        ),
        "F3": (
            "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
            "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
        ),
        "F4": (
            "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r "
            "titan_rtx_1 titan_rtx_32",
            "1080ti_1 pixel2 essential_ph_1",
        ),
        "FA": (gpus, "gold_6226 essential_ph_1 samsung_s7 pixel2"),
    }
    tasks = {"FD": help_split(table)}
    tasks |= {name: Task(tuple(a.split()), tuple(b.split())) for name, (a, b) in splits.items()}
    for task in tasks.values():
        for device in (*task.sources, *task.targets):
            choose(device, table.devices, f"device of {table.source}")
    return tasks


def help_split(table: CostTable) -> Task:
    """Returns HELP's meta-training and test devices, which the table has to hold."""
    for name in ("train", "test"):
        choose(name, table.splits, f"split of {table.source}")
    return Task(table.splits["train"], table.splits["test"])


def source_rows(table: CostTable) -> np.ndarray:
    """Returns the rows of source devices that these comparisons look at: the first 900 or 800."""
    return np.arange(900 if table.space.num_decisions == 6 else _FBNET_SOURCES)
