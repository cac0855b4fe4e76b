"""What a study's elastic trials found, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.elastic_front import best_elastic
from search.elastic_search_config import ElasticSearchConfig
from search.rank_agreement import RankAgreement
from search.records import StudyRecord


def elastic_sentences(study: StudyRecord) -> Iterator[str]:
    """What elastic weights were worth and how well they ranked; nothing where there are no elastic trials."""
    if not study.elastic:
        return
    best = best_elastic(study.trials)
    if best is None:
        yield "no elastic trial was trained to its end"
        return
    yield (
        f"elastic trial {best.number} priced {len(best.priced)} schedules within the budget, {best.top1:.2f} % top-1 "
        "on average over all budgets"
    )
    agreement = RankAgreement.of(study.trials)
    if agreement.tau is not None:
        yield (
            f"its estimates rank the {agreement.num_compared} schedules that were trained further with a Kendall "
            f"correlation of {agreement.tau:.2f}{_verdict(study, agreement)}"
        )


def _verdict(study: StudyRecord, agreement: RankAgreement) -> str:
    values = study.experiment.get("search", {}).get("elastic", {})
    config = ElasticSearchConfig.model_validate(values)
    if agreement.is_trusted(min_tau=config.min_rank_correlation, min_compared=config.min_compared):
        return ""
    return f", below {config.min_rank_correlation:g}: the search went by results alone"
