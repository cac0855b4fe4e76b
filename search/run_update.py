"""What to make true of one MLflow run, as a value. Pure: no MLflow.

An update carries its own times, so that applying it twice leaves what applying it once does: MLflow drops a metric
point that is equal in value, step and time, accepts a parameter again with the same value, and overwrites tags.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, Self


class RunStatus(StrEnum):
    """MLflow's names for how a run stands. A pruned trial is KILLED; MLflow has no better word."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    KILLED = "KILLED"
    FAILED = "FAILED"


class MetricPoint(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    step: int
    timestamp_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunUpdate:
    """Changes to the run of one trial, or of the whole search where `number` is None.

    `artifacts` are paths of local files; `experiment_tags` are those of the experiment that the run is in. An update
    that `fills` leaves out points of which the run has one of the same name and step.
    """

    number: int | None
    name: str = ""
    start_ms: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[MetricPoint, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    status: RunStatus | None = None
    end_ms: int | None = None
    artifacts: tuple[str, ...] = ()
    experiment_tags: Mapping[str, str] = field(default_factory=dict)
    fills: bool = False

    def merge(self, later: RunUpdate) -> RunUpdate:
        """Both updates in one; where they disagree the later one counts."""
        return RunUpdate(
            number=self.number,
            name=self.name or later.name,
            start_ms=later.start_ms if self.start_ms is None else self.start_ms,
            params={**self.params, **later.params},
            metrics=self.metrics + later.metrics,
            tags={**self.tags, **later.tags},
            status=later.status or self.status,
            end_ms=later.end_ms if later.status else self.end_ms,
            artifacts=tuple(dict.fromkeys(self.artifacts + later.artifacts)),
            experiment_tags={**self.experiment_tags, **later.experiment_tags},
            fills=self.fills or later.fills,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        told = {key: value for key, value in values if value not in (None, "", {}, ()) and value is not False}
        return told | {"number": self.number}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote, also after a round trip through JSON.

        Raises:
            KeyError, TypeError, ValueError: the values are no update.
        """
        return cls(
            **dict(values)
            | {
                "number": values["number"],
                "metrics": tuple(MetricPoint(*point) for point in values.get("metrics", ())),
                "status": RunStatus(values["status"]) if values.get("status") else None,
                "artifacts": tuple(values.get("artifacts", ())),
            }
        )


def merge_by_run(updates: Iterable[RunUpdate]) -> list[RunUpdate]:
    """One update per run; the search's own first, since the trials' runs are its children."""
    merged: dict[int | None, RunUpdate] = {}
    for update in updates:
        before = merged.get(update.number)
        merged[update.number] = update if before is None else before.merge(update)
    return sorted(merged.values(), key=lambda update: -1 if update.number is None else update.number)


def finite_metrics(
    values: Mapping[str, float], *, step: int, timestamp_ms: int
) -> tuple[tuple[MetricPoint, ...], dict[str, str]]:
    """Metric points of the finite values, and a tag for each other one.

    MLflow stores infinity as 1.8e308, which then matches filters such as `metrics.loss > 5`.
    """
    points = tuple(
        MetricPoint(key, float(f"{value:.6g}"), step, timestamp_ms)
        for key, value in values.items()
        if math.isfinite(value)
    )
    tags = {f"spvit.non_finite.{k}": f"{v} at step {step}" for k, v in values.items() if not math.isfinite(v)}
    return points, tags
