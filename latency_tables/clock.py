"""Clocks that fit what they time: CPU time of one thread, wall time of several, events of a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

Work = Callable[[], object]


class Clock(Protocol):
    """Times calls."""

    def seconds(self, work: Work, num_calls: int) -> float:
        """Seconds that `num_calls` calls take together."""


class ThreadCpuClock:
    """CPU time of this thread: blind to the time that other programs hold the core."""

    def seconds(self, work: Work, num_calls: int) -> float:
        """Seconds that `num_calls` calls take together."""
        start = time.thread_time()
        for _ in range(num_calls):
            work()
        return time.thread_time() - start


class WallClock:
    """Elapsed time, the only one that counts work in several threads as a user feels it."""

    def seconds(self, work: Work, num_calls: int) -> float:
        """Seconds that `num_calls` calls take together."""
        start = time.perf_counter()
        for _ in range(num_calls):
            work()
        return time.perf_counter() - start


class CudaClock:
    """Time between two events on a GPU's stream, after it ran empty."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = torch.device(device)

    def seconds(self, work: Work, num_calls: int) -> float:
        """Seconds that `num_calls` calls take together."""
        import torch

        with torch.cuda.device(self._device):
            start: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            start.record()
            for _ in range(num_calls):
                work()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end)) / 1000.0


def clock_for(device: str, num_threads: int) -> Clock:
    """The clock for a torch device and a number of CPU threads."""
    if device.startswith("cuda"):
        return CudaClock(device)
    return ThreadCpuClock() if num_threads == 1 else WallClock()
