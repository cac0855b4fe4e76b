"""The process that writes a study's spool to MLflow. `search.tracking_link` starts it; it ends with its driver.

It is told where in one line on standard input, which no list of processes shows, and answers on standard output. When
its input ends, or its driver is gone however it went, it writes what is left for a bounded time and ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from search.run_update import RunUpdate, merge_by_run
from search.spool import Spool
from search.tracking_message import Assignment, Message
from search.tracking_place import SPOOL_FILE, open_writer
from search.tracking_writer import MlflowWriter
from spvit.wording import first_line

LOCK_FILE = "tracking.lock"
POLL_S = 0.2
MIN_DELAY_S, MAX_DELAY_S = 1.0, 60.0
NICENESS = 5
"""Driver and trials go first."""


class Writing:
    """Writes what comes into the spool until it is told that nothing more will."""

    def __init__(self, assignment: Assignment) -> None:
        self._directory, self._uri = Path(assignment.directory), assignment.uri
        self._spool = Spool(self._directory / SPOOL_FILE)
        self._writer: MlflowWriter | None = None
        self._told: dict[int | None, str] = {}
        self._has_failed = False

    def run(self, closing: threading.Event) -> bool:
        """Returns whether everything is in MLflow."""
        delay_s = POLL_S
        while True:
            is_last = closing.wait(delay_s)
            try:
                self._write_pending()
                delay_s = POLL_S
            except Exception as error:  # MLflow's failures are of every kind, and none may end this process
                self._writer = None  # the next one asks MLflow which runs there are: an answer may have got lost
                self._say_failure(error)
                delay_s = min(max(2 * delay_s, MIN_DELAY_S), MAX_DELAY_S)
            if is_last:
                return self._spool.is_drained

    def _write_pending(self) -> None:
        if self._writer is None:
            self._writer = open_writer(self._directory, uri=self._uri)
            say(Message(experiment_id=self._writer.experiment_id))
        while not self._spool.is_drained:
            events, offset = self._spool.read()
            for update in merge_by_run(_updates(events)):
                self._writer.apply(update)
            self._spool.acknowledge(offset)
            self._say_runs(self._writer)

    def _say_runs(self, writer: MlflowWriter) -> None:
        new = {number: run_id for number, run_id in writer.run_ids.items() if self._told.get(number) != run_id}
        if new:
            say(Message(run_ids=new))
        self._told |= new

    def _say_failure(self, error: Exception) -> None:
        if not self._has_failed:
            say(Message(failure=first_line(error, most=300)))
        self._has_failed = True


def _updates(events: Iterable[Mapping[str, Any]]) -> Iterator[RunUpdate]:
    for event in events:
        try:
            yield RunUpdate.from_dict(event)
        except (KeyError, TypeError, ValueError) as error:  # of another version; the others are not to wait for it
            say(Message(warning=f"an event for MLflow cannot be read and was left out: {error}"))


def say(message: Message) -> None:
    """Tell the driver; one that is gone is told nothing."""
    with suppress(OSError):
        os.write(sys.stdout.fileno(), message.to_line())


class _ToDriver(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(Message(warning=record.getMessage()[:500]))


def main() -> int:
    """Write one study; 0 if everything is in MLflow at the end."""
    # A repeated request could make a second run of a trial whose first answer got lost: we repeat ourselves.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.nice(NICENESS)
    assignment = Assignment.from_line(sys.stdin.buffer.readline())
    logging.getLogger("search").addHandler(_ToDriver(logging.WARNING))
    logging.getLogger("search").propagate = False
    closing = threading.Event()
    threading.Thread(target=_await_end, args=(assignment, closing), daemon=True).start()
    with _alone(Path(assignment.directory) / LOCK_FILE):
        is_done = Writing(assignment).run(closing)
    # At once: MLflow leaves threads behind, and what they wait for may be a server that is away.
    os._exit(0 if is_done else 75)


def _await_end(assignment: Assignment, closing: threading.Event) -> None:
    """A copy of the driver that outlives it (a fork of a library's) would keep our input open: so its id counts too."""
    ended = threading.Event()
    threading.Thread(target=_await_input_end, args=(ended,), daemon=True).start()
    while not ended.wait(1.0) and os.getppid() == assignment.driver_pid:
        pass
    closing.set()
    threading.Timer(assignment.linger_s, os._exit, args=(75,)).start()


def _await_input_end(ended: threading.Event) -> None:
    sys.stdin.buffer.read()
    ended.set()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The process of a driver that was killed may still be writing when the study is resumed: one at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
