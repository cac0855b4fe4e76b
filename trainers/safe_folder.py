"""Folders that are written whole or not at all, and that know when they were damaged. No torch."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

MANIFEST = "manifest.json"
TEMPORARY = ".writing-"


class DamagedFolderError(Exception):
    """A folder does not hold what its manifest says; the text is the reason."""


def write_folder(target: Path, writers: Mapping[str, Callable[[Path], None]]) -> None:
    """Write files into a new folder so that a crash at any point leaves the whole folder or none.

    Files go to a temporary neighbour, are flushed to the disk and hashed into a manifest; then the neighbour is
    renamed, which POSIX does in one step.

    Args:
        target: must not exist yet; its parent must.
        writers: for each file's name, what writes it to the path it is given.

    Raises:
        OSError: from the file system (full, read-only); the temporary folder is removed.
    """
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, write in writers.items():
            write(temporary / name)
        hashes = {name: file_hash(temporary / name) for name in writers}
        (temporary / MANIFEST).write_text(json.dumps({"files": hashes, "manifest": _hash_of(hashes)}))
        for name in (*writers, MANIFEST):
            _flush(temporary / name)
        _flush(temporary)
        os.replace(temporary, target)  # noqa: PTH105  (the tests make each call of `os` fail in turn)
        _flush(target.parent)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def verify_folder(folder: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        DamagedFolderError: a file or the manifest is missing or differs.
    """
    for name, expected in manifest_files(folder).items():
        _verify_file(folder / name, expected)


def manifest_files(folder: Path) -> dict[str, str]:
    """Names and hashes of the files that a folder's manifest promises.

    Raises:
        DamagedFolderError: the manifest is missing, cannot be read, or was changed.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        hashes = dict(manifest["files"])
        if manifest["manifest"] != _hash_of(hashes):
            raise DamagedFolderError("its manifest was changed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFolderError(f"its manifest cannot be read: {error}") from error
    return hashes


def set_aside(folder: Path, why: str = "damaged") -> Path:
    """Rename a folder to a free `NAME.WHY`, `NAME.WHY-2`, ...; nothing is deleted. Returns the new path."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{why}{f'-{number}' if number > 1 else ''}")).exists():
        number += 1
    os.replace(folder, aside)  # noqa: PTH105
    return aside


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no half of it is left under its name."""
    doomed = folder.with_name(f"{TEMPORARY}{folder.name}-old")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(folder, doomed)  # noqa: PTH105
    shutil.rmtree(doomed)


def replace_folder(target: Path, new: Path) -> None:
    """Put a folder in the place of another one of the same parent, so that at every moment one of them is there whole.

    The two change names in one step where the system can do that (Linux, local file systems); elsewhere a process that
    dies between two steps leaves both beside their place.
    """
    if not _exchange(target, new):
        old = target.with_name(f"{TEMPORARY}{target.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)  # noqa: PTH105
        os.replace(new, target)  # noqa: PTH105
        new = old
    shutil.rmtree(new)


def _exchange(first: Path, second: Path) -> bool:
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    return bool(rename(here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(exchange)) == 0)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _verify_file(path: Path, expected: str) -> None:
    try:
        found = file_hash(path)
    except OSError as error:
        raise DamagedFolderError(f"{path.name} cannot be read: {error}") from error
    if found != expected:
        raise DamagedFolderError(f"{path.name} differs from its hash in the manifest")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
