"""Who holds a study: a process on a host, and whether it can still be alive. Reads `/proc` alone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROC = Path("/proc")
BOOT_ID = PROC / "sys" / "kernel" / "random" / "boot_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """A driver's process.

    Attributes:
        token: one more than that of the driver before it.
        host: the host's name, for people.
        pid: its process id there.
        space: which boot of which machine, and which of its process spaces: equal ids elsewhere are other processes.
        begun: when the process began, in the kernel's own ticks: ids are given again.
        started_at: when it took the study, for people.
        is_released: it has left in order.
    """

    token: int
    host: str
    pid: int
    space: str
    begun: str
    started_at: str
    is_released: bool = False

    def __post_init__(self) -> None:
        if self.token < 1:
            raise ValueError(f"A driver's token must be 1 or more, but got {self.token}.")

    @classmethod
    def here(cls, *, token: int) -> Holder:
        """This process."""
        pid = os.getpid()
        return cls(
            token=token,
            host=socket.gethostname(),
            pid=pid,
            space=_space(),
            begun=_begun(pid),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Holder:
        """What `to_dict` made plain."""
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def released(self) -> Holder:
        """The same after it has left."""
        return replace(self, is_released=True)

    @property
    def is_here(self) -> bool:
        """Whether its process can be seen from here."""
        return self.space == _space()

    @property
    def is_process_alive(self) -> bool:
        """Whether that very process still exists; for one that can be seen from here."""
        return bool(self.begun) and _begun(self.pid) == self.begun

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.started_at} ({age_of(self.started_at)})"


def age_of(started_at: str) -> str:
    """How long ago a time in ISO format was, in words."""
    try:
        seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(started_at)).total_seconds())
    except (ValueError, TypeError):
        return "at an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.1f} h ago"


def _space() -> str:
    try:
        return f"{BOOT_ID.read_text().strip()} {(PROC / 'self' / 'ns' / 'pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _begun(pid: int) -> str:
    """The 22nd field of the process's `stat`; the second one is a name in brackets that may hold anything."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
