"""Where the checkpoints of a trial are, and how many of them a training keeps. No torch."""

from __future__ import annotations

import re
from pathlib import Path

NUM_KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{6})")


def checkpoint_folder(directory: Path, step: int) -> Path:
    """Where the checkpoint after so many finished epochs is kept."""
    return directory / f"checkpoint-{step:06d}"


def numbered_checkpoints(directory: Path) -> tuple[tuple[int, Path], ...]:
    """Checkpoints under their numbers, oldest first; what was set aside or is being written is not among them."""
    if not directory.is_dir():
        return ()
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return tuple(sorted((int(match[1]), path) for match, path in matches if match))


def checkpoint_folders(directory: Path) -> tuple[Path, ...]:
    """The same without their numbers."""
    return tuple(path for _, path in numbered_checkpoints(directory))
