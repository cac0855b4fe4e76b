"""onnxruntime as an engine: modules are exported to ONNX in memory and run by its CPU provider."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from latency_tables.clock import Work
from latency_tables.engine import Engine, Inputs, Model, in_turn
from spvit.errors import ConfigError
from spvit.onnx_packages import require_onnx
from spvit.wording import first_line

_MAX_TOKENS = 1 << 16


class OnnxEngine(Engine):
    """Float32 on the CPU. Modules that are alike are exported once, and each gets a session with weights of its own.

    One export serves any number of tokens: a free axis costs nothing (1.00 times a fixed one, DeiT-S, 66 tokens).
    """

    def __init__(self, *, num_threads: int = 1) -> None:
        """Raises ConfigError where the packages are not installed."""
        check_onnxruntime()
        self._num_threads = num_threads
        # By the identity of the first module; modules are kept, so that an identity is not given out again.
        self._sessions: dict[int, tuple[Sequence[nn.Module], list[Any]]] = {}

    def work(self, modules: Sequence[nn.Module], inputs: Inputs, *, any_num_tokens: bool = False) -> Work:
        """See `Engine.work`; exports now, unless it did so at another number of tokens."""
        sessions = self._shared(modules, inputs) if any_num_tokens else self._new(modules, inputs)
        arrays = [x.numpy() for x in inputs]
        return in_turn([_call(session, arrays) for session in sessions])

    def model(self, model: nn.Module, example: Tensor) -> Model:
        """See `Engine.model`; exports now."""
        session = onnx_session(_exported(model, (example,)), num_threads=self._num_threads)
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images.numpy()})

    def _shared(self, modules: Sequence[nn.Module], inputs: Inputs) -> list[Any]:
        if id(modules[0]) not in self._sessions:
            sessions = self._new(modules, inputs, free_axis=True)
            self._sessions[id(modules[0])] = (modules, sessions)
        return self._sessions[id(modules[0])][1]

    def _new(self, modules: Sequence[nn.Module], inputs: Inputs, *, free_axis: bool = False) -> list[Any]:
        exported = _exported(modules[0], inputs, free_axis=free_axis)
        return [onnx_session(exported, num_threads=self._num_threads) for _ in modules]


def onnx_session(exported: bytes, *, num_threads: int) -> Any:
    """An ONNX file as a session of onnxruntime's CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Threads that spin between two calls would take the cores from what is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])


def check_onnxruntime() -> None:
    """Import what is needed to export and to run.

    Raises:
        ConfigError: a package is missing; says how to install it.
    """
    require_onnx(
        'latency.runtime = "onnxruntime" was set, but the package {package} is not installed',
        otherwise='set latency.runtime = "eager"',
    )


def _call(session: Any, arrays: Sequence[Any]) -> Callable[[], object]:
    feed = {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
    return lambda: session.run(None, feed)


def _exported(module: nn.Module, inputs: Inputs, *, free_axis: bool = False) -> bytes:
    """The module as an ONNX file; a free axis is the second one of its only input."""
    # Tensors made in inference mode cannot be traced.
    with torch.inference_mode(mode=False), torch.no_grad(), _silence():
        arguments = tuple(x.clone() for x in inputs)
        shapes = None
        if free_axis:
            shapes = ({1: torch.export.Dim("tokens", min=1, max=_MAX_TOKENS)},)
            arguments = tuple(x.repeat(1, 2, 1) for x in arguments)  # an axis of length 1 would be taken for fixed
        try:
            program = torch.onnx.export(module, arguments, dynamo=True, verbose=False, dynamic_shapes=shapes)
        except torch.onnx.OnnxExporterError as error:
            raise ConfigError(
                f'latency.runtime = "onnxruntime" was set, but {type(module).__name__} cannot be exported to ONNX: '
                f'{first_line(error.__cause__ or error)}. Set latency.runtime = "eager".'
            ) from error
    content: bytes = program.model_proto.SerializeToString()  # type: ignore[union-attr]
    return content


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter tells of every operator that it leaves unfolded, and of its own deprecated calls."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
