"""A real disk of a given size, which can be filled, made read-only and grown."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BLOCK = 4096
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """A folder that is a tmpfs of its own while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder))
    except subprocess.CalledProcessError as error:  # root in a container without the right to mount
        pytest.skip(f"no disk can be mounted here: {error.stderr.strip()}")
    try:
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))


def remount(folder: Path, options: str) -> None:
    """Changes a mounted disk: `size=N`, `ro`, `rw`."""
    _run("mount", "-o", f"remount,{options}", str(folder))


def fill(folder: Path) -> Path:
    """A file that takes all that is free, while others may be writing."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file, suppress(OSError):
        for block in range(1 << 20):
            os.posix_fallocate(file.fileno(), block * BLOCK, BLOCK)
    return ballast


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
