"""What the driver and the process that writes to MLflow tell each other: lines of JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """Which study to write, where to, for which driver, and how long to go on once that has ended.

    `driver` is its token: what a later driver wrote is left to that one's own process; 0: there is no other.
    """

    directory: str
    uri: str
    driver_pid: int
    linger_s: float
    driver: int = 0

    def to_line(self) -> bytes:
        """One line, its end included."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Assignment:
        """What `to_line` wrote.

        Raises:
            ValueError, TypeError: it is something else.
        """
        return cls(**json.loads(line))


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What the process answers: the experiment, runs by trial (None: the search), why MLflow cannot be written."""

    experiment_id: str | None = None
    run_ids: Mapping[int | None, str] = field(default_factory=dict)
    failure: str = ""
    warning: str = ""

    def to_line(self) -> bytes:
        """One line, its end included."""
        values = {
            "experiment_id": self.experiment_id,
            "run_ids": list(self.run_ids.items()),
            "failure": self.failure,
            "warning": self.warning,
        }
        return json.dumps({key: value for key, value in values.items() if value}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Message:
        """What `to_line` wrote.

        Raises:
            ValueError, TypeError: it is something else.
        """
        values = json.loads(line)
        if not isinstance(values, dict):
            raise TypeError(f"a message is an object, not {values!r}")
        return cls(**values | {"run_ids": dict(values.get("run_ids", ()))})
