"""What the name of an array or a file says: which part of a data set it is, and of which set.

train_images            inputs of the train part
y_test                  targets of the test part
class_names             names of the classes
speech-train-labels     targets of the train part of the set `speech`
"""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from hwnas_jax.errors import UserError, choose

Part = Literal["train", "validation", "test"]

_PARTS: dict[str, Part] = {
    "train": "train", "training": "train", "tr": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip
_KINDS = {
    **dict.fromkeys(("x", "input", "inputs", "image", "images", "img", "imgs", "data"), "inputs"),
    **dict.fromkeys(("y", "target", "targets", "label", "labels"), "targets"),
    **dict.fromkeys(("names", "classes"), "names"),
}
_BEFORE_NAMES = {"class", "label", "output", "target"}


class Role(NamedTuple):
    """What a name says.

    Attributes:
      subset: the words that say neither part nor kind; "" where there are none.
      part: of the data; None where none is named.
      kind: "inputs", "targets" or "names".
    """

    subset: str
    part: Part | None
    kind: str


def part_of(name: str) -> Part | None:
    """Returns the part that a name of one word stands for.

    >>> part_of("Training"), part_of("cats")
    ('train', None)
    """
    return _PARTS.get(name.lower())


def role_of(name: str) -> Role | None:
    """Returns what a name says; None where it names neither inputs nor targets.

    >>> role_of("x_train")
    Role(subset='', part='train', kind='inputs')
    >>> role_of("emnist-letters-test-labels")
    Role(subset='emnist_letters', part='test', kind='targets')
    """
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    glued = re.fullmatch(r"(.*?)([xy])", words[-1]) if words else None
    if glued and glued[1] in _PARTS:
        words[-1:] = [glued[1], glued[2]]
    parts = [word for word in words if word in _PARTS]
    kinds = [word for word in words if word in _KINDS]
    if not kinds or len(parts) > 1:
        return None
    kind = kinds[-1]
    rest = [word for word in words if word not in (*parts, kind)]
    if _KINDS[kind] == "names" and rest and rest[-1] in _BEFORE_NAMES:
        rest.pop()
    return Role("_".join(rest), _PARTS[parts[0]] if parts else None, _KINDS[kind])


def choose_subset(subsets: Iterable[str], wanted: str | None, where: str) -> str:
    """Returns the set to read.

    Args:
      subsets: the sets that there are.
      wanted: what the user asked for; None takes the only one.
      where: begins messages.

    Raises:
      UserError: when there are several and none is asked for, or there is none of that name.
    """
    known = sorted(set(subsets))
    if wanted is not None:
        return choose(re.sub(r"[\W_]+", "_", wanted.lower()), known, f"subset of {where}")
    if len(known) > 1:
        names = ", ".join(name or "one without a name" for name in known)
        raise UserError(
            f"{where} holds several sets: {names}; name one with --data.args subset NAME"
        )
    return known[0]
