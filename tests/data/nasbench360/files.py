"""Small files in the published formats of NAS-Bench-360, and what they hold.

Each function writes into a folder and returns `{part: (inputs, targets)}` as a data set must have
them. They are written by other code than that which reads them.
"""

import gzip
import pickle

import numpy as np
import scipy.io


def _rng():
    return np.random.default_rng(7)


def cifar100(folder):
    held = {}
    names = [f"thing {number}" for number in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, 2))
    rng = _rng()
    for part, count in (("train", 12), ("test", 6)):
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = rng.permutation(100)[:count].tolist()
        rows = np.stack([np.concatenate([i[:, :, c].ravel() for c in range(3)]) for i in images])
        content = {"data": rows, "fine_labels": labels, "coarse_labels": [0] * count}
        (folder / part).write_bytes(pickle.dumps(content, 2))
        held[part] = images, np.array(labels)
    return held


def spherical(folder):
    rng, held, content = _rng(), {}, {}
    for part, count in (("train", 8), ("test", 5)):
        images = rng.integers(0, 256, (count, 60, 60, 3), dtype=np.uint8)
        labels = np.arange(count) * 7
        content[part] = {"images": images.transpose(0, 3, 1, 2), "labels": labels}
        held[part] = images, labels
    with gzip.open(folder / "s2_cifar100.gz", "wb") as file:
        pickle.dump(content, file)
    return held


def ninapro(folder):
    rng, parts = _rng(), {}
    for part, count in (("train", 9), ("val", 4), ("test", 5)):
        steps, labels = rng.normal(size=(count, 52, 16)), rng.permutation(18)[:count]
        np.save(folder / f"ninapro_{part}.npy", steps)
        np.save(folder / f"label_{part}.npy", labels.astype(np.float64))
        parts[part] = np.swapaxes(steps, 1, 2)[..., None], labels
    joined = [np.concatenate(pair) for pair in zip(parts["train"], parts["val"], strict=True)]
    return {"train": tuple(joined), "test": parts["test"]}


def satellite(folder):
    rng, held = _rng(), {}
    for part, count in (("train", 30), ("test", 10)):
        years, labels = rng.normal(size=(count, 46)), rng.integers(1, 25, count)
        content = {"data": years, "label": labels}
        np.save(folder / f"satellite_{part}.npy", content, allow_pickle=True)
        held[part] = years[:, None, :, None], labels - 1
    return held


def deepsea(folder):
    rng, arrays = _rng(), {}
    for part, count in (("train", 5), ("val", 3), ("test", 4)):
        bases = rng.integers(0, 4, (count, 1000))
        arrays[f"x_{part}"] = np.eye(4, dtype=np.uint8)[bases]
        arrays[f"y_{part}"] = (rng.uniform(size=(count, 36)) < 0.3).astype(np.uint8)
    np.savez(folder / "deepsea_filtered.npz", **arrays)
    train = (np.concatenate([arrays[f"{kind}_{p}"] for p in ("train", "val")]) for kind in "xy")
    pairs = {"train": tuple(train), "test": (arrays["x_test"], arrays["y_test"])}
    return {part: (x[:, None], y) for part, (x, y) in pairs.items()}


def ecg(folder):
    """Of the recordings, the one of noise has 24 windows, 1000 steps long and 25 apart."""
    rng = _rng()
    recordings, letters = [], []
    for number in range(20):
        letter = "NAO~"[number % 4]
        length = {"N": 2600, "A": 1500, "O": 1700, "~": 1200}[letter]
        recordings.append(rng.normal(3.0, 2.0, length) * (1 + number))
        letters.append(letter)
    data = np.empty(len(recordings), object)
    data[:] = recordings
    content = {"data": data, "label": np.array(letters)}
    (folder / "challenge2017.pkl").write_bytes(pickle.dumps(content))
    return recordings, letters


def cosmic(folder):
    rng, held = _rng(), {}
    for part, count in (("train", 6), ("test", 3)):
        listed, images, targets = [], [], []
        for number in range(count):
            layers = np.zeros((3 if number % 2 else 2, 256, 256))
            layers[0] = rng.normal(100, 10, (256, 256))
            layers[1:] = rng.uniform(size=layers[1:].shape) < 0.1
            (folder / f"npy_{part}").mkdir(exist_ok=True)
            np.save(folder / f"npy_{part}" / f"{number}.npy", layers)
            # Half of the paths are from the folder above, as they are published.
            above = f"./{folder.name}/" if number % 2 else "./"
            listed.append(f"{above}npy_{part}/{number}.npy")
            middle = layers[:, 64:192, 64:192]
            hit = middle[1].astype(int)
            targets.append(np.where(middle[2] == 1, -1, hit) if len(middle) == 3 else hit)
            images.append(middle[0][..., None])
        np.save(folder / f"{part}_dirs.npy", np.array(listed, object), allow_pickle=True)
        held[part] = np.stack(images), np.stack(targets)
    return held


def darcy(folder, side=41):
    rng, held = _rng(), {}
    for part, name, count in (("train", "smooth1", 7), ("test", "smooth2", 4)):
        medium = rng.choice([3.0, 12.0], (count, side, side))
        pressure = rng.uniform(0.1, 1.0, (count, side, side))
        scipy.io.savemat(
            folder / f"piececonst_r421_N1024_{name}.mat",
            {"coeff": medium, "sol": pressure, "Kcoeff": np.zeros(3)},
        )
        held[part] = medium, pressure
    return held


def psicov(folder):
    rng, held = _rng(), {}
    for part, lengths in (("deepcov", (20, 30, 41, 12)), ("psicov", (25, 14))):
        (folder / part / "features").mkdir(parents=True)
        (folder / part / "distance").mkdir()
        proteins = [f"{part[0]}{number}A-1" for number in range(len(lengths))]
        (folder / f"{part}.lst").write_text(
            "".join(f"{p} {n}\n" for p, n in zip(proteins, lengths, strict=True))
        )
        for protein, n in zip(proteins, lengths, strict=True):
            features = {
                "seq": "A" * n, "ss": rng.normal(size=(3, n)), "pssm": rng.normal(size=(n, 22)),
                "sa": rng.normal(size=n), "entropy": rng.normal(size=n),
                "ccmpred": rng.normal(size=(n, n)), "freecon": rng.normal(size=(n, n)),
                "potential": rng.normal(size=(n, n)),
            }  # fmt: skip
            (folder / part / "features" / f"{protein}.pkl").write_bytes(pickle.dumps(features))
            places = rng.normal(0, 8, (n, 3))
            distances = np.linalg.norm(places[:, None] - places, axis=-1)
            triple = np.empty(3, object)
            triple[:] = [n, "A" * n, distances]
            np.save(folder / part / "distance" / f"{protein}-cb.npy", triple, allow_pickle=True)
            held[protein] = features, distances
    return held


WRITERS = {
    writer.__name__: writer
    for writer in (cifar100, spherical, ninapro, satellite, deepsea, ecg, cosmic, darcy, psicov)
}
"""By the short names of the tasks."""
