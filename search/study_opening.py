"""What happens when a driver opens a study: it is begun, gone on with, refused, or goes on as a new generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search import study_attrs as names
from search.code_identity import code_sha256, package_versions
from search.records import Generation, Latency
from search.study_identity import Changes, Made, changes_between, check_accepted

EPOCHS = "training.epochs"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What holds for the whole study beside its experiment."""

    dense_latency: Latency
    max_latency_ms: float
    table_sha256: str
    smaller_budgets_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class OpeningTerms:
    """What a user allows when a study is opened.

    Attributes:
        as_driver: nobody else may drive the study meanwhile.
        accept_change: go on with a study that was made from something else, as a new generation.
        takeover: go on although another driver holds the study; its writes are refused from then on.
        prolongs: `training.epochs` may differ, and nothing else.
        continued: complete trials that are trained for the new number of epochs; only where it differs.
    """

    as_driver: bool = False
    accept_change: bool = False
    takeover: bool = False
    prolongs: bool = False
    continued: tuple[int, ...] = ()


def made_from(experiment: Mapping[str, Any], table_sha256: str) -> Made:
    """What a study that is opened here and now is made from."""
    return Made(
        experiment=experiment,
        table_sha256=table_sha256,
        versions=package_versions(),
        code_sha256=code_sha256(),
    )


def opening_attrs(
    name: str, attrs: Mapping[str, Any], made: Made, facts: StudyFacts, *, terms: OpeningTerms, num_trials: int
) -> dict[str, Any]:
    """The study's attributes to write when it is opened.

    Args:
        name: of the study.
        attrs: those that it has; none where it is new.
        made: what it is made from now.
        facts: what holds for it now.
        terms: what the user allows.
        num_trials: trials that it has.

    Raises:
        StudyMismatchError: it was made from something else, and that is not allowed.
    """
    generations = list(attrs.get(names.GENERATIONS, ()))
    if names.EXPERIMENT in attrs and names.TABLE_SHA256 in attrs:
        changes = changes_between(_made_before(attrs), made)
        if not terms.accept_change:
            check_accepted(name, changes, accepted={EPOCHS} if terms.prolongs else ())
        generations += _generations(changes, terms, number=len(generations) + 2, from_trial=num_trials)
    asked = int(made.experiment["search"]["num_trials"])
    return {
        names.EXPERIMENT: dict(made.experiment),
        names.DENSE_LATENCY: asdict(facts.dense_latency),
        names.MAX_LATENCY_MS: facts.max_latency_ms,
        names.SMALLER_BUDGETS_MS: list(facts.smaller_budgets_ms),
        names.VERSIONS: dict(made.versions),
        names.CODE_SHA256: made.code_sha256,
        names.TABLE_SHA256: facts.table_sha256,
        names.MOST_TRIALS: max(asked, int(attrs.get(names.MOST_TRIALS, 0))),
        names.GENERATIONS: generations,
    }


def _made_before(attrs: Mapping[str, Any]) -> Made:
    return Made(
        experiment=attrs[names.EXPERIMENT],
        table_sha256=attrs[names.TABLE_SHA256],
        versions=attrs.get(names.VERSIONS, {}),
        code_sha256=attrs.get(names.CODE_SHA256, ""),
    )


def _generations(changes: Changes, terms: OpeningTerms, *, number: int, from_trial: int) -> list[dict[str, Any]]:
    """The generation that changes begin; none where nothing changed."""
    if not changes:
        return []
    continued = terms.continued if EPOCHS in changes else ()
    generation = Generation(number=number, from_trial=from_trial, changes=changes, continued=continued)
    return [names.generation_attrs(generation)]
