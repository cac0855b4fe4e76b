"""Reads weights from files that others wrote, without ever running code that they hold."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from spvit.errors import CheckpointError
from spvit.wording import first_line

NESTED_KEYS = ("model", "state_dict")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, on the CPU.

    `.safetensors`, or anything that `torch.save` wrote (`.pth`, `.pt`, `.pth.tar`, `.bin`): a state dict by itself or
    under `model` or `state_dict`, as DeiT, SPViT and DynamicViT publish theirs. The `module.` that DataParallel puts
    before every name is removed.

    Raises:
        CheckpointError: the file is missing, damaged, holds code, no tensors, or numbers that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"Weights were required in the file {path}, but there is no such file.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    weights = _strip_module(_named_tensors(content, path))
    _check_finite(weights, path)
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}). Copy it again.") from error
    return weights


def _read_pickle(path: Path) -> Any:
    if path.suffix in {".npz", ".npy"}:
        raise CheckpointError(f"{path} is a NumPy file, but safetensors or a `.pth` was required. Convert it first.")
    try:
        # DeiT and SPViT store their command line, a plain Namespace, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_not_only_tensors(path, error)) from error
    except (RuntimeError, EOFError, OSError, BadZipFile, ValueError, KeyError) as error:
        reason = first_line(error)
        raise CheckpointError(f"{path} is damaged or no checkpoint ({reason}). Copy or download it again.") from error


def _not_only_tensors(path: Path, error: Exception) -> str:
    detail = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "global" in line), "")
    return (
        f"{path} holds Python objects beside tensors, or is no checkpoint, and is not opened because such a file can "
        f"run code. {detail} Load it where you trust it and save its state dict as safetensors."
    )


def _named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    for key in NESTED_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} was required to hold named tensors, but holds a {type(content).__name__}.")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} was required to hold named tensors, but its keys are {list(content)[:5]}.")
    return tensors


def _strip_module(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(name.startswith("module.") for name in weights):
        return weights
    return {name.removeprefix("module."): value for name, value in weights.items()}


def _check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    for name, value in weights.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{path} is damaged: {name} holds numbers that are not finite.")
