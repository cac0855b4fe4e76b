"""The driver's end of the process that writes to MLflow: starts it, starts it again if it dies, hears what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from search.tracking_message import Assignment, Message
from spvit.errors import ExitCode

LOG_FILE = "tracking.log"
MIN_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
LISTEN_S = 0.05


class TrackingLink:
    """One process for one study. Nothing here waits but `close`, and that for a bounded time.

    Args:
        directory: the study's folder.
        uri: MLflow tracking URI.
        linger_s: how long the process goes on writing when the driver was killed.
        clock: seconds; only differences count.
    """

    def __init__(
        self, directory: Path, uri: str, *, linger_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._assignment = Assignment(
            directory=str(directory.resolve()), uri=uri, driver_pid=os.getpid(), linger_s=linger_s
        )
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._pause_s = MIN_PAUSE_S
        self._not_before_s = clock()
        self.is_taken_over = False
        """Whether the process found that another driver has taken over, whose own process goes on."""

    def is_for(self, driver: int) -> None:
        """The process is to write for the driver with this token, and for none after it."""
        self._assignment = replace(self._assignment, driver=driver)

    @property
    def pid(self) -> int | None:
        """The process's id, while there is one."""
        return None if self._process is None else self._process.pid

    def keep_alive(self) -> int | None:
        """Starts the process if there is none, but not too often.

        Returns:
            The exit code of one that had ended by itself and was started again.

        Raises:
            OSError: it cannot be started now.
        """
        ended = None if self._process is None else self._process.poll()
        self.is_taken_over |= ended == ExitCode.STUDY_LOCKED
        now_s = self._clock()
        if (self._process is not None and ended is None) or self.is_taken_over or now_s < self._not_before_s:
            return None
        self._not_before_s, self._pause_s = now_s + self._pause_s, min(2 * self._pause_s, MAX_PAUSE_S)
        self._start()
        return ended

    def messages(self) -> list[Message]:
        """What the process said since this was last called."""
        if self._process is not None and self._process.stdout is not None:
            with suppress(BlockingIOError):
                while chunk := os.read(self._process.stdout.fileno(), 65536):
                    self._heard += chunk
        *lines, self._heard = self._heard.split(b"\n")
        return [message for line in lines if (message := _parsed(line)) is not None]

    def close(self, timeout_s: float) -> list[Message]:
        """Tells the process that nothing more comes and waits until it has written everything or time is up.

        Returns:
            What it said since `messages` was last called.
        """
        if self._process is None:
            return []
        process, deadline_s = self._process, self._clock() + timeout_s
        _close(process.stdin)
        messages = self._until_end(process, deadline_s)
        self.is_taken_over |= process.poll() == ExitCode.STUDY_LOCKED
        self._process = None
        _end(process)
        return messages

    def _start(self) -> None:
        self._forget()
        packages = str(Path(__file__).resolve().parents[1])
        paths = [packages, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / LOG_FILE).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "search.tracking_process"],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C ends the driver, which then says when to end
            )
        if self._process.stdin is not None and self._process.stdout is not None:  # both are pipes
            os.set_blocking(self._process.stdout.fileno(), False)
            self._process.stdin.write(self._assignment.to_line())
            self._process.stdin.flush()

    def _forget(self) -> None:
        """What a process that died left half said is not completed by the next one."""
        if self._process is not None:
            _end(self._process)
        self._heard = b""

    def _until_end(self, process: subprocess.Popen[bytes], deadline_s: float) -> list[Message]:
        messages = self.messages()
        while self._clock() < deadline_s:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LISTEN_S)
                break
            messages += self.messages()  # else a full pipe would stop it
        return messages + self.messages()


def _end(process: subprocess.Popen[bytes]) -> None:
    """What it has not acknowledged stays in the spool, so it may be ended anywhere."""
    with suppress(OSError):
        process.kill()
    process.wait()
    _close(process.stdin)
    _close(process.stdout)


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with suppress(OSError):
            stream.close()


def _parsed(line: bytes) -> Message | None:
    """A library that prints into the process's output says nothing to us."""
    try:
        return Message.from_line(line)
    except (ValueError, TypeError):
        return None
