"""Does a search need real images and real labels? Cells of NAS-Bench-201, looked up in its table.

    HWNAS_DATA=FOLDER python benchmarks/unreal_sources.py OUT [--sources random_labels noise ...]
        [--seeds 5] [--percentile 65] [--device gold_6226] [-- any options of hwnas sources]
    HWNAS_DATA=FOLDER python benchmarks/unreal_sources.py OUT

Runs `hwnas sources` on CIFAR-10 at 16x16 pixels (8 channels, one cell a stage) under a limit on the
latency that a published table gives for the cells on a device. Beside the real images stand the
same images with random labels, Gaussian noise, rendered textures, shuffled pixels, and labels that
need no annotation (jigsaw, rotation). The cells found are looked up on CIFAR-10, CIFAR-100 and
ImageNet16-120, beside random cells within the limit. Weights are trained by single paths for 700
steps, and with the architecture for 200 more. Of 64 random cells within the limit the supernet then
chooses six, and short trainings of these choose one, all of it on the data of the source. The usual
derivation also goes by the number of multiply-adds, which needs no data and is therefore left out;
`-- --derive.rule.args by_size true` brings it back. The second line continues what was stopped.
FOLDER holds `cifar10_jpeg.npz`, `nb201_latency_help.npz` and
`nb201_accuracy.npz`; the smaller images are kept beside OUT.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from cifar10_images import Cifar10Images
from search_on_table import CELLS, CHANNELS, SIZE, write_measurements

from hwnas_jax.cli import main as hwnas

SOURCES = ("random_labels", "noise", "textures", "shuffled_pixels", "jigsaw", "rotation")
SEARCH = [
    "--search.steps", "900", "--search.warmup-steps", "700", "--search.steps-per-dispatch", "50",
    "--search.batch-size", "32", "--derive.rule.name", "halving", "--derive.rule.args",
    "by_size", "false", "by_supernet", "64", "trainings", "6", "steps", "120", "shrink", "3",
]  # fmt: skip


def write_images(path):
    """Writes CIFAR-10 at the smaller size once, as arrays that are read in a moment."""
    if path.exists():
        return
    jpeg = Path(os.environ["HWNAS_DATA"]) / "cifar10_jpeg.npz"
    data = Cifar10Images(path=str(jpeg), size=SIZE).load()
    np.savez(
        path, x_train=data.train_inputs, y_train=data.train_targets, x_test=data.test_inputs,
        y_test=data.test_targets,
    )  # fmt: skip


def main():
    """Compares, or continues to."""
    words, own = sys.argv[1:], []
    if "--" in words:
        words, own = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", nargs="+", default=SOURCES)
    parser.add_argument("--seeds", default="5")
    parser.add_argument("--percentile", default="65")
    parser.add_argument("--device", default="gold_6226")
    options = parser.parse_args(words)
    if (options.folder / "sources.json").exists():
        sys.exit(hwnas(["sources", "--resume", str(options.folder)]))
    measurements = options.folder.with_suffix(".csv")
    images = options.folder.with_name(f"{options.folder.name}_images.npz")
    images.parent.mkdir(parents=True, exist_ok=True)
    write_measurements(measurements, options.device)
    write_images(images)
    sys.exit(hwnas([
        "sources", "digits", "--run-dir", str(options.folder),
        "--sources", *options.sources, "--seeds", options.seeds, "--table", "nb201_accuracy",
        "--data-sets", "cifar10", "cifar100", "imagenet16_120",
        "--measurements", str(measurements), "--target.percentile", options.percentile,
        "--space.args.channels", str(CHANNELS), "--space.args.cells", str(CELLS),
        "--data.name", "arrays", "--data.path", str(images), "--data.shift", "2", "--data.flip",
        "--parallel.devices", "1", *SEARCH, *own,
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
