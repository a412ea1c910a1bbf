"""Channel search: the contract, MobileNetV2's counts, bad arguments."""

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from tests.spaces import contract
from tests.spaces.passes import check_space

TINY = {
    "fractions": "0.5,1.0", "width": 0.25, "stages": 2, "depth": 2, "divisor": 2,
    "expansion": 2, "halvings": 1, "head": 40,
}  # fmt: skip


def tiny(**more):
    return make_space("channels", {**TINY, **more}, input_shape=(8, 8, 1), num_outputs=3)


def full(**args):
    return make_space("channels", args, input_shape=(224, 224, 3), num_outputs=1000)


def counts(space, architecture):
    operations, places = space.operations()
    standing = [
        operations[p.operation] for p in places if all(architecture[d] == o for d, o in p.when)
    ]
    return sum(o.params for o in standing), sum(o.macs for o in standing)


def test_the_widest_network_is_mobilenetv2():
    """3.5 M parameters and about 300 M multiply-accumulates."""
    space = full()
    widest = np.array([len(d.options) - 1 for d in space.decisions], np.int32)
    params, macs = counts(space, widest)
    assert round(params / 1e6, 1) == 3.5
    assert abs(macs / 300e6 - 1) < 0.01
    assert space.to_string(widest).startswith("24-24-32-32-32-64")


def test_options_are_different_numbers_of_channels():
    assert tiny().decisions[0].options == ("4", "6")
    assert full().decisions[-1].options == ("160", "240", "320")
    assert full(divisor=64).decisions[0].options == ("64",)


def test_codecs_and_counts():
    space = tiny()
    contract.check_codecs(space)
    contract.check_counts(space)
    contract.check_tables_agree(space)


def test_supernet_is_the_network_and_can_be_searched():
    check_space(tiny())


@pytest.mark.parametrize(
    ("text", "words"),
    [("k3_e1-skip", "4 are wanted"), ("4-4-6-32", "allowed are 4, 8"), ("", "4 are wanted")],
)
def test_strings_of_other_spaces_are_named(text, words):
    with pytest.raises(UserError, match=words):
        tiny().from_string(text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"fractions": "0.5,0.5"}, "different"),
        ({"fractions": "0.5,1.5"}, "to 1"),
        ({"fractions": "half"}, "half"),
        ({"stages": 7}, "equal to 6"),
        ({"halvings": 5, "stages": 5}, "may be at most 3"),
        ({"activation": "gelu"}, "allowed are"),
    ],
)
def test_impossible_arguments_are_named(args, words):
    with pytest.raises(UserError, match=words):
        tiny(**args)
