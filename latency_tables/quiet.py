"""A process as steady as it can be made while something is timed, and how busy the machine around it is."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latency_tables.device import usable_cores
from spvit.errors import ConfigError

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
# Never trim, grow in large steps, and never map a large block by itself (it would be unmapped when freed).
_HEAP_OPTIONS = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1, _M_TOP_PAD: 64 * 2**20}


@contextmanager
def steady_process(num_threads: int, cores: Set[int] | None = None) -> Iterator[None]:
    """Inference mode, a fixed number of torch threads, no garbage collection, and optionally pinned to `cores`.

    Everything is put back afterwards, but for the allocator: see `keep_heap`.
    """
    import torch

    keep_heap()
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


def keep_heap() -> bool:
    """Let glibc keep freed memory for this process instead of returning it to the system after every large tensor.

    By default it returns the top of the heap as soon as a few hundred KiB are free, and every forward pass faults the
    same pages in again: 2 million faults and 32 to 36 ms for a batch of 64 on the demo's dense model, against nine
    thousand and 29 to 30 ms with the heap kept; the time of a pruned model relative to it moved between .74 and .84
    from run to run, and stays at .85 (+- .005) with it. Servers get the same from jemalloc or tcmalloc.

    Returns:
        Whether the allocator took the settings: only glibc's does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    taken = [mallopt(option, value) for option, value in _HEAP_OPTIONS.items()]
    return all(taken)


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


def pinned_cores(cores: Set[int] | None) -> tuple[int, ...]:
    """The cores that `pinned` pins to: none where it is told none, or where the system cannot do so."""
    return tuple(sorted(cores)) if cores is not None and hasattr(os, "sched_setaffinity") else ()


def check_threads(num_threads: int) -> None:
    """Refuses more threads than there are cores: they would be timed waiting for each other.

    Raises:
        ConfigError: says how many cores are usable.
    """
    if num_threads > usable_cores():
        raise ConfigError(
            f"latency.num_threads = {num_threads} was set, but this process may use {usable_cores()} core(s). Set "
            "latency.num_threads to at most that, or measure on a machine (or with an affinity mask) of more cores."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Business:
    """How busy the machine is."""

    load_average: float
    cpu_pressure_percent: float | None


def business() -> Business:
    """How busy the machine is now."""
    return Business(load_average=load_average(), cpu_pressure_percent=cpu_pressure_percent())


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
