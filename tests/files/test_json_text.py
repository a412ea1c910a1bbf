"""JSON that nobody would write by hand, and JSON that somebody might."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_text import DEEPEST, parse_json


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: it is no JSON"),
        ('{\n "a": 1,\n}', "line 3, column 1: it is no JSON"),
        ("[" * 100_000, "nested more than 64 levels deep"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "nested more than 64 levels deep"),
        ("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "nested more than 64 levels deep"),
        ("1" + "0" * 400, r"10000000000000000000\.\.\. has more than 100 digits"),
        ("0." + "0" * 400, "has more than 100 digits"),
        ("1e999", "1e999 is out of range: numbers must be finite"),
        ("[1, NaN]", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "the key 'c' stands twice in one object"),
        (r'["\ud800"]', "one half of a surrogate pair"),
        ('["\ud800"]', "one half of a surrogate pair"),
        (b'["\xff"]', "byte 2: it is no UTF-8 text"),
        ("'a'", "it is no JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(text, said):
    with pytest.raises(UserError, match=said):
        parse_json(text)


def test_what_is_unusual_is_read():
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert parse_json(deep) == json.loads(deep)
    assert parse_json(b'\xef\xbb\xbf{"a": "\xc3\xa9"}') == {"a": "é"}
    assert parse_json(r'"\ud83d\ude00"') == "\U0001f600"
    assert parse_json("1" * 100) == int("1" * 100)
    assert parse_json("[NaN, -Infinity, 1.5]", unknown=True) == [None, None, 1.5]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(plain, st.booleans())
def test_values_are_those_of_the_standard_library(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value
