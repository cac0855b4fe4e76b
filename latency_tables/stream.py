"""Models that take as long as their images ask for: timed on several batches of real images, not on one of noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from latency_tables.timing import Comparison, compare_models

T = TypeVar("T")


def compare_on_batches(
    models: Mapping[str, Callable[[T], object]], batches: Sequence[T], **options: Any
) -> dict[str, Comparison]:
    """`compare_models` for all batches one after the other; times are the mean of a batch.

    Args:
        models: the models by name, the dense one among them; each is called with every batch.
        batches: of equal size.
        options: of `compare_models`.

    Raises:
        ValueError: there are no batches, or no model has the name of the dense one.
    """
    if not batches:
        raise ValueError("At least one batch is needed to time models on.")
    if len(batches) == 1:
        return compare_models(models, batches[0], **options)
    timed = compare_models({name: partial(_run_all, model) for name, model in models.items()}, batches, **options)
    return {name: _per_batch(comparison, len(batches)) for name, comparison in timed.items()}


def _run_all(model: Callable[[T], object], batches: Sequence[T]) -> None:
    for batch in batches:
        model(batch)


def _per_batch(comparison: Comparison, num_batches: int) -> Comparison:
    return replace(
        comparison,
        p50_ms=comparison.p50_ms / num_batches,
        p95_ms=comparison.p95_ms / num_batches,
        elapsed=comparison.elapsed.divided(num_batches),
    )
