"""The processes that train one model together. A group of one is the same class and does nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from spvit.decision import straight_through
from spvit.errors import ConfigError
from spvit.gpu import check_gpu


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerGroup:
    """This process's place among `world_size` processes.

    For more than one the caller has initialised `torch.distributed` (gloo or nccl) in each of them.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"A worker's rank must lie in [0, {self.world_size}), but got {self.rank}.")
        if self.world_size > 1 and not dist.is_initialized():
            raise ValueError(f"A group of {self.world_size} needs torch.distributed.init_process_group first.")

    @classmethod
    def single(cls) -> WorkerGroup:
        """The group of one."""
        return cls()

    @classmethod
    def current(cls) -> WorkerGroup:
        """The group that `torch.distributed` was initialised with; of one where it was not."""
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(rank=dist.get_rank(), world_size=dist.get_world_size())

    @property
    def is_main(self) -> bool:
        """Whether this worker writes and reports."""
        return self.rank == 0

    def share_of_batch(self, batch_size: int) -> int:
        """Images of a step that fall to each worker.

        Raises:
            ConfigError: they cannot be shared equally: then the mean of the workers' losses is not the batch's.
        """
        if batch_size % self.world_size:
            raise ConfigError(
                f"training.batch_size = {batch_size} images are shared equally by {self.world_size} workers: make it a "
                f"multiple of {self.world_size}, or change trial.workers."
            )
        return batch_size // self.world_size

    def from_main(self, state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """What the main worker holds, in every worker: tensors and plain values, or None. Others' own is not looked at.

        What is sent is read as data: whoever else reached this group's ports could not have code run by it.
        """
        if self.world_size == 1:
            return state
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        content = _packed(state) if self.is_main else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor(len(content), device=device)
        dist.broadcast(size, src=0)
        content = content.to(device) if self.is_main else torch.empty(int(size), dtype=torch.uint8, device=device)
        dist.broadcast(content, src=0)
        return state if self.is_main else _unpacked(content)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum over workers; the argument is left as it is."""
        if self.world_size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def all_reduce_mean(self, tensor: Tensor) -> Tensor:
        """Mean over workers; the argument is left as it is."""
        return self.all_reduce_sum(tensor) / self.world_size if self.world_size > 1 else tensor

    def share_of_mean(self, tensor: Tensor) -> Tensor:
        """Mean over workers with the gradient of this worker's own share.

        Wrapped modules average gradients over workers: the others' shares come in there, so that a function of this
        mean gets the gradient that a single process with all images would compute.
        """
        if self.world_size == 1:
            return tensor
        return straight_through(self.all_reduce_mean(tensor.detach()), tensor)

    def alone(self, module: nn.Module, *, wanted: bool = True) -> AbstractContextManager[None]:
        """While it lasts, a wrapped module's gradients stay with this worker, to be averaged with the next ones."""
        if wanted and isinstance(module, nn.parallel.DistributedDataParallel):
            return module.no_sync()
        return nullcontext()

    def barrier(self) -> None:
        """Wait for each other."""
        if self.world_size > 1:
            dist.barrier()

    def wrap(self, module: nn.Module, *, leaves_some_unused: bool = False) -> nn.Module:
        """The module with its gradients averaged over workers. Wrap anew after freezing or unfreezing parameters.

        `leaves_some_unused` where a step may use a part of the parameters only, the same part on every worker.
        """
        if self.world_size == 1 or not any(p.requires_grad for p in module.parameters()):
            return module
        device = next(module.parameters()).device
        return nn.parallel.DistributedDataParallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=leaves_some_unused,
        )


def _packed(state: Mapping[str, Any] | None) -> Tensor:
    buffer = io.BytesIO()
    torch.save({"state": None if state is None else dict(state)}, buffer)
    return torch.frombuffer(bytearray(buffer.getbuffer()), dtype=torch.uint8)


def _unpacked(content: Tensor) -> Mapping[str, Any] | None:
    buffer = io.BytesIO(content.cpu().numpy().tobytes())
    state: Mapping[str, Any] | None = torch.load(buffer, map_location="cpu", weights_only=True)["state"]
    return state


def resolve_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one.

    Raises:
        ConfigError: there is no such GPU.
    """
    check_gpu(name, key="training.device")
    return torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
