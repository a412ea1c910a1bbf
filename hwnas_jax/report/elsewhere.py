"""What a report says of a device that is not here: predictions beside what was handed back."""

from typing import Any

from hwnas_jax.report.limits import limits_missed
from hwnas_jax.report.numbers import half, number, percent, plural, with_deviation
from hwnas_jax.report.read import RunFiles


def predictions_in_words(run: RunFiles) -> str:
    """Returns how far predictions were off on the device; nothing for a run of this machine."""
    if not run.elsewhere:
        return ""
    rows, all_of_them = _distinct(run)
    if not rows:
        return (
            f"Costs are predicted: {run.elsewhere} is not here. to_measure.csv in the run folder "
            "lists the networks to measure there."
        )
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    said = (
        f"{len(rows)} of {plural(all_of_them, 'network')} measured on {run.elsewhere}: the mean "
        f"error of the predictions is {percent(sum(errors) / len(errors))}"
    )
    known = [row for row in rows if row.get("predicted_std")]
    near = sum(abs(row["measured"] - row["predicted"]) <= row["predicted_std"] for row in known)
    said += f"; {near} of {len(known)} lie within one deviation." if known else "."
    return " ".join([said, *limits_missed(run, rows)])


def prediction_rows(run: RunFiles) -> list[tuple[str, ...]]:
    """Returns a table with a row for every network that was handed back, headers first."""
    rows, _ = _distinct(run)
    head: tuple[str, ...] = (
        "network", f"predicted ({run.unit})", f"{run.obtained_where} ({run.unit})",
        "measured over predicted", "deviations",
    )  # fmt: skip
    table: list[tuple[str, ...]] = [head] if rows else []
    for row in rows:
        std, error = row.get("predicted_std"), row["measured"] - row["predicted"]
        table.append(
            (
                row["label"],
                with_deviation(row["predicted"], std),
                with_deviation(row["measured"], half(row.get("measured_iqr"))),
                percent(error / row["predicted"] if row["predicted"] else None, sign=True),
                number(error / std if std else None),
            )
        )
    return table


def _distinct(run: RunFiles) -> tuple[list[dict[str, Any]], int]:
    """Returns each network that was handed back once, and how many networks there are."""
    different = {network.get("string"): network for network in run.handed_back}
    return list(different.values()), len({network.get("string") for network in run.found})
