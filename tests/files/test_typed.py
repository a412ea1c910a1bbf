"""Dataclasses as schemas: strict types, ranges, names, and where in the file a value is wrong."""

import dataclasses
import json
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, MinLen

from hwnas_jax.errors import UserError
from hwnas_jax.files.typed import (
    Amount,
    SafeName,
    check_value,
    is_safe_name,
    open_ended,
    read_typed,
    safe_name,
)


@dataclasses.dataclass(frozen=True)
class Part:
    label: SafeName
    cost: Amount | None = None
    kind: Literal["dense", "sparse"] = "dense"


@open_ended
@dataclasses.dataclass(frozen=True)
class Loose:
    inner: Part


@dataclasses.dataclass(frozen=True)
class Whole:
    steps: Annotated[int, Ge(0)]
    parts: Annotated[list[Part], MinLen(1)]
    rows: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    loose: Loose | None = None


GOOD: dict[str, Any] = {
    "steps": 3, "parts": [{"label": "a-1"}, {"label": "b", "cost": 2}],
    "rows": {"x": [1, 2.5]}, "loose": {"inner": {"label": "c"}, "more": [1, {}]},
}  # fmt: skip


def test_a_good_file_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": "thing", "version": 2, **GOOD}))
    found = read_typed(path, Whole, "thing", file_format="thing", version=2)
    parts = [Part("a-1"), Part("b", 2.0)]
    assert found == Whole(3, parts, {"x": (1.0, 2.5)}, Loose(Part("c")))
    assert check_value(dict[str, int], {"a": 1}, "sizes") == {"a": 1}


def place(*keys_and_value: Any) -> Any:
    """Returns a good file in which one value is another; `...` takes the key away."""
    *keys, last, value = keys_and_value
    changed = holder = json.loads(json.dumps(GOOD))
    for key in keys:
        holder = holder[key]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return changed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "the file must be a table of keys, got None"),
        (5, "the file must be a table of keys, got 5"),
        ([], r"the file must be a table of keys, got \[\]"),
        (place("steps", ...), "the file has no 'steps'"),
        (place("rows", "x" * 500, 5), r"rows\.x{80}\.\.\. must be a list, got 5$"),
        (place("steps", "3"), "steps = '3' must be an integer"),
        (place("steps", True), "steps = True must be an integer"),
        (place("steps", 1.5), "steps = 1.5 must be an integer"),
        (place("steps", -1), "steps = -1 must be greater than or equal to 0"),
        (place("stepz", 1), "unknown key of file 'stepz'.*Did you mean 'steps'"),
        (place("parts", []), "parts must not be empty"),
        (place("parts", {}), r"parts must be a list, got \{\}"),
        (place("parts", 1, 7), r"parts\[1\] must be a table of keys, got 7"),
        (place("parts", 1, "label", ...), r"parts\[1\] has no 'label'"),
        (place("parts", 1, "lable", "x"), r"unknown key of file\.parts\[1\] 'lable'.*mean 'label'"),
        (place("parts", 1, "cost", -2), r"parts\[1\]\.cost = -2 must be greater than 0"),
        (place("parts", 1, "cost", 1e300), r"parts\[1\]\.cost = 1e\+300 must be less"),
        (
            place("parts", 0, "kind", "sparze"),
            r"unknown value of parts\[0\]\.kind 'sparze'.*'sparse'\?",
        ),
        (place("rows", "x", 5), r"rows\.x must be a list, got 5"),
        (place("rows", "x", 1, None), r"rows\.x\[1\] = None must be a number"),
        (place("loose", "inner", "labels", ""), r"unknown key of file\.loose\.inner 'labels'"),
        *(
            (place("parts", 0, "label", name), r"parts\[0\]\.label = .* must be of at most 100 let")
            for name in ("", "../x", ".x", "a/b", "a\0b", "a b", "é", "x" * 101, "a\n")
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, value, said):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"the thing .*a\.json: {said}"):
        read_typed(path, Whole, "thing")


def test_numbers_that_are_not_finite_are_told():
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"parts\[0\]\.cost .* must be a finite number"):
            check_value(Whole, place("parts", 0, "cost", value), "file")


@pytest.mark.parametrize("text", ["", "..", "../x", "12 images/s", "\ud800", "-", "x" * 300])
def test_any_text_has_a_safe_name(text):
    assert is_safe_name(safe_name(text))
