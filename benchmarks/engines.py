"""Ways of running a model: the runtimes that the program has, and in bfloat16, compiled or not, and in int8."""

from __future__ import annotations

import copy
import importlib.util
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latency_tables.engine import engine_for
from latency_tables.key import Runtime
from latency_tables.quiet import steady_process

Run = Callable[[Tensor], Any]
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class Engine(StrEnum):
    """EAGER, COMPILED and ONNX are the program's runtimes; int8 quantises weights ahead, activations as they come."""

    EAGER = "eager"
    COMPILED = "compiled"
    BF16 = "bf16"
    COMPILED_BF16 = "compiled_bf16"
    ONNX = "onnxruntime"
    ONNX_INT8 = "onnxruntime_int8"

    @property
    def is_onnx(self) -> bool:
        """Whether models leave torch."""
        return self in {Engine.ONNX, Engine.ONNX_INT8}


def why_unavailable(engine: Engine) -> str | None:
    """What this machine lacks to run an engine; None where it lacks nothing."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if engine.is_onnx and missing:
        return f"{', '.join(missing)} missing: pip install {' '.join(ONNX_PACKAGES)}"
    if engine in {Engine.COMPILED, Engine.COMPILED_BF16} and not any(map(shutil.which, ("g++", "clang++"))):
        return "torch.compile needs a C++ compiler, and there is neither g++ nor clang++"
    return None


def runner(engine: Engine, model: nn.Module, images: Tensor, num_threads: int = 1) -> Run:
    """The model as a call on float32 images of this shape. Compiling takes minutes for a large model."""
    match engine:
        case Engine.EAGER:
            return model
        case Engine.ONNX_INT8:
            return _int8_runner(model, images, num_threads)
        case Engine.ONNX:
            run = _in_runtime(Runtime.ONNXRUNTIME, model, images, num_threads)
            return lambda given: run(given)[0]
        case Engine.COMPILED:
            return _in_runtime(Runtime.COMPILED, copy.deepcopy(model), images, num_threads)
        case Engine.BF16 | Engine.COMPILED_BF16:
            runtime = Runtime.EAGER if engine is Engine.BF16 else Runtime.COMPILED
            half = _in_runtime(runtime, copy.deepcopy(model).bfloat16(), images.bfloat16(), num_threads)
            return lambda given: half(given.bfloat16())


def _in_runtime(runtime: Runtime, model: nn.Module, images: Tensor, num_threads: int) -> Run:
    """As `export` and `evaluate` run it, made ready with the threads that it is timed with."""
    with steady_process(num_threads):
        return engine_for(runtime, num_threads=num_threads).model(model, images)


def _int8_runner(model: nn.Module, images: Tensor, num_threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = quantised(exported(model, images, Path(folder) / "model.onnx"))
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return lambda given: session.run(None, {name: given.numpy()})[0]


def exported(model: nn.Module, images: Tensor, path: Path) -> Path:
    """The model as an ONNX file for images of this shape."""
    with _silence(), torch.no_grad():
        torch.onnx.export(model, (images,), path, dynamo=True, verbose=False)
    return path


def quantised(path: Path) -> Path:
    """The same file with the weights of its matrix products as int8, one scale for each column of them."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_name("int8.onnx")
    with _silence():
        quantize_dynamic(path, target, weight_type=QuantType.QInt8, per_channel=True)
    return target


@contextmanager
def _silence() -> Iterator[None]:
    """Without the advice of the ONNX tools, a line for every operator."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def logits_of(run: Run, images: Tensor, batch_size: int) -> Tensor:
    """Logits (N, classes) in float32, batch by batch; N must be a multiple of the batch size."""
    with torch.inference_mode():
        parts = [run(batch) for batch in images.split(batch_size)]
    return torch.cat([torch.from_numpy(p) if isinstance(p, np.ndarray) else p.float() for p in parts])
