"""Ends a search on SIGINT or SIGTERM in such a way that it can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


def end_tune() -> None:
    """Ends Ray Tune's loop after its current step, if it runs on this thread."""
    is_handled = signal.getsignal(signal.SIGUSR1) not in {signal.SIG_DFL, None}
    if is_handled and threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGUSR1)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM call `stop` and end Ray Tune's loop.

    Tune itself ends on SIGINT or SIGUSR1 but not on SIGTERM, which is what clusters send. So both are passed on as
    SIGUSR1, which is ignored as long as Tune does not listen. Nothing is done outside the main thread, where Python
    allows no signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop()
        end_tune()

    before: dict[signal.Signals, Any] = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, signal.SIG_IGN)}
    before |= {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
