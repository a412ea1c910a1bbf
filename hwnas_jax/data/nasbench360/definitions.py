"""The ten tasks of NAS-Bench-360: shapes, splits, metrics, published scores, and their files.

References: Tu et al., "NAS-Bench-360: Benchmarking Neural Architecture Search on Diverse Tasks",
NeurIPS 2022 Datasets and Benchmarks, and the repository rtu715/NAS-Bench-360. The scores of DARTS
are those of GAEA PC-DARTS (Li et al., "Geometry-Aware Gradient Algorithms for Neural Architecture
Search", ICLR 2021).
"""

import dataclasses
from collections.abc import Mapping

_SYSTEMS = ("WRN", "DenseNAS random", "Perceiver IO", "XGBoost", "WRN tuned", "DARTS GAEA")
_FIRST = ("DARTS GAEA", "DenseNAS", "WRN tuned", "expert")


@dataclasses.dataclass(frozen=True)
class Task360:
    """One of the ten tasks, as it is published.

    Attributes:
      name: short name.
      title: what is told from what.
      input_shape: `(H, W, C)` of images, `(L, C)` of sequences; of the published form.
      outputs: classes, labels, or values at a position.
      dense: whether there are outputs for every position.
      split: examples to train on, to validate with, to test.
      metric: the published one; a lower value is better, percentages are in percent.
      scores: the published metric by system.
      first_scores: likewise, of the first version of the paper, which had fewer tasks.
      task: the task of this package that is learned from the data.
      files: what the files are called, in the folder that `data.path` names.
      where: address that the files are published at.
      source: data source that reads them.
      made: data source that makes data of the same kind here; empty where there is none.
      difference: how what is read or judged here differs from the published setting.
    """

    name: str
    title: str
    input_shape: tuple[int, ...]
    outputs: int
    split: tuple[int, int, int]
    metric: str
    scores: Mapping[str, float]
    task: str
    files: tuple[str, ...]
    where: str
    source: str
    dense: bool = False
    first_scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    made: str = ""
    difference: str = ""

    @property
    def shape(self) -> str:
        """Returns inputs and outputs as text: `60x60x3 -> 100 classes`."""
        inputs = "x".join(map(str, self.input_shape))
        what = {"classification": "classes", "multi_label": "labels"}.get(self.task, "values")
        if self.dense:
            size = "x".join(map(str, self.input_shape[:-1]))
            return f"{inputs} -> {self.outputs} for each of {size} positions"
        return f"{inputs} -> {self.outputs} {what}"


def _scores(*values: float | None) -> dict[str, float]:
    return {name: v for name, v in zip(_SYSTEMS, values, strict=True) if v is not None}


def _first(*values: float) -> dict[str, float]:
    return dict(zip(_FIRST, values, strict=True))


_FILES = "https://pde-xd.s3.amazonaws.com"
_ALL = (
    Task360(
        name="cifar100",
        title="photographs of 100 kinds of things (CIFAR-100)",
        input_shape=(32, 32, 3),
        outputs=100,
        split=(40_000, 10_000, 10_000),
        metric="error %",
        scores=_scores(23.35, 25.49, 70.04, 84.83, 23.39, 24.02),
        first_scores=_first(24.19, 27.44, 24.89, 17.17),
        task="classification",
        files=("train", "test"),
        where="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        source="nb360_cifar100",
    ),
    Task360(
        name="spherical",
        title="CIFAR-100 projected to a sphere that is turned at random",
        input_shape=(60, 60, 3),
        outputs=100,
        split=(40_000, 10_000, 10_000),
        metric="error %",
        scores=_scores(85.77, 71.23, 82.57, 96.92, 75.46, 48.23),
        first_scores=_first(52.90, 72.99, 78.45, 64.42),
        task="classification",
        files=("s2_cifar100.gz",),
        where=f"{_FILES}/spherical/s2_cifar100.gz",
        source="nb360_spherical",
        made="spherical",
    ),
    Task360(
        name="darcy",
        title="pressure in a porous medium from its permeability (Darcy flow)",
        input_shape=(85, 85, 3),
        outputs=1,
        dense=True,
        split=(900, 100, 100),
        metric="relative L2 error",
        scores=_scores(0.073, 0.071, 0.240, 0.085, 0.066, 0.026),
        first_scores=_first(0.056, 0.10, 0.041, 0.0065),
        task="dense_regression",
        files=("piececonst_r421_N1024_smooth1.mat", "piececonst_r421_N1024_smooth2.mat"),
        where=f"{_FILES}/piececonst_r421_N1024_smooth1.mat",
        source="nb360_darcy",
        made="darcy",
        difference="published inputs are normalised at each position, here for each channel",
    ),
    Task360(
        name="psicov",
        title="distances between the residues of a protein (DeepCov, PSICOV)",
        input_shape=(128, 128, 57),
        outputs=1,
        dense=True,
        split=(3_356, 100, 150),
        metric="mean absolute error of residues below 8 angstrom, 24 or more apart",
        scores=_scores(3.84, 3.70, 8.06, None, 3.84, 2.94),
        first_scores=_first(2.80, 3.84, 5.71, 3.50),
        task="dense_regression",
        files=("deepcov.lst", "psicov.lst", "deepcov/", "psicov/"),
        where=f"{_FILES}/protein.zip",
        source="nb360_psicov",
        difference="judged by the task's own metric on one fixed crop of each protein",
    ),
    Task360(
        name="cosmic",
        title="pixels of a Hubble image that a cosmic ray has hit",
        input_shape=(128, 128, 1),
        outputs=1,
        dense=True,
        split=(4_347, 483, 420),
        metric="share of the hit pixels that are missed, %",
        scores=_scores(51.76, 70.42, 100.0, 46.26, 37.53, 31.15),
        task="segmentation",
        files=("train_dirs.npy", "test_dirs.npy"),
        where=f"{_FILES}/cosmic/deepCR.ACS-WFC.train.tar",
        source="nb360_cosmic",
        difference="two classes, sky and cosmic ray; the background of the sky is not varied",
    ),
    Task360(
        name="ninapro",
        title="gesture of a hand from 16 electrodes on the arm (NinaPro DB5)",
        input_shape=(16, 52, 1),
        outputs=18,
        split=(2_638, 659, 659),
        metric="error %",
        scores=_scores(6.78, 8.45, 22.22, 21.90, 7.34, 17.67),
        first_scores=_first(11.43, 10.17, 6.88, 31.02),
        task="classification",
        files=(
            "ninapro_train.npy", "label_train.npy", "ninapro_val.npy", "label_val.npy",
            "ninapro_test.npy", "label_test.npy",
        ),
        where=f"{_FILES}/ninapro/ninapro_train.npy",
        source="nb360_ninapro",
        made="emg_like",
    ),
    Task360(
        name="fsd50k",
        title="sounds in a second of audio (FSD50K)",
        input_shape=(96, 102, 1),
        outputs=200,
        split=(37_000, 4_000, 10_000),
        metric="1 - mean average precision",
        scores=_scores(0.92, 0.60, 0.72, 0.98, 0.91, 0.94),
        task="multi_label",
        files=("fsd50k.npz",),
        where=f"{_FILES}/audio/audio.zip",
        source="arrays",
        difference=(
            "the published files are sounds, which are not decoded here; save spectrograms as "
            "x_train, y_train, x_val, y_val, x_test and y_test in fsd50k.npz, inputs "
            "[N, 96, 102, 1], targets of zeros and ones [N, 200]"
        ),
    ),
    Task360(
        name="ecg",
        title="heart rhythm from a single-lead recording (PhysioNet challenge 2017)",
        input_shape=(1_000, 1),
        outputs=4,
        split=(260_000, 33_000, 33_000),
        metric="1 - mean F1 of the classes",
        scores={**_scores(0.43, 0.42, 0.66, 0.56, 0.43, 0.34), "AMBER": 0.33},
        task="classification",
        files=("challenge2017.pkl",),
        where="https://github.com/rtu715/NAS-Bench-360",
        source="nb360_ecg",
        made="ecg_like",
    ),
    Task360(
        name="satellite",
        title="land cover from a year of satellite images of one place",
        input_shape=(46, 1),
        outputs=24,
        split=(800_000, 100_000, 100_000),
        metric="error %",
        scores=_scores(15.49, 13.91, 15.93, 36.36, 15.84, 12.51),
        task="classification",
        files=("satellite_train.npy", "satellite_test.npy"),
        where=f"{_FILES}/satellite/satellite_train.npy",
        source="nb360_satellite",
        made="satellite_like",
    ),
    Task360(
        name="deepsea",
        title="what binds to a piece of DNA (DeepSEA)",
        input_shape=(1_000, 4),
        outputs=36,
        split=(71_000, 2_500, 150_000),
        metric="1 - area under the ROC curve",
        scores={**_scores(0.40, 0.40, 0.38, 0.50, 0.41, 0.36), "AMBER": 0.32},
        task="multi_label",
        files=("deepsea_filtered.npz",),
        where=f"{_FILES}/deepsea/deepsea_filtered.npz",
        source="nb360_deepsea",
        difference="judged by F1 of the labels, which adds up over batches",
    ),
)  # fmt: skip

TASKS360: dict[str, Task360] = {task.name: task for task in _ALL}
"""The ten tasks by their short names."""


def described(task: Task360) -> list[str]:
    """Returns a task as lines of text, the first of which begins with its name."""
    train, validation, test = (f"{count:,}" for count in task.split)

    def listed(scores: Mapping[str, float]) -> str:
        return ", ".join(f"{system} {score:g}" for system, score in scores.items())

    lines = [
        f"{task.name}: {task.title}",
        f"{task.shape}; task {task.task}",
        f"{train} train, {validation} validation, {test} test examples",
        f"published {task.metric}, lower is better: {listed(task.scores)}",
    ]
    if task.first_scores:
        lines.append(f"in the first version of the paper: {listed(task.first_scores)}")
    files = ", ".join(task.files)
    lines.append(f"--data.name {task.source} reads {files}; published at {task.where}")
    if task.made:
        lines.append(f"--data.name {task.made} makes data of this kind, without any file")
    if task.difference:
        lines.append(f"differs: {task.difference}")
    return lines
