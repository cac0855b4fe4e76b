"""Several processes for one test. They are started afresh: a fork of a process whose torch has threads can hang."""

from __future__ import annotations

import faulthandler
import importlib.util
import inspect
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from trainers.process_group import Host, Meeting, join, leave
from trainers.workers import WorkerGroup

LIMIT_S = 200.0
"""Beside everything else that runs, two processes took 12 s; a test may take 600."""
ADDRESS = "127.0.0.1"


def run_together(work: Callable[..., None], *args: Any, num_processes: int = 2) -> None:
    """Call `work(rank, *args)` in each of the processes."""
    _run(_call, work, args, num_processes)


def run_as_group(work: Callable[..., None], *args: Any, num_processes: int = 2) -> None:
    """Call `work(group, *args)` in each of the processes, which have met as the workers of a trial do."""
    with TemporaryDirectory() as folder:
        _run(_call_in_group, work, (folder, num_processes, *args), num_processes)


def meet(rank: int, folder: Path, name: str, num_workers: int = 2) -> None:
    """The first worker says in a file where it listens."""
    path = folder / name
    device = torch.device("cpu")
    if rank == 0:
        host = Host(ADDRESS, num_workers)
        path.with_suffix(".new").write_text(str(host.meeting.port))
        path.with_suffix(".new").replace(path)
        join(host.meeting, 0, address=ADDRESS, device=device, host=host)
        return
    while not path.exists():
        time.sleep(0.01)
    meeting = Meeting(address=ADDRESS, port=int(path.read_text()), world_size=num_workers)
    join(meeting, rank, address=ADDRESS, device=device)


def _run(call: Callable[..., None], work: Callable[..., None], args: tuple[Any, ...], num_processes: int) -> None:
    """Whoever hangs says where, and ends: a test run waits at its end for every process that does not."""
    where = (inspect.getfile(work), work.__name__, args)
    context = mp.start_processes(call, where, num_processes, join=False, daemon=True, start_method="spawn")
    assert context is not None
    ends = time.monotonic() + LIMIT_S
    while not context.join(timeout=1.0):
        if time.monotonic() > ends:
            _kill(context)
            pytest.fail(f"{work.__name__} of {where[0]} was not through in {LIMIT_S:.0f} s; see where in stderr")


def _kill(context: mp.ProcessContext) -> None:
    for process in context.processes:
        if process.is_alive():
            process.terminate()  # see _function
            process.join(timeout=5.0)
            process.kill()


def _call(rank: int, path: str, name: str, args: tuple[Any, ...]) -> None:
    _function(path, name)(rank, *args)


def _call_in_group(rank: int, path: str, name: str, args: tuple[Any, ...]) -> None:
    folder, num_workers, *rest = args
    work = _function(path, name)
    meet(rank, Path(folder), "meeting", num_workers)
    work(WorkerGroup.current(), *rest)
    dist.barrier()
    leave()


def _function(path: str, name: str) -> Callable[..., None]:
    """Test modules have no importable name, so they are loaded by their path."""
    faulthandler.register(signal.SIGTERM, file=sys.__stderr__, chain=True)
    spec = importlib.util.spec_from_file_location("test_module_of_a_process", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., None] = getattr(module, name)
    return function
