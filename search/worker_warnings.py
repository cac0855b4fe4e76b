"""Warnings of the method and the trainers on a worker, kept so that they can travel to the driver with a report."""

from __future__ import annotations

import logging
from typing import ClassVar

from typing_extensions import override

MAX_KEPT = 20


class WarningCollector(logging.Handler):
    """Keeps the texts of warnings until they are taken. Ray leaves a worker's own output in a log file of its own."""

    PACKAGES: ClassVar = ("spvit", "latency_tables", "trainers")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._texts: list[str] = []

    @classmethod
    def installed(cls) -> WarningCollector:
        """A collector that hears our packages."""
        collector = cls()
        for name in cls.PACKAGES:
            logging.getLogger(name).addHandler(collector)
        return collector

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Keep one text; `logging` calls this."""
        if len(self._texts) < MAX_KEPT:
            self._texts.append(record.getMessage())

    def take(self) -> list[str]:
        """What came since this was last called."""
        texts, self._texts = self._texts, []
        return texts
