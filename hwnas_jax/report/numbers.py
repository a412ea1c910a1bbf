"""Numbers as text: the same figure reads the same in a table, in a sentence and in the terminal."""

NOTHING = "–"
"""Stands in a table for a value that is not there."""


def number(value: float | None, scale: float | None = None) -> str:
    """Returns a value with at least four significant digits, never in exponents.

    Args:
      value: the value, or None for one that is not there.
      scale: gives the value as many decimals as this larger one has, so that they align.

    >>> number(1.3), number(0.004, scale=1.3), number(242506.0)
    ('1.300', '0.004', '242,506')
    """
    if value is None:
        return NOTHING
    size = abs(value if scale is None else scale)
    if size >= 10_000:
        return f"{value:,.0f}"
    # With fewer digits a budget of 1.300 and a cost that misses it by 0.4 % would look the same.
    digits = 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 or not size else 4
    if 0 < size < 0.1:
        digits = 5
    return f"{value:.{digits}f}"


def percent(value: float | None, *, sign: bool = False, digits: int = 1) -> str:
    """Returns a share as a percentage.

    >>> percent(0.0123, sign=True)
    '+1.2 %'
    """
    return NOTHING if value is None else f"{value * 100:{'+' if sign else ''}.{digits}f} %"


def count(value: float | None) -> str:
    """Returns a count, in millions when there are that many.

    >>> count(32258), count(2_500_000)
    ('32,258', '2.50 M')
    """
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value < 1e6 else f"{value / 1e6:,.2f} M"


def with_deviation(value: float | None, deviation: float | None) -> str:
    """Returns a value and its deviation with the same decimals.

    >>> with_deviation(1.28, 0.03)
    '1.280 ± 0.030'
    """
    if value is None or deviation is None:
        return number(value)
    return f"{number(value)} ± {number(deviation, scale=value)}"


def half(value: float | None) -> float | None:
    """Returns half of a value, or None for None: half an interquartile range is shown after ±."""
    return None if value is None else value / 2


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun.

    >>> plural(1, "round"), plural(3, "round"), plural(2, "class")
    ('1 round', '3 rounds', '2 classes')
    """
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith(('ch', 'ss')) else 's'}"


def probability(value: float | None) -> str:
    """Returns a probability; very small ones with an exponent, since they span many magnitudes.

    >>> probability(0.854), probability(0.0057), probability(3.1e-06)
    ('0.854', '0.0057', '3.1e-06')
    """
    if value is None:
        return NOTHING
    return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2g}"
