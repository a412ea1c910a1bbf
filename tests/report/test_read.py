"""Run folders that are damaged, cut short, or none."""

import json

import pytest

from hwnas_jax import report
from hwnas_jax.errors import UserError
from hwnas_jax.report.read import read_run
from tests.report.run_folders import search_rows, write_lines


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("networks.json", '{"networks": [', "damaged"),
        ("networks.json", "[]", "the file must be a table of keys, got []"),
        ("networks.json", '{"networks": [{"origin": "search"}]}', "has no 'label'"),
        ("targets.json", '{"metric": "latency_ms", "targets": 3}', "targets must be a list, got 3"),
        ("targets.json", '{"metric": "ms", "targets": [], "range": [], "task": {"metric": "a", '
         '"higher_is_better": true}}', "targets must not be empty"),
        ("space.json", '{"decisions": 3}', "decisions must be a list, got 3"),
        ("architecture.json", "{}", "has no 'architecture'"),
        ("measurements.json", '{"batch_size": "64"}', "batch_size = '64' must be an integer"),
        ("cost_fit.json", "\udcff", "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named(run, file, text, said):
    (run / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError) as caught:
        report.write_report(run)
    assert str(run / file) in str(caught.value) and said in str(caught.value)
    assert not (run / "report.html").exists()


def test_a_last_line_cut_in_half_is_ignored(run):
    for cut in ('{"stage": "sear', '{"stage": "é'):
        write_lines(run, search_rows())
        with (run / "metrics.jsonl").open("ab") as file:
            file.write(cut.encode()[:-1])
        assert read_run(run).log["search"] == search_rows()


@pytest.mark.parametrize(
    "line", ['{"stage": "sear', "[1]", '{"stage": "retrain", "step": 1}', '{"stage": "search"}']
)
def test_a_broken_line_elsewhere_is_named_by_its_number(run, line):
    first, *rest = [json.dumps(row) for row in search_rows()]
    (run / "metrics.jsonl").write_text("\n".join([first, line, *rest]) + "\n")
    with pytest.raises(UserError, match=r"the log .*metrics\.jsonl, line 2: "):
        report.write_report(run)


def test_steps_repeated_after_a_resume_count_once_for_each_search(run):
    rows = [
        {"stage": "search", "step": step, "weight_loss": loss, "member": member}
        for member, step, loss in (
            ("a", 50, 1.0), ("b", 50, 5.0), ("a", 100, 2.0), ("a", 150, 3.0), ("a", 100, 4.0),
        )
    ]  # fmt: skip
    write_lines(run, rows)
    kept = [(row["member"], row["step"], row["weight_loss"]) for row in read_run(run).log["search"]]
    assert kept == [("a", 50, 1.0), ("a", 100, 4.0), ("b", 50, 5.0)]


def test_not_a_run_folder(tmp_path):
    with pytest.raises(UserError, match="there is no run folder"):
        report.write_report(tmp_path / "absent")
    with pytest.raises(UserError, match="is no run folder"):
        report.write_report(tmp_path)
