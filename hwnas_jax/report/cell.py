"""Draws an architecture: a graph where decisions are edges, a chain otherwise."""

import math
import re
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.path import Path

from hwnas_jax.errors import shortened
from hwnas_jax.report.style import (
    FONT_SIZE,
    INK,
    MUTED,
    NONE_COLOUR,
    SURFACE,
    new_figure,
    option_colours,
    text_colour_on,
)

_EDGE = re.compile(r"(?:([^/]+)/)?(\d+)<-(\d+)")
_READS = re.compile(r"(?:([^/]+)/)?(\d+)")
_NODES = re.compile(r"\d+(\+\d+)*")
_BLOCK = re.compile(r"block(\d+)\.")
_RADIUS = 0.2
_LANE = 0.62
_MARGIN = 0.95
_PER_ROW = 5
_MOST_DRAWN = 100
"""Most edges or decisions that are drawn."""
_WORD, _NOTE = 40, 300
"""Most characters of a name, and of the line of decisions below a graph."""


def plot_cell(names: Mapping[str, str], *, colours: Mapping[str, str] | None = None) -> Figure:
    """Draws an architecture.

    Decisions named "to<-from" become the edges of a graph from input to output; those of several
    graphs, "graph/to<-from", one graph below the other. A decision named by a node, "to" or
    "graph/to", says which nodes it reads, "0+2": its other edges are left out. Any others are
    listed below the graph; without edges, all are drawn as a chain of choices. Where one decision
    is the "depth", a whole number, those of blocks beyond it ("block3.heads") are left out.

    Of very many edges, those that carry an operation are drawn first, and of very many decisions
    the first; a line says how many more there are. Long names lose their end.

    Args:
      names: `{decision name: option name}`.
      colours: hex colour of each option; `option_colours` of the options present by default.
    """
    colours = {**option_colours(names.values()), **(colours or {})}
    graphs, rest = _edges(names)
    if graphs:
        drawn, left = _most_important(graphs)
        words = "  ·  ".join(f"{n} {option}" for n, option in rest.items())
        notes = [f"{left} more edges" if left else "", shortened(words, _NOTE)]
        return _graphs(drawn, colours, "  ·  ".join(filter(None, notes)))
    return _chain(_within_depth(names), colours)


def _most_important(
    graphs: Mapping[str, Mapping[tuple[int, int], str]],
) -> tuple[dict[str, dict[tuple[int, int], str]], int]:
    """Returns the edges that are drawn, and how many are left out."""
    every = [(graph, edge, option) for graph, own in graphs.items() for edge, option in own.items()]
    kept = every
    if len(every) > _MOST_DRAWN:
        kept = sorted(every, key=lambda one: one[2] == "none")[:_MOST_DRAWN]
    drawn: dict[str, dict[tuple[int, int], str]] = {}
    for graph, edge, option in kept:
        drawn.setdefault(graph, {})[edge] = option
    return drawn, len(every) - len(kept)


def _edges(
    names: Mapping[str, str],
) -> tuple[dict[str, dict[tuple[int, int], str]], dict[str, str]]:
    """Returns the edges `(from, to)` of each graph, and the decisions that are of none."""
    graphs: dict[str, dict[tuple[int, int], str]] = {}
    reads: dict[tuple[str, int], set[int]] = {}
    rest: dict[str, str] = {}
    for name, option in names.items():
        if match := _EDGE.fullmatch(name):
            edge = int(match[3]), int(match[2])
            graphs.setdefault(match[1] or "", {})[edge] = option
        elif (match := _READS.fullmatch(name)) and _NODES.fullmatch(option):
            reads[match[1] or "", int(match[2])] = {int(node) for node in option.split("+")}
        else:
            rest[name] = option
    kept = {
        graph: {(source, target): option for (source, target), option in edges.items()
                if source in reads.get((graph, target), {source})}
        for graph, edges in graphs.items()
    }  # fmt: skip
    return kept, rest


def _within_depth(names: Mapping[str, str]) -> dict[str, str]:
    depth = names.get("depth", "")
    if not depth.isdecimal():
        return dict(names)
    blocks = {name: match for name in names if (match := _BLOCK.match(name))}
    return {n: o for n, o in names.items() if n not in blocks or int(blocks[n][1]) <= int(depth)}


def _canvas(width: float, height: float):
    """Returns a figure and axes whose data coordinates are inches."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return figure, ax


def _draw_option(ax, x: float, y: float, option: str, colour: str) -> None:
    empty = option == "none"
    option = shortened(option, _WORD)
    ax.text(
        x, y, option, ha="center", va="center_baseline", fontsize=FONT_SIZE - 0.5, zorder=4,
        color=MUTED if empty else text_colour_on(colour),
        bbox={"boxstyle": "round,pad=0.35", "linewidth": 0,
              "facecolor": SURFACE if empty else colour},
    )  # fmt: skip


def _lanes(edges) -> dict[tuple[int, int], int]:
    """Returns each edge's lane: 0 between neighbours, else ±1, ±2, … without overlap in a lane."""
    order = {node: i for i, node in enumerate(sorted({n for edge in edges for n in edge}))}
    taken: dict[int, list[tuple[int, int]]] = {}
    lanes = {}
    for edge in sorted(edges, key=lambda e: (order[e[1]] - order[e[0]], e)):
        start, end = sorted(order[node] for node in edge)
        lane = 0
        while (lane == 0 and end - start > 1) or any(
            start < other_end and other_start < end
            for other_start, other_end in taken.get(lane, [])
        ):
            lane = -lane if lane > 0 else 1 - lane
        taken.setdefault(lane, []).append((start, end))
        lanes[edge] = lane
    return lanes


def _graphs(
    graphs: Mapping[str, Mapping[tuple[int, int], str]], colours: Mapping[str, str], note: str
) -> Figure:
    lanes = {name: _lanes(edges) for name, edges in graphs.items()}
    options = (option for edges in graphs.values() for option in edges.values())
    longest = min(max(map(len, options)), _WORD)
    count = max(len({node for edge in edges for node in edge}) for edges in graphs.values())
    spacing = max(0.085 * longest + 0.85, min(2.3, 7.1 / (count - 1)))
    title = 0.35 if len(graphs) > 1 else 0.0
    spans = {name: (-min(0, *own.values(), 0), max(0, *own.values(), 0))
             for name, own in lanes.items()}  # fmt: skip
    heights = [title + _LANE * (below + above) + 0.7 for below, above in spans.values()]
    foot = 0.3 if note else 0.0
    width = 2 * _MARGIN + spacing * (count - 1)
    top = sum(heights) + foot
    figure, ax = _canvas(width, top)
    if note:
        ax.text(
            width / 2, 0.15, note, ha="center", va="center_baseline", color=MUTED,
            fontsize=FONT_SIZE - 1,
        )  # fmt: skip
    for (name, edges), height in zip(graphs.items(), heights, strict=True):
        if title:
            ax.text(
                0.1, top - 0.2, name, ha="left", va="center_baseline", color=INK,
                fontsize=FONT_SIZE + 1, weight="bold",
            )  # fmt: skip
        level = top - height + _LANE * spans[name][0] + 0.35
        _graph(ax, edges, lanes[name], colours, level, spacing)
        top -= height
    return figure


def _graph(ax, edges, lanes, colours, level, spacing) -> None:
    nodes = sorted({node for edge in edges for node in edge})
    centre = {node: _MARGIN + spacing * i for i, node in enumerate(nodes)}
    for (source, target), option in edges.items():
        x0, x1 = centre[source], centre[target]
        height = _LANE * lanes[source, target]
        path = _arc(x0, x1, level, height)
        empty = option == "none"
        ax.add_patch(
            FancyArrowPatch(
                path=path, arrowstyle="-|>", mutation_scale=9, fill=False,
                color=colours.get(option, NONE_COLOUR), linewidth=1.0 if empty else 2.0,
                linestyle=(0, (3, 3)) if empty else "solid", zorder=2,
            )
        )  # fmt: skip
        _draw_option(ax, (x0 + x1) / 2, level + height, option, colours.get(option, NONE_COLOUR))
    for node in nodes:
        ax.add_patch(
            Circle(
                (centre[node], level), _RADIUS, facecolor=SURFACE, edgecolor=INK, lw=1.4, zorder=3
            )
        )
        ax.text(
            centre[node], level, str(node), ha="center", va="center_baseline", color=INK,
            fontsize=FONT_SIZE + 0.5, zorder=4,
        )  # fmt: skip
    inputs = [node for node in nodes if all(target != node for _, target in edges)]
    # What has several inputs is a cell whose output joins its other nodes.
    joined = f"output:\n{len(inputs)} to {nodes[-1]}" if len(inputs) > 1 else "output"
    for node, label, side, align in (
        (nodes[0], "inputs" if len(inputs) > 1 else "input", -1, "right"),
        (nodes[-1], joined, 1, "left"),
    ):
        ax.text(
            centre[node] + side * (_RADIUS + 0.1), level, label, ha=align, va="center_baseline",
            color=INK, fontsize=FONT_SIZE,
        )  # fmt: skip


def _arc(x0: float, x1: float, level: float, height: float) -> Path:
    """Returns a cubic between two nodes, its middle `height` above `level`."""
    lean, lift = 0.22 * (x1 - x0), height * 4 / 3
    length = math.hypot(lean, lift)
    dx, dy = (_RADIUS + 0.03) * lean / length, (_RADIUS + 0.03) * lift / length
    points = [
        (x0 + dx, level + dy),
        (x0 + lean, level + lift),
        (x1 - lean, level + lift),
        (x1 - dx, level + dy),
    ]
    return Path(points, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])


def _chain(names: Mapping[str, str], colours: Mapping[str, str]) -> Figure:
    items = [(shortened(name, _WORD), option) for name, option in names.items()][:_MOST_DRAWN]
    left = len(names) - len(items)
    columns = max(1, min(_PER_ROW, len(items)))
    rows = max(1, math.ceil(len(items) / columns)) + bool(left)
    longest = min(max((len(word) for item in items for word in item), default=0), _WORD)
    pitch, drop = max(1.7, 0.08 * longest + 0.5), 0.75
    figure, ax = _canvas(pitch * columns, drop * rows)
    if left:
        ax.text(
            pitch * columns / 2, drop / 2, f"{left} more decisions", ha="center",
            va="center_baseline", color=MUTED, fontsize=FONT_SIZE,
        )  # fmt: skip
    for i, (decision, option) in enumerate(items):
        x = pitch * (i % columns + 0.5)
        y = drop * (rows - i // columns - 0.5)
        ax.text(
            x, y + 0.17, decision, ha="center", va="center_baseline", color=MUTED,
            fontsize=FONT_SIZE - 1,
        )  # fmt: skip
        _draw_option(ax, x, y - 0.12, option, colours.get(option, NONE_COLOUR))
        if (i + 1) % columns and i + 1 < len(items):
            ax.text(
                x + pitch / 2, y - 0.12, "→", ha="center", va="center_baseline", color=MUTED,
                fontsize=FONT_SIZE + 1,
            )  # fmt: skip
    return figure
