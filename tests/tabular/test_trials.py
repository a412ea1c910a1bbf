"""NAS-Bench-201 and NATS-Bench as their authors publish them."""

import pickle

import numpy as np
import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.spaces.core import published
from hwnas_jax.tabular import Table, load_benchmark, look_up
from hwnas_jax.tabular.nats_size import size_choices
from tests.files.test_pickles import Runs, torch_legacy, torch_zip
from tests.tabular.original import packed, pieces, trials

CELLS = published.nasbench201()
ROWS = np.random.default_rng(0).permutation(CELLS.enumerate())[:6]
CELL_TEXTS = [CELLS.to_string(row) for row in ROWS]
SIZE_TEXTS = ["8:8:8:8:8", "64:8:16:24:32", "16:64:8:8:56", "8:8:8:8:16"]
SIZE_ROWS = np.array(
    [[int(width) // 8 - 1 for width in text.split(":")] for text in SIZE_TEXTS], np.int32
)
NATS = {"12": 12, "200": 20}
OLD = {"full": 20, "less": 12}


def mean_over_seeds(content, number, training, trained, value):
    own = content["arch2infos"][number][training]
    seeds = own["dataset_seed"][trained]
    return sum(value(own["all_results"][trained, seed]) for seed in seeds) / len(seeds)


def accuracies(content, training, trained, images, epochs):
    """Returns the accuracies of every architecture, in [0, 1], worked out one by one."""
    return [
        mean_over_seeds(content, number, training, trained,
                        lambda t: t["eval_acc1es"][f"{images}@{epochs - 1}"]) / 100
        for number in range(len(content["meta_archs"]))
    ]  # fmt: skip


def write_packed(folder, content):
    return packed(folder / "NATS-made.pickle.pbz2", content)


def write_pieces(folder, content):
    return pieces(folder / "NATS-made-simple", content)


def write_zip(folder, content):
    torch_zip(folder / "made.pth", content, {})
    return folder / "made.pth"


def write_legacy(folder, content):
    torch_legacy(folder / "made.pth", content, {})
    return folder / "made.pth"


@pytest.mark.parametrize(
    ("write", "lengths"),
    [(write_packed, NATS), (write_pieces, NATS), (write_zip, OLD), (write_legacy, OLD)],
)
@pytest.mark.parametrize(
    ("name", "validation", "test"),
    [
        ("cifar10", ("cifar10-valid", "x-valid"), ("cifar10", "ori-test")),
        ("cifar100", ("cifar100", "x-valid"), ("cifar100", "x-test")),
        ("imagenet16_120", ("ImageNet16-120", "x-valid"), ("ImageNet16-120", "x-test")),
    ],
)
def test_every_training_is_read(tmp_path, write, lengths, name, validation, test):
    content = trials(CELL_TEXTS, lengths)
    table = load_benchmark(write(tmp_path, content), data_set=name)
    assert table.space.decisions == CELLS.decisions and table.known == 6
    assert set(table.validation) == set(table.test) == {12, 20}
    assert (table.select(), table.report) == ("validation_accuracy_20", "test_accuracy_20")
    found = look_up(table.space, table.metrics, ROWS)
    for training, epochs in lengths.items():
        for split, (trained, images) in (("validation", validation), ("test", test)):
            np.testing.assert_allclose(
                found[f"{split}_accuracy_{epochs}"],
                accuracies(content, training, trained, images, epochs), rtol=1e-6,
            )  # fmt: skip
        trained, images = validation
        seconds = [
            mean_over_seeds(
                content, number, training, trained,
                lambda t, e=epochs, i=images: sum(t["train_times"].values())
                + sum(t["eval_times"][f"{i}@{epoch}"] for epoch in range(e)) / e,
            )
            for number in range(6)
        ]  # fmt: skip
        told = look_up(table.space, {"s": table.seconds(epochs)}, ROWS)["s"]
        np.testing.assert_allclose(told, seconds, rtol=1e-6)
    assert table.seconds() is table.seconds(20) and table.seconds(13) is None


@pytest.mark.parametrize("write", [write_packed, write_pieces])
def test_widths_are_read_too(tmp_path, write):
    content = trials(SIZE_TEXTS, {"01": 1, "12": 12, "90": 15})
    table = load_benchmark(write(tmp_path, content), data_set="cifar100")
    assert table.space.decisions == size_choices().decisions
    assert set(table.validation) == set(table.test) == {1, 12, 15}
    found = look_up(table.space, table.metrics, SIZE_ROWS)
    np.testing.assert_allclose(
        found["test_accuracy_1"], accuracies(content, "01", "cifar100", "x-test", 1), rtol=1e-6
    )


def test_old_trainings_know_the_last_epoch_only_and_no_times(tmp_path):
    content = trials(
        CELL_TEXTS, OLD, timed=False, last_only=("x-valid", "x-test", "ori-test")
    )  # fmt: skip
    table = load_benchmark(write_legacy(tmp_path, content))
    assert table.source == "made.pth:cifar10" and table.seconds() is None
    found = look_up(table.space, table.metrics, ROWS)["test_accuracy_20"]
    expected = accuracies(content, "full", "cifar10", "ori-test", 20)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_what_some_architectures_lack_is_unknown(tmp_path):
    content = trials(CELL_TEXTS, NATS)
    short = content["arch2infos"][4]["12"]
    short["dataset_seed"].pop("cifar100")
    content["arch2infos"][3]["200"]["all_results"]["cifar100", 777]["train_times"] = None
    del content["arch2infos"][1]
    content["evaluated_indexes"] = {0, 2, 3, 4, 5}
    for write in (write_packed, write_pieces):
        table = load_benchmark(write(tmp_path, content), data_set="cifar100")
        found = look_up(
            table.space, table.metrics | {"s12": table.seconds(12), "s20": table.seconds(20)}, ROWS
        )
        unknown = {
            name: np.flatnonzero(np.isnan(values)).tolist() for name, values in found.items()
        }
        assert unknown == {
            "validation_accuracy_12": [1, 4], "test_accuracy_12": [1, 4],
            "validation_accuracy_20": [1], "test_accuracy_20": [1], "s12": [1, 4], "s20": [1, 3],
        }  # fmt: skip


def test_a_file_that_changes_is_read_again(tmp_path):
    content = trials(CELL_TEXTS, NATS)
    path = write_packed(tmp_path, content)
    first = load_benchmark(path)
    assert load_benchmark(path) is first
    write_packed(tmp_path, trials(CELL_TEXTS[:3], NATS))
    assert load_benchmark(path).known == 3


def test_a_search_selects_on_validation_and_reports_test(tmp_path):
    from hwnas_jax.search.evaluators import Bench
    from hwnas_jax.tasks import Classification

    path = write_packed(tmp_path, trials(CELL_TEXTS, NATS))
    table = load_benchmark(path, data_set="cifar10")
    arrays = Table(str(path)).arrays(Bench(CELLS, Classification()))
    np.testing.assert_array_equal(arrays["test_accuracy"], table.metrics["test_accuracy_20"])
    assert any(
        np.array_equal(column, table.metrics["validation_accuracy_20"], equal_nan=True)
        for name, column in arrays.items() if name.startswith("accuracy")
    )  # fmt: skip


def _changed(change):
    content = trials(CELL_TEXTS, NATS)
    change(content, content["arch2infos"][2]["12"])
    return content


def _trial(own):
    return own["all_results"]["cifar10-valid", 888]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c, own: own.pop("arch_str"), "architecture 2: its results are damaged: .*arch_str"),
        (lambda c, own: own.update(arch_str=CELL_TEXTS[0]), r"architecture 2: it is \|.*not \|"),
        (lambda c, own: own["all_results"].clear(), "architecture 2: .*cifar10-valid"),
        (lambda c, own: _trial(own).pop("epochs"), "architecture 2: .*epochs"),
        (lambda c, own: _trial(own).update(epochs="x"), "architecture 2: .*'x'"),
        (lambda c, own: _trial(own).update(epochs=11), "different numbers of epochs"),
        (lambda c, own: _trial(own).update(eval_acc1es=None), "architecture 2: .*another kind"),
        (lambda c, own: _trial(own)["eval_acc1es"].update({"x-valid@11": "a"}), "architecture 2"),
        (lambda c, own: _trial(own)["eval_acc1es"].update({"x-valid@11": 300.0}),
         r"row \[2\]: validation_accuracy_12 must be a number of percent"),
        (lambda c, own: _trial(own)["train_times"].update({3: -1e9}), "row .2.: seconds of train"),
        (lambda c, own: c["arch2infos"].update({9: {}}), r"architecture 9 is none of 0\.\.5"),
        (lambda c, own: c["arch2infos"].update({"a": {}}), r"architecture 'a' is none of 0\.\.5"),
        (lambda c, own: c["arch2infos"].update({2: 3}), "architecture 2: its results are damaged"),
        (lambda c, own: c.update(arch2infos=[]), "arch2infos must be a table"),
        (lambda c, own: c.update(arch2infos={}), "the table is empty"),
        (lambda c, own: c.update(meta_archs=[1] * 6), "meta_archs must be a list of texts"),
        (lambda c, own: own.update(extra=Runs(print, "run")), r"\.print.*nothing of it was run"),
    ],
)  # fmt: skip
def test_results_that_cannot_be(tmp_path, change, said, capsys):
    path = write_packed(tmp_path, _changed(change))
    with pytest.raises(UserError, match=rf"(?s)benchmark .*NATS-made\.pickle\.pbz2: .*{said}"):
        load_benchmark(path)
    assert capsys.readouterr().out == ""


def test_architectures_that_cannot_be(tmp_path):
    for texts, said in (
        (["|a~0|+|none~0|none~1|+|none~0|none~1|none~2|"], r"row \[0\]: unknown option of 1<-0"),
        (["8:8:8:8:9"], r"row \[0\]: unknown option of layer5 '9'"),
        (["8:8:8:8"], r"row \[0\]: .*names 4 options"),
        ([CELL_TEXTS[0], CELL_TEXTS[0]], r"row \[1\] is the same architecture as row \[0\]"),
    ):
        path = write_packed(tmp_path, trials(texts, NATS))
        with pytest.raises(UserError, match=said):
            load_benchmark(path)
    with pytest.raises(UserError, match=r"unknown data set of NATS.*'svhn'.*cifar10, cifar100"):
        load_benchmark(write_packed(tmp_path, trials(CELL_TEXTS, NATS)), data_set="svhn")


def test_files_that_are_none_of_these(tmp_path):
    path = packed(tmp_path / "other.pickle.pbz2", {"nasbench201": {}, "fbnet": {}})
    with pytest.raises(UserError, match=r"neither NAS-Bench-201 .* but holds nasbench201, fbnet"):
        load_benchmark(path)
    (tmp_path / "list.pickle").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(UserError, match=r"list\.pickle: it is neither .* but holds a list"):
        load_benchmark(tmp_path / "list.pickle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: it is a folder without meta\.pickle\.pbz2"):
        load_benchmark(tmp_path / "empty")


def test_damaged_pieces_are_named(tmp_path):
    folder = write_pieces(tmp_path, trials(CELL_TEXTS, NATS))
    whole = (folder / "000002.pickle.pbz2").read_bytes()
    for content in (b"", whole[:100], whole[:-5], b"BZh9garbage"):
        (folder / "000002.pickle.pbz2").write_bytes(content)
        with pytest.raises(UserError, match=r"NATS-made-simple: 000002\.pickle\.pbz2: it is damag"):
            load_benchmark(folder)
    packed(folder / "000002.pickle.pbz2", [1])
    with pytest.raises(UserError, match="architecture 2: its results are damaged"):
        load_benchmark(folder)
    packed(folder / "meta.pickle.pbz2", {"other": 1})
    with pytest.raises(UserError, match=r"meta\.pickle\.pbz2 has no meta_archs"):
        load_benchmark(folder)
