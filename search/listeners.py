"""Several listeners told alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from search.listener import StudyListener

logger = logging.getLogger(__name__)


class Listeners:
    """Those of one search, told one after the other. One that fails is logged, and the search goes on."""

    def __init__(self, listeners: Sequence[StudyListener]) -> None:
        self._listeners = tuple(listeners)

    def tell(self, hook: Callable[[StudyListener], None]) -> None:
        """Calls a hook of each."""
        for listener in self._listeners:
            try:
                hook(listener)
            except Exception:
                logger.exception("A listener (%s) failed; the search goes on.", type(listener).__name__)
