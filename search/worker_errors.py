"""Which of the errors that the workers of a trial met is the reason why it cannot go on. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from spvit.wording import first_line


class WorkerLostError(ConnectionError):
    """A trial cannot go on because one of its workers is gone or out of reach: its configuration is not at fault."""


class WorkerDiedError(Exception):
    """A worker's process is gone; its text says what is known of why."""


def true_cause(
    errors: Mapping[int, BaseException], *, num_workers: int, is_loss_of_contact: Callable[[BaseException], bool]
) -> BaseException:
    """The error that the others follow from.

    When one worker raises or dies, those that wait for it meet a lost connection. So what a worker raised by itself
    comes first, then a death, and a lost connection says something only where there is nothing else.

    Args:
        errors: by the worker's rank; one at least.
        num_workers: of the trial.
        is_loss_of_contact: whether an error only tells that another worker is gone.

    Returns:
        A worker's own error as it is, else a `WorkerLostError` that names the worker, with the other as its cause.
    """
    deaths = {rank: error for rank, error in errors.items() if isinstance(error, WorkerDiedError)}
    own = {rank: e for rank, e in errors.items() if rank not in deaths and not is_loss_of_contact(e)}
    if own:
        return own[min(own)]
    if deaths:
        rank = min(deaths)
        return _caused(f"worker {rank} of {num_workers} was lost: {_why(deaths[rank])}", deaths[rank])
    rank = min(errors)
    text = f"worker {rank} of {num_workers} lost contact to the others: {first_line(errors[rank])}"
    return _caused(text, errors[rank])


def _caused(text: str, cause: BaseException) -> WorkerLostError:
    error = WorkerLostError(text)
    error.__cause__ = cause
    return error


def _why(death: WorkerDiedError) -> str:
    """What Ray says of a death: after many facts about the process, in a sentence with `because`."""
    because = re.search(r"\bbecause ([^.\n]+)", str(death))
    return because[1] if because else first_line(death)
