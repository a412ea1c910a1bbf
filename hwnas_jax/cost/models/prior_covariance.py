"""How alike two networks are before anything was measured: blocks of prior covariance.

A block is a factor `float64[P, r]`. The costs of one-hot `x` and `y` covary as
`(x factor) . (y factor)`. Decisions with the same options form a group and share what is learned
about an option. Options whose names share a word ("k3_e6", "k3_e1") share what is learned about the
word.

Legend: `D` decisions, `K` options of the widest decision, `P = D K` entries of a gate weight.
"""

import re

import numpy as np

from hwnas_jax.spaces.base import Choices

_REACH = 0.2


def make_blocks(space: Choices) -> dict[str, np.ndarray]:
    """Returns the blocks that the names of a space suggest, by name.

    - `options`: how often an option was chosen, in any decision.
    - `words`: how often a word occurs in the chosen options.
    - `words by place`: the same, for each decision on its own.
    - `words along depth`: the same, more alike for decisions that are near each other in a group.
    - `places`: each option of each decision on its own.

    Args:
      space: any decisions with options.

    >>> from hwnas_jax.spaces.base import Decision
    >>> space = Choices("two", (Decision("a", ("x", "y")), Decision("b", ("x", "y"))))
    >>> make_blocks(space)["options"]
    array([[1., 0.],
           [0., 1.],
           [1., 0.],
           [0., 1.]])
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, decision in enumerate(space.decisions):
        groups.setdefault(decision.options, []).append(number)
    parts: dict[str, list[np.ndarray]] = {}
    for options, members in groups.items():
        width = len(options)
        words, unit = _words(options), np.eye(width)
        each = np.eye(len(members))
        for name, along, within in (
            ("options", np.ones((len(members), 1)), unit),
            ("words", np.ones((len(members), 1)), words),
            ("words by place", each, words),
            ("words along depth", _smooth(len(members)), words),
            ("places", each, unit),
        ):
            block = np.zeros((space.num_decisions, space.num_options, along.shape[1],
                              within.shape[1]))  # fmt: skip
            block[members, :width] = np.einsum("dr,kt->dkrt", along, within)
            flat = block.reshape(space.num_decisions * space.num_options, -1)
            parts.setdefault(name, []).append(flat)
    return {name: np.concatenate(blocks, axis=1) for name, blocks in parts.items()}


def _words(options):
    """Returns which words `float64[K, T]` stand in each option's name."""
    split = [set(re.findall(r"[^\W_]+", option)) for option in options]
    known = sorted(set().union(*split))
    return np.array([[float(word in words) for word in known] for words in split])


def _smooth(count):
    """Returns a factor `float64[count, r]` of a Gaussian kernel over places 0..count-1."""
    place = np.arange(count)
    kernel = np.exp(-0.5 * ((place[:, None] - place) / (_REACH * count)) ** 2)
    values, vectors = np.linalg.eigh(kernel)
    kept = values > 1e-6 * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])
