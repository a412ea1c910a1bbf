"""What is too much is refused at once: options out of range, long strings, networks too large."""

import inspect
import math
import textwrap
import time
import types
import typing
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import SPACES, Choices, Decision, make_space, sum_places
from hwnas_jax.spaces.core import tabulate
from hwnas_jax.spaces.core.published import choices_from_spec
from hwnas_jax.spaces.core.supernet import make_supernet
from hwnas_jax.spaces.nasbench201 import NasBench201

OWN = [
    (name, key)
    for name in SPACES
    for key in inspect.signature(SPACES[name]).parameters
    if key not in SPACES.given
]


def default(name, **args):
    return make_space(name, args, input_shape=(64, 64, 3), num_outputs=10)


def hints(name):
    return typing.get_type_hints(SPACES[name].__init__, include_extras=True)


def numbers_in(hint, limits=()):
    """Yields each type of number in a hint with the limits that stand around it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        yield from numbers_in(inner[0], (*limits, *inner[1:]))
    elif origin in (typing.Union, types.UnionType):
        for one in inner:
            yield from numbers_in(one, limits)
    elif hint in (int, float):
        yield hint, limits


@pytest.mark.parametrize(("name", "key"), OWN)
def test_every_number_has_a_range(name, key):
    hint = hints(name)[key]
    if any(typing.get_origin(one) is Sequence for one in typing.get_args(hint)):
        return  # a single number stands for a list, whose range is checked when it is read
    for kind, limits in numbers_in(hint):
        assert any(isinstance(limit, Ge | Gt) for limit in limits), kind
        assert any(isinstance(limit, Le) for limit in limits), kind


WRONG = (
    10**12, -(10**12), 10**5000, 1e300, math.nan, math.inf, True, {}, "9" * 5000, "a" * 20000,
    ",".join(map(str, range(1, 20000))), [1] * 20000, [True], "1,1", b"1",
)  # fmt: skip


@pytest.mark.parametrize(("name", "key"), OWN)
def test_values_out_of_range_are_refused_at_once(name, key):
    for value in WRONG:
        if value is True and bool in (hints(name)[key], *typing.get_args(hints(name)[key])):
            continue
        started = time.process_time()
        with pytest.raises(UserError) as caught:
            default(name, **{key: value})
        assert time.process_time() - started < 1
        assert key in str(caught.value) or "unknown search space" in str(caught.value)
        assert len(str(caught.value)) < 800


@pytest.mark.parametrize(("name", "key"), OWN)
def test_the_largest_value_of_a_range_can_be_built_or_is_refused(name, key):
    for kind, limits in numbers_in(hints(name)[key]):
        for limit in limits:
            if isinstance(limit, Le):
                started = time.process_time()
                try:
                    assert default(name, **{key: kind(limit.le)}).args[key] == limit.le
                except UserError as error:
                    assert len(str(error)) < 800
                assert time.process_time() - started < 1


TEXTS = {
    "long": lambda good: "a" * 20000,
    "repeated": lambda good: good * 1000,
    "nested": lambda good: "(" * 10000 + ")" * 10000,
    "digits": lambda good: "1" * 20000,
    "signs": lambda good: "-" * 20000,
    "slashes": lambda good: "/" * 20000,
    "edges": lambda good: "|a~0" * 5000,
}


@pytest.mark.parametrize("name", SPACES)
def test_long_strings_are_refused_at_once(name):
    space = default(name)
    good = space.to_string(space.random(np.random.default_rng(0), 1)[0])
    for text in (make(good) for make in TEXTS.values()):
        for given in (text, text[: space.longest_string]):
            started = time.process_time()
            with pytest.raises(UserError) as caught:
                space.from_string(given)
            assert time.process_time() - started < 1
            assert len(str(caught.value)) < 800


@pytest.mark.parametrize("name", SPACES)
def test_reading_takes_time_that_grows_with_the_length_alone(name):
    """Without the limit of the length, which would hide a quadratic one."""
    space = default(name)
    good = space.to_string(space.random(np.random.default_rng(0), 1)[0])
    read = inspect.unwrap(type(space).from_string)
    for text in (make(good) for make in TEXTS.values()):
        started = time.process_time()
        with pytest.raises(UserError):
            read(space, text)
        assert time.process_time() - started < 1


@pytest.mark.parametrize("name", SPACES)
def test_every_architecture_has_a_string_that_is_read(name):
    space = default(name)
    longest = [max(range(len(d.options)), key=lambda i: len(d.options[i])) for d in space.decisions]
    assert len(space.to_string(np.array(longest))) < space.longest_string


def test_a_subclass_of_a_subclass_reads_no_longer_strings_either():
    class Words(Choices):
        def from_string(self, text):
            assert len(text) < 1000
            return self.from_names({"a": text})

    class More(Words):
        pass

    space = More("words", (Decision("a", ("x", "y")),))
    assert space.from_string("y").tolist() == [1]
    with pytest.raises(UserError, match="2000 characters"):
        space.from_string("y" * 2000)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal={[]: 1})", "Genotype(" + "-" * 900 + "1)", "a" + ".a" * 600 + "()",
        "Genotype(normal=" + "[" * 150 + "]" * 150 + ")", "Genotype(**normal)", "\0",
    ],
)  # fmt: skip
def test_a_genotype_of_another_form_is_refused(text):
    with pytest.raises(UserError, match=r"is no genotype"):
        default("darts").from_string(text)


@pytest.mark.parametrize(
    "off", [{"*": 5}, {"*": "none"}, {"*": (1,)}, {2: ("none",)}, 5, ["none"], {"*": None}]
)
def test_what_is_no_list_of_options_cannot_be_switched_off(off):
    with pytest.raises(
        UserError, match=r"space.off gives lists of names by decision, as in .*; got"
    ):
        make_space("nasbench201", {}, input_shape=(8, 8, 1), num_outputs=2, off=off)


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((8, 8, True), 2), ((8, 8, 1), True), ((8, 8, 0), 2), ((8, 8, 1), 0), ((8.0, 8, 1), 2),
        ((), 2), ((8, 8, 1, 1), 2), ((10**5, 10**5, 3), 2), ((8, 8, 1), 10**9), ((8, 8), 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", SPACES)
def test_examples_of_other_shapes_are_refused(name, shape, outputs):
    with pytest.raises(UserError, match=r"shape|dimensions|large"):
        make_space(name, {}, input_shape=shape, num_outputs=outputs)


@pytest.mark.parametrize("name", [":", "x:", ":x", ".py:x", ".py:"])
def test_half_a_path_names_no_space(name):
    with pytest.raises(UserError, match="names no search space: write a file or a module"):
        default(name)


OWN_SPACES = """
    from hwnas_jax.spaces import Decision
    from hwnas_jax.spaces.nasbench201 import NasBench201

    class Deep(NasBench201):
        name, summary, num_stages = "deep", "more stages than fit", 1000

    class Wide(NasBench201):
        name, summary = "wide", "more options than fit"

        def _decide(self):
            self.decisions = (Decision("a", tuple(map(str, range(100_000)))),)

    class Long(NasBench201):
        name, summary = "long", "more decisions than fit"

        def _decide(self):
            self.decisions = tuple(Decision(str(n), ("a",)) for n in range(5000))
"""


def test_the_bounds_hold_for_spaces_of_ones_own(tmp_path):
    file = tmp_path / "large_spaces.py"
    file.write_text(textwrap.dedent(OWN_SPACES))
    with pytest.raises(UserError, match=r"cells = 5 has 30000 operations.*; at most 4096"):
        default(f"{file}:Deep", cells=5)
    with pytest.raises(UserError, match="100000 options of all decisions together; at most 32768"):
        default(f"{file}:Wide")
    with pytest.raises(UserError, match="5000 decisions; at most 4096"):
        default(f"{file}:Long")


def test_the_bounds_hold_for_spaces_that_a_file_describes():
    for decisions, words in (
        ({str(number): ["a"] for number in range(5000)}, "5000 decisions"),
        ({"a": list(map(str, range(40_000)))}, "40000 options"),
    ):
        with pytest.raises(UserError, match=words):
            choices_from_spec({"name": "described", "decisions": decisions})


def test_more_weights_than_an_array_holds_are_refused_before_they_are_drawn():
    for channels in (2048, 4096):
        space = default("nasbench201", channels=channels, cells=1)
        with pytest.raises(UserError, match=r"would have \d+ weights, .* GiB; at most 2147483647"):
            make_supernet(space)
    assert make_supernet(default("nasbench201", channels=256, cells=5)).num_weights < 2**31


def test_a_table_of_operations_has_an_end(monkeypatch):
    operations, places = default("nasbench201").operations()
    for what, count in (("MOST_PLACES", len(places)), ("MOST_OPERATIONS", len(operations))):
        monkeypatch.setattr(tabulate, what, count)
        assert default("nasbench201").operations()[1] == places
        monkeypatch.setattr(tabulate, what, count - 1)
        with pytest.raises(UserError, match=f"has {count} .*; at most {count - 1} are allowed"):
            sum_places(default("nasbench201"), {})
        monkeypatch.undo()


def test_accelerators_are_counted_before_they_are_listed():
    rows = ",".join(map(str, range(1, 3000)))
    with pytest.raises(UserError, match="143952 accelerators; at most 65536"):
        default("codesign", rows=rows)


@pytest.mark.parametrize(("name", "key"), OWN)
def test_the_class_itself_checks_what_it_is_given_as_well(name, key):
    for value in (10**9, 1e300, True, "a" * 20000, b"1"):
        if value is True and bool in (hints(name)[key], *typing.get_args(hints(name)[key])):
            continue
        with pytest.raises(UserError, match=rf"{key}|unknown search space"):
            SPACES[name](input_shape=(64, 64, 3), num_outputs=10, **{key: value})


def test_the_class_itself_checks_examples_and_the_extent():
    with pytest.raises(UserError, match="examples of one to three dimensions"):
        NasBench201(input_shape=(8, 8, 1), num_outputs=True)
    with pytest.raises(UserError, match="examples of one to three dimensions"):
        NasBench201(input_shape=(8, 8, -1), num_outputs=10)

    class Long(NasBench201):
        num_layers = 10**5

    with pytest.raises(UserError, match=r"with cells = 1 has 100000 operations in a network"):
        Long(input_shape=(8, 8, 1), num_outputs=10, cells=1)


def test_spaces_of_ones_own_are_checked_by_their_annotations():
    class Wide(NasBench201):
        def __init__(self, input_shape, num_outputs, factor: Annotated[int, Ge(1), Le(3)] = 1):
            super().__init__(
                input_shape=input_shape, num_outputs=num_outputs, channels=8 * factor, cells=1
            )

    assert Wide((8, 8, 1), 10, 2).channels == 16
    with pytest.raises(UserError, match=r"factor = 4 must be less than or equal to 3"):
        Wide((8, 8, 1), 10, 4)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Wide((8, 8, 1))
