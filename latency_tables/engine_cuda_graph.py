"""CUDA graphs as an engine: the kernels of a call are recorded once and launched together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latency_tables.clock import Work
from latency_tables.engine import Engine, Inputs, Model, in_turn

_NUM_WARM_UPS = 3


class CudaGraphEngine(Engine):
    """Eager PyTorch without the time that the CPU takes to launch kernels, which at small batches is most of it.

    All graphs of an engine work in the same memory, one after the other: a table records a block at every eighth number
    of tokens, and with memory for each that took tens of GB. So an output holds until the next call of any of them.
    """

    def __init__(self) -> None:
        """Records nothing yet."""
        self._pool: Any = None

    def work(self, modules: Sequence[nn.Module], inputs: Inputs, *, any_num_tokens: bool = False) -> Work:
        """See `Engine.work`; records now."""
        del any_num_tokens
        return in_turn([self._record(module, inputs, keeps_output=False) for module in modules])

    def model(self, model: nn.Module, example: Tensor) -> Model:
        """See `Engine.model`; records now. A call copies its images to where the graph reads them."""
        images = example.clone()
        recording = self._record(model, (images,), keeps_output=True)

        def run(new_images: Tensor) -> object:
            images.copy_(new_images)
            return recording()

        return run

    def _record(self, module: nn.Module, inputs: Inputs, *, keeps_output: bool) -> _Recording:
        with torch.cuda.device(inputs[0].device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            _warm_up(module, inputs)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                output = module(*inputs)
        return _Recording(graph, module, inputs, output if keeps_output else None)


@dataclass(frozen=True, eq=False)
class _Recording:
    """A graph, and all that it reads: it knows addresses only, so nothing of it may be freed.

    Its output may be, where nobody reads it: graphs with one pool then write to the same place.
    """

    graph: torch.cuda.CUDAGraph
    module: nn.Module
    inputs: Inputs
    output: object

    def __call__(self) -> object:
        self.graph.replay()
        return self.output


def _warm_up(module: nn.Module, inputs: Inputs) -> None:
    """Libraries set themselves up at first calls, which cannot be recorded; beside the main stream, as torch asks."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_NUM_WARM_UPS):
            module(*inputs)
    torch.cuda.current_stream().wait_stream(side)
