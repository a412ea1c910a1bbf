import jax
import pytest

from hwnas_jax.cost.measure.device import find_device
from hwnas_jax.errors import UserError


def test_devices_by_name():
    assert find_device(None) == jax.local_devices()[0]
    assert find_device("cpu") == jax.local_devices(backend="cpu")[0]
    assert find_device("cpu:3") == jax.local_devices(backend="cpu")[3]


@pytest.mark.parametrize(("name", "hint"), [("cpu:99", "cpu:7"), ("cpuu", "cpu:0"), ("", "cpu:0")])
def test_a_device_that_is_not_there_is_refused(name, hint):
    with pytest.raises(UserError, match=f"unknown device .*{hint}"):
        find_device(name)
