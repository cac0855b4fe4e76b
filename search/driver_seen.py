"""Whether a driver is running a study, as anybody can tell who reads it."""

from __future__ import annotations

import time
from pathlib import Path

from search.lock import is_locked
from search.records import StudyRecord

SILENT_S = 60.0
"""A driver on another host that was silent for longer is taken for dead; clocks of hosts may differ by seconds."""


def is_running(study: StudyRecord, folder: Path) -> bool:
    """Whether a driver on this machine holds the study, or one elsewhere shows that it is alive."""
    if is_locked(folder):
        return True
    if study.driver is None:
        return False
    if study.driver.is_here:
        return study.driver.is_process_alive
    return study.driver_beat_at is not None and abs(time.time() - study.driver_beat_at) < SILENT_S
