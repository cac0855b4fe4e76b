"""Checkpoints of one trial: written whole or not at all, verified before they are read, the newest two kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spvit.errors import StorageError
from trainers.checkpoint_files import NUM_KEPT, checkpoint_folder, numbered_checkpoints
from trainers.safe_folder import DamagedFolderError, remove_folder, set_aside, verify_folder, write_folder

log = logging.getLogger(__name__)

WEIGHTS, TRAINING_WEIGHTS = "weights.safetensors", "training_weights.safetensors"
OPTIMIZER, META = "optimizer.pt", "meta.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SavedCheckpoint:
    """A verified checkpoint on disk. `step` is the number it was saved under: finished epochs."""

    directory: Path
    step: int
    meta: Mapping[str, Any]

    def weights(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The model's tensors by name, as they were evaluated."""
        return self._load(WEIGHTS, device)

    def training_weights(self, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The tensors from which training goes on: others than `weights` where their moving average is evaluated."""
        return self._load(TRAINING_WEIGHTS if (self.directory / TRAINING_WEIGHTS).exists() else WEIGHTS, device)

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state. Read with `weights_only`: a file that holds code is refused."""
        state: dict[str, Any] = torch.load(self.directory / OPTIMIZER, map_location="cpu", weights_only=True)
        return state

    def _load(self, name: str, device: torch.device | str) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = load_file(self.directory / name, device=str(device))
        return weights


def save_checkpoint(
    directory: Path,
    step: int,
    *,
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    meta: Mapping[str, Any],
    training_weights: Mapping[str, Tensor] | None = None,
) -> Path:
    """Add a checkpoint and drop all but the newest two.

    Args:
        directory: the trial's folder; made if absent.
        step: finished epochs, 0 or more.
        weights: tensors by name, on any device, as they were evaluated.
        optimizer: a `state_dict` of tensors and plain values.
        meta: JSON values.
        training_weights: those from which training goes on, where they are others.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: the file system refused (full, read-only, quota); earlier checkpoints are untouched.
    """
    target = checkpoint_folder(directory, step)
    tensors = {WEIGHTS: weights} | ({} if training_weights is None else {TRAINING_WEIGHTS: training_weights})
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if target.exists():
            set_aside(target, "replaced")
        write_folder(
            target,
            {
                **{name: partial(_write_tensors, values) for name, values in tensors.items()},
                OPTIMIZER: lambda path: torch.save(dict(optimizer), path),
                META: lambda path: _write_json(path, meta),
            },
        )
        for _, old in numbered_checkpoints(directory)[:-NUM_KEPT]:
            remove_folder(old)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors wrap a full disk
        raise StorageError(
            f"Checkpoint {target} could not be written: {error}. Earlier checkpoints are intact. "
            f"Free space or make the folder writable, then resume."
        ) from error
    return target


class _ForeignError(Exception):
    """A checkpoint is whole, but belongs to another configuration."""


def latest_checkpoint(directory: Path, *, identity: str | None = None, is_owner: bool = True) -> SavedCheckpoint | None:
    """The newest checkpoint that is whole and belongs to this configuration; others are passed over with a warning.

    Args:
        directory: a trial's folder; it need not exist.
        identity: if given, `meta["identity"]` must equal it, else the checkpoint is another configuration's.
        is_owner: rename what cannot be used, to `*.damaged` or `*.foreign`, so that it is not in the way of training.
            Whoever only reads leaves everything as it is.

    Raises:
        StorageError: a checkpoint that cannot be used could not be renamed.
    """
    for step, folder in reversed(numbered_checkpoints(directory)):
        try:
            verify_folder(folder)
            return _read(folder, step, identity)
        except DamagedFolderError as reason:
            _pass_over(folder, f"it is damaged, {reason}", "damaged" if is_owner else None)
        except _ForeignError:
            _pass_over(folder, "its configuration differs from this trial's", "foreign" if is_owner else None)
    return None


def _read(folder: Path, step: int, identity: str | None) -> SavedCheckpoint:
    meta = json.loads((folder / META).read_text())
    if identity is not None and meta.get("identity") != identity:
        raise _ForeignError
    return SavedCheckpoint(directory=folder, step=step, meta=meta)


def _pass_over(folder: Path, reason: str, new_name: str | None) -> None:
    if new_name is None:
        log.warning("Checkpoint %s is not used: %s.", folder, reason)
        return
    try:
        aside = set_aside(folder, new_name)
    except OSError as error:
        raise StorageError(
            f"Checkpoint {folder} cannot be used ({reason}) and could not be set aside: {error}. "
            f"Make the folder writable, or move the checkpoint away."
        ) from error
    log.warning("Checkpoint %s is not used: %s. It is kept as %s.", folder, reason, aside.name)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, sort_keys=True))
