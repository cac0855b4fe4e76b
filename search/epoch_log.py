"""The reports of a trial, kept beside its checkpoints: what is reported again after driver or worker died."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG_FILE = "epochs.jsonl"


class EpochLog:
    """One line per finished epoch. A line torn by a crash is passed over."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOG_FILE

    def append(self, report: Mapping[str, Any]) -> None:
        """Adds a report; it is on the disk when this returns."""
        with self._path.open("ab") as stream:
            stream.write(b"\n" + json.dumps(dict(report)).encode())
            stream.flush()
            os.fsync(stream.fileno())

    def between(self, num_known: int, num_finished: int) -> list[dict[str, Any]]:
        """Reports of the epochs after `num_known` up to `num_finished`, in order, as far as they are there."""
        reports = {report["epoch"]: report for report in self._read()}
        return [reports[epoch] for epoch in range(num_known + 1, num_finished + 1) if epoch in reports]

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        parsed = (_parse(line) for line in self._path.read_bytes().splitlines())
        return [report for report in parsed if report is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "epoch" in report else None
