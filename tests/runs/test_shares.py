"""A run on another number of devices keeps the batch statistics that it began with."""

import shutil

import numpy as np
import pytest

from hwnas_jax.report.run_files import read_run_file, write_run_file
from hwnas_jax.runs.shares import keep_shares
from tests.parallel.toy import check_same_end, end_of, searched, settings


def own(**changes):
    """Returns the config of the toy search with statistics of every share."""
    return settings(**{"parallel__sync_batch_statistics": False, **changes})


@pytest.fixture(scope="module")
def of_eight(tmp_path_factory):
    """A search on eight devices, and what it ended with."""
    folder = tmp_path_factory.mktemp("eight")
    return folder, end_of(searched(own(parallel__devices=8), folder=folder))


def test_a_search_of_eight_devices_goes_on_with_one(of_eight, tmp_path):
    folder, whole = of_eight
    said = []
    resumed = searched(
        own(parallel__devices=1), folder=shutil.copytree(folder, tmp_path / "copy"), from_step=6,
        progress=lambda done, total, what: said.append(what),
    )  # fmt: skip
    check_same_end(end_of(resumed), whole)
    parts = "each of 1 device(s) takes its share in 8 parts"
    assert f"search began with batch statistics of 8 share(s): {parts}" in said


def test_a_search_of_one_device_goes_on_with_eight(tmp_path):
    whole = end_of(searched(own(parallel__devices=1), folder=tmp_path))
    resumed = end_of(searched(own(parallel__devices=8), folder=tmp_path, from_step=6))
    check_same_end(resumed, whole)


def test_without_the_number_the_end_is_another(of_eight, tmp_path):
    """What the file is for: one device by itself computes something else."""
    folder, whole = of_eight
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "shares.json").unlink()
    end = end_of(searched(own(parallel__devices=1), folder=copy, from_step=6))
    assert np.abs(end["weights"] - whole["weights"]).max() > 1e-3


def write(folder, **began):
    own = {name: {"devices": one, "parts": parts} for name, (one, parts) in began.items()}
    write_run_file(folder, "shares", {"began": own})


@pytest.mark.parametrize(
    ("began", "devices", "changes", "expected"),
    [
        ([8, 1], 8, {}, {}),
        ([4, 2], 2, {"search__accumulate": 2}, {"search__accumulate": 4}),
        ([1, 1], 3, {}, {"parallel__sync_batch_statistics": True}),
        ([8, 1], 3, {}, None),
        ([1, 2], 4, {"search__accumulate": 2}, None),
        ([8, 1], 4, {"search__draws": 2}, None),
        ([8, 1], 4, {"search__paths": "own"}, None),
        ([8, 1], 4, {"search__accumulate": 4}, None),
        ([8, 1], 8, {"parallel__sync_batch_statistics": True}, None),
        ([1, 1], 8, {"parallel__sync_batch_statistics": True}, {}),
    ],
)
def test_what_changes(began, devices, changes, expected, tmp_path):
    """None stands for what cannot be kept, and is said."""
    (tmp_path / "checkpoints" / "search" / "6").mkdir(parents=True)
    write(tmp_path, search=began)
    config = own(**changes)
    kept = keep_shares(tmp_path, "search", config, devices)
    assert kept.config == own(**{**changes, **(expected or {})})
    assert ("changes the results" in kept.note) == (expected is None)
    assert bool(kept.note) == (expected != {})


def test_a_retraining_is_kept_by_its_own_options(tmp_path):
    (tmp_path / "checkpoints" / "search-1" / "6").mkdir(parents=True)
    write(tmp_path, **{"search": [1, 1], "search-1": [8, 1]})
    kept = keep_shares(tmp_path, "search-1", own(), 2, part="retrain")
    assert kept.config == own(retrain__accumulate=4)


def test_a_run_without_a_checkpoint_begins_anew(tmp_path):
    assert keep_shares(tmp_path / "new", "search", own(), 8) == (own(), "")
    assert keep_shares(tmp_path, "search", own(), 8).note == ""
    assert keep_shares(tmp_path, "search", own(), 2).note == ""
    assert read_run_file(tmp_path, "shares")["began"] == {"search": {"devices": 2, "parts": 1}}
    assert keep_shares(None, "search", own(), 2) == (own(), "")
    assert keep_shares(tmp_path, "search", settings(), 4) == (settings(), "")
    assert read_run_file(tmp_path, "shares")["began"] == {"search": {"devices": 1, "parts": 1}}
