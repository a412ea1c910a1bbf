"""The page of a comparison of data sources, and its figure."""

from matplotlib.figure import Figure

from hwnas_jax.report.html import document, escaped, figure, note, section, sentences, table
from hwnas_jax.report.sources_compared import SourcesCompared
from hwnas_jax.report.sources_tables import source_rows, verdict, what_was_searched
from hwnas_jax.report.style import MUTED, RANDOM, SEARCH, new_figure, style_axes

_EXPLAINED = (
    "After ± is half of the 95 % interval, by Student's t over the seeds; differences are paired "
    "by seeds, and the intervals are not corrected for there being several sources. The percentile "
    "is the share of the networks within the budget that are worse, mean over the seeds."
)
_FILES = (
    "The folder of this page has the settings, versions and device in sources.json, all figures in "
    "results.json and table.csv, and the searches in runs/."
)


def render(found: SourcesCompared) -> str:
    """Returns the whole page."""
    said = " ".join(verdict(found, data_set) for data_set in found.data_sets)
    head = (
        '<header>\n<p class="kicker">Data sources compared</p>\n'
        f"<h1>{escaped(found.space)}: {escaped(found.real)} and what is not real</h1>\n"
        f'<p class="facts">{sentences(what_was_searched(found))}</p>\n'
        f'<p class="verdict">{sentences(said)}</p>\n</header>'
    )
    drawn = figure(
        plot_sources(found), "sources",
        "A small dot for each search, the mean with its 95 % interval in blue, and in dashes the "
        "mean of random networks within the budget.",
    )  # fmt: skip
    parts = [head, section("What searches on each source found", drawn, note(_EXPLAINED))]
    for data_set in found.data_sets:
        names, *rows = source_rows(found, data_set)
        parts.append(section(data_set, table(names, rows)))
    networks = [
        (one.source, seed, network)
        for one in found.sources
        for seed, network in zip(found.seeds, one.networks, strict=False)
    ]
    parts.append(
        section(
            "The networks", table(("searched on", "seed", "network"), networks), note(_FILES)
        )
    )  # fmt: skip
    return document(f"{found.space}: data sources compared", "\n".join(parts))


def plot_sources(found: SourcesCompared) -> Figure:
    """Returns what each source reaches, a panel for each data set of the table."""
    shown = found.sources[:-1]
    factor = 100 if found.is_share else 1
    drawn = new_figure(3.2 * len(found.data_sets) + 1.4, 0.34 * len(shown) + 1.1)
    axes = drawn.subplots(1, len(found.data_sets), sharey=True, squeeze=False)[0]
    for ax, data_set in zip(axes, found.data_sets, strict=True):
        random = found.sources[-1].figures[data_set].mean
        ax.axvline(factor * random, color=RANDOM, linewidth=1.0, linestyle=(0, (4, 2)))
        for place, one in enumerate(shown):
            own = one.figures[data_set]
            values = [factor * value for value in own.values]
            ax.plot(values, [place] * len(values), "o", color=MUTED, markersize=2.5, alpha=0.7)
            ax.errorbar(
                factor * own.mean, place, xerr=factor * (own.half_width or 0.0), fmt="o",
                color=SEARCH, markersize=5, linewidth=1.5, capsize=3,
            )  # fmt: skip
        style_axes(ax, x=f"{found.reported}{' (%)' if found.is_share else ''}", title=data_set)
        ax.grid(axis="x", color=ax.spines["bottom"].get_edgecolor(), linewidth=0.2)
    axes[0].set_yticks(range(len(shown)), [one.source for one in shown])
    axes[0].invert_yaxis()
    return drawn
