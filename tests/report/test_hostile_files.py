"""Files of a run folder that somebody damaged or made to do harm, and texts that look like code."""

import json

import numpy as np
import pytest

from hwnas_jax import report
from hwnas_jax.config import Config
from hwnas_jax.display import Silent
from hwnas_jax.errors import UserError
from hwnas_jax.report import plot_cell, plot_probabilities
from hwnas_jax.report.read import read_run
from hwnas_jax.report.style import to_svg
from hwnas_jax.runs.folder import RunFolder
from tests.report.run_folders import STRING, read, targets, write

DEEP = '{"conditions": ' + '{"a": ' * 3000 + "1" + "}" * 3001


def entry(**changes):
    """Returns a change of the first network of `networks.json`; `...` takes a key away."""

    def change(folder):
        payload = read(folder, "networks.json")
        first = {**payload["networks"][0], **changes}
        payload["networks"][0] = {key: value for key, value in first.items() if value is not ...}
        write(folder, "networks.json", payload)

    return change


def content(name, text):
    """Returns a change of a file's whole content."""
    return lambda folder: (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))


def budget(**changes):
    """Returns a change of `targets.json`."""
    return lambda folder: write(folder, "targets.json", {**targets(1.3), **changes})


def arrays(**found):
    """Returns a change of `tested.npz`."""
    return lambda folder: np.savez(folder / "tested.npz", **found)


def setting(space):
    """Returns a change of the space in `config.json`."""

    def change(folder):
        payload = read(folder, "config.json")
        payload["config"]["space"] |= space
        write(folder, "config.json", payload)

    return change


CASES = {
    "stages null": (content("stages.json", "null"), r"stages\.json: the file must be a table"),
    "stages 5": (content("stages.json", "5"), r"stages\.json: the file must be a table"),
    "stages list": (content("stages.json", "[]"), r"stages\.json: the file must be a table"),
    "stage 5": (content("stages.json", '{"search": 5}'), "search must be a table of keys, got 5"),
    "brackets": (content("networks.json", "[" * 100_000), "nested more than 64 levels deep"),
    "deep": (content("measurements.json", DEEP), "nested more than 64 levels deep"),
    "digits": (content("targets.json", f'{{"range": [1{"0" * 400}]}}'), "more than 100 digits"),
    "twice": (content("space.json", '{"decisions": [], "decisions": []}'), "stands twice"),
    "half": (content("space.json", r'{"decisions": ["\ud800"]}'), "surrogate pair"),
    "line 5": (content("metrics.jsonl", "5\n"), r"jsonl, line 1: the line must be a table"),
    "byte": (content("metrics.jsonl", "{}\n\udcff\n"), r"metrics\.jsonl, line 1: the line has no"),
    "line byte": (content("metrics.jsonl", '{"stage": "x"}\n\udcff\n'), "line 2: byte 0: it is no"),
    "line deep": (content("metrics.jsonl", "[" * 9999 + "\n"), "line 1: it is nested more"),
    "line name": (content("metrics.jsonl", '{"stage": "search", "step": 1, "member": "../x"}\n'),
                  r"line 1: member = '\.\./x' must be of at most 100 letters"),
    "no origin": (entry(origin=...), r"networks\.json: networks\[0\] has no 'origin'"),
    "label 5": (entry(label=5), r"networks\[0\]\.label = 5 must be a string"),
    "label away": (entry(label="../x"), r"networks\[0\]\.label = '\.\./x' must be of at most 100"),
    "label twice": (entry(label="search-2"), "the label 'search-2' stands twice"),
    "accuracy 7": (entry(test_metric=7.0), r"networks\[0\]\.test_metric = 7\.0 must be a share"),
    "accuracy NaN": (entry(test_metric=float("nan")), "NaN is no number"),
    "measured -1": (entry(measured=-1.0), r"networks\[0\]\.measured = -1\.0 must be greater"),
    "misspelt": (entry(mesured=1.0), "key of file.networks.0. 'mesured'.*mean 'measured'"),
    "target NaN": (budget(targets=[{"value": float("nan")}]), "NaN is no number"),
    "target -1": (budget(targets=[{"value": -1}]), r"targets\[0\]\.value = -1 must be greater"),
    "target huge": (budget(targets=[{"value": 1e300}]), r"targets\[0\]\.value = 1e\+300 must be"),
    "confidence": (budget(confidence=2), "confidence = 2 must be less than 1"),
    "format": (budget(format="other"), "format and version are 'other' and 1, and must be"),
    "version": (budget(version=2), "format and version are 'hwnas_jax.targets' and 2"),
    "off": (setting({"off": {"*": 5}}), r"config\.space\.off\.\* must be a list, got 5"),
    "tested": (arrays(a=np.ones(3, complex)), r"tested\.npz: its 'a\.npy' is complex128"),
    "tested text": (arrays(a=np.array(["x"])), r"tested\.npz: a must be bool\[N\], and is <U1"),
    "tested no zip": (content("tested.npz", "PK"), r"tested\.npz: it is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_file_is_one_message(run, case):
    change, said = CASES[case]
    change(run)
    with pytest.raises(UserError, match=said) as caught:
        read_run(run)
    assert str(run) in str(caught.value) and "\n" not in str(caught.value)


def test_stages_that_are_none_stop_a_run(run):
    for text in ("null", "5", "[]", "[" * 9999):
        (run / "stages.json").write_text(text)
        with pytest.raises(UserError, match=r"stages\.json"):
            RunFolder(run, Config(), Silent()).finished("search")


def test_a_page_that_is_a_link_is_replaced(run, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("report.html", "report.json"):
        (run / name).symlink_to(mine)
    report.write_report(run)
    assert mine.read_text() == "mine"
    assert not any((run / name).is_symlink() for name in ("report.html", "report.json"))


ODD = ["$\\frac{$", "$x$ <b>", "a\0b", "\x1b[2J", "\u202egnp"]


def test_texts_from_files_are_texts_on_the_page(run):
    options = ["none", *ODD]
    decisions = [{"name": name, "options": options} for name in ODD] + [
        {"name": "3<-2", "options": options}
    ]
    write(run, "space.json", {"decisions": decisions})
    payload = read(run, "networks.json")
    payload["networks"][0]["string"] = " ".join(ODD)
    write(run, "networks.json", payload)
    write(run, "architecture.json", {"architecture": dict.fromkeys(ODD, ODD[0]), "string": STRING})
    write(run, "versions.json", {"device": {"kind": " ".join(ODD)}, ODD[0]: ODD[1]})
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if "probabilities" in row:
            row["probabilities"] = [[1 / 6] * 6] * 6
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = report.write_report(run).read_text()
    assert "$\\frac{$" in page and "$x$ &lt;b&gt;" in page and "<b>" not in page
    assert not set(page) & {"\0", "\x1b", "\u202e"} and "a\ufffdb" in page


def test_figures_show_what_looks_like_a_formula():
    for bad in ("$\\frac{$", "$a_b$"):
        share = np.full((2, 1, 2), 0.5)
        drawn = plot_probabilities([1, 2], share, {bad: [bad, "b"]})
        svg = to_svg(drawn, "probabilities", "")
        assert svg.count(bad) >= 2
    drawn = plot_cell({"1<-0": "$a_b$", "2<-1": "x"})
    assert "$a_b$" in to_svg(drawn, "cell", "")
