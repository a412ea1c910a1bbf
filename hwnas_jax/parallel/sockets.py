"""Ties the processes of one job together by sockets.

Process 0 listens at the coordinator's address and the others connect to it. All of them meet before
JAX starts, so that a message can name whoever is missing. Afterwards the same connections carry
small values between the processes. They also show within seconds that a process has died, even
while the accelerators of the others wait for it.
"""

import contextlib
import ipaddress
import json
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hwnas_jax.errors import UserError
from hwnas_jax.parallel.secret import Secret, kept_secret, new_question, read_secret

BEAT_S = 2.0
SILENT_BEATS = 6
_HELLO_S = 5.0

OnLost = Callable[[int, str | None], None]
"""Called once as `(process, reason)`; the reason is None when a process vanished without one."""


class Job:
    """The connections of this process to the others.

    Attributes:
      process: this process' number.
      processes: how many there are.
    """

    def __init__(self, process: int, links: dict[int, socket.socket], processes: int):
        self.process, self.processes = process, processes
        self._links = links
        self._inbox: dict[int, queue.Queue[Any]] = {peer: queue.Queue() for peer in links}
        self._sending = threading.Lock()
        self._closing = False

    def watch(self, on_lost: OnLost) -> None:
        """Starts a background thread that listens to the others and sends them signs of life."""
        threading.Thread(target=self._listen, args=(on_lost,), daemon=True).start()

    def exchange(self, value: Any, idle: Callable[[], None] = lambda: None) -> list[Any]:
        """Waits until every process has called this; returns what each gave, in order of numbers.

        Args:
          value: anything JSON holds.
          idle: called twice a second while this process waits for others.
        """
        if self.process:
            self._send(0, {"value": value})
            return self._receive(0, idle)
        values = [value, *(self._receive(peer, idle) for peer in sorted(self._links))]
        for peer in self._links:
            self._send(peer, {"value": values})
        return values

    def leave(self, reason: str | None = None, *, lost: int | None = None) -> None:
        """Tells the others that this process leaves the job.

        Args:
          reason: why it leaves; None when all have agreed to.
          lost: the process whose loss is the reason, if one was lost.
        """
        self._closing = True
        for peer in self._links:
            self._send(peer, {"left": reason, "lost": lost})

    def _receive(self, peer: int, idle: Callable[[], None]) -> Any:
        while True:
            try:
                return self._inbox[peer].get(timeout=0.5)
            except queue.Empty:
                idle()

    def _send(self, peer: int, message: dict[str, Any]) -> None:
        # A process that is gone is noticed in `_listen`, where its messages are read.
        with self._sending, contextlib.suppress(OSError):
            self._links[peer].sendall(json.dumps(message).encode() + b"\n")

    def _listen(self, on_lost: OnLost) -> None:
        selector = selectors.DefaultSelector()
        parts = dict.fromkeys(self._links, b"")
        silent = dict.fromkeys(self._links, 0)
        left: set[int] = set()
        for peer, link in self._links.items():
            selector.register(link, selectors.EVENT_READ, peer)
        beat = time.monotonic() + BEAT_S

        def read(peer: int) -> None:
            try:
                received = self._links[peer].recv(1 << 16)
            except OSError:
                received = b""
            silent[peer] = 0
            *lines, parts[peer] = (parts[peer] + received).split(b"\n")
            for message in map(json.loads, lines):
                if "value" in message:
                    self._inbox[peer].put(message["value"])
                if "left" in message:
                    left.add(peer)
                    who = peer if message["lost"] is None else message["lost"]
                    if (who, message["left"]) != (peer, None) and not self._closing:
                        on_lost(who, message["left"])
            if not received:
                selector.unregister(self._links[peer])
                if peer not in left and not self._closing:
                    on_lost(peer, None)
                left.add(peer)

        while len(left) < len(self._links):
            for key, _ in selector.select(max(0.0, beat - time.monotonic())):
                read(key.data)
            if time.monotonic() < beat:
                continue
            # Counting beats in place of seconds lets the whole job be paused and go on.
            beat = time.monotonic() + BEAT_S
            for peer in self._links.keys() - left:
                self._send(peer, {})
                silent[peer] += 1
                if silent[peer] > SILENT_BEATS and not self._closing:
                    left.add(peer)
                    on_lost(peer, None)


def address(coordinator: str) -> tuple[str, int]:
    """Splits "host:port", and raises UserError for anything else.

    >>> address("10.0.0.1:1234")
    ('10.0.0.1', 1234)
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(
            f"parallel.coordinator = {coordinator!r} must be host:port, such as 10.0.0.1:1234"
        )
    return host.strip("[]"), int(port)


def bind_host(host: str) -> str:
    """Returns where process 0 listens: only on loopback when the coordinator's host is that."""
    with contextlib.suppress(OSError, ValueError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
        if ipaddress.ip_address(str(found)).is_loopback:
            return str(found)
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def gather(
    coordinator: str, processes: int, process: int, timeout_s: float, folder: Path = Path()
) -> Job:
    """Waits until every process of the job is there.

    Args:
      coordinator: "host:port" of process 0.
      processes: how many there are.
      process: the number of this one.
      timeout_s: how many seconds to wait.
      folder: of process 0, one that the others can read as well; there they learn the secret by
        which they are told from strangers.

    Raises:
      UserError: when the coordinator does not answer, its port is taken, processes stay away, two
        disagree about their number, or one cannot read the folder.
    """
    host, port = address(coordinator)
    deadline = time.monotonic() + timeout_s
    if process == 0:
        with kept_secret(folder) as secret:
            links = _await_others(host, port, processes, secret, deadline, timeout_s)
        return Job(0, links, processes)
    return Job(process, {0: _join(coordinator, processes, process, deadline, timeout_s)}, processes)


def _await_others(
    host: str, port: int, processes: int, secret: Secret, deadline: float, timeout_s: float
) -> dict[int, socket.socket]:
    bind = bind_host(host)
    try:
        server = socket.create_server(
            (bind, port), family=socket.AF_INET6 if ":" in bind else socket.AF_INET,
            dualstack_ipv6=bind == "::", backlog=processes,
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen on port {port} for parallel.coordinator = {host}:{port}: "
            f"{error.strerror}; name a free port of this machine"
        ) from error
    links: dict[int, socket.socket] = {}
    with server:
        while len(links) < processes - 1:
            server.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                link = server.accept()[0]
            except TimeoutError:
                missing = sorted(set(range(1, processes)) - links.keys())
                raise UserError(
                    f"of {processes} processes, {_numbers(missing)} did not come to "
                    f"{host}:{port} within {timeout_s:g} s; start all with the same "
                    "--parallel.coordinator, or allow more time with "
                    "--parallel.initialization-timeout-s"
                ) from None
            number = _welcomed(link, processes, secret, links)
            if number is None:
                link.close()
            else:
                links[number] = link
        for link in links.values():
            _write_line(link, {"complete": True})
    for link in links.values():
        link.settimeout(None)
    return links


def _welcomed(
    link: socket.socket, processes: int, secret: Secret, links: dict[int, socket.socket]
) -> int | None:
    """Returns the number of the process at the other end; None when it is refused, or a stranger.

    A stranger learns no more than whether its number is one that the job still waits for.
    """
    hello = _read_line(link, _HELLO_S)
    number, claimed = hello.get("process"), hello.get("processes")
    if type(number) is not int or "processes" not in hello:
        return None
    refusal = _refusal(number, claimed, processes, links)
    if refusal is not None:
        _write_line(link, {"refused": refusal})
        return None
    question = new_question()
    _write_line(link, {"file": str(secret.path), "question": question})
    answer = _read_line(link, _HELLO_S)
    own_question = answer.get("question")
    if not secret.accepts(answer.get("answer"), question, number):
        return None
    _write_line(link, {"refused": None, "answer": secret.answer(str(own_question), number)})
    return number


def _refusal(
    number: int, claimed: Any, processes: int, links: dict[int, socket.socket]
) -> str | None:
    if claimed != processes:
        return f"it was started with parallel.processes = {processes}, this one with {claimed}"
    if number in links or number == 0:
        return f"there is already a process {number}; give every one its own parallel.process"
    if not 0 < number < processes:
        return f"parallel.process = {number} must lie in [0, {processes})"
    return None


def _join(
    coordinator: str, processes: int, process: int, deadline: float, timeout_s: float
) -> socket.socket:
    reason = "it accepted no connection"
    while time.monotonic() < deadline:
        try:
            link = socket.create_connection(address(coordinator), timeout=_HELLO_S)
        except OSError as error:
            reason = error.strerror or str(error)
            time.sleep(0.2)
            continue
        if _known(link, coordinator, processes, process, min(_HELLO_S, timeout_s)):
            # The coordinator gives up no later than this process would, so its answer comes first.
            if _read_line(link, max(0.1, deadline - time.monotonic()) + _HELLO_S):
                link.settimeout(None)
                return link
            raise UserError(
                f"the coordinator {coordinator} has gone while this process waited for the others; "
                "see what process 0 says"
            )
        link.close()
        reason = "what answers there is no process 0 of hwnas"
        time.sleep(0.2)
    raise UserError(
        f"the coordinator {coordinator} did not answer within {timeout_s:g} s ({reason}); start "
        "process 0 there, or allow more time with --parallel.initialization-timeout-s"
    )


def _known(
    link: socket.socket, coordinator: str, processes: int, process: int, patience_s: float
) -> bool:
    """Returns whether process 0 of this job is at the other end and knows this process.

    Raises:
      UserError: when process 0 refuses this one, or its file cannot be read here.
    """
    _write_line(link, {"process": process, "processes": processes})
    told = _read_line(link, patience_s)
    if told.get("refused"):
        raise UserError(f"the coordinator {coordinator} refuses: {told['refused']}")
    if "question" not in told:
        return False
    secret, question = read_secret(told.get("file")), new_question()
    answer = secret.answer(str(told["question"]), process)
    _write_line(link, {"answer": answer, "question": question})
    return secret.accepts(_read_line(link, patience_s).get("answer"), question, process)


def _numbers(missing: list[int]) -> str:
    shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
    return f"number{'s' if len(missing) > 1 else ''} {shown}"


def _write_line(link: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        link.sendall(json.dumps(message).encode() + b"\n")


def _read_line(link: socket.socket, timeout_s: float) -> dict[str, Any]:
    """Returns one message, or an empty dictionary when none comes in time."""
    deadline = time.monotonic() + timeout_s
    line = b""
    try:
        # Reading byte by byte leaves the next message in the socket.
        while not line.endswith(b"\n"):
            link.settimeout(max(0.001, deadline - time.monotonic()))
            byte = link.recv(1)
            if not byte or len(line) > 1 << 16:
                return {}
            line += byte
        message = json.loads(line)
    except (OSError, ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
