"""How the processes of a job know each other: all can read a file that strangers cannot.

Process 0 writes a random secret into a file that only its user may read, in a folder that the
processes share, as they share the run folder. Whoever connects is told where the file lies and is
asked a random question, which only those who have read the file can answer. Process 0 answers one
in turn. The secret itself is never sent.
"""

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hwnas_jax.errors import UserError

_NAME = re.compile(r"\.hwnas-job-[0-9a-f]{16}")
_KEY = re.compile(r"[0-9a-f]{64}")
_PATIENCE_S = 3.0


class Secret(NamedTuple):
    """A secret and where the others read it.

    Attributes:
      path: the file, absolute.
      key: what it holds.
    """

    path: Path
    key: str

    def answer(self, question: str, *about: Any) -> str:
        """Returns the answer to a question, which is about values that JSON holds."""
        text = json.dumps([question, *about]).encode()
        return hmac.new(self.key.encode(), text, hashlib.sha256).hexdigest()

    def accepts(self, answer: Any, question: str, *about: Any) -> bool:
        """Returns whether an answer is right."""
        return isinstance(answer, str) and hmac.compare_digest(
            answer.encode(errors="replace"), self.answer(question, *about).encode()
        )


def new_question() -> str:
    """Returns a question that was never asked."""
    return secrets.token_hex(16)


@contextlib.contextmanager
def kept_secret(folder: Path) -> Iterator[Secret]:
    """Yields a new secret, whose file lies in `folder` inside the block."""
    secret = Secret(
        Path(folder).resolve() / f".hwnas-job-{secrets.token_hex(8)}", secrets.token_hex(32)
    )
    with os.fdopen(os.open(secret.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret.key)
    try:
        yield secret
    finally:
        secret.path.unlink(missing_ok=True)


def read_secret(path: Any) -> Secret:
    """Reads the file that process 0 names; a network file system may show it a little late.

    Raises:
      UserError: when it is no such file, or cannot be read here.
    """
    if not isinstance(path, str) or not _NAME.fullmatch(Path(path).name):
        raise UserError("it names no file of a job")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            key = Path(path).read_text(encoding="ascii")
            if _KEY.fullmatch(key):
                return Secret(Path(path), key)
            reason = "it holds no secret"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        if time.monotonic() > deadline:
            raise UserError(
                f"this process cannot read {path}, by which the processes of a job know each "
                f"other ({reason}): they need the run folder on a file system they share"
            )
        time.sleep(0.1)
