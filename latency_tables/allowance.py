"""The time that measuring may take, with what only prepares it counted by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Allowance:
    """Wall time from its making on, without the time spent in `preparing`."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.preparation_s = 0.0
        self._started = time.perf_counter()

    @property
    def spent_s(self) -> float:
        """Seconds of measuring so far."""
        return time.perf_counter() - self._started - self.preparation_s

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Compiling and exporting, which no limit on measuring can shorten."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.preparation_s += time.perf_counter() - started
