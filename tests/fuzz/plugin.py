"""How long the attack takes, and what is said of it at the end of a test run.

`pytest tests/fuzz --fuzz-minutes 10` goes on for ten minutes, divided among the tests that were
selected; every round draws other inputs. Without the option each test has a fixed number of inputs,
the same in every run.
"""

import collections
import dataclasses
import time

import hypothesis
import pytest

from tests.fuzz.judge import COUNTS, FAULTS, OUTCOMES

_ROUND, _ROUND_S = 4, 0.5
"""Inputs before the first look at the clock; twice as many after each that took less."""


@dataclasses.dataclass(repr=False)
class _Drawn:
    """An input, of which a message shows no more than its beginning."""

    value: object

    def __repr__(self):
        return f"{self.value!r:.3000}"


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-minutes", type=float, default=0.0, help="how long tests/fuzz goes on, in all"
    )


@pytest.fixture
def attack(request):
    """A function that runs `check(input)` on inputs that a strategy draws."""
    session = request.session
    tests = sum("attack" in getattr(item, "fixturenames", ()) for item in session.items)
    seconds = 60 * request.config.getoption("--fuzz-minutes") / max(1, tests)
    before = COUNTS.copy()

    def run(strategy, check, examples=25):
        began, rounds, count = time.perf_counter(), 0, _ROUND if seconds else examples
        while rounds == 0 or time.perf_counter() - began < seconds:
            started = time.perf_counter()
            drawn = hypothesis.given(strategy.map(_Drawn))(lambda drawn: check(drawn.value))
            drawn = hypothesis.settings(
                max_examples=count, derandomize=True, database=None,
                deadline=None, suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            )(drawn)  # fmt: skip
            hypothesis.seed(f"{request.node.nodeid} {rounds}")(drawn)()
            rounds += 1
            count *= 2 if time.perf_counter() - started < _ROUND_S else 1

    yield run
    for (group, outcome), count in (COUNTS - before).items():
        # The properties of a test reach the process that prints, also from a worker.
        request.node.user_properties.append(("fuzz", (group, outcome, count)))


def pytest_terminal_summary(terminalreporter):
    total = collections.Counter()
    reports = [one for many in terminalreporter.stats.values() for one in many]
    for report in reports:
        if getattr(report, "when", None) == "teardown":
            for name, value in report.user_properties:
                if name == "fuzz":
                    group, outcome, count = value
                    total[group, outcome] += count
    if not total:
        return
    groups = sorted({group for group, _ in total})
    terminalreporter.section("inputs of tests/fuzz")
    head = "  ".join(f"{name:>{max(8, len(name))}}" for name in ("inputs", *OUTCOMES))
    terminalreporter.write_line(f"{'':<40}{head}")
    for group in [*groups, "all"]:
        own = [total[group, name] for name in OUTCOMES]
        if group == "all":
            own = [sum(total[one, name] for one in groups) for name in OUTCOMES]
        cells = zip(("inputs", *OUTCOMES), (sum(own), *own), strict=True)
        line = "  ".join(f"{count:>{max(8, len(name))}}" for name, count in cells)
        terminalreporter.write_line(f"{group:<40}{line}")
    faults = sum(count for (_, outcome), count in total.items() if outcome in FAULTS)
    terminalreporter.write_line(f"faults: {faults}")
