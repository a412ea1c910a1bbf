"""Pages of spaces with very many decisions, options or letters: seconds and a few megabytes."""

import re
import time

import numpy as np
import pytest

from hwnas_jax import report
from hwnas_jax.report.html import table
from tests.report.run_folders import read, search_rows, write, write_lines

SPACES = {
    "decisions": {f"layer{n}": [f"option{n}-{k}" for k in range(10)] for n in range(500)},
    "options": {f"layer{n}": [f"option{k}" for k in range(1000)] for n in range(6)},
    "letters": {f"{n}layer" * 2000: [f"{k}option" * 2000 for k in range(5)] for n in range(6)},
}
SAID = {
    "decisions": ("400 more decisions", "452 more decisions are left out.", "456 more options"),
    "options": ("976 more options",),
    "letters": ("0layer0layer", "...", "0option0option"),
}


def enlarge(folder, decisions):
    """Gives the run a search over other decisions, which ends with the last option of each."""
    chosen = {name: options[-1] for name, options in decisions.items()}
    width = max(map(len, decisions.values()))
    share = np.full((len(decisions), width), 1 / width).tolist()
    write(folder, "space.json", {
        "decisions": [{"name": name, "options": found} for name, found in decisions.items()]
    })  # fmt: skip
    string = "/".join(chosen.values())
    write(folder, "architecture.json", {"architecture": chosen, "string": string})
    networks = read(folder, "networks.json")
    networks["networks"][0] |= {"architecture": chosen, "string": string}
    write(folder, "networks.json", networks)
    write_lines(folder, [{**row, "probabilities": share} for row in search_rows(4)])


@pytest.mark.parametrize("kind", SPACES)
def test_the_page_of_a_large_space_is_bounded(run, kind):
    enlarge(run, SPACES[kind])
    started = time.process_time()
    page = report.write_report(run).read_text()
    assert time.process_time() - started < 30  # a few seconds on an idle machine
    assert len(page) < 3_000_000
    assert not re.search(r"[^<>]{10000}", re.sub("<style>.*?</style>", "", page, flags=re.S))
    for words in SAID[kind]:
        assert words in page, words


def test_of_very_many_edges_those_that_carry_an_operation_are_drawn():
    edges = [(target, source) for target in range(1, 45) for source in range(target)]
    names = {f"{t}<-{s}": "conv" if s == t - 1 else "none" for t, s in edges}
    texts = [text.get_text() for text in report.plot_cell(names).axes[0].texts]
    assert texts.count("conv") == 44 and texts.count("none") == 100 - 44
    assert "890 more edges" in texts


def test_all_decisions_and_options_of_a_space_of_usual_size_are_drawn():
    decisions = {f"layer{n}": [f"option{k}" for k in range(9)] for n in range(45)}
    drawn = report.plot_probabilities([0, 1], np.full((2, 45, 9), 1 / 9).tolist(), decisions)
    titles = [axes.get_title("left") for axes in drawn.axes if axes.get_title("left")]
    assert titles == list(decisions)
    assert all(len(axes.collections) == 9 for axes in drawn.axes if axes.get_title("left"))


def test_the_least_probable_of_many_options_are_added_up():
    share = np.array([0.5, 0.02, *[0.01] * 48])
    names = [f"option{k}" for k in range(50)]
    drawn = report.plot_probabilities([0, 1], [[share], [share]], {"layer": names})
    (panel,) = (axes for axes in drawn.axes if axes.get_title("left"))
    assert len(panel.collections) == 24
    heights = [np.ptp(layer.get_paths()[0].vertices[:, 1]) for layer in panel.collections]
    np.testing.assert_allclose(heights, [0.5, 0.02, *[0.01] * 21, 0.27], atol=1e-6)


def test_a_long_table_keeps_its_marked_rows_and_says_what_is_left_out():
    marked = [row == 900 for row in range(1000)]
    html = table(("row", "text"), [(row, "x" * 10_000) for row in range(1000)], marked)
    kept = [int(row) for row in re.findall(r'<th scope="row">(\d+)</th>', html)]
    assert kept == [*range(499), 900]
    assert "500 more rows are left out." in html
    assert max(map(len, re.findall(r"<td>([^<]*)</td>", html))) < 700
    assert "left out" not in table(("row",), [(row,) for row in range(500)])
