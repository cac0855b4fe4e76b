"""Ends a search on SIGINT or SIGTERM in such a way that it can be resumed: in order, and soon."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any, NoReturn

from spvit.errors import ExitCode

STOPPING = (signal.SIGINT, signal.SIGTERM)
IN_ORDER_WITHIN_S = 7.5
"""Whoever sends SIGTERM sends SIGKILL soon after; this leaves time to say so and go, within 10 s together. That took up
to 1.5 s where eight processes wanted each core."""


def end_tune() -> None:
    """Ends Ray Tune's loop after its current step, if it runs on this thread."""
    is_handled = signal.getsignal(signal.SIGUSR1) not in {signal.SIG_DFL, None}
    if is_handled and threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGUSR1)


def exit_at_once() -> NoReturn:
    """Ends the process without any further step.

    Nothing is left half done: what the study, a checkpoint or the tracking spool says is written is written, trials
    that were running are taken for interrupted when the study is resumed, and Ray's processes end with this one.
    """
    with suppress(OSError, ValueError):
        sys.stderr.write("stopped at once; everything finished is kept and `spvit-search resume` goes on\n")
        sys.stderr.flush()
    os._exit(ExitCode.STOPPED)


def end_process(code: int) -> NoReturn:
    """Ends the process when everything is done.

    One that was told to stop is waited for, and has nothing left to do: taking torch's and Ray's modules apart, which
    is all that Python would do now, takes seconds, on a busy machine sixteen.
    """
    if code == ExitCode.STOPPED:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


class Stopping:
    """What the signals of one search lead to: the first to an end in order, a second or a long wait to one at once.

    Args:
        stop: asks the search to end; returns at once.
        at_once: ends the process.
        within_s: how long an end in order may take; `IN_ORDER_WITHIN_S` if absent.
    """

    def __init__(
        self,
        stop: Callable[[], None],
        *,
        at_once: Callable[[], object] = exit_at_once,
        within_s: float | None = None,
    ) -> None:
        self._stop, self._at_once = stop, at_once
        self._within_s = IN_ORDER_WITHIN_S if within_s is None else within_s
        self._timer: threading.Timer | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        del number, frame
        if self._timer is not None:
            self._at_once()
            return
        self._timer = threading.Timer(self._within_s, self._at_once)
        self._timer.daemon = True
        self._timer.start()
        self._stop()

    def is_over(self) -> None:
        """The search has come to its end."""
        if self._timer is not None:
            self._timer.cancel()


class StopRequest:
    """A request to stop that may come before there is anything to be stopped."""

    def __init__(self) -> None:
        self._is_made = False
        self._target: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Somebody asks."""
        self._is_made = True
        if self._target is not None:
            self._target()

    def goes_to(self, target: Callable[[], None]) -> None:
        """From now on there is something to be stopped."""
        self._target = target
        if self._is_made:
            target()


_STOPPING: ContextVar[Stopping | None] = ContextVar("stopping", default=None)


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM call `stop`; a second one ends the process.

    Tune itself ends on SIGINT or SIGUSR1 but not on SIGTERM, which is what clusters send. So neither is left to it:
    whoever runs it calls `end_tune`, whose SIGUSR1 is ignored as long as Tune does not listen. A block inside another
    puts the outer one's handlers in place again. Nothing is done outside the main thread, where Python allows no signal
    handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer = _STOPPING.get()
    stopping = outer or Stopping(stop)
    token = _STOPPING.set(stopping)
    before: dict[signal.Signals, Any] = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, signal.SIG_IGN)}
    before |= {number: signal.signal(number, stopping) for number in STOPPING}
    try:
        yield
    finally:
        _STOPPING.reset(token)
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if outer is None:
            stopping.is_over()


@contextmanager
def as_interrupt(*numbers: signal.Signals) -> Iterator[None]:
    """While the block runs, these signals raise KeyboardInterrupt as Ctrl-C does. Does nothing outside the main thread.

    Given SIGINT, Ctrl-C does so also where whoever started us in the background had it ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
