"""`spvit-search dashboard`: MLflow's browser interface on this machine."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from search.commands.options import epilog, existing_study, json_option, optional_study_argument, runs_dir_option
from search.commands.output import emit
from spvit.errors import StorageError, UsageError

HOST = "127.0.0.1"
ANY = frozenset({"0.0.0.0", "*"})  # noqa: S104 - names them, does not listen
START_LIMIT_S = 180.0
STOP_LIMIT_S = 10.0
# The job runner serves none of what we show, and takes 4 of the 5 seconds that a server needs to start and 1.3 GB.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@click.command("dashboard", epilog=epilog("spvit-search dashboard demo", "usage", "storage"))
@optional_study_argument
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on; a free one if not given.")
@click.option(
    "--listen",
    default=HOST,
    show_default=True,
    metavar="ADDRESS",
    help="Interface to listen on. Any but this machine's own opens the studies to whoever can reach it.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@runs_dir_option
@json_option
def command(
    study: str | None, port: int | None, listen: str, runs_dir: Path, *, no_browser: bool, as_json: bool
) -> None:
    """Open a study (or all of them) in MLflow's browser interface until Ctrl-C.

    The server listens on 127.0.0.1 only unless told otherwise; from elsewhere, forward the port through SSH.
    """
    uri, fragment = _tracked_at(runs_dir, study)
    if uri.startswith(("http://", "https://")):
        address = f"{uri.rstrip('/')}/{fragment}"
        _announce(address, no_browser=no_browser, as_json=as_json)
        return
    with (
        contextlib.suppress(KeyboardInterrupt),
        _sigterm_as_interrupt(),
        mlflow_server(uri, port or free_port(listen), host=listen) as (process, base),
    ):
        _warn_if_open(listen, base, runs_dir)
        _announce(f"{base}/{fragment}", no_browser=no_browser, as_json=as_json)
        click.echo("Ctrl-C ends it.", err=True)
        process.wait()


@contextmanager
def mlflow_server(uri: str, port: int, *, host: str = HOST) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs an MLflow server as a process group of its own; nothing of it is left when the block ends.

    Args:
        uri: of what is shown.
        port: to listen on.
        host: interface to listen on. MLflow asks nobody who they are.

    Yields:
        The process and the server's address.

    Raises:
        UsageError: the port is taken, or the interface is not this machine's.
        StorageError: the server does not start.
    """
    _check_free(host, port)
    arguments = ["--host", host, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments],
        # Not as an argument: everybody on the machine can read those, and the address may hold a password.
        env=os.environ | ENVIRONMENT | {"MLFLOW_BACKEND_STORE_URI": uri},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        base = f"http://{HOST if host in ANY else host}:{port}"
        _wait_until_healthy(process, base, uri)
        yield process, base
    finally:
        _end_group(process)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM would end us without ending the server, which is in a process group of its own."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tracked_at(runs_dir: Path, study: str | None) -> tuple[str, str]:
    """The tracking URI and the part of the address that leads to the study."""
    from search.tracking_place import default_tracking_uri
    from search.tracking_view import experiment_fragment

    if study is None:
        database = (runs_dir / "mlflow.db").resolve()
        if not database.is_file():
            raise UsageError(f"Nothing was tracked in {runs_dir} yet: {database} does not exist. Start a search first.")
        return default_tracking_uri(runs_dir), ""
    from search.study import read_study

    record = read_study(existing_study(runs_dir, study))
    uri = record.experiment.get("tracking", {}).get("uri") or default_tracking_uri(runs_dir)
    fragment = experiment_fragment(record.mlflow_experiment_id) if record.mlflow_experiment_id else ""
    return uri, fragment


def _announce(address: str, *, no_browser: bool, as_json: bool) -> None:
    emit({"address": address}, lambda: address, as_json=as_json)
    if not no_browser:
        webbrowser.open(address)


def _wait_until_healthy(process: subprocess.Popen[bytes], base: str, uri: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StorageError(f"MLflow ended at once (exit code {process.returncode}). Can {uri} be read?")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{base}/health", timeout=2):  # noqa: S310 - our own
            return
        time.sleep(0.2)
    raise StorageError(f"MLflow did not answer at {base} within {START_LIMIT_S:.0f} s.")


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


def _warn_if_open(host: str, base: str, runs_dir: Path) -> None:
    if is_loopback(host):
        return
    click.echo(
        f"warning: whoever can reach {base} can read, change and delete every study tracked in {runs_dir}: "
        f"MLflow asks for no password. Safer: leave out --listen and forward the port, "
        f"`ssh -L {base.rpartition(':')[2]}:{HOST}:{base.rpartition(':')[2]} THIS_HOST`",
        err=True,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except (OSError, ValueError):
        return False


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
