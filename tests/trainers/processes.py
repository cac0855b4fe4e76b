"""Several processes for one test. They are started afresh: a fork of a process whose torch has threads can hang."""

from __future__ import annotations

import importlib.util
import inspect
import socket
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp


def run_together(work: Callable[..., None], *args: Any, num_processes: int = 2) -> None:
    """Call `work(rank, port, *args)` in each of the processes; `port` is one for them to meet at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(
        _call,
        args=(inspect.getfile(work), work.__name__, (port, *args)),
        nprocs=num_processes,
        start_method="spawn",
    )


def _call(rank: int, path: str, name: str, args: tuple[Any, ...]) -> None:
    """Test modules have no importable name, so they are loaded by their path."""
    spec = importlib.util.spec_from_file_location("test_module_of_a_process", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name)(rank, *args)
