"""Names of options as people spell them: `conv_3x3`, `conv3x3` and `nor_conv_3x3` are one."""

import re
from collections.abc import Sequence

from hwnas_jax.errors import choose, shortened

_SAME = {
    "zero": "none", "zeroize": "none", "identity": "skip", "skipconnect": "skip",
    "skipconnection": "skip",
}  # fmt: skip
_SHOWN = 80


def option_called(given: str, options: Sequence[str], what: str) -> str:
    """Returns the option that a name means.

    In names with letters, case, blanks, hyphens and underscores do not count, nor does the "nor_"
    with which NAS-Bench-201 begins the names of its convolutions. `none`, `zero` and `zeroize` are
    one, as are `skip`, `skip_connect` and `identity`.

    Args:
      given: the name that a person wrote.
      options: the names that there are.
      what: what the options are of, for a message.

    Raises:
      UserError: when no option, or more than one, is spelled like it; names the nearest.
    """
    if given in options:
        return given
    if isinstance(given, str) and len(given) <= _SHOWN:
        same = [option for option in options if _key(option) == _key(given)]
        if len(same) == 1:
            return same[0]
    return choose(shortened(given), options, what)


def _key(name: str) -> str:
    if not re.search("[A-Za-z]", name):
        return name  # a hyphen may be a sign there
    plain = re.sub(r"[\s_-]+", "", name.lower())
    plain = plain.removeprefix("nor") if plain.startswith("norconv") else plain
    return _SAME.get(plain, plain)
