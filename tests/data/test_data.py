"""The entrance of the data room: names, options, misspelt names."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from hwnas_jax.data import SOURCES, DataConfig, Dataset, Source, load_data
from hwnas_jax.errors import UserError

OWN = f"{Path(__file__).resolve().parents[1]}/methods/my_data.py:Shapes"


@dataclasses.dataclass(frozen=True)
class WithArgs:
    """A `DataConfig` with options for the source."""

    name: str
    path: str | None = None
    shift: int = 0
    flip: bool = False
    test_fraction: float = 0.2
    args: dict = dataclasses.field(default_factory=dict)


def test_sources_are_described():
    lines = SOURCES.summaries()
    assert {"digits", "idx", "tfds", "digits_multi_label", "gratings"} <= set(lines)
    assert all(text and "\n" not in text for text in lines.values())


@pytest.mark.parametrize(
    ("given", "meant"),
    [("digitz", "digits"), ("Digits", "digits"), ("cifar1O", "cifar10"), ("minst", "mnist")],
)
def test_misspelt_name_gets_the_nearest(given, meant):
    with pytest.raises(UserError, match=f"unknown data set {given!r}.*mean {meant!r}"):
        load_data(DataConfig(name=given))


def test_malformed_name():
    with pytest.raises(UserError, match=r"unknown data set 'no such name!'.*gratings.*TFDS names"):
        load_data(DataConfig(name="no such name!"))


def test_a_version_is_no_class_of_a_file():
    with pytest.raises(UserError, match=r"unknown data set 'minst:3\.0\.1'"):
        load_data(DataConfig(name="minst:3.0.1"))
    with pytest.raises(UserError, match=r"there is no file .*absent\.py"):
        load_data(DataConfig(name="absent.py:Shapes"))


def test_options_of_the_config_reach_the_source():
    data = load_data(WithArgs(OWN, args={"examples": 60, "size": 8}, test_fraction=0.25))
    assert data.input_shape == (8, 8, 1)
    assert (len(data.train_inputs), len(data.test_inputs)) == (45, 15)
    other = load_data(WithArgs(OWN, args={"examples": 60, "size": 8, "seed": 1}))
    assert (other.train_inputs[:45] != data.train_inputs).any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"examplez": 60}, "unknown option of the data set .*'examplez'.*mean 'examples'"),
        ({"examples": 29}, r"examples = 29 must be greater than or equal to 30"),
        ({"examples": "60"}, r"examples = '60' must be an integer"),
        ({"test_fraction": 1.0}, r"test_fraction = 1.0 must be less than 1"),
    ],
)
def test_options_that_are_not_allowed_are_named(args, message):
    with pytest.raises(UserError, match=message):
        load_data(WithArgs(OWN, args=args))


def test_options_of_a_tfds_set_are_checked():
    with pytest.raises(
        UserError, match="unknown option of the data set tfds 'folder': allowed are"
    ):
        load_data(WithArgs("mnist", args={"folder": "here"}))


def test_a_path_that_nothing_reads_is_named():
    with pytest.raises(
        UserError, match=r"data.path = 'here' is given, but gratings reads no files"
    ):
        load_data(DataConfig(name="gratings", path="here"))


@dataclasses.dataclass(frozen=True)
class Waves(Source):
    name = "waves"
    summary = "sequences"

    @staticmethod
    def inputs():
        return np.random.default_rng(0).standard_normal((20, 12, 2)).astype(np.float32)

    def load(self):
        inputs = self.inputs()
        targets = np.arange(20, dtype=np.int32) % 2
        return Dataset("waves", inputs[:14], targets[:14], inputs[14:], targets[14:], ("a", "b"))


def test_sequences_are_images_one_pixel_high(monkeypatch):
    monkeypatch.setitem(SOURCES._own, "waves", Waves)
    data = load_data(WithArgs("waves"))
    assert data.input_shape == (1, 12, 2) and data.is_sequence and not data.movable
    np.testing.assert_array_equal(data.train_inputs[:, 0], Waves.inputs()[:14])
