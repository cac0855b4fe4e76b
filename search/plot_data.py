"""What a picture of a study shows: points of each kind, the front and the budget. Pure; drawn by `plots` and `page`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from search.records import Origin, StudyRecord, TrialRecord, TrialState
from search.selection import front_trials, keep_rates


class PointKind(StrEnum):
    """What a point stands for; the value is its name in a legend. Later ones are drawn above earlier ones."""

    PRUNED = "stopped early"
    COMPLETE = "trained in full"
    FRONT = "Pareto front"
    BASELINE = "fixed schedule"
    DENSE = "dense model"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotPoint:
    """One point: top-1 in percent at a predicted latency in milliseconds, and a few lines that describe it."""

    kind: PointKind
    top1: float
    latency_ms: float
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotData:
    """One study as a picture. `front` runs from the fastest to the most accurate."""

    title: str
    budgets_ms: tuple[float, ...]
    points: tuple[PlotPoint, ...]
    front: tuple[tuple[float, float], ...]

    def of_kind(self, kind: PointKind) -> tuple[PlotPoint, ...]:
        """Points of one kind."""
        return tuple(point for point in self.points if point.kind is kind)


def plot_data(study: StudyRecord) -> PlotData:
    """The picture of a study as it stands. A pruned trial stands at the top-1 that it was stopped at."""
    on_front = front_trials(study)
    numbers = {trial.number for trial in on_front}
    points = [point for trial in study.trials if (point := _point(trial, numbers)) is not None]
    if study.dense_top1 is not None:
        dense_ms = study.dense_latency.mean_ms
        lines = ("dense model", f"{study.dense_top1:.2f} % at {dense_ms:.2f} ms")
        points.append(PlotPoint(kind=PointKind.DENSE, top1=study.dense_top1, latency_ms=dense_ms, lines=lines))
    order = list(PointKind)
    return PlotData(
        title=f"Study {study.name}: accuracy and latency",
        budgets_ms=study.budgets_ms,
        points=tuple(sorted(points, key=lambda point: order.index(point.kind))),
        front=tuple((trial.latency.mean_ms, trial.top1) for trial in on_front if trial.top1 is not None),
    )


def _point(trial: TrialRecord, front: set[int]) -> PlotPoint | None:
    match trial:
        case TrialRecord(state=TrialState.PRUNED, origin=origin, curve=(*_, last)) if origin is not Origin.ELASTIC:
            kind, top1 = PointKind.PRUNED, last
        case TrialRecord(is_model=True, top1=float(top1)):
            kind = PointKind.FRONT if trial.number in front else PointKind.COMPLETE
            kind = PointKind.BASELINE if trial.origin is Origin.BASELINE else kind
        case _:
            return None
    return PlotPoint(kind=kind, top1=top1, latency_ms=trial.latency.mean_ms, lines=_lines(trial, top1))


def _lines(trial: TrialRecord, top1: float) -> tuple[str, ...]:
    name = f"trial {trial.number}" + (f", {trial.label}" if trial.label else "")
    rates = ", ".join(f"{rate:.3g}" for rate in keep_rates(trial)) or "dense"
    epochs = "1 epoch" if trial.num_epochs == 1 else f"{trial.num_epochs} epochs"
    lines = [name, f"{top1:.2f} % at {trial.latency.mean_ms:.2f} ms", f"keep rates {rates}", f"{trial.state}, {epochs}"]
    lines += [f"{key} {value:.3g}" for key, value in trial.params.items() if isinstance(value, float)]
    return tuple([*lines, trial.reason] if trial.reason else lines)
