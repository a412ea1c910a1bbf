"""Files that are written whole or not at all, and never through a link."""

import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.json_files import read_bytes
from hwnas_jax.files.whole import inner_folder, whole, write_whole


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    other, link = tmp_path / "other", tmp_path / "report.html"
    other.write_text("mine")
    link.symlink_to(other)
    write_whole(link, "page \ud800")
    assert other.read_text() == "mine" and not link.is_symlink()
    assert link.read_text() == "page ?"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "report.html"]


def test_what_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), whole(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    assert inner_folder(tmp_path, "checkpoints").is_dir()
    assert inner_folder(tmp_path, "checkpoints").is_dir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "architectures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="architectures is a symbolic link"):
        inner_folder(tmp_path, "architectures")


def test_only_ordinary_files_of_some_size_are_read(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="it is no ordinary file"):
        read_bytes(tmp_path / "pipe", "thing")
    (tmp_path / "large").write_bytes(bytes(2**20 + 1))
    with pytest.raises(UserError, match="it is larger than 1 MiB"):
        read_bytes(tmp_path / "large", "thing", 1)
    with pytest.raises(UserError, match="cannot read the thing"):
        read_bytes(tmp_path / "a\0b", "thing")
