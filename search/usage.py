"""What a search has used so far: wall time and GPU time, over all of its sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Seconds in which the search was running, and GPU-seconds that its trials held."""

    wall_s: float = 0.0
    gpu_s: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.wall_s < float("inf") and 0.0 <= self.gpu_s < float("inf")):
            raise ValueError(f"Used time must be finite and not negative, but got {self}.")

    @property
    def gpu_hours(self) -> float:
        """GPU time in hours."""
        return self.gpu_s / 3600.0


class UsageMeter:
    """Adds a session's time to what was used before it.

    Args:
        before: what earlier sessions used.
        gpus_per_trial: GPUs that a running trial holds, whether it uses them or waits.
        clock: seconds; only differences count. A simulation gives its own.
    """

    def __init__(self, before: Usage, *, gpus_per_trial: float, clock: Callable[[], float]) -> None:
        self._usage, self._gpus_per_trial, self._clock = before, gpus_per_trial, clock
        self._last_s = clock()

    def advance(self, num_running: int) -> Usage:
        """Counts the time since the last call, in which so many trials were running."""
        now_s = self._clock()
        passed_s, self._last_s = max(0.0, now_s - self._last_s), now_s
        self._usage = Usage(
            wall_s=self._usage.wall_s + passed_s,
            gpu_s=self._usage.gpu_s + passed_s * num_running * self._gpus_per_trial,
        )
        return self._usage
