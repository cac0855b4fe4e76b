"""I7: what is read is whole. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.retries import root_of
from search.verify.facts import Facts
from search.verify.front import sound_front
from search.verify.report import Violation


def not_whole(facts: Facts) -> Iterator[Violation]:
    """I7: every checkpoint, export and table agrees with its hashes, and each trial of the front can be exported."""
    for checkpoint in facts.checkpoints:
        if checkpoint.damage:
            yield Violation(where=checkpoint.path, what=checkpoint.damage)
    for export in facts.exports:
        if export.damage:
            yield Violation(where=export.path, what=export.damage)
    if facts.table_damage:
        yield Violation(where="latency table", what=facts.table_damage)
    yield from _not_exportable(facts)


def _not_exportable(facts: Facts) -> Iterator[Violation]:
    is_published = facts.study.experiment.get("study", {}).get("checkpoints") is not None
    if is_published or not facts.checkpoints:  # those that were fetched say nothing of the others; or none are kept
        return
    whole = {(checkpoint.trial, checkpoint.step) for checkpoint in facts.checkpoints if not checkpoint.damage}
    for trial in sound_front(facts.study):
        if (root_of(trial), trial.num_epochs) not in whole:
            yield Violation(
                where=f"trial {trial.number}",
                what=f"is on the front, but has no checkpoint of epoch {trial.num_epochs}",
            )
