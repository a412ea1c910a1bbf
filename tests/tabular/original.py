"""What the authors of benchmarks publish, in small and with made-up numbers.

The layouts are those that github.com/D-X-Y/NATS-Bench and github.com/yawen-d/TransNASBench read.
"""

import bz2
import pickle
from collections import OrderedDict

import numpy as np

EVALUATED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


def trial(rng, images, epochs, seed, *, timed=True, last_only=()):
    """One training, as a table of what it measured."""
    every = [f"{name}@{epoch}" for name in images for epoch in range(epochs)]
    kept = [key for key in every if key.partition("@")[0] not in last_only
            or key.endswith(f"@{epochs - 1}")]  # fmt: skip
    return {
        "name": "made", "net_state_dict": None,
        "train_acc1es": {epoch: float(rng.uniform(10, 99)) for epoch in range(epochs)},
        "train_acc5es": None, "train_losses": {epoch: 1.0 for epoch in range(epochs)},
        "train_times": OrderedDict((e, float(rng.uniform(5, 9))) for e in range(epochs))
        if timed else None,
        "arch_config": {"channel": 16, "num_cells": 5, "class_num": 10}, "params": 0.1,
        "flop": np.float64(15.6), "seed": str(seed), "epochs": epochs, "latency": [0.01],
        "eval_names": list(images),
        "eval_acc1es": {key: float(rng.uniform(10, 99)) for key in kept},
        "eval_times": {key: float(rng.uniform(1, 2)) for key in every} if timed else {},
        "eval_losses": {key: 1.0 for key in kept},
    }  # fmt: skip


def results(rng, number, text, epochs, seeds, **options):
    """All trainings of one architecture for a number of epochs."""
    dataset_seed = {name: list(seeds[name]) for name in EVALUATED if name in seeds}
    return {
        "arch_index": number, "arch_str": text, "dataset_seed": dataset_seed,
        "all_results": {
            (name, seed): trial(rng, EVALUATED[name], epochs, seed, **options)
            for name, own in dataset_seed.items()
            for seed in own
        },
        "clear_net_done": True,
    }  # fmt: skip


def trials(texts, lengths, *, known=None, **options):
    """A whole benchmark; `lengths` are the epochs by what the file calls the training."""
    rng = np.random.default_rng(0)
    known = range(len(texts)) if known is None else known
    seeds = {"cifar10-valid": (777, 888), "cifar10": (777,), "cifar100": (777, 999, 888),
             "ImageNet16-120": (777,)}  # fmt: skip
    infos = {
        number: OrderedDict(
            (name, results(rng, number, texts[number], epochs, seeds, **options))
            for name, epochs in lengths.items()
        )
        for number in known
    }
    return {
        "meta_archs": list(texts), "total_archs": len(texts), "arch2infos": infos,
        "evaluated_indexes": set(known),
    }  # fmt: skip


def packed(path, value):
    """Writes a pickle as NATS-Bench does and returns its path."""
    path.write_bytes(bz2.compress(pickle.dumps(value, 4)))
    return path


def pieces(folder, content):
    """Writes the folder of a benchmark and returns it."""
    folder.mkdir()
    meta = content | {"arch2infos": None, "evaluated_indexes": set()}
    packed(folder / "meta.pickle.pbz2", meta)
    for number, infos in content["arch2infos"].items():
        packed(folder / f"{number:06d}.pickle.pbz2", infos)
    return folder


TASKS = {
    "class_scene": ("top1", 3, 20, 60), "segmentsemantic": ("mIoU", 4, 5, 30),
    "normal": ("ssim", 4, 0.1, 0.7), "room_layout": ("neg_loss", 3, -2, -0.5),
}  # fmt: skip


def epochs_file(networks, tasks=TASKS):
    """TransNAS-Bench-101: the metrics of every epoch; `networks` are names by space."""
    rng = np.random.default_rng(5)
    metrics = {
        task: [f"train_{own}", f"valid_{own}", f"test_{own}", "valid_loss", "time_elapsed"]
        for task, (own, *_) in tasks.items()
    }

    def result(task):
        _, epochs, low, high = tasks[task]
        curves = {name: rng.uniform(low, high, epochs).tolist() for name in metrics[task][:4]}
        curves["time_elapsed"] = np.cumsum(rng.uniform(50, 90, epochs)).tolist()
        info = {"encoder_params": 1, "model_FLOPs": 2.5, "inference_time": 0.1}
        return {"model_info": info, "metrics": curves, "total_epochs": epochs}

    return {
        "metrics_dict": metrics, "info_names": ["inference_time", "model_FLOPs"],
        "task_list": list(tasks),
        "data": {
            space: {name: {task: result(task) for task in tasks} for name in names}
            for space, names in networks.items()
        },
    }  # fmt: skip
