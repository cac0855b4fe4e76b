"""How well what was estimated of schedules ranks what they reached when they were trained. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search.records import Origin, TrialRecord


def kendall_tau(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Kendall's tau-b of two rankings, in [-1, 1]; None where one of them ranks nothing.

    Raises:
        ValueError: they have different lengths.
    """
    if len(left) != len(right):
        raise ValueError(f"Two rankings of the same things are compared, but got {len(left)} and {len(right)} values.")
    if len(set(left)) < 2 or len(set(right)) < 2:
        return None
    from scipy.stats import kendalltau

    return float(kendalltau(left, right).statistic)


@dataclass(frozen=True, kw_only=True, slots=True)
class RankAgreement:
    """Kendall's tau between the elastic estimates of trials and their results.

    `tau` is None where fewer than two trials of different results have both.
    """

    num_compared: int
    tau: float | None

    @classmethod
    def of(cls, trials: Iterable[TrialRecord]) -> RankAgreement:
        """That of the trials that were estimated and then trained to the end, whatever else there is among them.

        What was finished afterwards is left out: it was chosen for its estimate, and trained for longer.
        """
        pairs = [
            (trial.estimated_top1, trial.top1)
            for trial in trials
            if trial.is_model and trial.origin is not Origin.FINISHED
            if trial.top1 is not None and trial.estimated_top1 is not None
        ]
        return cls(num_compared=len(pairs), tau=kendall_tau([pair[0] for pair in pairs], [pair[1] for pair in pairs]))

    def is_trusted(self, *, min_tau: float, min_compared: int) -> bool:
        """Whether estimates may be gone by: they rank well enough, or too few trials say that they do not."""
        return self.tau is None or self.num_compared < min_compared or self.tau >= min_tau
