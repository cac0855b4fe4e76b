"""How the workers of a trial find each other and part again, over `torch.distributed`: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from spvit.errors import ConfigError

JOIN_TIMEOUT = timedelta(minutes=2)
"""For all workers to find each other, once each of them is there and has imported torch."""
STEP_TIMEOUT = timedelta(minutes=30)
"""For one to wait for the others while training. Whoever dies is noticed at once; this is for who hangs."""
CONTACT = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|process ?group|tcpstore|timed out waiting",
    re.IGNORECASE,
)
PARTED = re.compile(r"process group has not been initialized")
"""What torch says, in a ValueError, to whoever goes on in a group that `abort` ended."""
ERROR_HANDLING = "TORCH_NCCL_ASYNC_ERROR_HANDLING"
"""By itself NCCL's watchdog ends the whole process when a neighbour is gone, before anybody could say why."""


class Backend(StrEnum):
    """How workers talk, by torch's names."""

    GLOO = "gloo"
    NCCL = "nccl"


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
        device: where it computes, which decides how they talk; a GPU becomes torch's current one.
        host: worker 0's own side.

    Raises:
        RuntimeError: not all came within `JOIN_TIMEOUT`.
        ConfigError: two workers compute on the same GPU.
    """
    store = host.store if host is not None else _store(meeting)
    backend = backend_for(device)
    gpu = _own_gpu(device, store, rank, meeting.world_size) if backend is Backend.NCCL else None
    dist.init_process_group(
        backend,
        store=store,
        rank=rank,
        world_size=meeting.world_size,
        timeout=JOIN_TIMEOUT,
        pg_options=_gloo_at(address) if gpu is None else None,
        device_id=gpu,  # else a barrier would guess
    )
    dist.barrier()
    dist.distributed_c10d._set_pg_timeout(STEP_TIMEOUT)


def backend_for(device: torch.device) -> Backend:
    """How workers talk that compute on such a device."""
    return Backend.NCCL if device.type == "cuda" else Backend.GLOO


def with_number(device: torch.device, current: int) -> torch.device:
    """The GPU that `cuda` means: a worker that was given one sees it alone, as number 0."""
    return torch.device(device.type, current) if device == torch.device(device.type) else device


def check_own_gpus(gpus: Sequence[str]) -> None:
    """Each worker needs a GPU of its own.

    Args:
        gpus: what names each worker's, by rank.

    Raises:
        ConfigError: two have the same.
    """
    for rank, gpu in enumerate(gpus):
        if gpu in gpus[:rank]:
            raise ConfigError(
                f"workers {gpus.index(gpu)} and {rank} of a trial compute on the same GPU, which NCCL refuses: set "
                f'trial.resources_per_worker.gpus = 1, or training.device = "cpu".'
            )


def leave() -> None:
    """Part from the others. Nothing happens where there is no group. No worker may wait for this one any more.

    With NCCL workers of one machine wait here for each other, so all have to leave at the same time.
    """
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
    if type(error) is ValueError:
        return PARTED.search(str(error)) is not None
    return type(error) in {RuntimeError, ConnectionError} and CONTACT.search(str(error)) is not None


def _store(meeting: Meeting) -> TCPStore:
    return TCPStore(
        meeting.address, meeting.port, meeting.world_size, is_master=False, timeout=JOIN_TIMEOUT, wait_for_workers=False
    )


def _own_gpu(device: torch.device, store: Any, rank: int, world_size: int) -> torch.device:
    """This worker's GPU, made the current one, after all have told each other which theirs are."""
    os.environ.setdefault(ERROR_HANDLING, "0")
    gpu = with_number(device, torch.cuda.current_device())
    torch.cuda.set_device(gpu)
    store.set(f"gpu/{rank}", str(torch.cuda.get_device_properties(gpu).uuid))
    check_own_gpus([store.get(f"gpu/{other}").decode() for other in range(world_size)])
    return gpu


def _gloo_at(address: str) -> Any:
    """Gloo listens where it is told; by itself it takes what the machine's name stands for, which may be no address."""
    options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = JOIN_TIMEOUT
    return options
