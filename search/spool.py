"""A durable queue in a file: what was appended survives the process, what was acknowledged is not read again."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger(__name__)


class Spool:
    """JSON lines in `path`; how far they were acknowledged, in bytes, beside it in `path` + `.offset`.

    One process may append while another reads. A line is flushed to the operating system at once, so it survives the
    end of the process, however it ends. Reading starts behind the last acknowledged line: an event is delivered at
    least once, and whoever applies events must be able to apply one twice. Nothing is written before the first event.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset_path = path.with_name(path.name + ".offset")
        self._lock = threading.Lock()
        self._is_prepared = False
        self._offset = self._read_offset()

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event of plain JSON values.

        Raises:
            OSError: it could not be written.
        """
        line = json.dumps(dict(event), separators=(",", ":"), allow_nan=False) + "\n"
        with self._lock:
            self._prepare()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)

    def read(self, limit: int = 500) -> tuple[list[dict[str, Any]], int]:
        """Up to `limit` events that were not acknowledged, and the offset that acknowledges them."""
        events: list[dict[str, Any]] = []
        offset = self._offset
        if self._size() <= offset:
            return events, offset
        with self._path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if len(events) == limit or not line.endswith(b"\n"):
                    break
                offset += len(line)
                events += self._parsed(line)
        return events, offset

    def acknowledge(self, offset: int) -> None:
        """Mark everything before `offset` as done, atomically."""
        temporary = self._offset_path.with_name(self._offset_path.name + ".new")
        temporary.write_text(str(offset), encoding="ascii")
        temporary.replace(self._offset_path)
        self._offset = offset

    @property
    def is_drained(self) -> bool:
        """Whether every event was acknowledged, by this process or by another one."""
        return self._read_offset() >= self._size()

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _parsed(self, line: bytes) -> list[dict[str, Any]]:
        try:
            return [json.loads(line)]
        except ValueError:
            LOGGER.warning("%s: a damaged line was skipped: %.80r", self._path, line)
            return []

    def _prepare(self) -> None:
        if not self._is_prepared:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._end_torn_line()
            self._is_prepared = True

    def _end_torn_line(self) -> None:
        """A process killed while writing leaves half a line; close it so that the next event stands by itself."""
        with self._path.open("ab+") as file:
            if file.tell() == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")

    def _read_offset(self) -> int:
        try:
            offset = int(self._offset_path.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0
        # A spool that was deleted or replaced is shorter than what was acknowledged: start it anew.
        return offset if 0 <= offset <= self._size() else 0
