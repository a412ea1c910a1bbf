"""Every form in which an architecture is written, and what is no architecture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import SPACES, Choices, Decision, as_architecture, make_space

SPACE = Choices("toy", (Decision("a", ("x", "y", "z")), Decision("b", ("x", "y"))))
TABLE = np.array([[2, 1], [0, 1], [1, 0]])
MACRO = make_space("nasbench_macro", {}, input_shape=(32, 32, 3), num_outputs=10)


@pytest.mark.parametrize(
    "form",
    ["z/y", " z / y ".replace(" ", ""), "[2,1]", "(2; 1)", "[ 2 1 ]", [2, 1], (2, 1),
     np.array([2, 1], np.uint8), {"a": "z", "b": "y"}, {"b": "Y", "a": "z"}, "0", 0, np.int64(0)],
    ids=repr,
)  # fmt: skip
def test_all_forms_mean_the_same(form):
    found = as_architecture(SPACE, form, numbered=TABLE)
    assert found.tolist() == [2, 1] and found.dtype == np.int32


@pytest.mark.parametrize("name", list(SPACES))
@given(seed=st.integers(0, 2**32 - 1))
def test_every_form_of_an_architecture_is_read_back(name, seed):
    space = space_of(name)
    own = space.random(np.random.default_rng(seed), 1)[0]
    listed = own.tolist()
    for form in (str(listed), listed, own, space.to_names(own)):
        assert as_architecture(space, form).tolist() == listed
    # A text says what is built. With an empty table, it would be refused as the number of a row.
    found = as_architecture(space, space.to_string(own), numbered=own[:0, None])
    np.testing.assert_array_equal(space.canonical(found[None]), space.canonical(own[None]))


MADE = {}


def space_of(name):
    if name not in MADE:
        MADE[name] = make_space(name, {}, input_shape=(64, 64, 3), num_outputs=10)
    return MADE[name]


def test_what_the_notation_reads_is_no_number_of_a_row():
    table = MACRO.enumerate()
    assert as_architecture(MACRO, "00000012", numbered=table).tolist() == [0] * 6 + [1, 2]
    assert as_architecture(MACRO, "12", numbered=table).tolist() == table[12].tolist()
    assert as_architecture(MACRO, 12, numbered=table).tolist() == table[12].tolist()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("z/w", "unknown option of b 'w': allowed are x, y"),
        ("xx/y", "Did you mean 'x'"),
        ("[2,1,0]", "3 numbers of options, an architecture of toy has 2 decisions"),
        ("[2,2]", "b has the options 0 to 1, got 2"),
        ([2, -1], "b has the options 0 to 1, got -1"),
        (f"[{'9' * 5000},1]", "a number of too many digits"),
        ("3", "row 3 is not in the table: its rows are 0 to 2"),
        (-1, "row -1 is not in the table"),
        (True, "True is no architecture"),
        (1.0, "1.0 is no architecture"),
        ([2.0, 1.0], "is no architecture: give a text in the notation of toy"),
        ([[2, 1]], "is no architecture"),
        ([[2], [1, 0]], "is no architecture"),
        (None, "None is no architecture"),
        ({"a": "z"}, "leaves open: b"),
        ("9" * 40, "names 1 options"),
    ],
)
def test_what_is_no_architecture(form, said):
    with pytest.raises(UserError) as caught:
        as_architecture(SPACE, form, numbered=TABLE)
    assert said in str(caught.value)


def test_a_number_without_a_table_says_what_else_there_is():
    for form in ("1", 1):
        with pytest.raises(UserError, match=r"^1 counts the rows.* such as 'x/x' or \[0, 0\]$"):
            as_architecture(SPACE, form)


def test_options_that_are_switched_off_are_refused_in_every_form():
    space = SPACE.restricted({"a": ["z"]})
    for form in ("z/y", "[2,1]", [2, 1], {"a": "z", "b": "y"}, 0):
        with pytest.raises(UserError, match="'z' of a is switched off"):
            as_architecture(space, form, numbered=TABLE)
