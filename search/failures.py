"""Why a trial could not go on, told from what its worker raised or from what Ray said of it. No Ray, no torch."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import StrEnum

from search.worker_errors import WorkerLostError
from spvit.errors import DataError, DivergedError, StorageError


class ReportKey:
    """Keys of a trial's report beside those of `EpochMetrics`."""

    FAILURE = "failure"
    REASON = "reason"
    WARNINGS = "warnings"


class Failure(StrEnum):
    """Whose fault it is that a trial cannot go on. What each may cost is `search.retries`' business.

    A worker reports `{ReportKey.FAILURE: failure_of(error).value, ReportKey.REASON: text}`; whoever supervises other
    processes of a trial passes on what they raised in the same way. The driver is told of a death by `on_error`.
    """

    CONFIGURATION = "configuration"
    """The trial's own: it cannot be built or raises."""
    DIVERGENCE = "divergence"
    """The trial's own: its loss is not finite any more."""
    OUT_OF_MEMORY = "out_of_memory"
    """It asked for more memory than there was, its own or its node's."""
    INFRASTRUCTURE = "infrastructure"
    """Data, worker process or a trial that is stuck."""
    NODE_LOST = "node_lost"
    """The machine that it ran on went away."""
    PREEMPTED = "preempted"
    """The machine was taken back by whoever lent it."""
    STORAGE = "storage"
    """A checkpoint cannot be written: no trial can go on, so the search ends."""
    INTERRUPTED = "interrupted"
    """The search ended before the trial did."""


FULL_OR_READ_ONLY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
# torch has a class of its own for GPUs alone; for the CPU it raises RuntimeError with these words.
NO_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
RAY_SAYS = (
    (Failure.PREEMPTED, ("node was preempted", "node was forcibly preempted")),
    (Failure.OUT_OF_MEMORY, ("node running low on memory", *NO_MEMORY)),
    (Failure.NODE_LOST, ("its node has died", "node is dead", "node failure", "NodeDiedError")),
)
"""Words by which Ray 2.60 tells why an actor died. Of one that was killed it always suspects an `OOM killer`, in these
words: that alone says nothing."""


def failure_of(error: BaseException) -> Failure:
    """What an exception of a trial means: the first of it and its causes that says something, else CONFIGURATION."""
    return next(filter(None, map(_told_by, _causes(error))), Failure.CONFIGURATION)


def failure_of_death(text: str) -> Failure:
    """What Ray's words on a worker's death mean; INFRASTRUCTURE where they say nothing of it."""
    for failure, phrases in RAY_SAYS:
        if any(phrase in text for phrase in phrases):
            return failure
    return Failure.INFRASTRUCTURE


def _told_by(error: BaseException) -> Failure | None:
    if isinstance(error, WorkerLostError):  # its cause has Ray's words, if Ray had any
        return failure_of_death(str(error.__cause__ or error))
    if _is_out_of_memory(error):
        return Failure.OUT_OF_MEMORY
    if isinstance(error, DivergedError):
        return Failure.DIVERGENCE
    if isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in FULL_OR_READ_ONLY):
        return Failure.STORAGE
    return Failure.INFRASTRUCTURE if isinstance(error, DataError | OSError) else None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):  # torch's and Ray's
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from; Ray keeps that of a task in `cause`."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = getattr(current, "cause", None)
        current = inner if isinstance(inner, BaseException) else current.__cause__
