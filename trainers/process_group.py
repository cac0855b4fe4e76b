"""How the workers of a trial find each other and part again, over `torch.distributed`: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

JOIN_TIMEOUT = timedelta(minutes=2)
"""For all workers to find each other, once each of them is there and has imported torch."""
STEP_TIMEOUT = timedelta(minutes=30)
"""For one to wait for the others while training. Whoever dies is noticed at once; this is for who hangs."""
CONTACT = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|process ?group|tcpstore|timed out waiting",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """Where the workers of one trial meet."""

    address: str
    port: int
    world_size: int


class Host:
    """Worker 0's side of a meeting: it listens, at its own address only, at a port that the system finds free."""

    def __init__(self, address: str, world_size: int) -> None:
        listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.meeting = Meeting(address=address, port=listener.getsockname()[1], world_size=world_size)
        self.store = TCPStore(
            address,
            self.meeting.port,
            world_size,
            is_master=True,
            timeout=JOIN_TIMEOUT,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),  # torch would bind to every address of the machine
        )


def join(meeting: Meeting, rank: int, *, address: str, device: torch.device, host: Host | None = None) -> None:
    """Become one of the workers that train together; returns when all have.

    Args:
        meeting: where.
        rank: this worker's number.
        address: of this worker's machine, by which the others reach it.
        device: where it computes, which decides how they talk.
        host: worker 0's own side.

    Raises:
        RuntimeError: not all came within `JOIN_TIMEOUT`.
    """
    store = host.store if host is not None else _store(meeting)
    on_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=meeting.world_size,
        timeout=JOIN_TIMEOUT,
        pg_options=None if on_gpu else _gloo_at(address),
    )
    dist.barrier()
    dist.distributed_c10d._set_pg_timeout(STEP_TIMEOUT)


def leave() -> None:
    """Part from the others. Nothing happens where there is no group. No worker may wait for this one any more."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def abort() -> None:
    """Make this process stop waiting for others, from any thread.

    With gloo it stops by itself when the connection to a dead process is closed, and nothing else would make it.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()


def is_loss_of_contact(error: BaseException) -> bool:
    """Whether an error only tells that another worker is gone, and not why. Torch has no class for most of these."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) in {RuntimeError, ConnectionError} and CONTACT.search(str(error)) is not None


def _store(meeting: Meeting) -> TCPStore:
    return TCPStore(
        meeting.address, meeting.port, meeting.world_size, is_master=False, timeout=JOIN_TIMEOUT, wait_for_workers=False
    )


def _gloo_at(address: str) -> Any:
    """Gloo listens where it is told; by itself it takes what the machine's name stands for, which may be no address."""
    options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = JOIN_TIMEOUT
    return options
