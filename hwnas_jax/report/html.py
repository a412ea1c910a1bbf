"""HTML that every page is made of: the document, sections, tables, figures, escaped text."""

import html
import importlib.resources
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from hwnas_jax.display import plain
from hwnas_jax.errors import shortened
from hwnas_jax.report.style import to_svg

_ROWS, _CELL, _TEXT = 500, 600, 6000
"""Most rows of a table, and most characters of a cell and of a paragraph."""


def document(title: str, body: str) -> str:
    """Returns a whole page, its style inside; nothing is loaded from elsewhere."""
    style = importlib.resources.files("hwnas_jax.report").joinpath("page.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def escaped(value: Any) -> str:
    """Returns a value escaped for HTML."""
    return html.escape(plain(value))


def sentences(value: str) -> str:
    """Returns escaped text in which percent signs stay on the line of their numbers.

    A text of many pages loses its end.
    """
    return escaped(shortened(value, _TEXT)).replace(" %", "\u00a0%")


def section(title: str, *parts: str) -> str:
    """Returns a section of parts that are HTML already."""
    return "<section>\n<h2>{}</h2>\n{}\n</section>".format(escaped(title), "\n".join(parts))


def missing(what: str, file: str) -> str:
    """Returns the paragraph that stands in place of what an unfinished run does not have yet."""
    return f'<p class="missing">No {escaped(what)} yet: the run has no {escaped(file)}.</p>'


def figure(drawn: Figure, name: str, caption: str) -> str:
    """Returns a figure with its caption; `name`: letters, digits, hyphens; unique on a page."""
    svg = to_svg(drawn, name, escaped(caption))
    return f'<figure id="{name}">\n{svg}\n<figcaption>{escaped(caption)}</figcaption>\n</figure>'


def note(*parts: str) -> str:
    """Returns a paragraph of small text; empty parts are left out."""
    kept = " ".join(filter(None, parts))
    return f'<p class="note">{sentences(kept)}</p>' if kept else ""


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], marked: Sequence[bool] = ()) -> str:
    """Returns a table whose first column names the rows; `marked` rows are highlighted.

    Long cells lose their end. Of very many rows, the marked ones and the first are shown, and a
    line says how many were left out.
    """
    rows = list(rows)
    cells = "".join(f'<th scope="col">{_cell(h)}</th>' for h in head)
    lines = [f'<div class="scroll"><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>']
    flags = [i < len(marked) and bool(marked[i]) for i in range(len(rows))]
    kept = sorted(sorted(range(len(rows)), key=lambda i: not flags[i])[:_ROWS])
    for i in kept:
        first, *rest = rows[i]
        mark = ' class="chosen"' if flags[i] else ""
        data = "".join(f"<td>{_cell(cell)}</td>" for cell in rest)
        lines.append(f'<tr{mark}><th scope="row">{_cell(first)}</th>{data}</tr>')
    left = len(rows) - len(kept)
    lines += ["</tbody>\n</table></div>", note(f"{left} more rows are left out.") if left else ""]
    return "\n".join(filter(None, lines))


def _cell(value: Any) -> str:
    return escaped(shortened(value, _CELL))
