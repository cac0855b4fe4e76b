"""Under which load a table was measured, and how well that went."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

_LEAST_SHARE_PRECISE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How busy the machine was: the first thing to look at when two tables differ.

    Attributes:
        created_at: when it was measured.
        load_average: runnable tasks of the last minute before measuring.
        cpu_pressure_percent: share of time that a runnable task waited for a CPU before measuring (Linux PSI, 10 s
            average), absent where the kernel does not tell.
        reference_spread_percent: (p95 - p5) / median of the reference's samples.
        load_average_after: the same as `load_average` at the end; the measurement itself is one of the tasks.
        cpu_pressure_percent_after: the same as `cpu_pressure_percent` at the end.
        usable_cores: cores that the process was allowed to run on; absent in imported tables.
        pinned_cores: the cores that it was pinned to; none where it was free to move among the usable ones.
        preparation_s: seconds of compiling and exporting, which no limit on measuring counts.
        num_rows: parts that were timed; absent where nothing was measured.
        num_precise_rows: how many of them reached the precision that was asked for before the time was up.
    """

    created_at: datetime
    load_average: float
    cpu_pressure_percent: float | None
    reference_spread_percent: float
    load_average_after: float | None = None
    cpu_pressure_percent_after: float | None = None
    usable_cores: int | None = None
    pinned_cores: tuple[int, ...] = ()
    preparation_s: float = 0.0
    num_rows: int | None = None
    num_precise_rows: int | None = None

    def __post_init__(self) -> None:
        if self.created_at.utcoffset() is None:
            raise ValueError(f"created_at needs a time zone, but got {self.created_at}.")
        numbers = (
            self.load_average,
            self.cpu_pressure_percent or 0.0,
            self.reference_spread_percent,
            self.load_average_after or 0.0,
            self.cpu_pressure_percent_after or 0.0,
            self.preparation_s,
        )
        if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
            raise ValueError(f"Load, pressure, spread and time must be finite and at least 0, but got {numbers}.")
        if self.usable_cores is not None and self.usable_cores < 1:
            raise ValueError(f"At least one core must be usable, but got {self.usable_cores}.")
        if (self.num_rows is None) != (self.num_precise_rows is None):
            raise ValueError(f"num_rows and num_precise_rows belong together, but got {self}.")
        if self.num_rows is not None and not 0 <= (self.num_precise_rows or 0) <= self.num_rows:
            raise ValueError(f"At most all rows can be precise, but got {self.num_precise_rows} of {self.num_rows}.")

    def warnings(self, num_threads: int, num_cores: int) -> tuple[str, ...]:
        """Sentences about conditions under which so many threads cannot be timed well, or not for long enough.

        Args:
            num_threads: CPU threads that were timed.
            num_cores: of the whole machine, on which other programs run too.
        """
        return (*self._busy_warnings(num_threads, num_cores), *self._precision_warnings())

    def _busy_warnings(self, num_threads: int, num_cores: int) -> Iterator[str]:
        if self.usable_cores is None:
            return
        # The load is that of all cores: other programs may keep to those that this process may not use.
        num_free = max(0, min(self.usable_cores, num_cores - round(self.load_average)))
        if num_threads > num_free:
            yield (
                f"{num_threads} thread(s) were timed while other programs (load average {self.load_average:.1f}) left "
                f"about {num_free} of {self.usable_cores} usable core(s) free; measure again while less else runs."
            )

    def _precision_warnings(self) -> Iterator[str]:
        if self.num_rows is None or self.num_precise_rows is None:
            return
        if self.num_precise_rows < _LEAST_SHARE_PRECISE * self.num_rows:
            yield (
                f"Only {self.num_precise_rows} of {self.num_rows} rows became as precise as they should be before the "
                "time was up; measure again with a higher latency.time_limit_s, or while less else is running."
            )
