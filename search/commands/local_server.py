"""A server on the loopback interface, as a process group of which nothing is left when its user is done with it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from spvit.errors import StorageError, UsageError

HOST = "127.0.0.1"
START_LIMIT_S = 180.0
STOP_LIMIT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCommand:
    """How to start a server, and how to know that it is there.

    Attributes:
        name: of the program, for messages.
        arguments: the command line; it listens on `HOST`.
        reads: what it serves, for messages.
        health: path that answers once it is ready.
        environment: variables beside this process's own.
    """

    name: str
    arguments: Sequence[str]
    reads: str
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def local_server(command: ServerCommand, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs a server; nothing of it is left when the block ends.

    Yields:
        The process and the server's address.

    Raises:
        UsageError: the port is taken.
        StorageError: the server does not start.
    """
    if not _is_free(port):
        raise UsageError(f"Port {port} on {HOST} is taken. Leave out --port to get a free one.")
    process = subprocess.Popen(
        list(command.arguments),
        env=os.environ | command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        base = f"http://{HOST}:{port}"
        _wait_until_healthy(process, base, command)
        yield process, base
    finally:
        _end_group(process)


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM would end us without ending the server, which is in a process group of its own."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_port() -> int:
    """A port of the loopback interface on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], base: str, command: ServerCommand) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StorageError(
                f"{command.name} ended at once (exit code {process.returncode}). Can {command.reads} be read?"
            )
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{base}{command.health}", timeout=2):  # noqa: S310 - our own
            return
        time.sleep(0.2)
    raise StorageError(f"{command.name} did not answer at {base} within {START_LIMIT_S:.0f} s.")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
