"""Which failed trials are run again, how often, when and with what changed: a policy by cause. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.failures import Failure
from search.records import TrialRecord, TrialState

INTERRUPTED = "interrupted: the search stopped before the trial ended"
FIRST_DELAY_S = 5.0
MAX_DELAY_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryBudget:
    """What one cause may cost a trial.

    Attributes:
        max_retries: times that a trial is run again for it; None for any number.
        is_own_fault: the trial's configuration did it. Without retries left it is PRUNED, so that samplers learn from
            it; others are FAIL, which samplers ignore.
        counts: towards `search.max_failed_share`.
        backs_off: each further retry waits twice as long.
        name: in front of the reason of a trial, where the reason does not say it itself.
    """

    max_retries: int | None
    is_own_fault: bool = False
    counts: bool = True
    backs_off: bool = False
    name: str = ""


BUDGETS: Mapping[Failure, RetryBudget] = {
    Failure.NODE_LOST: RetryBudget(max_retries=None, counts=False, backs_off=True, name="node lost"),
    Failure.PREEMPTED: RetryBudget(max_retries=None, counts=False, backs_off=True, name="preempted"),
    Failure.OUT_OF_MEMORY: RetryBudget(max_retries=1, is_own_fault=True, name="out of memory"),
    Failure.INFRASTRUCTURE: RetryBudget(max_retries=3, name="lost"),
    Failure.CONFIGURATION: RetryBudget(max_retries=0, is_own_fault=True),
    Failure.DIVERGENCE: RetryBudget(max_retries=0, is_own_fault=True),
    Failure.STORAGE: RetryBudget(max_retries=None, counts=False, name="interrupted, storage"),
    Failure.INTERRUPTED: RetryBudget(max_retries=None, counts=False),
}
"""A budget for each cause, by itself: a trial that ran out of memory once may still lose its worker three times."""
IN_ORDER = (Failure.INTERRUPTED, Failure.STORAGE)
"""What ends a trial because its search ends: nobody's failure."""


def reason_of(failure: Failure, text: str) -> str:
    """The reason that a trial is kept with."""
    name = BUDGETS[failure].name
    return f"{name}: {text}" if name else text


def root_of(trial: TrialRecord) -> int:
    """The trial that a trial repeats, or itself."""
    return trial.number if trial.retry_of is None else trial.retry_of


def attempts_by_root(trials: Iterable[TrialRecord]) -> Mapping[int, tuple[TrialRecord, ...]]:
    """Every attempt of each trial, in their order, under the number of the first."""
    attempts: dict[int, tuple[TrialRecord, ...]] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        attempts[root_of(trial)] = (*attempts.get(root_of(trial), ()), trial)
    return attempts


def is_due(attempts: Sequence[TrialRecord]) -> bool:
    """Whether a trial is to be run again, by all of its attempts."""
    return all(trial.state is TrialState.FAIL for trial in attempts) and has_retry_left(attempts)


def trials_to_retry(trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The last attempt of each trial that is to be run again, in the order of the first attempts."""
    return tuple(tries[-1] for tries in attempts_by_root(trials).values() if is_due(tries))


def has_retry_left(attempts: Sequence[TrialRecord]) -> bool:
    """Whether a trial may be run again after its last attempt, given with those before, failed."""
    last = attempts[-1]
    if last.failure is None:
        return False
    if last.failure is Failure.OUT_OF_MEMORY and images_per_pass(last.config) < 2:
        return False  # nothing is left to be halved
    limit = BUDGETS[last.failure].max_retries
    return limit is None or sum(trial.failure is last.failure for trial in attempts) <= limit


def is_given_up(attempts: Sequence[TrialRecord]) -> bool:
    """Whether a trial whose last attempt failed is to be PRUNED: it was its own fault and will not be run again."""
    failure = attempts[-1].failure
    return failure is not None and BUDGETS[failure].is_own_fault and not has_retry_left(attempts)


def delay_s(attempts: Sequence[TrialRecord]) -> float:
    """Seconds to wait after the last attempt of a trial: longer each time that it lost its node in a row."""
    num_lost = 0
    for trial in reversed(attempts):
        if trial.failure is None or not BUDGETS[trial.failure].backs_off:
            break
        num_lost += 1
    return min(MAX_DELAY_S, FIRST_DELAY_S * 2.0 ** min(num_lost - 1, 10)) if num_lost else 0.0


def images_per_pass(config: Mapping[str, Any], num_workers: int = 1) -> int:
    """Images that each worker of a trial has in memory at once."""
    training = config["training"]
    share = max(1, int(training["batch_size"]) // num_workers)
    return min(int(training["micro_batch_size"] or share), share)


def config_of_retry(trial: TrialRecord, num_workers: int = 1) -> Mapping[str, Any]:
    """A trial's configuration for its next attempt: where memory was short, half as many images at once.

    Their gradients are added up to the same batch, so the trial is the same one and goes on from its checkpoint.
    """
    if trial.failure is not Failure.OUT_OF_MEMORY:
        return trial.config
    size = max(1, images_per_pass(trial.config, num_workers) // 2)
    return {**trial.config, "training": {**trial.config["training"], "micro_batch_size": size}}


def count_failures(trials: Iterable[TrialRecord]) -> Counter[Failure]:
    """Attempts by why they could not go on."""
    return Counter(trial.failure for trial in trials if trial.failure is not None)
