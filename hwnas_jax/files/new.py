"""New files and folders: a command takes their names when it starts, before its work is done.

Of several commands that start at once with the same name, only one can take it. The others are told
before they have done any work.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from hwnas_jax.errors import UserError


def make_folder(folder: Path, *, named: bool, resumes: bool = True) -> Path:
    """Makes a new folder and returns it; of several starts at once only one can make it.

    Args:
      folder: its path.
      named: whether it must be that one. Otherwise the next free number is added where it exists.
      resumes: whether the command can continue what lies in such a folder; for the message.

    Raises:
      UserError: when a named folder exists.
    """
    place = folder
    while True:
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            if named and resumes:
                raise UserError(
                    f"the folder {folder} exists and is not overwritten: continue it with "
                    f"--resume {folder}, or name another"
                ) from None
            if named:
                raise _exists(folder, "--out") from None
            place = next_free(folder)
        except NotADirectoryError:
            raise UserError(
                f"{folder} cannot be made: a part of its path is a file, not a folder"
            ) from None
        else:
            return place


def next_free(folder: Path) -> Path:
    """Returns the first path with a number added that does not exist."""
    number = 2
    while (path := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return path


@contextlib.contextmanager
def taken_folder(folder: Path, *, named: bool, resumes: bool = True) -> Iterator[Path]:
    """Makes a new folder for a block to write in; what fails inside leaves nothing behind.

    Args:
      folder: as `make_folder` takes it, and so are the others.
      named: likewise.
      resumes: likewise.

    Yields:
      The folder.

    Raises:
      UserError: when a named folder exists.
    """
    missing = [place for place in folder.parents if not place.exists()]
    made = make_folder(folder, named=named, resumes=resumes)
    try:
        yield made
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        for place in missing:
            with contextlib.suppress(OSError):  # others may have put something there
                place.rmdir()
        raise


@contextlib.contextmanager
def taken_file(path: Path | None, option: str = "--out") -> Iterator[None]:
    """Makes an empty file in whose place a block then writes the whole one.

    Where the block fails, or ends without writing, the empty file is removed.

    Args:
      path: of the file; None where none is written.
      option: of the command that names it, for messages.

    Raises:
      UserError: when something has the name, or its folder does not exist.
    """
    if path is None:
        yield
        return
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        raise _exists(path, option) from None
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"there is no folder {path.parent} to write {path.name} in") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    try:
        yield
    finally:
        if _is_empty(path):
            path.unlink(missing_ok=True)


def _exists(path: Path, option: str) -> UserError:
    empty = ""
    if _is_empty(path):
        empty = (
            ". It is empty: another command is about to write it, or was cut off, and then it can "
            "be deleted"
        )
    return UserError(f"{path} exists and is not overwritten; name another with {option}{empty}")


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0
