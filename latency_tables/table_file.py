"""Latency tables as JSON files: written whole or not at all, read with every field checked."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latency_tables.fields import Fields
from latency_tables.table import LatencyTable
from latency_tables.table_document import content_sha256, parse, to_document
from spvit.errors import LatencyTableError, StorageError

_REMEDY = "Measure the table again with `spvit-search profile EXPERIMENT`."


def write_table(table: LatencyTable, path: Path) -> None:
    """Writes to a temporary file beside `path`, flushes it to the disk and renames it.

    Raises:
        StorageError: the folder or the file cannot be written.
    """
    document = to_document(table)
    text = json.dumps({"sha256": content_sha256(document), **document}, indent=2) + "\n"
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace_file(path, text)


def check_can_write(path: Path) -> None:
    """Refuses a place for a table before minutes of measuring it; makes its folder.

    Raises:
        StorageError: the folder cannot be made or written.
    """
    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(
            f"Cannot write the latency table {path}: {reason}. Choose a folder that can be written and has space left."
        ) from error


def _replace_file(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is only durable once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_table(path: Path) -> LatencyTable:
    """Reads and checks a table.

    Raises:
        LatencyTableError: see `LatencyTable.load`.
    """
    try:
        return parse(_document(path))
    except LatencyTableError as error:
        raise LatencyTableError(f"Latency table {path}: {error} {_REMEDY}") from error


def _document(path: Path) -> Fields:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise LatencyTableError("there is no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LatencyTableError(f"it cannot be read ({error}).") from error
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        if path.suffix == ".toml":
            raise LatencyTableError("it is an experiment file; a latency table (.json) was required.") from error
        raise LatencyTableError(f"it is not JSON ({error}).") from error
    return Fields(document, "the file")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LatencyTableError(f"the keys {', '.join(twice)} appear twice in one object.")
    return dict(pairs)
