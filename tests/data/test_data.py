"""The entrance of the data room: names and misspelt names."""

import pytest

from hwnas_jax.data import DATA_SETS, DataConfig, load_data
from hwnas_jax.errors import UserError


def test_data_sets_are_described():
    assert {"digits", "idx"} < set(DATA_SETS)
    assert any("TFDS" in name for name in DATA_SETS)
    assert all(text and "\n" not in text for text in DATA_SETS.values())


@pytest.mark.parametrize(
    ("given", "meant"),
    [("digitz", "digits"), ("Digits", "digits"), ("cifar1O", "cifar10"), ("minst", "mnist")],
)
def test_misspelt_name_gets_the_nearest(given, meant):
    with pytest.raises(UserError, match=f"unknown data set {given!r}.*mean {meant!r}"):
        load_data(DataConfig(name=given))


def test_malformed_name():
    with pytest.raises(UserError, match="unknown data set 'no such name!'"):
        load_data(DataConfig(name="no such name!"))
