"""What executes a model: an engine turns modules and their inputs into calls that can be timed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle

import torch
from torch import Tensor, nn

from latency_tables.clock import Work
from latency_tables.key import Runtime

Inputs = tuple[Tensor, ...]
Model = Callable[[Tensor], object]


class Engine(ABC):
    """One way of running modules. Compiling and exporting happens here, so that no timed call does either."""

    def check(self, device: torch.device) -> None:  # noqa: B027 - most engines run wherever they can be made
        """Find out whether models can be made ready on a device, before anything else is done.

        Raises:
            ConfigError: they cannot.
        """

    def adopt(self, backbone: nn.Module) -> None:  # noqa: B027 - most engines leave a backbone as it is
        """Make a backbone ready in place, before any of its parts is asked for.

        Raises:
            ConfigError: this machine cannot do so.
        """

    @abstractmethod
    def work(self, modules: Sequence[nn.Module], inputs: Inputs, *, any_num_tokens: bool = False) -> Work:
        """A call that runs one of these alike modules on the inputs, the next one each time.

        Args:
            modules: of one kind, with weights of their own.
            inputs: tensors that they are called with.
            any_num_tokens: the input is one (B, N, C), and the same modules will be asked for at other N.

        Raises:
            ConfigError: this engine cannot run such a module.
        """

    @abstractmethod
    def model(self, model: nn.Module, example: Tensor) -> Model:
        """A complete model as a function of images of the example's shape (B, C, H, W).

        Raises:
            ConfigError: this engine cannot run such a model.
        """


class EagerEngine(Engine):
    """PyTorch as it is."""

    def work(self, modules: Sequence[nn.Module], inputs: Inputs, *, any_num_tokens: bool = False) -> Work:
        """See `Engine.work`."""
        del any_num_tokens
        return in_turn([partial(module, *inputs) for module in modules])

    def model(self, model: nn.Module, example: Tensor) -> Model:
        """See `Engine.model`."""
        del example
        return model


def in_turn(calls: Iterable[Work]) -> Work:
    """Makes one of these calls, the next one each time."""
    turns = cycle(calls)

    def call() -> object:
        return next(turns)()

    return call


def engine_for(runtime: Runtime | str, *, num_threads: int = 1) -> Engine:
    """The engine of a runtime; CPU engines with threads of their own take `num_threads`.

    Raises:
        ConfigError: a package that it needs is not installed.
    """
    match Runtime(runtime):
        case Runtime.EAGER:
            return EagerEngine()
        case Runtime.COMPILED:
            from latency_tables.engine_compiled import CompiledEngine

            return CompiledEngine()
        case Runtime.ONNXRUNTIME:
            from latency_tables.engine_onnx import OnnxEngine

            return OnnxEngine(num_threads=num_threads)
        case Runtime.CUDA_GRAPH:
            from latency_tables.engine_cuda_graph import CudaGraphEngine

            return CudaGraphEngine()


def on(model: Model, images: Tensor) -> Work:
    """The call of a complete model on these images."""
    return partial(model, images)
