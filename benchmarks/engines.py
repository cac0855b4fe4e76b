"""Ways of running a model: eager, compiled, in bfloat16, and by onnxruntime in float32 and int8."""

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

Run = Callable[[Tensor], Any]
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


class Engine(StrEnum):
    """EAGER is torch as it is; the int8 of onnxruntime quantises weights ahead and activations as they come."""

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
    if engine.is_onnx:
        return _onnx_runner(model, images, num_threads, is_int8=engine is Engine.ONNX_INT8)
    model = copy.deepcopy(model) if engine is not Engine.EAGER else model
    is_half = engine in {Engine.BF16, Engine.COMPILED_BF16}
    model = model.bfloat16() if is_half else model
    if engine in {Engine.COMPILED, Engine.COMPILED_BF16}:
        model = _compiled(model)
    return (lambda given: model(given.bfloat16())) if is_half else model


def _compiled(model: nn.Module) -> Any:
    torch._inductor.config.freezing = True
    return torch.compile(model, dynamic=False)


def _onnx_runner(model: nn.Module, images: Tensor, num_threads: int, *, is_int8: bool) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    with tempfile.TemporaryDirectory() as folder:
        path = exported(model, images, Path(folder) / "model.onnx")
        path = quantised(path) if is_int8 else path
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
