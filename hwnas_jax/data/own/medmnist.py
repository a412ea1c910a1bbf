"""What the files of MedMNIST leave unsaid: the names of their classes.

A file holds `train_images`, `train_labels` and the same of `val` and `test`: images
`uint8[N, H, W]` or `uint8[N, H, W, 3]`, and labels `[N, 1]`, or `[N, 14]` of zeros and ones for the
findings of chest X-rays. So the source `arrays` reads them like any others. A file is known by its
name, such as `pneumoniamnist.npz` or, at another size, `bloodmnist_64.npz`.

References: Yang et al., "MedMNIST v2 - A Large-Scale Lightweight Benchmark for 2D and 3D Biomedical
Image Classification", Scientific Data, 2023.
"""

from collections.abc import Iterable
from pathlib import Path

from hwnas_jax.errors import UserError

_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver",
    "lung-left", "lung-right", "pancreas", "spleen",
)  # fmt: skip

CLASSES: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle",
        "normal colon mucosa", "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    ),
    "chestmnist": (
        "atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia",
        "pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
        "benign keratosis-like lesions", "dermatofibroma", "melanoma", "melanocytic nevi",
        "vascular lesions",
    ),
    "octmnist": (
        "choroidal neovascularization", "diabetic macular edema", "drusen", "normal",
    ),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "breastmnist": ("malignant", "normal or benign"),
    "bloodmnist": (
        "basophil", "eosinophil", "erythroblast", "immature granulocyte", "lymphocyte", "monocyte",
        "neutrophil", "platelet",
    ),
    "tissuemnist": (
        "collecting duct, connecting tubule", "distal convoluted tubule",
        "glomerular endothelial cells", "interstitial endothelial cells", "leukocytes", "podocytes",
        "proximal tubule segments", "thick ascending limb",
    ),
    "organamnist": _ORGANS, "organcmnist": _ORGANS, "organsmnist": _ORGANS,
}  # fmt: skip
"""The classes of the two-dimensional sets in the order of their numbers, or the labels of each."""

VOLUMES = (
    "organmnist3d", "nodulemnist3d", "adrenalmnist3d", "fracturemnist3d", "vesselmnist3d",
    "synapsemnist3d",
)  # fmt: skip
"""The sets of volumes."""

_ARRAYS = {f"{part}_{kind}" for part in ("train", "val", "test") for kind in ("images", "labels")}


def medmnist_names(path: Path, arrays: Iterable[str]) -> list[str] | None:
    """Returns the names of the classes, or labels, of a file of MedMNIST; None for any other file.

    Args:
      path: of the file; its name tells the set.
      arrays: the names of what it holds.

    Raises:
      UserError: for a set of volumes, which no network here takes.
    """
    called = path.stem.lower().partition("_")[0]
    if set(arrays) != _ARRAYS:
        return None
    if called in VOLUMES:
        raise UserError(
            f"{path} holds volumes (height, width, depth), and networks here take images or "
            f"sequences; the sets of images are {', '.join(CLASSES)}"
        )
    names = CLASSES.get(called)
    return None if names is None else list(names)
