"""A model as a file that runs without this package: a program of `torch.export`, or ONNX. Any number of images."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spvit.errors import UnsupportedModelError
from spvit.onnx_packages import require_onnx

PROGRAM, ONNX = "model.pt2", "model.onnx"
INPUT, OUTPUT = "images", "logits"
MAX_BATCH_SIZE = 1 << 16
OPSET = 20


def program_of(model: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    """The model as a `torch.export.ExportedProgram` of images (B, C, H, W) with any B from 1 on.

    Args:
        model: in evaluation mode, on the CPU, in float32.
        image_shape: (C, H, W).

    Raises:
        UnsupportedModelError: torch cannot trace it.
    """
    try:
        with _tracing():
            return torch.export.export(model, (_example(image_shape),), dynamic_shapes=_any_batch())
    except Exception as error:  # the tracer raises what it and the model meet
        raise _untraceable(model, "torch.export", error) from error


def write_program(model: nn.Module, image_shape: tuple[int, int, int], path: Path) -> None:
    """Write what `torch.export.load(path).module()` reads: a function of images to logits.

    Raises:
        UnsupportedModelError: torch cannot trace the model.
        OSError: the file cannot be written.
    """
    torch.export.save(program_of(model, image_shape), path)


def read_program(path: Path) -> nn.Module:
    """The function of images (B, C, H, W) to logits (B, classes) that `write_program` wrote."""
    with _silence():
        module: nn.Module = torch.export.load(path).module()
    return module


def onnx_bytes(model: nn.Module, image_shape: tuple[int, int, int]) -> bytes:
    """The model as an ONNX file with input `images` (batch, C, H, W) and output `logits` (batch, classes).

    Raises:
        ConfigError: a package is missing.
        UnsupportedModelError: the model cannot be traced or translated.
    """
    check_onnx()
    try:
        with _tracing():
            program = torch.onnx.export(
                model,
                (_example(image_shape),),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                dynamic_shapes=_any_batch(),
                input_names=[INPUT],
                output_names=[OUTPUT],
            )
    except torch.onnx.OnnxExporterError as error:
        raise _untraceable(model, "ONNX", error.__cause__ or error) from error
    content: bytes = program.model_proto.SerializeToString()  # type: ignore[union-attr]
    return content


def check_onnx() -> None:
    """Import what is needed to write ONNX and to run it.

    Raises:
        ConfigError: a package is missing; says how to install it.
    """
    require_onnx(
        "Writing ONNX needs the package {package}, which is not installed",
        otherwise="leave ONNX out: --format torch_export",
    )


def _example(image_shape: tuple[int, int, int]) -> Tensor:
    # Of a single image the tracer would make a program for single images.
    return torch.zeros(2, *image_shape)


def _any_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("batch", min=1, max=MAX_BATCH_SIZE)},)


def _untraceable(model: nn.Module, what: str, error: BaseException) -> UnsupportedModelError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UnsupportedModelError(
        f"{type(model).__name__} cannot be written by {what}: {reason[:300]}. Leave the format out with --format."
    )


@contextmanager
def _tracing() -> Iterator[None]:
    """Tensors made in inference mode cannot be traced."""
    with torch.inference_mode(mode=False), torch.no_grad(), _silence():
        yield


@contextmanager
def _silence() -> Iterator[None]:
    """The exporters tell of every operator that they leave unfolded, and of their own deprecated calls."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
