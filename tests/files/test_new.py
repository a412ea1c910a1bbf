"""Names of new files and folders: one command takes each, and what fails leaves nothing behind."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hwnas_jax.errors import UserError
from hwnas_jax.files.new import make_folder, taken_file, taken_folder
from hwnas_jax.files.whole import write_whole


def test_of_several_that_write_one_file_only_the_first_does(tmp_path):
    path, begun, done = tmp_path / "model.npz", threading.Barrier(4), threading.Barrier(4)

    def write(number):
        begun.wait()
        try:
            with taken_file(path):
                done.wait()  # all have tried by then
                write_whole(path, str(number))
        except UserError as error:
            done.wait()
            return str(error)
        return number

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(write, range(4)))
    (winner,) = [result for result in results if isinstance(result, int)]
    assert path.read_text() == str(winner)
    refused = [result for result in results if isinstance(result, str)]
    assert len(refused) == 3
    assert all("name another with --out. It is empty: another command" in said for said in refused)


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    (tmp_path / "there").write_text("kept")
    match = r"there exists .* with --plan$"
    with pytest.raises(UserError, match=match), taken_file(tmp_path / "there", "--plan"):
        raise AssertionError
    assert (tmp_path / "there").read_text() == "kept"
    match = r"no folder .*gone to write new in"
    with pytest.raises(UserError, match=match), taken_file(tmp_path / "gone" / "new"):
        raise AssertionError
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="link exists"), taken_file(tmp_path / "link"):
        raise AssertionError
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)), taken_file(tmp_path / "file"):
        assert (tmp_path / "file").exists()
        raise error
    with pytest.raises(type(error)), taken_folder(tmp_path / "a" / "b", named=True) as folder:
        (folder / "half").write_text("x")
        raise error
    assert not list(tmp_path.iterdir())


def test_what_was_written_before_a_failure_is_kept(tmp_path):
    with pytest.raises(OSError, match="later"), taken_file(tmp_path / "file"):
        write_whole(tmp_path / "file", "whole")
        raise OSError("later")
    assert (tmp_path / "file").read_text() == "whole"


def test_messages_say_how_to_go_on(tmp_path):
    with pytest.raises(UserError, match=r"--resume .*, or name another$"):
        make_folder(tmp_path, named=True)
    with pytest.raises(UserError, match=r"not overwritten; name another with --out$"):
        make_folder(tmp_path, named=True, resumes=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="a part of its path is a file"):
        make_folder(Path(tmp_path / "file" / "new"), named=True)
