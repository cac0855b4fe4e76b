"""Proposals that no sampler makes: the experiment file's own schedule, and trials that are run again."""

from __future__ import annotations

from search.budget import Price
from search.proposal import Proposal
from search.records import Origin, TrialRecord
from search.retries import config_of_retry
from search.space import SearchSpace
from trainers.config import TrialConfig


def fixed_schedule(space: SearchSpace, price: Price) -> Proposal | None:
    """The fixed schedule that the file itself names, to compare the search with; None if it names none."""
    config = space.default
    if not config.pruning.schedule.stages:
        return None
    rates = ", ".join(f"{rate:.3g}".removeprefix("0") for rate in config.pruning.schedule.keep_rates)
    plan = space.network_of(config)
    return Proposal(
        config=config,
        plan=plan,
        latency=price(plan),
        params={},
        origin=Origin.BASELINE,
        label=f"fixed [{rates}]",
    )


def repeated(record: TrialRecord, root: int, space: SearchSpace, num_workers: int) -> Proposal:
    """The same trial again, as `root`'s continuation, changed as its failure asks for.

    Args:
        record: its last attempt.
        root: number of its first.
        space: of the study.
        num_workers: of a trial, which share its batch.
    """
    config = TrialConfig.model_validate(config_of_retry(record, num_workers))
    return Proposal(
        config=config,
        plan=space.network_of(config),
        latency=record.latency,
        params=dict(record.params),
        origin=Origin.RETRY if record.origin.is_counted else record.origin,
        label=record.label,
        retry_of=root,
        continues=record.continues,
        curve=record.curve,
        epoch_s=record.epoch_s,
        estimated_top1=record.estimated_top1,
    )
