"""Genotypes as the code of DARTS prints them: the edges that the two cells keep.

References: Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

import ast
from collections.abc import Mapping, Sequence

from hwnas_jax.errors import UserError, shown

KINDS = ("normal", "reduce")
_NODES = 4
_CONCAT, _LISTED = "range(2, 6)", "[2, 3, 4, 5]"
_FORM = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6)), with two edges into each of 4 nodes"
)


def write_genotype(cells: Mapping[str, Sequence[tuple[str, int]]]) -> str:
    """Returns the genotype for the edges of each of `KINDS`."""
    words = [f"{kind}={list(cells[kind])}, {kind}_concat={_CONCAT}" for kind in KINDS]
    return f"Genotype({', '.join(words)})"


def read_genotype(text: str) -> dict[str, list[tuple[str, int]]]:
    """Returns the edges of each of `KINDS`: eight pairs of an operation and the node it reads.

    The nodes that the cell joins may be written as a range or as a list.

    Raises:
      UserError: for a text of another form.
    """
    problem = UserError(f"{shown(text)} is no genotype of darts; the form is {_FORM}")
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "Genotype" or call.args:
            raise problem
        given = {str(word.arg): word.value for word in call.keywords}
        cells = {kind: ast.literal_eval(given[kind]) for kind in KINDS}
        joined = {ast.unparse(given[f"{kind}_concat"]) for kind in KINDS}
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError):
        raise problem from None
    if len(given) != 2 * len(KINDS) or not joined <= {_CONCAT, _LISTED}:
        raise problem
    for edges in cells.values():
        fine = isinstance(edges, list) and len(edges) == 2 * _NODES
        fine = fine and all(isinstance(edge, tuple) and len(edge) == 2 for edge in edges)
        if not fine or not all(isinstance(a, str) and type(b) is int for a, b in edges):
            raise problem
    return cells
