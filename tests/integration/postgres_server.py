"""A real PostgreSQL server of its own, from the system's package: on a free port, with a password, gone afterwards."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

INSTALLED = Path("/usr/lib/postgresql")
USER = "searcher"


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server that listens on this machine alone. The password is given by PGPASSWORD, never by the URL."""

    url: str
    password: str


def programs() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def running(programs: Path) -> Iterator[Server]:
    """A server for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="spvit-postgres-"))
    as_user = _other_user(folder)
    password = secrets.token_hex(16)
    (folder / "password").write_text(password)
    try:
        data, port = folder / "data", _free_port()
        _call(
            [programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"],
            ["--pwfile", folder / "password"],
            as_user,
        )
        options = f"-F -c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        control = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        _call(control, ["-o", options, "start"], as_user)
        try:
            yield Server(url=f"postgresql://{USER}@127.0.0.1:{port}/postgres", password=password)
        finally:
            _call(control, ["-m", "immediate", "stop"], as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user(folder: Path) -> dict[str, object]:
    """The server refuses to run as root; then somebody else owns its folder."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _call(command: list[object], arguments: list[object], as_user: dict[str, object]) -> None:
    words = [str(word) for word in [*command, *arguments]]
    # Its own files, as the server that stays behind must not hold a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(words, stdout=output, stderr=output, cwd="/", check=False, **as_user).returncode
        output.seek(0)
        assert code == 0, f"{words}: {output.read()}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
