"""Colours, axes and legends as all figures of the report have them, and figures as inline SVG."""

import io
import re
from collections.abc import Iterable

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.display import plain

INK = "#1f2933"
MUTED = "#616e7d"
GRID = "#dfe4ea"
SURFACE = "#fdfdfe"
SEARCH = "#0072b2"
RANDOM = "#d98c00"
NO_SEARCH = "#009e73"
MOST_MACS = "#cc79a7"
ALARM = "#d55e00"
MULTIPLIER = "#009e73"
FONT_SIZE = 9.0
ROUND_STEPS = (1, 2, 2.5, 5, 10)

# On a page these four follow the reader's light or dark mode. The colours of data stay the same.
_PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--grid", SURFACE: "--surface"}

# Okabe and Ito's palette (2008), its black and yellow replaced (they vanish on a dark and on a
# light page), continued with Tol's "muted" for spaces with many options.
_PALETTE = (
    "#e69f00", "#56b4e9", "#0072b2", "#009e73", "#cc79a7", "#d55e00",
    "#882255", "#999933", "#aa4499", "#44aa99", "#6699cc", "#997700",
)  # fmt: skip
NONE_COLOUR = "#a3adb8"


def option_colours(options: Iterable[str]) -> dict[str, str]:
    """Returns a hex colour for each option, in order of first appearance; `none` is grey."""
    named = [name for name in dict.fromkeys(options) if name != "none"]
    colours = {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(named)}
    return {"none": NONE_COLOUR} | colours


def text_colour_on(colour: str) -> str:
    """Returns near-black or white, whichever contrasts more with a `#rrggbb` colour (WCAG 2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#111111" if (luminance + 0.05) ** 2 > 1.05 * 0.055 else "#ffffff"


def metric_label(metric: str) -> str:
    """Returns a metric's name with its unit in brackets.

    >>> metric_label("latency_ms")
    'latency (ms)'
    """
    shown = unit(metric)
    name = metric.removesuffix(f"_{shown}").replace("_", " ")
    return shown if name == shown else f"{name} ({shown})"


class PlainFigure(Figure):
    """A figure whose texts are shown as they are: what looks like TeX is no formula."""

    def draw(self, renderer):
        with matplotlib.rc_context({"text.parse_math": False}):  # of texts that drawing makes
            for text in self.findobj(Text):
                text.set(parse_math=False, text=plain(text.get_text()))
            super().draw(renderer)


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of a size in inches, outside pyplot's registry."""
    return PlainFigure(figsize=(width, height), layout="constrained", facecolor=SURFACE)


def style_axes(
    ax: Axes, *, x: str | None = None, y: str | None = None, title: str | None = None
) -> None:
    """Gives axes their labels and title, a light horizontal grid and thin spines."""
    ax.set_facecolor("none")
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
        spine.set_linewidth(0.7)
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=FONT_SIZE - 1, width=0.7, length=3)
    ax.xaxis.label.set(color=INK, fontsize=FONT_SIZE)
    ax.yaxis.label.set(color=INK, fontsize=FONT_SIZE)
    if x:
        ax.set_xlabel(x)
    if y:
        ax.set_ylabel(y)
    if title:
        ax.set_title(title, loc="left", fontsize=FONT_SIZE, color=INK, fontweight="bold")


def step_axis(ax: Axes, ticks: int = 6) -> None:
    """Puts the ticks of a horizontal axis that counts steps at whole, round numbers."""
    ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True, steps=ROUND_STEPS))


def percent_axis(ax: Axes, *, decimals: int | None = 0) -> None:
    """Shows the shares on a vertical axis in percent."""
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals, symbol=" %"))


def room_above(ax: Axes, share: float = 0.25) -> None:
    """Makes room above the curves, so that a legend covers none of them."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + share * (high - low))


def legend(owner: Axes | Figure, **options):
    """Adds a frameless legend to axes or a figure."""
    return owner.legend(frameon=False, fontsize=FONT_SIZE - 0.5, labelcolor=INK, **options)


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Returns the figure as an `<svg>` element to stand inside a page.

    Args:
      figure: what to draw.
      name: letters, digits and hyphens; keeps the ids of several figures on one page apart.
      description: what a screen reader says; already escaped for HTML.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = plain(buffer.getvalue())
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\1{name}-", svg)
    for colour, variable in _PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
