"""The failures of one session, counted by cause: whether there are too many of them, and which. Pure."""

from __future__ import annotations

from search.failures import Failure
from search.retries import BUDGETS
from spvit.errors import TooManyFailuresError

MIN_ENDED = 6
"""Trials that must have ended before their failures say something about the rest."""
MAX_FIRST_LENGTH = 160


class FailureLog:
    """Counts what ended and what failed. Lost nodes and interruptions are nobody's fault here and do not count.

    Args:
        max_share: of the ended trials that may fail: `search.max_failed_share`.
    """

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self._num_in_order = 0
        self._counts: dict[Failure, int] = {}
        self._firsts: dict[Failure, str] = {}

    def add(self, failure: Failure | None, *, number: int, reason: str) -> None:
        """A trial ended: in order, or by a failure for a reason."""
        if failure is None:
            self._num_in_order += 1
        elif BUDGETS[failure].counts:
            self._counts[failure] = self._counts.get(failure, 0) + 1
            self._firsts.setdefault(failure, f"trial {number}: {_shortened(reason)}")

    def error(self) -> TooManyFailuresError | None:
        """What to end the search with; None while it may go on."""
        num_ended = self._num_failed + self._num_in_order
        if num_ended < MIN_ENDED or self._num_failed <= self._max_share * num_ended:
            return None
        return TooManyFailuresError(
            f"{self._num_failed} of {num_ended} trials failed, more than search.max_failed_share = {self._max_share:g} "
            f"allows:\n{self._table()}\n"
            f"Mend the cause or narrow [search.space], then resume; finished trials are kept"
        )

    def error_at_end(self) -> TooManyFailuresError | None:
        """What to end a search with that was too short for `error`: nothing but failures; None otherwise."""
        if self._num_in_order or not self._counts:
            return None
        return TooManyFailuresError(
            f"no trial came to its end, {self._num_failed} failed:\n{self._table()}\n"
            f"Mend the cause, then `spvit-search extend STUDY --trials +N`, or give the study another name"
        )

    @property
    def _num_failed(self) -> int:
        return sum(self._counts.values())

    def _table(self) -> str:
        counts = sorted(self._counts.items(), key=lambda item: -item[1])
        return "\n".join(
            f"  {count} x {failure.value.replace('_', ' ')}, first {self._firsts[failure]}" for failure, count in counts
        )


def _shortened(text: str) -> str:
    line = (text.splitlines() or [""])[0]
    return line if len(line) <= MAX_FIRST_LENGTH else f"{line[: MAX_FIRST_LENGTH - 3]}..."
