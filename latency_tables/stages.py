"""Progress of a measurement: one fraction that never falls, and a text that says what is going on."""

from __future__ import annotations

from collections.abc import Callable

from latency_tables.key import Runtime
from latency_tables.repeats import OnLook

Progress = Callable[[float, str], None]
"""Told the finished fraction (0 to 1) and what is going on."""

_VERBS = {
    Runtime.EAGER: "preparing",
    Runtime.COMPILED: "compiling",
    Runtime.ONNXRUNTIME: "exporting",
    Runtime.CUDA_GRAPH: "recording",
}


class Stages:
    """Turns what the stages of a measurement tell into progress of the whole."""

    def __init__(self, progress: Progress, runtime: Runtime) -> None:
        self._progress, self._verb, self._fraction = progress, _VERBS[runtime], 0.0

    def prepare(self, what: str) -> None:
        """Say what is being prepared; the fraction stays, as nobody knows how long that takes."""
        self._progress(self._fraction, f"{self._verb} {what}")

    def measuring(self, start: float, end: float, text: str) -> OnLook:
        """What to tell a stage that goes from one fraction to another."""

        def on_look(share: float, num_done: int, num_rows: int) -> None:
            share = max(share, num_done / max(num_rows, 1))
            self._fraction = max(self._fraction, start + share * (end - start))
            self._progress(self._fraction, f"{text}: {num_done} of {num_rows} rows are precise enough")

        return on_look
