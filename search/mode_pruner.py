"""Stops elastic trials against elastic ones, and schedules against those that were trained as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from search.pruner import GOES_ON, PeerPruner, Verdict
from search.records import Origin, TrialRecord


class ModePruner(PeerPruner):
    """A pruner for the elastic trials of a search, by the mean accuracy of their fronts, and one for its schedules.

    Trials of neither kind, such as a fixed schedule that is trained in full from the backbone, are nobody's peers.
    """

    def __init__(self, *, elastic: PeerPruner, schedules: PeerPruner, is_alike: Callable[[TrialRecord], bool]) -> None:
        """`is_alike` says which trials but the elastic ones can be compared."""
        self._elastic, self._schedules, self._is_alike = elastic, schedules, is_alike

    def restore(self, records: Iterable[TrialRecord]) -> None:
        """As `PeerPruner.restore`."""
        known = list(records)
        for pruner in (self._elastic, self._schedules):
            pruner.restore([record for record in known if self._of(record) is pruner])

    def update(self, record: TrialRecord) -> None:
        """As `PeerPruner.update`."""
        if (pruner := self._of(record)) is not None:
            pruner.update(record)

    def judge(self, record: TrialRecord) -> Verdict:
        """As `PeerPruner.judge`."""
        pruner = self._of(record)
        return GOES_ON if pruner is None else pruner.judge(record)

    def _of(self, record: TrialRecord) -> PeerPruner | None:
        if record.origin is Origin.ELASTIC:
            return self._elastic
        return self._schedules if self._is_alike(record) else None
