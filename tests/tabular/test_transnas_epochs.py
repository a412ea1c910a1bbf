"""TransNAS-Bench-101 as its authors publish it: every epoch of every training."""

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces import make_space
from hwnas_jax.tabular import load_benchmark, look_up
from tests.files.test_pickles import Runs, torch_legacy, torch_zip
from tests.tabular.original import epochs_file

NETWORKS = {
    "macro": ["64-4111-basic", "64-2311-basic", "64-123414-basic"],
    "micro": ["64-41414-1_02_333", "64-41414-0_00_000", "64-41414-3_21_012", "64-41414-3_33_333"],
}
SPACES = {
    "micro": make_space("transnas_cell", {}, input_shape=(64, 64, 3), num_outputs=1),
    "macro": make_space("transnas_macro", {}, input_shape=(64, 64, 3), num_outputs=1),
}


@pytest.mark.parametrize(("write", "space"), [(torch_zip, "macro"), (torch_legacy, "micro")])
@pytest.mark.parametrize(
    ("task", "own", "measure", "epochs", "scale"),
    [
        ("class_scene", "top1", "accuracy", 3, 100), ("normal", "ssim", "ssim", 4, 1),
        ("segmentsemantic", "mIoU", "mean_iou", 4, 100),
        ("room_layout", "neg_loss", "negative_loss", 3, 1),
    ],
)  # fmt: skip
def test_the_best_epoch_so_far_counts(tmp_path, write, space, task, own, measure, epochs, scale):
    content = epochs_file(NETWORKS)
    write(tmp_path / "t.pth", content, {})
    table = load_benchmark(tmp_path / "t.pth", data_set=f"{space}/{task}")
    assert table.source == f"t.pth:{space}/{task}" and table.known == len(NETWORKS[space])
    assert table.space.decisions == SPACES[space].decisions
    assert list(table.validation) == list(table.test) == list(range(1, epochs + 1))
    assert table.select() == f"validation_{measure}_{epochs}"
    rows = np.stack([SPACES[space].from_string(name) for name in NETWORKS[space]])
    seconds = {f"s{epoch}": table.seconds(epoch) for epoch in range(1, epochs + 1)}
    found = look_up(table.space, table.metrics | seconds, rows)
    for number, name in enumerate(NETWORKS[space]):
        metrics = content["data"][space][name][task]["metrics"]
        valid, test = metrics[f"valid_{own}"], metrics[f"test_{own}"]
        for epoch in range(1, epochs + 1):
            best = max(range(epoch), key=lambda e: valid[e])
            for split, curve in (("validation", valid), ("test", test)):
                told = float(found[f"{split}_{measure}_{epoch}"][number])
                assert told == pytest.approx(curve[best] / scale, rel=1e-6)
            told = float(found[f"s{epoch}"][number])
            assert told == pytest.approx(metrics["time_elapsed"][epoch - 1])


def test_the_published_best_is_the_best_of_all_epochs(tmp_path):
    content = epochs_file(NETWORKS)
    torch_zip(tmp_path / "t.pth", content, {})
    table = load_benchmark(tmp_path / "t.pth", data_set="macro/normal")
    best = max(
        max(result["normal"]["metrics"]["valid_ssim"])
        for result in content["data"]["macro"].values()
    )
    assert np.nanmax(table.metrics[table.select()]) == pytest.approx(best, rel=1e-6)


def test_times_that_fall_are_no_elapsed_times(tmp_path):
    content = epochs_file(NETWORKS)
    content["data"]["macro"]["64-4111-basic"]["normal"]["metrics"]["time_elapsed"][2] = 1.0
    for own in content["data"]["micro"].values():
        del own["normal"]["metrics"]["time_elapsed"]
    torch_zip(tmp_path / "t.pth", content, {})
    for space in NETWORKS:
        table = load_benchmark(tmp_path / "t.pth", data_set=f"{space}/normal")
        assert table.seconds() is None
    assert load_benchmark(tmp_path / "t.pth", data_set="macro/class_scene").seconds() is not None


def _changed(change):
    content = epochs_file(NETWORKS)
    change(content["data"]["micro"], content["data"]["micro"]["64-41414-0_00_000"]["normal"])
    return content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data, own: own.pop("metrics"), "64-41414-0_00_000: it has no results of normal"),
        (lambda data, own: data.update({"64-41414-0_00_000": {}}), "it has no results of normal"),
        (lambda data, own: data.update({"64-41414-0_00_00": data["64-41414-1_02_333"]}),
         r"row \[4\]: '64-41414-0_00_00' is no cell"),
        (lambda data, own: own["metrics"]["test_ssim"].pop(), "test_ssim has 3 epochs, the"),
        (lambda data, own: own["metrics"].update(valid_ssim=[]), "valid_ssim has 0 epochs"),
        (lambda data, own: own["metrics"].update(valid_ssim=["a"] * 4), "valid_ssim is no list"),
        (lambda data, own: own["metrics"].update(valid_ssim=[2.0] * 4), "row .1.: validation_ssim"),
        (lambda data, own: data.clear(), "unknown space and task .*macro/normal"),
        (lambda data, own: own.update(more=Runs(print, "run")), r"\.print.*nothing of it was run"),
    ],
)  # fmt: skip
def test_results_that_cannot_be(tmp_path, change, said, capsys):
    torch_zip(tmp_path / "bad.pth", _changed(change), {})
    with pytest.raises(UserError, match=rf"(?s)benchmark .*bad\.pth: .*{said}"):
        load_benchmark(tmp_path / "bad.pth", data_set="micro/normal")
    assert capsys.readouterr().out == ""


def test_tasks_and_files_that_are_not_there(tmp_path):
    torch_zip(tmp_path / "t.pth", epochs_file(NETWORKS), {})
    assert load_benchmark(tmp_path / "t.pth").source == "t.pth:micro/class_scene"
    with pytest.raises(UserError, match=r"'normal': allowed are micro/class_scene.*macro/room_lay"):
        load_benchmark(tmp_path / "t.pth", data_set="normal")
    torch_zip(tmp_path / "e.pth", {"data": {"micro": {}}}, {})
    with pytest.raises(UserError, match="its data hold no network"):
        load_benchmark(tmp_path / "e.pth")
    measures = {"jigsaw": ("top5", 2, 10, 90)}
    torch_zip(tmp_path / "m.pth", epochs_file(NETWORKS, measures), {})
    with pytest.raises(UserError, match="jigsaw has none of top1, mIoU, ssim, neg_loss, but train"):
        load_benchmark(tmp_path / "m.pth", data_set="micro/jigsaw")
    torch_zip(tmp_path / "o.pth", {"weights": [1.0]}, {})
    with pytest.raises(UserError, match=r"o\.pth: it is neither .* but holds weights"):
        load_benchmark(tmp_path / "o.pth")
