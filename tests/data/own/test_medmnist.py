"""Files of MedMNIST: made ones of every kind, and a real one."""

import numpy as np
import pytest

from hwnas_jax.data import DataConfig, load_data
from hwnas_jax.data.own.medmnist import CLASSES, VOLUMES
from hwnas_jax.errors import UserError

RNG = np.random.default_rng(0)


def saved(path, *, shape=(28, 28), labels=1, classes=2, **more):
    """Writes a file as the package does; returns its arrays."""
    arrays = {}
    for part, count in (("train", 30), ("val", 10), ("test", 12)):
        arrays[f"{part}_images"] = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
        numbers = RNG.integers(0, 2, (count, labels)) if labels > 1 else (
            np.arange(count)[:, None] % classes
        )  # fmt: skip
        arrays[f"{part}_labels"] = numbers.astype(np.uint8)
    np.savez_compressed(path, **arrays, **more)
    return arrays


@pytest.mark.parametrize(
    ("name", "shape", "task"),
    [
        ("pneumoniamnist", (28, 28), "classification"),
        ("bloodmnist_64", (64, 64, 3), "classification"),
        ("chestmnist", (28, 28), "multi_label"),
    ],
)
def test_a_file_needs_nothing_but_its_path(tmp_path, name, shape, task):
    path, known = tmp_path / f"{name}.npz", CLASSES[name.partition("_")[0]]
    several = task == "multi_label"
    arrays = saved(path, shape=shape, labels=len(known) if several else 1, classes=len(known))
    data = load_data(DataConfig(path=str(path)))
    assert (data.name, data.task, data.output_names) == (name, task, known)
    assert data.input_shape == (*shape[:2], shape[2] if len(shape) == 3 else 1)
    joined = np.concatenate([arrays["train_labels"], arrays["val_labels"]])
    np.testing.assert_array_equal(data.train_targets, joined if several else joined[:, 0])
    np.testing.assert_array_equal(
        data.test_inputs.reshape(arrays["test_images"].shape), arrays["test_images"]
    )


def test_every_set_has_names_of_its_own():
    assert {name: len(classes) for name, classes in CLASSES.items()} == {
        "pathmnist": 9, "chestmnist": 14, "dermamnist": 7, "octmnist": 4, "pneumoniamnist": 2,
        "retinamnist": 5, "breastmnist": 2, "bloodmnist": 8, "tissuemnist": 8, "organamnist": 11,
        "organcmnist": 11, "organsmnist": 11,
    }  # fmt: skip
    assert all(len(set(names)) == len(names) and all(names) for names in CLASSES.values())


def test_another_file_of_that_name_is_read_as_any_other(tmp_path):
    saved(tmp_path / "pathmnist.npz", classes=3, more=np.zeros(1))
    assert load_data(DataConfig(path=str(tmp_path / "pathmnist.npz"))).output_names == (
        "0",
        "1",
        "2",
    )
    saved(tmp_path / "octmnist.npz", classes=6)
    with pytest.raises(UserError, match="octmnist"):
        load_data(DataConfig(path=str(tmp_path / "octmnist.npz")))


@pytest.mark.parametrize("name", VOLUMES[:1])
def test_volumes_are_refused(tmp_path, name):
    saved(tmp_path / f"{name}.npz", shape=(28, 28, 28))
    with pytest.raises(UserError, match=r"holds volumes.*pneumoniamnist"):
        load_data(DataConfig(path=str(tmp_path / f"{name}.npz")))


def test_a_real_file(shared):
    path = shared / "pneumoniamnist.npz"
    if not path.exists():
        pytest.skip("needs pneumoniamnist.npz in the folder of real tables")
    data = load_data(DataConfig(path=str(path)))
    assert data.output_names == ("normal", "pneumonia")
    assert data.train_inputs.shape == (5232, 28, 28, 1) and len(data.test_targets) == 624
    assert np.bincount(data.test_targets).tolist() == [234, 390]
