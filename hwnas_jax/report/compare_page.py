"""The page of a comparison of search methods."""

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.compare_plots import plot_fronts, plot_queries, plot_seconds
from hwnas_jax.report.compare_tables import best_flags, case_rows, case_title, points, shown
from hwnas_jax.report.compared import CaseResult, Compared
from hwnas_jax.report.html import document, escaped, figure, note, section, sentences, table
from hwnas_jax.report.numbers import number, plural, probability
from hwnas_jax.report.style import metric_label

_LEVEL = 0.05
_MOST_IN_WORDS = 3


def render(found: Compared) -> str:
    """Returns the whole page."""
    parts = [_head(found)]
    parts += [_section(found, case, place) for place, case in enumerate(found.cases)]
    parts.append(_explained(found))
    return document(f"{found.table}: methods compared", "\n".join(parts))


def _head(found: Compared) -> str:
    return (
        '<header>\n<p class="kicker">Search methods compared</p>\n'
        f"<h1>{escaped(found.table)}</h1>\n"
        f'<p class="facts">{sentences(what_was_compared(found))}</p>\n'
        f'<p class="verdict">{sentences(verdict(found))}</p>\n</header>'
    )


def what_was_compared(found: Compared) -> str:
    """Returns the table, what was selected by, what is reported, seeds and budget in a sentence."""
    costs = f" Costs are the {metric_label(found.metric)} of {found.costs}." if found.costs else ""
    said = (
        f"{plural(len(found.cases[0].methods), 'method')} searched {found.known:,} architectures "
        f"of {found.space}. They selected by {found.selected_by}; reported is the "
        f"{found.reported}. "
        f"Each search looked up {found.queries} trainings, and every figure is a mean over "
        f"{found.seeds} seeds, which are the same for all methods.{costs}"
    )
    if found.measurements is not None:
        said += (
            f" The searches do not know these costs: each may measure {found.measurements} "
            "networks, learns from them and from the other devices, and selects the best network "
            f"that it believes to keep the limit with a probability of {found.confidence:.0%}."
        )
    if found.on_test:
        said += " The searches saw what is reported of them, so that the figures are optimistic."
    return said


def verdict(found: Compared) -> str:
    """Returns which method is best in each case, and whether that is more than chance.

    Of many cases it says how often each method is.
    """
    if len(found.cases) <= _MOST_IN_WORDS:
        return " ".join(_best_in_words(found, case) for case in found.cases)
    said = []
    for one in found.cases[0].methods:
        won = [
            next(other for other in case.methods if other.method == one.method)
            for case in found.cases
            if case.best == one.method
        ]
        if won:
            sure = sum((other.primary.p_value or 0) < _LEVEL for other in won)
            words = f"{one.method} has the highest mean in {len(won)} of {len(found.cases)} cases"
            if one.method != found.baseline:
                words += f", in {sure} of these by more than chance against {found.baseline}"
            said.append(f"{words}.")
    return " ".join(said) or "No method keeps the limits in every search."


def _best_in_words(found: Compared, case: CaseResult) -> str:
    where = "Without a limit" if case.device is None else f"For {case.label}"
    best = next((one for one in case.methods if one.method == case.best), None)
    if best is None:
        return f"{where}, every method selected networks over the limit."
    primary, is_share = best.primary, found.is_share or best.hypervolume is not None
    has = f"{shown(primary.mean, is_share)}"
    if best.hypervolume is None:
        has += f", {points(best.regret, is_share)} below the best there is"
    else:
        has += " of the exact front's area"
    if primary.p_value is None:
        return f"{where}, no method has a higher mean than {found.baseline}, {has}."
    chance = "more than" if primary.p_value < _LEVEL else "not more than"
    return (
        f"{where}, {best.method} has the highest mean, {has}; its difference to {found.baseline}, "
        f"{points(primary.difference, is_share, sign=True)}, is {chance} chance "
        f"(p = {probability(primary.p_value)})."
    )


def _section(found: Compared, case: CaseResult, place: int) -> str:
    head, *rows = case_rows(found, case)
    others = []
    by_time = plot_seconds(found, case)
    if by_time is not None:
        words = "The selected network over the training time that the looked-up trainings took."
        others.append(figure(by_time, f"seconds-{place}", words))
    if case.front is not None:
        words = "For each cost the best of the networks looked up, mean over the seeds."
        others.append(figure(plot_fronts(found, case), f"front-{place}", words))
    words = "Mean over the seeds after each query, with its 95 % interval."
    curves = plot_queries(found, case, wide=not others)
    drawn = "\n".join([figure(curves, f"queries-{place}", words), *others])
    if others:
        drawn = f'<div class="pair">{drawn}</div>'
    rows_html = table(head, rows, best_flags(case))
    return section(case_title(found, case), rows_html, note(_oracle(found, case)), drawn)


def _oracle(found: Compared, case: CaseResult) -> str:
    """Returns the best network of a case in a sentence, and what the case allows."""
    best, shown_unit = case.oracle, unit(found.metric)
    costs = "" if best.cost is None else f" at {number(best.cost)} {shown_unit}"
    said = (
        f"{case.allowed:,} architectures are allowed. The best has "
        f"{shown(best.value, found.is_share)}{costs}: {best.network}."
    )
    if case.reference is not None and case.front is not None:
        said += (
            f" The exact front has {plural(len(case.front.costs), 'network')}. Areas are measured "
            f"from the highest cost, {number(case.reference[0])} {shown_unit}, and the lowest "
            f"value, {shown(case.reference[1], found.is_share)}, of the table."
        )
    return said


def _explained(found: Compared) -> str:
    """Returns what the columns mean."""
    base = found.baseline
    words = (
        ("±", "standard deviation over the seeds."),
        ("95 % interval", "of the mean, by bootstrap over the seeds."),
        (
            f"against {base}",
            "the difference: mean over pairs of searches with the same seed, and its 95 % interval "
            "by bootstrap.",
        ),
        (
            "p",
            "Wilcoxon's signed-rank test of these pairs, corrected by Holm for the number of "
            "methods of the case.",
        ),
        ("regret", "how far the mean is below the best network that the case allows."),
        (
            f"queries to {base}",
            f"after how many queries the mean is what {base} has at the end.",
        ),
        (
            "over the limit (%)",
            "the share of searches whose selected network costs more than the limit. A method with "
            "any such search is not highlighted as the best.",
        ),
        (
            "confidence (%)",
            "with what probability the searches believed that their selected network keeps the "
            "limit, mean over the seeds.",
        ),
        ("measured", "how many networks each search measured, mean over the seeds."),
        (
            "area of the front (%)",
            "the area in the plane of cost and value that all looked-up networks dominate, as a "
            "share of that of the exact front. Networks that a method judged by shorter trainings "
            "alone do not count. Where the area is shown, the interval, the difference, p and the "
            "queries are those of the area.",
        ),
    )
    used = {head for case in found.cases for head in case_rows(found, case)[0]} | {"±"}
    rows = [row for row in words if row[0] in used]
    meanings = f'<div class="methods">{table(("column", "meaning"), rows)}</div>'
    files = (
        "The folder of this page has the settings, versions and device in study.json, all figures "
        "in results.json and table.csv, a table for papers in table.tex, and everything that each "
        "search asked for in cells/."
    )
    return section("What the columns mean", meanings, note(files))
