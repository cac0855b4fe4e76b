"""Finds processes of a study's own Ray that are still alive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
OF_RAY = (b"raylet", b"gcs_server", b"ray::", b"/ray/")


def load_orphans(folder: Path) -> tuple[str, ...]:
    """Processes of Ray that use the token in a study's folder, as text: `process 12 (raylet)`.

    Processes of other users cannot be looked into and are left out.
    """
    token = f"RAY_AUTH_TOKEN_PATH={folder.resolve() / 'ray_token'}".encode()
    return tuple(f"process {pid} ({name})" for pid, name in _ray_processes(token))


def _ray_processes(token: bytes) -> Iterator[tuple[int, str]]:
    for path in PROC.glob("[0-9]*"):
        if int(path.name) == os.getpid():
            continue
        try:
            command = (path / "cmdline").read_bytes()
            if not any(mark in command for mark in OF_RAY):
                continue
            if token in (path / "environ").read_bytes().split(b"\0"):
                yield int(path.name), (path / "comm").read_text().strip()
        except OSError:  # it ended meanwhile, or is not ours
            continue
