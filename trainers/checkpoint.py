"""Checkpoints of one trial: written whole or not at all, verified before they are read, the newest two kept."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spvit.errors import StorageError
from trainers.safe_folder import DamagedFolderError, remove_folder, set_aside, verify_folder, write_folder

log = logging.getLogger(__name__)

WEIGHTS, OPTIMIZER, META = "weights.safetensors", "optimizer.pt", "meta.json"
NUM_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{6})")


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedCheckpoint:
    """A verified checkpoint on disk. `step` is the number it was saved under: finished epochs."""

    directory: Path
    step: int
    meta: Mapping[str, Any]

    def weights(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The model's tensors by name."""
        weights: dict[str, Tensor] = load_file(self.directory / WEIGHTS, device=str(device))
        return weights

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state. Read with `weights_only`: a file that holds code is refused."""
        state: dict[str, Any] = torch.load(self.directory / OPTIMIZER, map_location="cpu", weights_only=True)
        return state


def save_checkpoint(
    directory: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> Path:
    """Add a checkpoint and drop all but the newest two.

    Args:
        directory: the trial's folder; made if absent.
        step: finished epochs, 0 or more.
        weights: tensors by name, on any device.
        optimizer: a `state_dict` of tensors and plain values.
        meta: JSON values.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: the file system refused (full, read-only, quota); earlier checkpoints are untouched.
    """
    target = directory / f"checkpoint-{step:06d}"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if target.exists():
            set_aside(target)
        write_folder(
            target,
            {
                WEIGHTS: lambda path: save_file(tensors, path),
                OPTIMIZER: lambda path: torch.save(dict(optimizer), path),
                META: lambda path: _write_json(path, meta),
            },
        )
        for _, old in _found(directory)[:-NUM_KEPT]:
            remove_folder(old)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk
        raise StorageError(
            f"Checkpoint {target} could not be written: {error}. Earlier checkpoints are intact. "
            f"Free space or make the folder writable, then resume."
        ) from error
    return target


def latest_checkpoint(directory: Path, *, identity: str | None = None) -> SavedCheckpoint | None:
    """The newest checkpoint that is whole. Damaged ones are renamed to `*.damaged`, and the one before is used.

    Args:
        directory: a trial's folder; it need not exist.
        identity: if given, `meta["identity"]` must equal it, else the checkpoint is another trial's: set aside too.

    Raises:
        StorageError: a damaged checkpoint could not be renamed.
    """
    for step, folder in reversed(_found(directory)):
        try:
            verify_folder(folder)
            return _read(folder, step, identity)
        except DamagedFolderError as reason:
            _put_away(folder, reason)
    return None


def _read(folder: Path, step: int, identity: str | None) -> SavedCheckpoint:
    meta = json.loads((folder / META).read_text())
    if identity is not None and meta.get("identity") != identity:
        raise DamagedFolderError("it belongs to a trial of another configuration")
    return SavedCheckpoint(directory=folder, step=step, meta=meta)


def _put_away(folder: Path, reason: Exception) -> None:
    try:
        aside = set_aside(folder)
    except OSError as error:
        raise StorageError(f"{folder} is damaged ({reason}) and could not be set aside: {error}.") from error
    log.warning("Checkpoint %s is not used: %s. It is kept as %s.", folder, reason, aside.name)


def _found(directory: Path) -> list[tuple[int, Path]]:
    """Checkpoints by number, oldest first."""
    if not directory.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, sort_keys=True))
