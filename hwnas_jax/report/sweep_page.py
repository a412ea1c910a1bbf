"""The sections that only the page of several searches has: their table and their front."""

from hwnas_jax.report.front_plot import plot_front
from hwnas_jax.report.html import figure, missing, note, section, table
from hwnas_jax.report.read import RunFiles
from hwnas_jax.report.sections import beside_controls, header
from hwnas_jax.report.summary import confidence_note, confirmations_note
from hwnas_jax.report.sweep_summary import area_in_words, front_of, rows, value_name, verdict


def head(run: RunFiles) -> str:
    """Returns the head of the page."""
    return header(run, "Hardware-aware architecture search: a sweep", verdict(run))


def result(run: RunFiles) -> str:
    """Returns the section with a row for every search."""
    if not run.searched:
        return section("Result", missing("table of networks", "networks.json"))
    found = front_of(run)
    titles, *body = rows(run)
    explained = (
        f"Highlighted rows are on the front. Supernet {run.task.name} is with the weights that the "
        "search shared among all networks, on the half of the training data that the architecture "
        f"was optimised on. Validation and test {run.task.name} are of the network trained from "
        "scratch. ± is one standard deviation of the cost model for a prediction, and half the "
        "interquartile range for a measurement."
    )
    sure = "" if run.confidence is None else confidence_note(run.confidence)
    strings = [(network["label"], network.get("string") or "") for network in run.searched]
    return section(
        "Result",
        table(titles, body, found.on_front if found else ()),
        note(explained, sure, confirmations_note(run)),
        *beside_controls(run),
        f'<h3>The networks</h3><div class="strings">{table(("search", "network"), strings)}</div>',
    )


def front(run: RunFiles) -> str:
    """Returns the section with the figure of the front."""
    found = front_of(run)
    if found is None:
        return section("The front", missing("front", f"{run.task.name} of every network"))
    obtained = run.obtained if found.cost == "measured" else found.cost
    name = value_name(run, found)
    half_widths = [(network.get("measured_iqr") or 0.0) / 2 for network in run.searched]
    drawn = plot_front(
        [network[found.cost] for network in run.searched],
        [network[found.value] for network in run.searched],
        found.reference,
        task=run.task,
        targets=[
            network["target"] for network in run.searched if network.get("target") is not None
        ],
        errors=half_widths if found.cost == "measured" else None,
        metric=run.metric,
        value_label=name,
        cost_label=obtained,
        area=found.hypervolume,
    )
    caption = f"{obtained.capitalize()} cost and {name}. {area_in_words(run, found)}"
    return section("The front", figure(drawn, "front", caption))
