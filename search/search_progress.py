"""How far a search has come, as its trials end: each adds to what is known, and nothing is counted again. Pure."""

from __future__ import annotations

from search.pareto import GrowingFront, ParetoPoint
from search.rank_agreement import RankAgreement
from search.records import StudyRecord, TrialRecord

RANK_CORRELATION = "elastic_rank_correlation"
"""Kendall's tau between what elastic weights gave schedules and what those reached."""


class SearchProgress:
    """The hypervolume and the best trial within each budget, of the models that were trained to the end so far.

    Args:
        study: whose budgets and whose dense model they are measured by; its trials are added by `of` alone.
    """

    def __init__(self, study: StudyRecord) -> None:
        self._front = GrowingFront(min_top1=0.0, max_latency_ms=study.dense_latency.mean_ms)
        self._cap_ms, self._smaller_ms = study.max_latency_ms, study.smaller_budgets_ms
        self._best: dict[float, TrialRecord] = {}
        self._estimated: list[TrialRecord] = []
        self.num_finished = 0

    @classmethod
    def of(cls, study: StudyRecord) -> SearchProgress:
        """A study as it stands."""
        progress = cls(study)
        for trial in study.finished:
            progress.add(trial)
        return progress

    def add(self, trial: TrialRecord) -> None:
        """A trial was trained to the end, as the model of one schedule."""
        self.num_finished += 1
        if trial.top1 is None:
            return
        self._front.add(ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency.mean_ms))
        for limit_ms in (*self._smaller_ms, self._cap_ms):
            best = self._best.get(limit_ms)
            if trial.latency.high_ms <= limit_ms and (best is None or _rank(trial) < _rank(best)):
                self._best[limit_ms] = trial
        if trial.estimated_top1 is not None:
            self._estimated.append(trial)

    def metrics(self) -> dict[str, float]:
        """What MLflow shows of the search, by name; top-1 in percent, latency in milliseconds."""
        values = {"hypervolume": self._front.hypervolume}
        best = self._best.get(self._cap_ms)
        if best is not None and best.top1 is not None:
            values |= {"best_top1": best.top1, "best_latency_ms": best.latency.mean_ms}
        for limit_ms in self._smaller_ms:
            within = self._best.get(limit_ms)
            if within is not None and within.top1 is not None:
                values[f"best_top1_within_{limit_ms:.4g}_ms"] = within.top1
        tau = RankAgreement.of(self._estimated).tau
        return values if tau is None else values | {RANK_CORRELATION: tau}


def _rank(trial: TrialRecord) -> tuple[float, float, int]:
    """As `search.pareto.best_under` ranks: the most accurate, then the fastest, then the first."""
    return -(trial.top1 or 0.0), trial.latency.high_ms, trial.number
