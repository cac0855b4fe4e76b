"""Which complete trials are still to be trained for more epochs, as the study's generations say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.proposal import Proposal
from search.records import Generation, Origin, TrialRecord
from search.retries import root_of
from spvit.schedule import TokenPlan
from trainers.config import TrialConfig


def trials_to_continue(trials: Iterable[TrialRecord], generations: Sequence[Generation]) -> tuple[TrialRecord, ...]:
    """The trials that the last change of epochs is to prolong and that nobody has begun to.

    One that was begun and lost is run again as any trial is.
    """
    last = _last_longer(generations)
    if last is None:
        return ()
    known = {trial.number: trial for trial in trials}
    begun = {trial.continues for trial in known.values() if trial.generation >= last.number}
    return tuple(known[n] for n in last.continued if n in known and root_of(known[n]) not in begun)


def epochs_asked_for(generations: Sequence[Generation]) -> int:
    """Epochs that those trials are prolonged to.

    Raises:
        ValueError: no generation changed them.
    """
    last = _last_longer(generations)
    if last is None or last.epochs is None:
        raise ValueError("No generation of this study asks for other epochs.")
    return last.epochs


def _last_longer(generations: Sequence[Generation]) -> Generation | None:
    return next((generation for generation in reversed(generations) if generation.epochs is not None), None)


def continued_config(record: TrialRecord, epochs: int) -> TrialConfig:
    """A complete trial's configuration, trained to `epochs` from its last checkpoint.

    Raises:
        ValueError: it was trained for so many already.
    """
    training = dict(record.config["training"]) | {"epochs": epochs, "continues_epochs": record.num_epochs}
    return TrialConfig.model_validate({**record.config, "training": training})


def continuation(record: TrialRecord, config: TrialConfig, plan: TokenPlan) -> Proposal:
    """The trial that prolongs a complete one."""
    return Proposal(
        config=config,
        plan=plan,
        latency=record.latency,
        params=dict(record.params),
        origin=Origin.CONTINUED,
        label=f"trial {record.number} to epoch {config.training.epochs}",
        continues=root_of(record),
        curve=record.curve,
        epoch_s=record.epoch_s,
    )
