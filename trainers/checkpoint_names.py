"""How checkpoints are named in a trial's folder, and how many of them are kept. No torch."""

from __future__ import annotations

import re
from pathlib import Path

NUM_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{6})")


def checkpoint_name(step: int) -> str:
    """The name of the folder of the checkpoint after so many epochs."""
    return f"checkpoint-{step:06d}"


def checkpoint_step(name: str) -> int | None:
    """Finished epochs by a folder's name; None where it is no checkpoint's."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])


def checkpoints_in(directory: Path) -> list[tuple[int, Path]]:
    """Checkpoints by number, oldest first. The folder need not exist."""
    if not directory.is_dir():
        return []
    steps = ((checkpoint_step(path.name), path) for path in directory.iterdir())
    return sorted((step, path) for step, path in steps if step is not None)


def checkpoint_folders(directory: Path) -> tuple[Path, ...]:
    """The same without their numbers."""
    return tuple(path for _, path in checkpoints_in(directory))
