"""Shows a progressive insertion in MLflow beside the search: one run named `progressive` in the study's experiment."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from search.progressive_report import ProgressiveReport, schedule_text
from search.run_update import RunStatus, RunUpdate, finite_metrics
from search.tracking_database import ARTIFACTS_FOLDER
from search.tracking_place import default_tracking_uri
from search.tracking_writer import MlflowWriter
from spvit.wording import first_line

LOGGER = logging.getLogger(__name__)


def track(report: ProgressiveReport, folder: Path, *, uri: str | None = None) -> None:
    """Writes a run to MLflow; where it cannot be reached, says so and goes on. Twice does no harm.

    Args:
        report: the whole run; another report gets another MLflow run.
        folder: the study's folder.
        uri: MLflow tracking URI; SQLite in the runs folder if absent.
    """
    target = uri or default_tracking_uri(folder.parent)
    try:
        writer = MlflowWriter(
            target,
            study_name=folder.name,
            study_id=_run_identity(report),
            artifact_directory=folder.parent / ARTIFACTS_FOLDER / folder.name,
        )
        writer.apply(run_update(report), skip_existing_points=True)
    except Exception as error:  # MLflow's failures are of every kind, and the result is in the folder anyway
        text = first_line(error)
        LOGGER.warning("MLflow at %s cannot be written: %s; the result is not shown there", target, text)


def run_update(report: ProgressiveReport) -> RunUpdate:
    """The run as MLflow is to show it. What the final model reached has the names that a search's trials use."""
    now_ms = round(1000 * report.finished_at)
    points = [
        point
        for number, values in enumerate(_curve(report))
        for point in finite_metrics(values, step=number, timestamp_ms=now_ms)[0]
    ]
    return RunUpdate(
        number=None,
        name="progressive",
        start_ms=now_ms,
        params={key: str(value) for key, value in report.options.model_dump(mode="json").items()},
        metrics=(*points, *finite_metrics(_result(report), step=0, timestamp_ms=now_ms)[0]),
        tags={
            "spvit.role": "progressive",
            "spvit.max_latency_ms": f"{report.budget.max_ms:.6g}",
            "spvit.schedule": schedule_text((report.final or report.conclusion.accepted).schedule),
            "mlflow.note.content": "\n\n".join(report.to_text().splitlines())[:5_000],
        },
        status=RunStatus.FINISHED if report.final else RunStatus.FAILED,
        end_ms=now_ms,
    )


def _curve(report: ProgressiveReport) -> list[dict[str, float]]:
    return [
        {"step_latency_ms": step.latency.mean_ms} | ({} if step.top1 is None else {"step_top1": step.top1})
        for step in report.conclusion.steps
    ]


def _result(report: ProgressiveReport) -> dict[str, float]:
    values: dict[str, float] = {"epochs_trained": report.num_epochs}
    if report.final is None:
        return values
    speed_up = report.dense.latency.mean_ms / report.final.latency.mean_ms
    return values | {"top1": report.final.top1, "latency_ms": report.final.latency.mean_ms, "speed_up": speed_up}


def _run_identity(report: ProgressiveReport) -> str:
    facts: dict[str, Any] = report.to_dict() | {"finished_at": report.finished_at}
    return "progressive-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
