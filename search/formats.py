"""The files that a model is exported as, and each as a function of images that can be run and timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spvit.errors import UsageError

if TYPE_CHECKING:
    from trainers.preprocessing import Preprocessing

Model = Callable[[Any], Any]
"""Images (B, C, H, W) to logits (B, classes)."""
Network = Any
"""A module of torch, which is not imported here."""


class ExportFormat(StrEnum):
    """What a model is written as. Weights are always written: the others are made from them."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    TORCH_EXPORT = "torch_export"

    @property
    def file(self) -> str:
        """Its file in an exported folder."""
        return _FILES[self]

    @property
    def is_portable(self) -> bool:
        """Whether it runs without this package."""
        return self is not ExportFormat.SAFETENSORS


_FILES = {
    ExportFormat.SAFETENSORS: "model.safetensors",
    ExportFormat.ONNX: "model.onnx",
    ExportFormat.TORCH_EXPORT: "model.pt2",
}
ALL_FORMATS = tuple(ExportFormat)


def formats_named(names: Iterable[str]) -> tuple[ExportFormat, ...]:
    """The formats of these names.

    Raises:
        UsageError: one is none.
    """
    known, given = tuple(each.value for each in ExportFormat), tuple(names)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f"formats must be of {', '.join(known)}, but {unknown[0]!r} was given.")
    return tuple(map(ExportFormat, given))


def write_formats(model: Network, preprocessing: Preprocessing, folder: Path, formats: Iterable[ExportFormat]) -> None:
    """Write the portable ones of these formats.

    Raises:
        ConfigError: a package is missing.
        UnsupportedModelError: the model cannot be written so.
        OSError: from the file system.
    """
    from spvit.portable import onnx_bytes, write_program

    shape = image_shape(preprocessing)
    for format_ in formats:
        if format_ is ExportFormat.ONNX:
            (folder / format_.file).write_bytes(onnx_bytes(model, shape))
        elif format_ is ExportFormat.TORCH_EXPORT:
            write_program(model, shape, folder / format_.file)


def available_formats() -> tuple[ExportFormat, ...]:
    """What can be written here: ONNX needs packages that are an extra."""
    has_onnx = all(find_spec(package) for package in ("onnx", "onnxruntime", "onnxscript"))
    return tuple(format_ for format_ in ALL_FORMATS if has_onnx or format_ is not ExportFormat.ONNX)


def check_formats(formats: Iterable[ExportFormat]) -> None:
    """Refuse what cannot be written here, before anything else is done.

    Raises:
        ConfigError: a package is missing.
    """
    if ExportFormat.ONNX in formats:
        from spvit.portable import check_onnx

        check_onnx()


def load_format(folder: Path, format_: ExportFormat, *, num_threads: int) -> Model:
    """An exported file as a function, run on the CPU; onnxruntime has threads of its own, torch those of the process.

    Raises:
        CheckpointError: the file is damaged.
        ConfigError: a package is missing.
    """
    path = folder / format_.file
    match format_:
        case ExportFormat.ONNX:
            return _onnx(path.read_bytes(), num_threads)
        case ExportFormat.TORCH_EXPORT:
            from spvit.portable import read_program

            return read_program(path)
        case ExportFormat.SAFETENSORS:
            from spvit.exported import load_exported

            return load_exported(folder)


def in_format(model: Network, preprocessing: Preprocessing, format_: ExportFormat, *, num_threads: int) -> Model:
    """Any model as it would run if it were exported so: what the exported one is compared with.

    Raises:
        ConfigError, UnsupportedModelError: as `write_formats`.
    """
    from spvit.portable import onnx_bytes, program_of

    match format_:
        case ExportFormat.ONNX:
            return _onnx(onnx_bytes(model, image_shape(preprocessing)), num_threads)
        case ExportFormat.TORCH_EXPORT:
            program: Model = program_of(model, image_shape(preprocessing)).module()
            return program
        case ExportFormat.SAFETENSORS:
            own: Model = model
            return own


def image_shape(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """Channels, height, width."""
    return preprocessing.num_channels, preprocessing.height, preprocessing.width


def _onnx(content: bytes, num_threads: int) -> Model:
    from latency_tables.engine_onnx import onnx_session
    from spvit.portable import check_onnx

    check_onnx()
    session = onnx_session(content, num_threads=num_threads)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images.numpy()})[0]
