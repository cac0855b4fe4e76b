"""Whether a folder is on a disk of this machine, where files can be shared through memory."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay"})
"""File systems known to be local. Of any other it is not assumed."""


def is_local(path: Path) -> bool:
    """Whether the file system of a path is one of `LOCAL`; False where it cannot be told."""
    try:
        mounts = dict(_mounts(MOUNTS.read_text(encoding="utf-8")))
    except (OSError, ValueError, IndexError):
        return False
    for folder in (path.resolve(), *path.resolve().parents):
        if str(folder) in mounts:
            return mounts[str(folder)] in LOCAL
    return False


def _mounts(text: str) -> list[tuple[str, str]]:
    """Mount points and their file systems, the topmost of a point last. See proc_pid_mountinfo(5)."""
    pairs = []
    for line in text.splitlines():
        fields = line.split(" ")
        pairs.append((_unescaped(fields[4]), fields[fields.index("-", 6) + 1]))
    return pairs


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
