"""A process as steady as it can be made while something is timed, and how busy the machine around it is."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def steady_process(num_threads: int, cores: Set[int] | None = None) -> Iterator[None]:
    """Inference mode, a fixed number of torch threads, no garbage collection, and optionally pinned to `cores`.

    Everything is put back afterwards.
    """
    import torch

    threads_before, collected = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(num_threads)
    gc.disable()
    try:
        with pinned(cores), torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads_before)
        if collected:
            gc.enable()


@contextmanager
def pinned(cores: Set[int] | None) -> Iterator[None]:
    """This thread on these cores only, where the system can do so; None leaves it free."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def load_average() -> float:
    """Runnable tasks of the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cpu_pressure_percent() -> float | None:
    """Share of the last ten seconds in which some task waited for a CPU (Linux PSI), if the kernel tells."""
    try:
        first = Path("/proc/pressure/cpu").read_text(encoding="utf-8").split()
    except OSError:
        return None
    return next((float(word.removeprefix("avg10=")) for word in first if word.startswith("avg10=")), None)
