"""Every registered source keeps the contract, and so does a user's; broken ones are told apart."""

import dataclasses
import textwrap
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.data import SOURCES, DataConfig, Dataset, Source, load_data
from hwnas_jax.errors import UserError
from hwnas_jax.registry import Part
from tests.data import contract, tiny_sets
from tests.data.nasbench360 import files as published
from tests.data.test_time_series import LABELS, SERIES, write_ts

OWN = f"{Path(__file__).resolve().parents[1]}/methods/my_data.py:Shapes"


def _options(name, folder):
    """Returns options for a source by its name, few data; files that it needs are written first."""
    if name == "idx":
        tiny_sets.write_idx_folder(folder, parts=[("train", 20)])
        return {"path": str(folder)}
    if name == "arrays":
        images = tiny_sets.IMAGES[:, :, :, 0].astype(np.uint16)
        np.savez(folder / "set.npz", images=images, labels=tiny_sets.LABELS)
        return {"path": str(folder / "set.npz")}
    if name in {"image_folder", "image_table"}:
        tiny_sets.write_image_folder(folder / "pictures")
        files = sorted((folder / "pictures").glob("*/*.png"))
        lines = [f"{file.relative_to(folder)},{file.parent.name}" for file in files]
        (folder / "table.csv").write_text("\n".join(["image,label", *lines]))
        return {"path": str(folder / ("pictures" if name == "image_folder" else "table.csv"))}
    if name == "hugging_face":
        tiny_sets.save_hugging_face(folder / "saved")
        return {"path": str(folder / "saved")}
    if name == "tfds":
        features = {"image": tiny_sets.tensor(), "label": tiny_sets.classes()}
        tiny_sets.prepare_tfds(folder, "tiny_set", features, splits=(("train", 0, 30),))
        return {"path": str(folder), "dataset": "tiny_set"}
    if name.startswith("nb360_"):
        published.WRITERS[name.removeprefix("nb360_")](folder)
        return {"path": str(folder)} | ({"size": 16} if name == "nb360_psicov" else {})
    if name == "timeseries":
        write_ts(folder / "set_TRAIN.ts", SERIES, LABELS)
        return {"path": str(folder)}
    if name == "darcy":
        return {"examples": 20, "size": 9, "refine": 1}
    if name == "spherical":
        return {"bandwidth": 6}
    if name in {"ecg_like", "emg_like", "satellite_like"}:
        return {"examples": 200}
    if name == "cluttered_digits":
        return {"repeats": 1}
    if name == "textures":
        return {"examples": 200}
    if name == "colour":
        return {"of": "textures"}
    return {}


@pytest.mark.parametrize("name", [*SOURCES, OWN])
def test_sources_keep_the_contract(name, tmp_path):
    options = _options(name, tmp_path)
    dataset = contract.check(lambda: SOURCES.make(Part(name, options)))
    assert dataset.name in (name, "tiny_set", "shapes", "set", "pictures", "table", "saved")
    assert SOURCES.summaries()[name]


@dataclasses.dataclass(frozen=True)
class Toy(Source):
    name = "toy"
    summary = "classes by brightness"

    test_fraction: float = 0.25
    seed: int = 0

    def arrays(self):
        rng = np.random.default_rng(self.seed)
        labels = np.arange(40, dtype=np.int32) % 2
        images = rng.integers(0, 100, (40, 3, 3, 1)) + 100 * labels[:, None, None, None]
        cut = 40 - round(self.test_fraction * 40)
        images = images.astype(np.uint8)
        return [images[:cut], labels[:cut], images[cut:], labels[cut:]]

    def load(self):
        return Dataset("toy", *self.arrays(), ("dark", "bright"))


class NeverTheSame(Toy):
    def arrays(self):
        return dataclasses.replace(self, seed=np.random.default_rng().integers(2**31)).with_seed()

    def with_seed(self):
        return Toy.arrays(self)


class TestInTrain(Toy):
    __test__ = False

    def arrays(self):
        train, labels, test, others = super().arrays()
        return [train, labels, np.concatenate([test[1:], train[:1]]), others]


class OneClassOnly(Toy):
    def arrays(self):
        train, labels, test, others = super().arrays()
        return [train, 0 * labels, test, 0 * others]


class BlackImages(Toy):
    def arrays(self):
        train, labels, test, others = super().arrays()
        return [0 * train, labels, test, others]


class SeedIsIgnored(Toy):
    def arrays(self):
        return Toy(self.test_fraction).arrays()


class FractionIsIgnored(Toy):
    def arrays(self):
        return Toy(seed=self.seed).arrays()


class NamesRepeat(Toy):
    def load(self):
        return dataclasses.replace(super().load(), output_names=("dark", "dark"))


class MoreClassesThanNames(Toy):
    def arrays(self):
        train, labels, test, others = super().arrays()
        return [train, labels, test, others + 1]


class TargetsOfAnotherTask(Toy):
    def load(self):
        return dataclasses.replace(super().load(), task="regression")


def test_the_toy_keeps_the_contract():
    contract.check(Toy)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (NeverTheSame, "train_inputs differ between two loads"),
        (TestInTrain, "1 of 10 test inputs are in the train set"),
        (OneClassOnly, "all train targets are the same"),
        (BlackImages, "all train inputs are the same"),
        (SeedIsIgnored, "another seed gives the same data"),
        (FractionIsIgnored, "0.5 gives 10 test examples and 30 train examples"),
        (NamesRepeat, "output names repeat"),
        (MoreClassesThanNames, "in 0..1, one number for each of the 2 classes; they run from 1"),
        (TargetsOfAnotherTask, r"task regression needs targets float32\[N, 2\]"),
    ],
)
def test_broken_sources_are_told_apart(broken, message):
    with pytest.raises((AssertionError, UserError), match=message):
        contract.check(broken)


FILE = """
    from hwnas_jax.data import Source

    class NoLoad(Source):
        name, summary = "no load", "it lacks its method"

    class NoDataset(NoLoad):
        def load(self):
            return [1, 2]

    class NotASource:
        pass

    class Digits(Source):
        name, summary = "digits", "a name that is taken"
        def load(self):
            return None
"""


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("NoLoad", "the data set .*:NoLoad lacks load"),
        ("NoDataset", "NoDataset: load must return a hwnas_jax.data.Dataset, got list"),
        ("NotASource", "NotASource is no data set: it must be a subclass of hwnas_jax.data.base.S"),
        ("Digits", "called 'digits', a name that a built-in data set has"),
        ("Absent", "unknown data set in .*'Absent': allowed are .*NoLoad"),
    ],
)
def test_a_file_that_lacks_a_part_is_named(tmp_path, attribute, message):
    file = tmp_path / "broken_source_file.py"
    file.write_text(textwrap.dedent(FILE))
    with pytest.raises(UserError, match=message):
        load_data(DataConfig(name=f"{file}:{attribute}"))
