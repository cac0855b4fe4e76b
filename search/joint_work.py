"""A piece of work that all workers of a trial do together, seen from worker 0: done by all, or failed for a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, wait
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from ray.exceptions import RayError, RayTaskError

from search.worker_errors import WorkerDiedError, true_cause

logger = logging.getLogger("trainers.workers")  # what came up in the others is passed on as if it had come up here

Answer = TypeVar("Answer")

NEWS_TIMEOUT_S = 60.0
"""For Ray to notice which worker is gone, after the connection to it was lost. A dead process takes it no time."""
GRACE_S = 5.0
"""For the reason to arrive after a worker that only lost contact by it."""


class JointWork:
    """The other workers' parts, under way.

    A worker that waits for another one in a collective operation cannot be asked to stop: it does when the process
    that it waits for ends. So as soon as one fails, all but this one are ended.
    """

    def __init__(self, calls: Mapping[int, Any], *, end_all: Callable[[], None]) -> None:
        """Begin to watch.

        Args:
            calls: of the others' actors, by rank; each returns the warnings that came up.
            end_all: ends the others' processes.
        """
        self._futures = {rank: call.future() for rank, call in calls.items()}
        self._end_all = end_all
        self._errors: dict[int, BaseException] = {}
        self._watch = Thread(target=self._end_all_if_one_fails, daemon=True)
        self._watch.start()

    def done_with(self, own: Callable[[], Answer]) -> Answer:
        """Do this worker's part, wait for the others', and return the answer of the own part.

        Raises:
            WorkerLostError: a worker is gone.
            Exception: what one of them raised.
        """
        try:
            answer = own()
        except Exception as error:
            cause = self._cause_of(error)
            if cause is error:
                raise
            raise cause from cause.__cause__ or error
        self._watch.join()
        if self._errors:
            raise self._true_cause(self._errors)
        for future in self._futures.values():
            for text in future.result():
                logger.warning("%s", text)
        return answer

    def _cause_of(self, error: Exception) -> BaseException:
        from trainers.process_group import is_loss_of_contact

        if is_loss_of_contact(error):
            self._watch.join(NEWS_TIMEOUT_S)
        errors = {0: error} | self._errors
        self._end_all()
        self._watch.join(NEWS_TIMEOUT_S)  # by then it has aborted the group, which nobody could leave in order
        return self._true_cause(errors)

    def _true_cause(self, errors: Mapping[int, BaseException]) -> BaseException:
        from trainers.process_group import is_loss_of_contact

        return true_cause(errors, num_workers=len(self._futures) + 1, is_loss_of_contact=is_loss_of_contact)

    def _end_all_if_one_fails(self) -> None:
        from trainers.process_group import abort

        wait(self._futures.values(), return_when=FIRST_EXCEPTION)
        if all(future.done() and future.exception() is None for future in self._futures.values()):
            return
        try:
            self._errors = self._told_errors()
        finally:  # whatever is wrong with an error: nobody may be left waiting
            self._end_all()
            abort()

    def _told_errors(self) -> dict[int, BaseException]:
        from trainers.process_group import is_loss_of_contact

        errors = self._errors_so_far()
        if all(is_loss_of_contact(error) for error in errors.values()):
            wait(self._futures.values(), timeout=GRACE_S)
            errors = self._errors_so_far()
        return errors

    def _errors_so_far(self) -> dict[int, BaseException]:
        done = {rank: future for rank, future in self._futures.items() if future.done()}
        return {rank: _as_met(error, rank) for rank, future in done.items() if (error := future.exception())}


def _as_met(error: BaseException, rank: int) -> BaseException:
    """The error as the worker met it: Ray brings it in one of its own, which tells the traceback as its text."""
    if isinstance(error, RayTaskError):
        cause: BaseException = RuntimeError(str(error)) if isinstance(error.cause, RayError) else error.cause
        with suppress(Exception):  # anybody's class
            cause.add_note(f"Raised in worker {rank}:\n{error}")
        return cause
    return WorkerDiedError(str(error)) if isinstance(error, RayError) else error
