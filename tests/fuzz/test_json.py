"""Every kind of JSON file, damaged and respelt; and the log of a run, with one on each line."""

import json

import pytest
from hypothesis import strategies as st

from hwnas_jax.report.read import read_run
from tests.fuzz.damage import damaged_bytes, damaged_json, respelt_json, strict_json
from tests.fuzz.json_kinds import KINDS, said
from tests.fuzz.judge import agrees, finite, judge
from tests.report import run_folders

_LOSSY = ("simulated layer", "description of a data set")
"""Kinds of which less is read than a file says."""
_WRAPPED = ("config", "plan of a table")
"""Kinds whose content is one member of the file; other members are left alone."""


def _known(given, found):
    """Returns those members of a table, and of the tables directly in it, that were read."""
    return {
        key: {k: v for k, v in value.items() if k in found[key]}
        if isinstance(value, dict) and isinstance(found[key], dict)
        else value
        for key, value in given.items()
        if key in found
    }


def _switched_off(value):
    """Yields every table of options that are switched off, whose order means nothing."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "off" and isinstance(inner, dict):
                yield inner
            else:
                yield from _switched_off(inner)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_refused_or_read_right(tmp_path, attack, name):
    kind = KINDS[name]

    def check(content):
        path = tmp_path / kind.name
        path.write_bytes(content)

        def right(found):
            if name == "description of a data set":
                return  # what cannot be read is left out of the list of names
            try:
                given = said(kind, strict_json(content))
            except (ValueError, RecursionError) as error:
                raise AssertionError(f"Python's own parser refuses it: {error}") from error
            if name in (*_LOSSY, *_WRAPPED) and isinstance(given, dict):
                given = _known(given, found)
            for off in _switched_off(given):
                kept = {key: sorted(set(options)) for key, options in off.items() if options}
                off.clear()
                off.update(kept)
            read = _plain(found)
            for off in _switched_off(read):
                off.update({key: sorted(options) for key, options in off.items()})
            agrees(read, given)
            finite(read)
            kind.sane(found)

        judge(f"JSON: {name}", lambda: kind.read(path), right)

    attack(damaged_json(kind.good), check)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "holder of a lock"])
def test_another_spelling_means_the_same(tmp_path, attack, name):
    kind = KINDS[name]

    def check(content):
        path = tmp_path / kind.name
        path.write_bytes(content)

        def right(found):
            given = said(kind, kind.good)
            known = {k: v for k, v in given.items() if k in found} if name in _LOSSY else given
            agrees(_plain(found), known)

        assert judge(f"JSON: {name}", lambda: kind.read(path), right) == "accepted"

    attack(respelt_json(kind.good), check, examples=6)


def _plain(value):
    return json.loads(json.dumps(value))


LINES = [
    {"stage": "search", "step": 50, "weight_loss": 1.5, "weight_metric": 0.5, "arch_loss": None,
     "cost": 1.5, "argmax_cost": 1.25, "target": 1.3, "multiplier": 0.1, "entropy": 1.5,
     "probabilities": [[0.2] * 5] * 6},
    {"stage": "retrain", "network": "search-1", "step": 20, "loss": 0.5},
    {"stage": "strategy", "step": 10, "best": 0.5, "score": 0.25, "within_budget": 1.0},
    {"stage": "other", "anything": [1, None]},
]  # fmt: skip


@st.composite
def logs(draw):
    """Some lines of a log, one of them damaged."""
    lines = [json.dumps(line).encode() for line in LINES]
    number = draw(st.integers(0, len(lines) - 1))
    lines[number] = draw(damaged_json(LINES[number]))
    content = b"\n".join(lines) + draw(st.sampled_from((b"\n", b"", b"\r\n")))
    return draw(damaged_bytes(content)) if draw(st.integers(0, 3)) == 0 else content


def test_a_damaged_log_is_refused_or_read_right(tmp_path, attack):
    folder = run_folders.write_search(tmp_path / "run")

    def check(content):
        (folder / "metrics.jsonl").write_bytes(content)

        def right(log):
            given = []
            for number, line in enumerate(lines := content.split(b"\n")):
                try:
                    # A loss that is no number is written as NaN, and read as not known.
                    row = (
                        json.loads(line, parse_constant=lambda word: None) if line.strip() else None
                    )
                    given += [] if row is None else [row]
                except (ValueError, RecursionError) as error:
                    assert number == len(lines) - 1, f"line {number + 1} is no JSON: {error}"
            for rows in log.values():
                finite(rows)
                for row in rows:
                    assert any(_same(row, one) for one in given), f"no line says {row}"

        judge("JSON: log", lambda: read_run(folder).log, right)

    attack(logs(), check, examples=60)


def _same(row, one):
    try:
        agrees(row, one)
    except AssertionError:
        return False
    return True
