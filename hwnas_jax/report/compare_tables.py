"""The tables of a comparison of search methods: for the page, the terminal, CSV and LaTeX."""

import csv
import io
import math
import re
from collections.abc import Sequence

from hwnas_jax.cost.files.observations import unit
from hwnas_jax.report.compared import CaseResult, Compared, Figures, MethodResult
from hwnas_jax.report.numbers import NOTHING, number, probability
from hwnas_jax.report.style import metric_label

_FIGURES = (
    "mean", "std", "low", "high", "difference", "difference_low", "difference_high", "p_value",
    "queries_to_baseline",
)  # fmt: skip


def case_title(found: Compared, case: CaseResult) -> str:
    """Returns what was searched for, in words."""
    if case.device is None:
        return "The best network, without a limit"
    if case.limit is None:
        return f"The front of accuracy and {metric_label(found.metric)} on {case.device}"
    return f"The best network of at most {case.limit:g} {unit(found.metric)} on {case.device}"


def case_rows(found: Compared, case: CaseResult) -> list[tuple[str, ...]]:
    """Returns the table of a case, headers first, with a row for every method.

    Shares are in percent, as the headers say, and differences of shares in percentage points.
    """
    percents = " (%)" if found.is_share else ""
    head = ["method"]
    if case.front is not None:
        head.append("area of the front (%)")
    head += [
        f"{found.reported.partition(' after ')[0]}{percents}", "95 % interval",
        f"against {found.baseline}", "p", "regret", f"queries to {found.baseline}",
    ]  # fmt: skip
    if case.limit is not None:
        head.append("over the limit (%)")
    if found.measurements is not None:
        head += ["confidence (%)", "measured"]
    return [tuple(head), *(_row(found, case, one) for one in case.methods)]


def _row(found: Compared, case: CaseResult, one: MethodResult) -> tuple[str, ...]:
    primary, is_share = one.primary, found.is_share or one.hypervolume is not None
    cells = [one.method]
    if one.hypervolume is not None:
        cells.append(mean_and_deviation(one.hypervolume, True))
    difference = NOTHING
    if primary.difference is not None:
        ends = span(primary.difference_low, primary.difference_high, is_share)
        difference = f"{plain(primary.difference, is_share, sign=True)} ({ends})"
    cells += [
        mean_and_deviation(one.selected, found.is_share),
        span(primary.low, primary.high, is_share),
        difference,
        probability(primary.p_value),
        plain(one.regret, found.is_share),
        NOTHING if primary.queries_to_baseline is None else str(primary.queries_to_baseline),
    ]
    if case.limit is not None:
        cells.append(f"{100 * one.over_limit:.0f}")
    if one.confidence is not None and one.measured is not None:
        cells += [f"{100 * one.confidence:.1f}", f"{one.measured:.1f}"]
    return tuple(cells)


def plain(value: float | None, is_share: bool, *, sign: bool = False) -> str:
    """Returns a value without its unit; a share in percent, with two decimals.

    >>> plain(0.71543, True), plain(0.0012, True, sign=True), plain(0.5, False)
    ('71.54', '+0.12', '0.5000')
    """
    if value is None or math.isnan(value):
        return NOTHING
    plus = "+" if sign and value >= 0 else ""
    return f"{plus}{100 * value:.2f}" if is_share else f"{plus}{number(value)}"


def shown(value: float | None, is_share: bool) -> str:
    """Returns a value with its unit: a share in percent."""
    text = plain(value, is_share)
    return f"{text} %" if is_share and text != NOTHING else text


def points(value: float | None, is_share: bool, *, sign: bool = False) -> str:
    """Returns a difference with its unit: of shares, percentage points."""
    text = plain(value, is_share, sign=sign)
    return f"{text} points" if is_share and text != NOTHING else text


def mean_and_deviation(figures: Figures, is_share: bool) -> str:
    """Returns the mean of a figure and its standard deviation over the seeds."""
    return f"{plain(figures.mean, is_share)} ± {plain(figures.std, is_share)}"


def span(low: float | None, high: float | None, is_share: bool) -> str:
    """Returns both ends of an interval."""
    return f"{plain(low, is_share)} to {plain(high, is_share)}"


def to_csv(found: Compared) -> str:
    """Returns a row for every case and method; shares stay shares, and what is unknown is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["case", "method", *_FIGURES, "regret", "over_limit", "oracle"]
        + [f"hypervolume_{name}" for name in _FIGURES]
        + ["confidence", "measured"]
    )
    for case in found.cases:
        for one in case.methods:
            figures = [*_values(one.selected), one.regret, one.over_limit, case.oracle.value]
            figures += [*_values(one.hypervolume), one.confidence, one.measured]
            writer.writerow([case.label, one.method, *figures])
    return file.getvalue()


def _values(figures: Figures | None) -> list[float | int | None]:
    return [None if figures is None else getattr(figures, name) for name in _FIGURES]


def to_latex(found: Compared) -> str:
    r"""Returns a table for a paper, which needs `\usepackage{booktabs}`: methods by cases."""
    columns = [[_escaped(case.label) for case in found.cases]]
    columns += [
        [_latex_cell(found, case, case.methods[row]) for case in found.cases]
        for row in range(len(found.cases[0].methods))
    ]
    exact = [
        "100.00" if case.front is not None else plain(case.oracle.value, found.is_share)
        for case in found.cases
    ]
    names = ["method", *(_escaped(one.method) for one in found.cases[0].methods)]
    head, *body = (
        " & ".join([name, *cells]) + r" \\" for name, cells in zip(names, columns, strict=True)
    )
    lines = [
        r"\begin{table}", r"\centering",
        rf"\caption{{{_escaped(caption(found))}}}",
        rf"\begin{{tabular}}{{l{'r' * len(found.cases)}}}", r"\toprule", head, r"\midrule", *body,
        r"\midrule", " & ".join(["best there is", *exact]) + r" \\", r"\bottomrule",
        r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_cell(found: Compared, case: CaseResult, one: MethodResult) -> str:
    is_share = found.is_share or one.hypervolume is not None
    mean, deviation = (plain(v, is_share) for v in (one.primary.mean, one.primary.std))
    mean = rf"\mathbf{{{mean}}}" if one.method == case.best else mean
    return rf"${mean} \pm {deviation}$"


def caption(found: Compared) -> str:
    """Returns what the figures of a table of all cases are."""
    fronts = [case for case in found.cases if case.front is not None]
    percents = " in %" if found.is_share else ""
    what = f"{found.reported}{percents} of what was selected by {found.selected_by}"
    if fronts:
        area = "the area that all trained networks dominate, in % of that of the exact front"
        names = ", ".join(case.label for case in fronts)
        what = area if len(fronts) == len(found.cases) else f"{what}; for {names} {area}"
    return (
        f"{found.table}: {what}. Mean and standard deviation over {found.seeds} seeds of "
        f"{found.queries} queries."
    )


_LATEX = {
    "<=": r"$\leq$", "<": r"\textless{}", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}  # fmt: skip


def _escaped(text: str) -> str:
    """Returns text in which LaTeX reads no commands."""
    return re.sub(r"<=|[\\{}_%&#$~^<]", lambda found: _LATEX.get(found[0], rf"\{found[0]}"), text)


def best_flags(case: CaseResult) -> Sequence[bool]:
    """Returns which row of a case's table is the best method."""
    return [one.method == case.best for one in case.methods]
