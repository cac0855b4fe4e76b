"""A server of this machine, as a process group of which nothing is left when its user is done with it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
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
ANY = frozenset({"0.0.0.0", "*"})  # noqa: S104 - names them, does not listen
START_LIMIT_S = 180.0
STOP_LIMIT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCommand:
    """How to start a server, and how to know that it is there.

    Attributes:
        name: of the program, for messages.
        arguments: the command line; everybody on the machine can read it, so no address with a password is in it.
        reads: what it serves, for messages.
        health: path that answers once it is ready.
        environment: variables beside this process's own.
        host: the interface that it listens on; nobody is asked who they are.
    """

    name: str
    arguments: Sequence[str]
    reads: str
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = HOST


@contextmanager
def local_server(command: ServerCommand, port: int) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs a server; nothing of it is left when the block ends.

    Yields:
        The process and the server's address.

    Raises:
        UsageError: the port is taken, or the interface is not this machine's.
        StorageError: the server does not start.
    """
    _check_free(command.host, port)
    process = subprocess.Popen(
        list(command.arguments),
        env=os.environ | command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        base = f"http://{HOST if command.host in ANY else command.host}:{port}"
        _wait_until_healthy(process, base, command)
        yield process, base
    finally:
        _end_group(process)


def free_port(host: str = HOST) -> int:
    """A port of an interface, the loopback's if not given, on which nothing listens now.

    Raises:
        UsageError: this machine has no such interface.
    """
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise _no_interface(host, error) from None
        return int(probe.getsockname()[1])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False


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


def _check_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                raise UsageError(f"Port {port} on {host} is taken. Leave out --port to get a free one.") from None
            raise _no_interface(host, error) from None


def _no_interface(host: str, error: OSError) -> UsageError:
    return UsageError(
        f"--listen needs an IPv4 address or name of this machine ({HOST}, or 0.0.0.0 for all), but got {host!r}: "
        f"{error.strerror or error}"
    )
