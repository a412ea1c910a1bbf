"""What to say when there is no room left on a disk."""

import errno
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "Disk quota exceeded")


def is_full(error: BaseException | None) -> bool:
    """Returns whether an error, or one that led to it, says that there is no room on a disk.

    Libraries raise errors of their own for it, which hold the system's words.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(word in str(error) for word in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def no_room(folder: Path) -> str:
    """Returns a sentence on the disk of a folder that is full.

    Args:
      folder: that was written to.
    """
    try:
        free = f"{shutil.disk_usage(folder).free / 1024:.0f} KiB are free now"
    except OSError:
        free = "its free space is unknown"
    return f"no room was left on the disk of {folder} ({free}), or a quota is used up"
