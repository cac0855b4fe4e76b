"""A durable queue in a file: what was appended survives the process, what was acknowledged is not read again."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger(__name__)
DRIVER = "driver"
BY_DRIVER = re.compile(rb'\{"driver":(\d+)[,}]')
"""How a line begins that a driver with a token wrote."""


class Spool:
    """JSON lines in `path`; how far they were acknowledged, in bytes, beside it in `path` + `.offset`.

    One process may append while another reads. A line is flushed to the operating system at once, so it survives the
    end of the process, however it ends. Reading starts behind the last acknowledged line: an event is delivered at
    least once, and whoever applies events must be able to apply one twice. Nothing is written before the first event.

    Drivers that follow each other append to the same file, each with a higher token than the one before. A line behind
    one of a later driver was written by a driver that had been taken over from: it is left out when it is read, where
    the order of the lines is settled; a check before it is written would come too early for a driver that is paused
    right behind it.

    Args:
        path: of the file.
        driver: the token of whose queue this is. What it appends carries it, and what a later driver appended it does
            not read. Without (0) everything is read, and what is appended is never left out.
    """

    def __init__(self, path: Path, *, driver: int = 0) -> None:
        self._path, self._driver = path, driver
        self._offset_path = path.with_name(path.name + ".offset")
        self._lock = threading.Lock()
        self._is_prepared = False
        self._offset = self._read_offset()
        self._looked_through = (0, 0)
        self._has_told_late = False
        self.is_taken_over = False
        """Whether reading came to a line of a later driver."""

    def append(self, event: Mapping[str, Any]) -> None:
        """Add an event of plain JSON values, which may not have a key `driver`.

        Raises:
            OSError: it could not be written.
        """
        values = {DRIVER: self._driver, **event} if self._driver else dict(event)
        line = json.dumps(values, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self._lock:
            self._prepare()
            with self._path.open("ab", buffering=0) as file:
                self._is_prepared = False  # until all of it is there
                if file.write(line) != len(line):
                    raise OSError(f"{self._path}: an event was written in part; the disk may be full")
                self._is_prepared = True

    def read(self, limit: int = 500) -> tuple[list[dict[str, Any]], int]:
        """Up to `limit` events that were not acknowledged, and the offset that acknowledges them."""
        events: list[dict[str, Any]] = []
        offset = self._offset
        if self._size() <= offset:
            return events, offset
        highest = self._highest_before(offset)
        with self._path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if len(events) == limit or not line.endswith(b"\n"):
                    break
                driver = _driver_of(line)
                if driver and 0 < self._driver < driver:
                    self.is_taken_over = True
                    break
                offset += len(line)
                events += self._parsed(line, is_late=0 < driver < highest)
                highest = max(highest, driver)
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

    def _highest_before(self, offset: int) -> int:
        """The highest token of the lines before an offset, which only grows; no line is looked at twice."""
        begin, highest = self._looked_through
        with self._path.open("rb") as file:
            file.seek(begin)
            for line in file:
                if begin >= offset:
                    break
                begin += len(line)
                highest = max(highest, _driver_of(line))
        self._looked_through = begin, highest
        return highest

    def _parsed(self, line: bytes, *, is_late: bool) -> list[dict[str, Any]]:
        if is_late:
            self._tell_late()
            return []
        try:
            event = json.loads(line)
        except ValueError:
            LOGGER.warning("%s: a damaged line was skipped: %.80r", self._path, line)
            return []
        if _driver_of(line):
            del event[DRIVER]
        return [event]

    def _tell_late(self) -> None:
        if not self._has_told_late:
            LOGGER.warning("%s: what a driver wrote after it had been taken over from was left out", self._path)
        self._has_told_late = True

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


def _driver_of(line: bytes) -> int:
    """The token of the driver that wrote a line; 0 of none."""
    found = BY_DRIVER.match(line)
    return int(found[1]) if found else 0
